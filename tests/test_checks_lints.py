"""What small formats do to a spec: each lint is confirmed by a run that rounds as the format does.

The runs are the papers' recursions in float64, stored through NumPy's float16 and float32, and through a
bfloat16 made by rounding bits; nothing here uses the checker's own rounding.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from optdsl import driver
from optdsl.diagnostics import Source
from optdsl.explain import lints
from optdsl.library import lookup

Store = Callable[[float], float]


def float16(x: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float16(x))


def bfloat16(x: float) -> float:
    """float64 has 52 bits behind the point, bfloat16 has 7; half of the last one is added, ties to even."""
    bits = int(np.float64(x).view(np.uint64))
    bits += (1 << 44) - 1 + (bits >> 45 & 1)
    return float(np.uint64(bits >> 45 << 45).view(np.float64))


def float32(x: float) -> float:
    return float(np.float32(x))


STORES: dict[str, Store] = {"float16": float16, "bfloat16": bfloat16, "float32": float32}


def average(store: Store, beta: float, v: float, gradients: Iterable[float]) -> float:
    """v[t] = beta*v[t-1] + (1 - beta)*g^2, stored after every step."""
    for g in gradients:
        v = store(beta * v + (1 - beta) * g * g)
    return v


def total(store: Store, s: float, gradients: Iterable[float]) -> float:
    """s[t] = s[t-1] + g^2, stored after every step."""
    for g in gradients:
        s = store(s + g * g)
    return s


def told(spec: str) -> set[str]:
    return {str(lint) for lint in lints(lookup(spec))}


def told_of(beta: float) -> str:
    text = (
        f"optimizer A\nhyper lr = 1 in [0, inf)\nhyper beta = {beta} in [0, 1)\nstate v[0] = 0\n"
        "v[t] = beta*v[t-1] + (1 - beta)*g[t]^2\ntheta[t] = theta[t-1] - lr*g[t]/(sqrt(v[t]) + 1)\n"
    )
    return "\n".join(map(str, lints(driver.front(Source("a.opt", text))[0])))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("v[t] = if g[t] > 0 then 0.999*v[t-1] + 0.001*g[t]^2 else 0", False),  # not the same in all cases
        ("v[t] = 0.999*v[t-1] + 0.001*g[t]^2 + g[t]", False),  # not a power of g
        ("v[t] = 0.999*v[t-1] + 0.001*g[t]^2*theta[t-1]", False),
        ("v[t] = (v[t-1]*v[t-1])*0.999 + 0.001*g[t]^2", False),  # not linear in v
        ("v[t] = 0.999*v[t-1] + 0.001*g[t]^2", True),
    ],
)
def test_limits_are_told_only_of_a_plain_recursion(line: str, said: bool) -> None:
    head = "optimizer A\nhyper lr = 1 in [0, inf)\nstate v[0] = 0\n"
    text = f"{head}{line}\ntheta[t] = theta[t-1] - lr*g[t]/(abs(v[t]) + 1)\n"
    found = list(map(str, lints(driver.front(Source("a.opt", text))[0])))
    assert ("kept in float16: v stays 0 while abs(g) <= 0.00546" in found) is said


def test_all_of_adam() -> None:
    """Worked out by hand; the runs below confirm each line."""
    assert told("adam") == {
        "kept in float16: v stays 0 while abs(g) <= 0.00546",  # sqrt(2^-25/0.001)
        "kept in float16: v overflows where abs(g) stays above 285",  # sqrt((65520 - 0.999*65504)/0.001)
        "kept in float16: t stops at 2048",  # 2^11
        "computed in float16: g^2 overflows where abs(g) >= 256",  # sqrt(65520) = 255.97
        "computed in float16: 1 - beta2 is off by 2.3e-02 of itself",  # 0.999 becomes 1023/1024
        "computed in float16: eps = 1e-08 rounds to 0, outside of its domain",  # below 2^-25 = 3e-8
        "kept in bfloat16: v does not decay: 0.001 of it is less than half of its last bit",  # below 2^-9
        "kept in bfloat16: t stops at 256",
        "computed in bfloat16: beta2 = 0.999 rounds to 1, outside of its domain",  # next to 1 is 0.996
        "kept in float32: t stops at 16777216",
        "computed in float32: 1 - beta2 is off by 1.3e-05 of itself",  # 0.999 becomes 16760439/2^24
    }


@pytest.mark.parametrize("name", ["gd", "sgd", "momentum", "nesterov", "rprop"])
def test_nothing_is_told_of_what_has_no_small_numbers(name: str) -> None:
    assert told(name) == set()


@pytest.mark.parametrize(
    ("beta", "form", "said", "low", "high"),
    [
        (0.999, "bfloat16", "does not decay", 1.0, 1.0),  # exactly: 0.999^5000 = 0.0067
        (0.9999, "float16", "does not decay", 1.0, 1.0),  # 1e-4 < 2^-12
        (0.997, "bfloat16", "soon stops decaying", 1.0, 1.0),
        (0.99, "bfloat16", "", 0.0, 1e-6),
        (0.999, "float16", "", 0.0, 0.01),
        (0.999, "float32", "", 0.0, 0.01),
    ],
)
def test_an_average_that_cannot_fade(beta: float, form: str, said: str, low: float, high: float) -> None:
    line = next((line for line in told_of(beta).split("\n") if f"in {form}" in line and "decay" in line), "")
    assert said in line
    assert bool(said) == bool(line)
    after = average(STORES[form], beta, 1.0, [0.0] * 5000)
    if said.startswith("soon"):  # 0.003*m is less than half of 2^-7 below m = 1.302
        after = average(STORES[form], beta, 1.9921875, [0.0] * 5000)
        assert 1 < after < 1.303
    else:
        assert low <= after <= high


@pytest.mark.parametrize("start", [1.5, 3.140625, 0.0031280517578125])
def test_in_bfloat16_adams_v_stays_wherever_it_is(start: float) -> None:
    assert average(bfloat16, 0.999, start, [0.0] * 5000) == start


@pytest.mark.parametrize(("g", "stays"), [(0.00545, True), (0.00547, False)])
def test_small_gradients_leave_no_trace(g: float, stays: bool) -> None:
    assert (average(float16, 0.999, 0.0, [g] * 3000) == 0) is stays


@pytest.mark.parametrize(("g", "overflows"), [(285.0, False), (286.0, True)])
def test_large_gradients_overflow_the_average(g: float, overflows: bool) -> None:
    assert math.isinf(average(float16, 0.999, 0.0, [g] * 10_000)) is overflows


@pytest.mark.parametrize(("g", "overflows"), [(255.875, False), (256.0, True)])
def test_large_gradients_overflow_their_square(g: float, overflows: bool) -> None:
    with np.errstate(over="ignore"):
        assert bool(np.isinf(np.float16(g) ** 2)) is overflows


@pytest.mark.parametrize(
    ("form", "start", "steps", "end"),
    [("bfloat16", 0, 1000, 256), ("float16", 0, 5000, 2048), ("float32", 2**24 - 9, 100, 2**24)],
)
def test_sums_and_counters_that_stop(form: str, start: int, steps: int, end: int) -> None:
    """Adagrad's sum of ones, which is a counter of steps too."""
    assert f"kept in {form}: s stops growing after {end} equal steps" in told("adagrad")
    assert f"kept in {form}: t stops at {end}" in told("adagrad")
    assert total(STORES[form], float(start), [1.0] * steps) == end


