"""The zero test must never say that something is zero which is not: fuzzed against ball arithmetic."""

from fractions import Fraction

import pytest
from flint import ctx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optdsl import driver
from optdsl.checks.algebra import Algebra, BudgetError, NoFormError, cases, proves_zero
from optdsl.checks.interval import NONNEGATIVE, Interval
from optdsl.checks.rational import Rational
from optdsl.checks.trace import EXACT, IllDefinedError, UndecidedError, Value, as_ball, surely_different
from optdsl.checks.walk import GRADIENT, THETA, TIME, Key
from optdsl.diagnostics import OptdslError, Source
from optdsl.language.optimizer import Age, Expr
from tests.support.algebra_values import poly_at, value_at

BETA1, BETA2, LR = ("beta1", Age.NOW), ("beta2", Age.NOW), ("lr", Age.NOW)
M, V = ("m", Age.OLD), ("v", Age.OLD)
UNIT = Interval(Fraction(0), Fraction(1), True, True)
FACTS: dict[Key, Interval] = {
    BETA1: UNIT,
    BETA2: UNIT,
    LR: NONNEGATIVE,
    TIME: Interval(Fraction(1), None, False, True),
    V: NONNEGATIVE,
}
HEAD = (
    "optimizer A\nhyper lr = 1 in [0, inf)\nhyper beta1 = 0.9 in (0, 1)\nhyper beta2 = 0.99 in (0, 1)\n"
    "state m[0] = 0\nstate v[0] = 0\nm[t] = g[t]\nv[t] = g[t]^2\n"
)


def expression(text: str) -> Expr:
    """An expression over old states, hypers, t and g."""
    spec = f"{HEAD}u = {text}\ntheta[t] = theta[t-1] - lr*beta1*beta2*(m[t-1] + v[t-1]) - u\n"
    optimizer, _ = driver.front(Source("x.opt", spec))
    return next(line.value for line in optimizer.lines if line.target.name == "u")


def build_of(expr: Expr):  # type: ignore[no-untyped-def]
    def build(algebra: Algebra) -> Rational:
        keys = (BETA1, BETA2, LR, TIME, M, V, GRADIENT, THETA)
        return algebra.evaluate(expr, {key: algebra.symbol(key) for key in keys})

    return build


IDENTITIES = [
    ("(m[t-1] + g[t])^2", "m[t-1]^2 + 2*m[t-1]*g[t] + g[t]^2"),
    ("beta1^(t+1)", "beta1*beta1^t"),
    ("beta1^(2*t)", "(beta1^t)^2"),
    ("(beta1/beta2)^t * beta2^t", "beta1^t"),
    ("sqrt(v[t-1] / (1 - beta2^t))", "sqrt(v[t-1]) / sqrt(1 - beta2^t)"),
    ("sqrt(beta2^2 * v[t-1])", "beta2*sqrt(v[t-1])"),
    ("sqrt(g[t]^2)", "abs(g[t])"),
    ("sqrt(4*g[t]^2 + 8*m[t-1]^2)", "2*sqrt(g[t]^2 + 2*m[t-1]^2)"),
    ("max(m[t-1], g[t])", "(m[t-1] + g[t] + abs(m[t-1] - g[t]))/2"),
    ("min(m[t-1], g[t])", "m[t-1] + g[t] - max(g[t], m[t-1])"),
    ("sign(g[t])*abs(g[t])", "g[t]"),
    ("if g[t] > 0 then g[t] else -g[t]", "abs(g[t])"),
    ("sqrt(v[t-1])^2", "v[t-1]"),
    ("0^t", "0"),
    ("clip(g[t], -lr, lr)", "max(min(g[t], lr), -lr)"),
    # Kingma & Ba 2015, section 2: the two forms of Adam's step, with eps hat = eps*sqrt(1 - beta2^t)
    (
        "m[t-1]/(1 - beta1^t)/(sqrt(v[t-1]/(1 - beta2^t)) + lr)",
        "sqrt(1 - beta2^t)/(1 - beta1^t)*m[t-1]/(sqrt(v[t-1]) + lr*sqrt(1 - beta2^t))",
    ),
]
NEAR_MISSES = [
    ("beta1^(t+1)", "beta1^t"),
    ("sqrt(g[t]^2)", "g[t]"),
    ("sqrt(v[t-1] + lr)", "sqrt(v[t-1]) + sqrt(lr)"),
    ("sign(g[t])^2", "1"),
    ("if v[t-1] > 0 then 1 else 2", "1"),
    ("if v[t-1] >= 0 then 1 else 2", "2"),
    ("if g[t] > 0 then 1 else 2", "if g[t] >= 0 then 1 else 2"),
    ("if g[t] == 0 then 5 else sign(1/g[t])", "sign(g[t])"),  # 1/0 is not looked at where g = 0
    ("if v[t-1] == 0 and lr == 0 then g[t] + lr*v[t-1]^(t-1) else 0", "0"),  # v^(t-1) is not v^t/v
    ("0^(t-1)", "0"),
    ("max(m[t-1], g[t])", "m[t-1]"),
    ("m[t-1]/(1 - beta1)", "m[t-1]/(1 - beta1^t)"),
    (
        "m[t-1]/(1 - beta1^t)/(sqrt(v[t-1]/(1 - beta2^t)) + lr)",
        "sqrt(1 - beta2^t)/(1 - beta1^t)*m[t-1]/(sqrt(v[t-1]) + lr)",
    ),
]


