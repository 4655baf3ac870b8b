"""Numbers of 16 and 8 bits: against NumPy's and torch's; what is rounded at random is right on average."""

from typing import Any

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from optdsl.portable.formats import FORMATS, MOST
from optdsl.portable.lanes import Lane, NumpyMaker, Sort
from optdsl.runtime import stored_math

Array = NDArray[Any]
SORTS = {"f": Sort.FLOAT, "i": Sort.INT}
DTYPES: dict[str, Any] = {"f": np.float32, "i": np.uint32}
SPECIAL = np.array(
    [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1,
        -1,
        1e-45,
        -1e-45,
        3.4e38,
        -3.4e38,
        65504,
        65519,
        65520,
        6e-8,
        3e-8,
    ],
    np.float32,
)


def apply(name: str, *arguments: Any) -> Array:
    function, gives, takes = FORMATS[name]
    given = [
        Lane(NumpyMaker(32), np.asarray(x, DTYPES[kind]), SORTS[kind])
        for x, kind in zip(arguments, takes, strict=True)
    ]
    with np.errstate(all="ignore"):
        found = np.asarray(function(*given).at)
    assert found.dtype == DTYPES[gives]
    return found


def floats(count: int = 20_000) -> Array:
    """Of all magnitudes, NaN of all kinds among them."""
    bits = np.random.default_rng(0).integers(0, 2**32, count, np.uint64).astype(np.uint32)
    scaled = np.random.default_rng(1).normal(size=count).astype(np.float32)
    small = scaled * np.float32(2.0) ** np.random.default_rng(2).integers(-30, 18, count).astype(np.float32)
    return np.concatenate([bits.view(np.float32), scaled, small, SPECIAL])


def test_bfloat16_is_torchs() -> None:
    x = floats()
    wanted = torch.tensor(x).to(torch.bfloat16)
    got = torch.tensor(apply("nearest_bf16", x).astype(np.int16)).view(torch.bfloat16)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)
    codes = np.arange(65536)
    back = torch.tensor(codes.astype(np.uint16).view(np.int16)).view(torch.bfloat16).float()
    np.testing.assert_array_equal(apply("bf16_value", codes), back.numpy())


def test_float16_is_numpys() -> None:
    x = floats()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(apply("nearest_f16", x).astype(np.uint16).view(np.float16),
                                      x.astype(np.float16))  # fmt: skip
    codes = np.arange(65536)
    np.testing.assert_array_equal(
        apply("f16_value", codes), codes.astype(np.uint16).view(np.float16).astype(np.float32)
    )


def test_a_bfloat16_and_its_rest_are_a_float32() -> None:
    x = floats()
    high, low = apply("high_of", x), apply("low_of", x)
    assert ((high < 65536) & (low < 65536)).all()
    np.testing.assert_array_equal(apply("joined", high, low), x)
    seen, there = apply("bf16_value", high), np.isfinite(x) & (np.abs(x) < 3e38) & (np.abs(x) > 1e-37)
    assert (np.abs(seen[there] - x[there]) <= np.abs(x[there]) * 2.0**-8).all()


