"""The functions that every processor computes alike, against 200 bits; what is not a number, against C's."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from optdsl.language.operators import OPERATORS
from optdsl.portable.functions import FUNCTIONS, SHORT, fma_by_double
from optdsl.portable.lanes import Lane, NumpyMaker, Sort

Array = NDArray[Any]
COUNT = 1500
SPECIAL = np.array(
    [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 0.5, -0.5, 2, 3, -3, 5e-324, 1e-40, -1e-40, 1e300, 1e38, 7.5]
)


def apply(name: str, bits: int, *arguments: Array) -> Array:
    maker = NumpyMaker(bits)
    with np.errstate(all="ignore"):
        lanes = [Lane(maker, each.astype(maker.float), Sort.FLOAT) for each in arguments]
        found: Array = FUNCTIONS[name](*lanes).at
    assert found.dtype == maker.float
    return found


def most_ulps(name: str, bits: int, *arguments: Array) -> float:
    """How far from the exact value the worst result is, in units of its last place."""
    dtype: Any = NumpyMaker(bits).float
    given = [each.astype(dtype) for each in arguments]
    worst = 0.0
    with mpmath.workprec(200):
        for *xs, got in zip(*given, apply(name, bits, *given), strict=True):
            exact = OPERATORS[name].exact(*(mpmath.mpf(float(x)) for x in xs))
            unit = float(np.spacing(dtype(abs(float(exact)))))
            worst = max(worst, float(abs(mpmath.mpf(float(got)) - exact) / unit))
    return worst


def numbers(low: float, high: float, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, COUNT)


LARGE = {32: 87.0, 64: 708.0}  # whose exp is a normal number
ONE: dict[str, Callable[[int], Array]] = {
    "exp": lambda bits: numbers(-LARGE[bits], LARGE[bits]),
    "log": lambda bits: np.concatenate([np.exp(numbers(-LARGE[bits], LARGE[bits])), numbers(0.5, 2)]),
    "cbrt": lambda bits: np.exp(numbers(-LARGE[bits], LARGE[bits])) * np.sign(numbers(-1, 1, 1)),
    "sigmoid": lambda bits: np.concatenate([numbers(-LARGE[bits], LARGE[bits]), numbers(-2, 2)]),
    "tanh": lambda bits: np.concatenate([numbers(-20, 20), numbers(-1, 1)]),
}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", ONE)
def test_functions_are_off_by_at_most_two_units(name: str, bits: int) -> None:
    assert most_ulps(name, bits, ONE[name](bits)) <= 2


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_circles_are_off_by_at_most_a_unit(name: str) -> None:
    assert most_ulps(name, 64, numbers(-1e5, 1e5)) <= 1
    assert np.isnan(apply(name, 64, np.array([1.001e5, np.inf, np.nan]))).all()


@pytest.mark.parametrize("bits", [32, 64])
def test_powers(bits: int) -> None:
    """As bias corrections have them: at most 2 units; at the ends of the range, 16."""
    steps = np.arange(1, COUNT + 1).astype(float)
    assert most_ulps("pow", bits, np.full(COUNT, 0.999), steps) <= 2
    assert most_ulps("pow", bits, numbers(0.5, 2), numbers(-30, 30, 1)) <= 2
    assert most_ulps("pow", bits, -numbers(0, 10), np.round(numbers(-9, 9, 1))) <= 2
    bases = np.exp(numbers(-LARGE[bits], LARGE[bits]) * 0.9)
    powers = numbers(-1, 1, 2) * LARGE[bits] / np.abs(np.log(bases))
    assert most_ulps("pow", bits, bases, powers) <= 16


def test_short_functions_are_right_to_a_trillionth() -> None:
    """In float64, over its range: 10**-12 of the result, which float32 does not see."""
    sizes = np.exp(numbers(-707, 707))
    near = np.exp(numbers(-4, 4, 1))
    powers = numbers(-1, 1, 2) * np.minimum(3, 706 / np.abs(np.log(sizes)))
    given: list[tuple[str, tuple[Array, ...]]] = [
        ("cbrt", (np.concatenate([sizes, -near, [5e-324, 1e-310, 1.7e308]]),)),
        ("pow", (np.concatenate([sizes, near]), np.concatenate([powers, numbers(-30, 30, 3)]))),
    ]
    for name, arrays in given:
        with mpmath.workprec(200):
            for *xs, got in zip(*arrays, apply(SHORT[name], 64, *arrays), strict=True):
                exact = OPERATORS[name].exact(*(mpmath.mpf(float(x)) for x in xs))
                assert abs(mpmath.mpf(float(got)) / exact - 1) < 1e-12, (name, xs)


C: dict[str, tuple[int, Callable[..., Any]]] = {
    "exp": (1, np.exp),
    "log": (1, np.log),
    "cbrt": (1, np.cbrt),
    "tanh": (1, np.tanh),
    "floor": (1, np.floor),
    "sign": (1, np.sign),
    "pow": (2, np.power),
    "max": (2, np.maximum),
    "min": (2, np.minimum),
}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", C)
def test_what_is_no_ordinary_number_is_as_in_c(name: str, bits: int) -> None:
    arity, function = C[name]
    dtype: Any = NumpyMaker(bits).float
    with np.errstate(all="ignore"):
        given = [each.ravel().astype(dtype) for each in np.meshgrid(*[SPECIAL] * arity)]
        expected = function(*given)
    found = apply(name, bits, *given)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if bits == 32 else 1e-14)
    if name not in ("max", "min", "sign"):  # of two zeros, C may take either; the sign of a zero is our own
        zeros = expected == 0
        np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected[zeros]))


def test_remainders_are_exact() -> None:
    x, y = numbers(-1000, 1000), numbers(-7, 7, 1)
    np.testing.assert_array_equal(apply("mod", 64, x, y), np.mod(x, y))
    steps = np.arange(COUNT).astype(float)
    np.testing.assert_array_equal(apply("mod", 64, steps, np.full(COUNT, 10.0)), steps % 10)
    assert np.isnan(apply("mod", 64, np.array([1.0, 1e300]), np.array([0.0, 3.0]))).all()


def test_a_product_is_added_and_rounded_once() -> None:
    """Against exact rationals, where the sum is near the middle between two float32."""
    maker, rng = NumpyMaker(64), np.random.default_rng(0)
    x, y = (rng.standard_normal(4000).astype(np.float32) for _ in range(2))
    products = x.astype(np.float64) * y.astype(np.float64)
    # what cancels, what is far away, and what lies a little beside a middle
    z = np.concatenate([-products[:1000], products[1000:2000] * 1e9, rng.standard_normal(2000)])
    z = z.astype(np.float32)
    lanes = (Lane(maker, each.astype(np.float64), Sort.FLOAT) for each in (x, y, z))
    found = np.asarray(fma_by_double(*lanes).at).astype(np.float32)
    with mpmath.workprec(300):
        parts = zip(x.tolist(), y.tolist(), z.tolist(), strict=True)
        exact = [mpmath.mpf(a) * b + c for a, b, c in parts]
    with mpmath.workprec(24):
        rounded = np.array([float(+each) for each in exact], np.float32)
    np.testing.assert_array_equal(found, rounded)
    middle = 1 + 2.0**-24  # of float32: 1 and the next; what is added decides
    for sign, wanted in ((1, 1 + 2.0**-23), (-1, 1.0)):
        numbers_ = (2.0**-24, 1 + sign * 2.0**-23, middle - 2.0**-24)
        (value,) = np.asarray(
            fma_by_double(*(Lane(maker, np.array([each]), Sort.FLOAT) for each in numbers_)).at
        ).astype(np.float32)
        assert value == np.float32(wanted), sign