@pytest.mark.parametrize(("left", "right"), IDENTITIES)
def test_identities_are_proved(left: str, right: str) -> None:
    assert proves_zero(FACTS, build_of(expression(f"({left}) - ({right})")))


@pytest.mark.parametrize(("left", "right"), NEAR_MISSES)
def test_near_misses_are_not(left: str, right: str) -> None:
    assert not proves_zero(FACTS, build_of(expression(f"({left}) - ({right})")))


# --- fuzz ----------------------------------------------------------------------------------------

LEAVES = st.sampled_from(
    ["g[t]", "m[t-1]", "v[t-1]", "lr", "beta1", "beta2", "t", "beta1^t", "1", "2", "1/3"]
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda x: f"({x[0]} + {x[1]})"),
        two.map(lambda x: f"({x[0]} - {x[1]})"),
        two.map(lambda x: f"({x[0]}*{x[1]})"),
        two.map(lambda x: f"({x[0]})/({x[1]})"),
        two.map(lambda x: f"max({x[0]}, {x[1]})"),
        two.map(lambda x: f"min({x[0]}, {x[1]})"),
        inner.map(lambda x: f"sqrt({x})"),
        inner.map(lambda x: f"abs({x})"),
        inner.map(lambda x: f"sign({x})"),
        inner.map(lambda x: f"({x})^2"),
        inner.map(lambda x: f"({x})^-1"),
        inner.map(lambda x: f"beta2^({x} + t)"),
        st.tuples(inner, inner, inner).map(lambda x: f"(if {x[0]} > {x[1]} then {x[2]} else {x[0]})"),
        st.tuples(inner, inner, inner).map(lambda x: f"(if {x[0]} <= 0 then {x[1]} else {x[2]})"),
    )


EXPRESSIONS = st.recursive(LEAVES, _grow, max_leaves=7)
RATIONALS = st.sampled_from(
    [Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2), Fraction(3)]
)
UNITS = st.sampled_from([Fraction(1, 2), Fraction(3, 4), Fraction(1, 10)])
POINTS = st.fixed_dictionaries(
    {
        BETA1: UNITS,
        BETA2: UNITS,
        LR: RATIONALS.map(abs),
        TIME: st.sampled_from([Fraction(1), Fraction(2), Fraction(5)]),
        M: RATIONALS,
        V: RATIONALS.map(abs),
        GRADIENT: RATIONALS,
        THETA: RATIONALS,
    }
)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, POINTS)
def test_canonical_form_has_the_value_of_the_expression(text: str, point: dict[Key, Value]) -> None:
    """In the case that the point lies in, the rational function is the expression, exactly."""
    ctx.prec = 256
    try:
        expr = expression(text)
    except OptdslError:
        assume(False)  # 1/0 in numbers alone, and the like
    try:
        expected = EXACT.evaluate(expr, point)
    except (IllDefinedError, UndecidedError):
        assume(False)
    assert not isinstance(expected, bool)
    matching = 0
    try:
        for algebra, value in cases(FACTS, build_of(expr)):
            signs = [*((poly, 1) for poly in algebra.positive), *((poly, 0) for poly in algebra.zeros)]
            if all(_sign(poly_at(algebra, poly, point)) == sign for poly, sign in signs):
                matching += 1
                assert not surely_different(value_at(algebra, value, point), as_ball(expected))
    except (BudgetError, NoFormError):
        return
    except (ZeroDivisionError, IllDefinedError, UndecidedError):
        assume(False)  # the form divides by what is zero here, though the expression does not
    assert matching <= 1


def _sign(ball) -> int:  # type: ignore[no-untyped-def]
    return 1 if ball > 0 else -1 if ball < 0 else 0


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS, st.lists(POINTS, min_size=6, max_size=6))
def test_what_is_proved_zero_is_zero(left: str, right: str, points: list[dict[Key, Fraction]]) -> None:
    ctx.prec = 256
    for text in (
        f"({left}) - ({right})",
        f"({left})*({right}) - ({right})*({left})",
        f"abs({left}) - ({left})",
    ):
        try:
            expr = expression(text)
        except OptdslError:
            continue
        if not proves_zero(FACTS, build_of(expr)):
            continue
        for point in points:
            try:
                value = EXACT.evaluate(expr, point)
            except (IllDefinedError, UndecidedError):
                continue
            assert not isinstance(value, bool)
            assert not surely_different(value, Fraction(0)), (text, point)


def test_cost_is_bounded() -> None:
    """A squaring chain and a 60th power end in 'not shown'."""
    chain = "g[t] + m[t-1]"
    for _ in range(5):
        chain = f"({chain})*({chain} + 1)"
    assert not proves_zero(FACTS, build_of(expression(chain)))
    assert not proves_zero(FACTS, build_of(expression("(g[t] + m[t-1] + v[t-1] + lr)^60 - lr")))