@pytest.mark.parametrize(("g", "overflows"), [(4.0, False), (4.01, True)])
def test_a_sum_overflows_only_if_its_terms_still_count(g: float, overflows: bool) -> None:
    assert "kept in float16: s overflows where abs(g) stays above 4" in told("adagrad")
    assert math.isinf(total(float16, 0.0, [g] * 10_000)) is overflows


@pytest.mark.parametrize(("form", "off"), [("float16", 2.3e-2), ("float32", 1.3e-5)])
def test_one_minus_beta(form: str, off: float) -> None:
    kept = np.dtype(form).type(0.999)
    assert abs(float(1 - kept) - 0.001) / 0.001 == pytest.approx(off, rel=0.05)


def test_eps_that_is_gone_divides_zero_by_zero() -> None:
    zero = np.float16(0)
    with np.errstate(invalid="ignore"):
        assert np.isnan(zero / (np.sqrt(zero) + np.float16(1e-8)))


def test_torchs_counter_is_ours_too() -> None:
    """`step` is float32 in torch's state dicts, and so in ours: at 2^24 it stays."""
    torch = pytest.importorskip("torch")
    from optdsl.torch import Adam

    p = torch.nn.Parameter(torch.ones(2))
    optimizer = Adam([p])
    for _ in range(2):
        p.grad = torch.ones(2)
        optimizer.step()
        optimizer.state[p]["step"].fill_(2**24)
    p.grad = torch.ones(2)
    optimizer.step()
    assert float(optimizer.state[p]["step"]) == 2**24
