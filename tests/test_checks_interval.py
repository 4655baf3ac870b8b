"""Interval arithmetic must never leave out a value: fuzzed against exact numbers and balls."""

from fractions import Fraction

import pytest
from flint import ctx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optdsl import driver
from optdsl.checks.interval import EVERYTHING, Interval
from optdsl.checks.intervals_of import Intervals
from optdsl.checks.trace import EXACT, IllDefinedError, Real, UndecidedError, as_ball
from optdsl.checks.walk import GRADIENT, THETA, TIME, Key
from optdsl.diagnostics import OptdslError, Source
from optdsl.language.optimizer import Age, Apply, Kind, Ref, Role, Shape

ENDS = st.sampled_from([Fraction(n, d) for n in range(-4, 5) for d in (1, 2, 3)])


@st.composite
def intervals_and_points(draw: st.DrawFn) -> tuple[Interval, Fraction]:
    """An interval, and a value in it."""
    value = draw(ENDS)
    low, high = draw(st.none() | ENDS), draw(st.none() | ENDS)
    low = None if low is None else min(low, value)
    high = None if high is None else max(high, value)
    low_open = low is None or (low != value and draw(st.booleans()))
    high_open = high is None or (high != value and draw(st.booleans()))
    return Interval(low, high, low_open, high_open), value


def contains(around: Interval, value: Real) -> bool:
    """Whether a value is inside; for a ball, that it is not surely outside."""
    if isinstance(value, Fraction):
        return value in around
    low = around.low is None or not (value < as_ball(around.low))
    return low and (around.high is None or not (value > as_ball(around.high)))


PAIRS = intervals_and_points()


@settings(max_examples=600, deadline=None)
@given(PAIRS, PAIRS)
def test_operations_hold_their_values(
    first: tuple[Interval, Fraction], second: tuple[Interval, Fraction]
) -> None:
    (x, a), (y, b) = first, second
    assert a + b in x + y
    assert a - b in x - y
    assert a * b in x * y
    assert -a in -x
    assert abs(a) in x.abs()
    for n in range(4):
        assert a**n in x.power(n)
    if b != 0:
        assert a / b in x / y
        assert b**-2 in y.power(-2)
    assert Fraction((a > 0) - (a < 0)) in x.sign()
    if a >= 0:
        root = EXACT.evaluate(ROOT, {("x", Age.NOW): a})
        assert not isinstance(root, bool)
        assert contains(x.sqrt(), root)


ROOT = Apply("sqrt", (Ref(Role.VALUE, "x"),), Shape.SCALAR, Kind.REAL)

NAMES: dict[str, Key] = {
    "lr": ("lr", Age.NOW),
    "a": ("a", Age.NOW),
    "g[t]": GRADIENT,
    "m[t-1]": ("m", Age.OLD),
}
LEAVES = st.sampled_from([*NAMES, "t", "0", "1", "2", "1/3", "0.9^t"])


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    calls = ["sqrt", "abs", "sign", "exp", "tanh", "sigmoid", "cos", "sin", "cbrt", "floor", "log"]
    return st.one_of(
        two.map(lambda x: f"({x[0]} + {x[1]})"),
        two.map(lambda x: f"({x[0]} - {x[1]})"),
        two.map(lambda x: f"({x[0]} * {x[1]})"),
        two.map(lambda x: f"({x[0]} / {x[1]})"),
        st.tuples(st.sampled_from(calls), inner).map(lambda x: f"{x[0]}({x[1]})"),
        two.map(lambda x: f"max({x[0]}, {x[1]})"),
        two.map(lambda x: f"min({x[0]}, {x[1]})"),
        inner.map(lambda x: f"({x})^2"),
        inner.map(lambda x: f"({x})^3"),
        two.map(lambda x: f"({x[0]})^({x[1]})"),
        st.tuples(inner, inner, inner).map(lambda x: f"(if {x[0]} > {x[1]} then {x[2]} else {x[1]})"),
        st.tuples(inner, inner).map(lambda x: f"(if a > 1/2 then {x[0]}/a else {x[1]})"),
        st.tuples(inner, inner).map(lambda x: f"(if lr <= 1 then {x[0]} - lr else {x[1]}*lr)"),
    )


HEAD = "optimizer A\nhyper lr = 1 in [0, inf)\nhyper a = 1 in (-inf, inf)\nstate m[0] = 0\nm[t] = g[t]\n"


@settings(max_examples=500, deadline=None)
@given(st.recursive(LEAVES, _grow, max_leaves=6), st.lists(PAIRS, min_size=4, max_size=4), st.integers(1, 4))
def test_expressions_hold_their_values(text: str, drawn: list[tuple[Interval, Fraction]], t: int) -> None:
    """And what is said to have a value everywhere has one here."""
    ctx.prec = 256
    spec = f"{HEAD}u = {text}\ntheta[t] = theta[t-1] - lr*a*m[t-1] - u\n"
    try:
        optimizer, _ = driver.front(Source("x.opt", spec))
    except OptdslError:
        assume(False)
    expr = next(line.value for line in optimizer.lines if line.target.name == "u")
    around = {key: interval for key, (interval, _) in zip(NAMES.values(), drawn, strict=True)}
    around |= {TIME: Interval(Fraction(1), None, False, True), THETA: EVERYTHING}
    point = {key: value for key, (_, value) in zip(NAMES.values(), drawn, strict=True)} | {TIME: Fraction(t)}
    arithmetic = Intervals()
    found = arithmetic.evaluate(expr, around)
    try:
        value = EXACT.evaluate(expr, point)
    except IllDefinedError as error:
        place = (error.expr.span.start, error.expr.span.end)
        assert place in arithmetic.open, "an operation without a value was said to have one"
        return
    except UndecidedError:
        assume(False)
    assert not isinstance(value, bool)
    assert contains(found, value), (text, found, value)


@pytest.mark.parametrize("exponent", [10_000, 10**9])
def test_large_powers_cost_nothing(exponent: int) -> None:
    assert Interval(Fraction(2), Fraction(3), False, False).power(exponent).nonnegative