@pytest.mark.parametrize(("code", "count", "has_sign"), [("s8", 256, True), ("u8", 256, False)])
def test_numbers_of_8_bits_are_read_as_they_were_written(code: str, count: int, has_sign: bool) -> None:
    codes = np.arange(count)
    values = apply(f"{code}_value", codes)
    assert values.max() == MOST
    assert values.min() == (-MOST if has_sign else 0)
    magnitudes = np.sort(np.abs(values[: count // 2 if has_sign else count]))
    assert magnitudes[0] == 0
    assert magnitudes[1] == (2.0**-17 if has_sign else 2.0**-33)
    assert (np.diff(magnitudes) > 0).all()
    steps = np.diff(magnitudes)[8:] / magnitudes[8:-1]
    assert steps.max() <= 1 / 8
    for bits in (0, 1, 2**31, 2**32 - 1):
        again = apply(f"stochastic_{code}", values, np.full(count, bits))
        np.testing.assert_array_equal(apply(f"{code}_value", again), values)


@pytest.mark.parametrize(
    ("code", "dropped", "x"),
    [("bf16", 16, [1.2345678, -3e-5, 1e-30, 2.9e38]), ("f16", 13, [1.2345678, -300.7, 3e-5, 1.1e-6, 1e-7]),
     ("p16", 13, [1.2345678, 300.7, 3e-5, 1.1e-6, 1e-7]),
     ("s8", 20, [0.7123, -1.7, 3e-3, 3e-5, -2e-6]), ("u8", 20, [0.7123, 3e-3, 1.1e-7, 1.3e-10])],
)  # fmt: skip
def test_what_is_rounded_at_random_is_right_on_average(code: str, dropped: int, x: list[float]) -> None:
    """Over all bits that it can be rounded by, the mean is the number itself."""
    bits = np.arange(2**dropped, dtype=np.uint32) << np.uint32(32 - dropped)
    for each in np.array(x, np.float32):
        rounded = apply(f"{code}_value", apply(f"stochastic_{code}", np.full(bits.size, each), bits))
        neighbours = np.unique(rounded)
        assert len(neighbours) <= 2
        lost = 2.0**-37 if code in ("f16", "p16", "s8") else 2.0**-53 if code == "u8" else 0.0
        assert abs(rounded.mean(dtype=np.float64) - float(each)) <= lost + abs(float(each)) * 2.0**-22


def test_what_is_special_stays_so() -> None:
    bits = np.full(4, 2**32 - 1)
    special = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    for code in ("bf16", "f16"):
        np.testing.assert_array_equal(
            apply(f"{code}_value", apply(f"stochastic_{code}", special, bits)), special
        )
    assert np.isnan(
        apply("bf16_value", apply("stochastic_bf16", np.array([0x7F800001], np.uint32).view(np.float32), [0]))
    )
    for code in ("u8", "p16"):
        found = apply(f"stochastic_{code}", [1e-30, 0.0, -1.0], [0, 2**32 - 1, 2**32 - 1])
        assert found.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(apply("stochastic_p16", [np.nan, np.inf], [0, 0]), [0x7E00, 0x7C00])


def test_random_bits_are_even_and_independent() -> None:
    """Each bit is set in half of 2^16 elements, and differs in half from that of others and of other keys."""
    elements, count = np.arange(65536), 65536
    first, second = (apply("random_bits", elements, np.full(count, key)) for key in (7, 8))
    shifted = apply("random_bits", elements + 1, np.full(count, 7))
    spread = 5 * np.sqrt(0.25 / count)
    for place in range(32):
        bit = (first >> np.uint32(place)) & 1
        assert abs(bit.mean() - 0.5) < spread
        for other in (second, shifted):
            assert abs((bit ^ ((other >> np.uint32(place)) & 1)).mean() - 0.5) < spread
        assert abs((bit ^ ((first >> np.uint32((place + 5) % 32)) & 1)).mean() - 0.5) < spread


@pytest.mark.parametrize("name", FORMATS)
def test_kernels_compute_the_same_bits(name: str) -> None:
    _, gives, takes = FORMATS[name]
    function = getattr(stored_math, name)
    x = floats(2000)
    whole = np.random.default_rng(5).integers(0, 2**32, x.size, np.uint64).astype(np.uint32)
    if name.endswith("_value") or name == "joined":
        whole %= np.uint32(256 if "8" in name else 65536)
    given = [x if kind == "f" else whole for kind in takes]
    found = np.empty(x.size, DTYPES[gives])
    if len(takes) == 1:

        @numba.njit
        def run(x: Any, found: Any) -> None:
            for i in range(x.size):
                found[i] = function(x[i])
    else:

        @numba.njit
        def run(x: Any, y: Any, found: Any) -> None:
            for i in range(x.size):
                found[i] = function(x[i], y[i])

    run(*given, found)
    np.testing.assert_array_equal(found.view(np.uint32), apply(name, *given).view(np.uint32))
