"""`limit`, `rotation_equivariant` and claims about the order of values: what is true, and near-misses."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optdsl import driver
from optdsl.checks.algebra import BudgetError, NoFormError
from optdsl.checks.eventually import NoLimitError
from optdsl.checks.interval import Interval
from optdsl.checks.limits import limit_at, proof
from optdsl.checks.timed import number_at
from optdsl.checks.trace import IllDefinedError, Real, UndecidedError, as_ball
from optdsl.checks.verdict import Outcome
from optdsl.checks.walk import TIME
from optdsl.diagnostics import Source
from optdsl.language.optimizer import Age, Apply, Expr, Kind, Number, Optimizer, Ref, Role, Shape
from tests.support.claims import verdict

PLAIN = (
    "optimizer A\nhyper lr = 0.1 in [0, inf)\nhyper b = 0.9 in [0, 1)\nhyper c = 0.8 in [0, 1]\n"
    "hyper n = -0.5 in (-1, 0]\nrate = lr*(1 - b^t)*c*n\n"
)
SPECS = {
    "plain": PLAIN + "theta[t] = theta[t-1] - rate*g[t]\n",
    # Shazeer & Stern 2018: beta2 grows with t
    "grows": PLAIN + "beta = 1 - t^-0.8\nfirst = sqrt(t + 1)/sqrt(t)\n"
    "theta[t] = theta[t-1] - rate*beta*first*g[t]\n",
    "spread": PLAIN + "state s[0] = 1\ns[t] = b*s[t-1]\ntheta[t] = theta[t-1] - rate*s[t]*(g[t] + 1)\n",
    "hidden": PLAIN + "theta[t] = theta[t-1] - rate*((g[t] + 1) - 1)\n",
    "scalar": PLAIN + "state k[0] = 1\nk[t] = k[t-1]*c\ntheta[t] = theta[t-1] - rate*(if k[t] > 0.5 then "
    "g[t]/(1 + k[t]) else -g[t])\n",
    "start": PLAIN + "state last[0] = theta[0]\ntheta[t] = 2*theta[t-1] - last[t-1] - rate*g[t]\n"
    "last[t] = theta[t-1]\n",
    "offset": PLAIN + "state a[0] = lr\na[t] = b*a[t-1] + g[t]\ntheta[t] = theta[t-1] - rate*a[t]\n",
    "once": PLAIN + "state a[0] = 0\na[1] = sign(g[t])\na[t] = b*a[t-1] + g[t]\n"
    "theta[t] = theta[t-1] - rate*a[t]\n",
}

# A norm of the whole is one number for all elements, and the same after a rotation; a mean of g is not.
RATES = {
    "adagrad_norm": "state v[0] = lr\nv[t] = v[t-1] + norm(g[t] over all)^2\nu = g[t]/sqrt(v[t])\n",
    "mean_square": "state v[0] = 1\nv[t] = b*v[t-1] + mean(g[t]^2)\nu = g[t]/(1 + v[t])\n",
    "angle": "u = if dot(g[t], theta[t-1]) > 0 then g[t]*sum(g[t]*theta[t-1]) else -g[t]\n",
    "centred": "u = g[t]*mean(g[t])\n",
    "one_norm": "u = g[t]*sum(abs(g[t]) over all)\n",
    "fourth": "u = g[t]*mean(g[t]^4)\n",
}
SPECS |= {name: f"{PLAIN}{text}theta[t] = theta[t-1] - rate*u\n" for name, text in RATES.items()}

PROVED = [
    ("plain", "limit(b^(t - 1)) = 0"),  # at b = 0 too, where it is 1 at t = 1 and then 0
    *((name, "rotation_equivariant") for name in ("adagrad_norm", "mean_square", "angle")),
    ("adam", "limit(1/(1 - beta1^t)) = 1"),
    ("adam", "limit(t^3*beta1^t) = 0"),
    ("adam", "limit((2*t + 1)/(3*t - lr)) = 2/3"),
    ("adam", "limit(abs(1 - 2*beta1^t)) = 1"),  # negative at t = 1
    ("adam", "limit(max(t*beta1^t, lr)) = lr"),
    ("adam", "limit(if t > 1000 then 1 else 2) = 1"),
    ("adam", "limit(exp(1/t)) = 1"),
    ("adam", "limit(exp(-lr*t)) = 0 when lr > 0"),
    ("adam", "limit(beta1^(t - 1)) = 0 when beta1 > 0"),
    ("adabound", "limit(lower) = final_lr"),
    ("adabound", "limit(upper) = final_lr"),
    ("adabound", "limit(alpha) = lr"),
    ("radam", "limit(r) = 1"),  # Liu et al. 2020, section 4: for every beta2, adapted or not
    ("radam", "limit(rho) = rho_inf"),
    ("radam", "limit(if rho > 5 then 1 else 2) = 1 when beta2 > 0.7"),  # rho_inf = 5 at beta2 = 2/3
    ("radam", "limit(if rho > 5 then 1 else 2) = 2 when beta2 = 2/3"),
    ("nadam", "limit(mu) = beta1 when psi > 0"),
    ("nadam", "limit(mu) = beta1/2 when psi = 0"),
    ("adagrad", "limit(rate) = 0 when lr_decay > 0"),
    ("adagrad", "limit(rate) = lr when lr_decay = 0"),
    ("plain", "limit(c^t) = 0 when c < 1"),
    ("plain", "limit(c^t) = 1 when c = 1"),
    ("grows", "limit(beta) = 1"),
    ("grows", "limit(first) = 1"),
    ("gd", "rotation_equivariant"),
    ("sgd", "rotation_equivariant"),
    ("momentum", "rotation_equivariant"),
    ("nesterov", "rotation_equivariant"),
    ("scalar", "rotation_equivariant"),
    ("start", "rotation_equivariant"),
    ("adabound", "nonnegative(rate - lower)"),
    ("adabound", "nonnegative(upper - rate)"),
    ("adabound", "nondecreasing(lower)"),
    ("adabound", "nondecreasing(-upper)"),
    ("adagrad", "nondecreasing(-rate)"),
    ("adam", "nondecreasing(1 - beta1^t)"),
    ("rprop", "nonnegative(step_max - s)"),
    ("rprop", "nonnegative(s - 1) when step_min = 1 and step_max > 1"),
    ("adagrad", "odd"),  # its state begins at a hyper
    ("start", "shift_invariant"),  # and this one's at theta[0]
    ("start", "odd"),
]
REFUTED = [
    ("adam", "limit(1/(1 - beta1^t)) = 2"),
    ("adam", "limit(t*beta1^t) = 1"),
    ("adam", "limit(t) = 1"),  # it tends to inf
    ("adabound", "limit(lower) = lr"),
    ("adabound", "limit(upper) = 2*final_lr"),
    ("radam", "limit(r) = 0"),
    ("radam", "limit(if rho > 5 then 1 else 2) = 1"),  # not for beta2 <= 2/3
    ("radam", "limit(rho) = rho_inf + 1"),
    ("nadam", "limit(mu) = beta1"),  # psi = 0 is in its domain
    ("nadam", "limit(mu) = beta2"),
    ("plain", "limit(c^t) = 0"),  # c = 1 is in its domain
    # 0^(t-1) is 0, though b^t/b has no value at b = 0
    ("plain", "limit(if b^(t - 1) > 0 then 1 else 2) = 1"),
    ("plain", "limit(if b == 0 then 5 + b^(t - 1) else 0) = 0"),
    *(
        (name, "rotation_equivariant")
        for name in ("adam", "adagrad", "rprop", "adadelta", "radam", "adabound")
    ),
    ("spread", "rotation_equivariant"),
    ("once", "rotation_equivariant"),
    ("offset", "rotation_equivariant"),
    ("adabound", "nonnegative(lower - rate)"),
    ("adabound", "nondecreasing(upper)"),
    ("adagrad", "nondecreasing(rate)"),
    ("amsgrad", "nondecreasing(v)"),
    ("rprop", "nonnegative(s - 1)"),
]
UNKNOWN = [
    ("adam", "limit(mhat) = 0"),  # depends on gradients
    ("adam", "limit(1/(1 - beta1^t))"),
    ("adam", "limit(t) = t"),
    ("adam", "limit(sqrt(t + 1) - sqrt(t)) = 0"),  # true: the leading terms cancel
    ("adam", "limit((1 + 1/t)^t) = 1"),  # e
    ("adam", "limit(if t mod 2 == 0 then 1 else 2) = 1"),
    ("adam", "limit(1.5^t) = 0"),
    ("adam", "limit(if beta1^t > beta2^t then 1 else 2) = 1 when beta1 > 0 and beta2 > 0"),
    ("plain", "limit(n^t) = 0"),  # true: bases that may be negative are not covered
    ("hidden", "rotation_equivariant"),  # true: nothing is simplified
    # false, but no run of two elements with one mean is tried
    *((name, "rotation_equivariant") for name in ("centred", "one_norm", "fourth")),
    ("adam", "nondecreasing(mhat)"),
    ("adam", "nondecreasing(nosuch)"),
]


@pytest.mark.parametrize(
    ("spec", "claim", "outcome"),
    [(*case, Outcome.PROVED) for case in PROVED]
    + [(*case, Outcome.REFUTED) for case in REFUTED]
    + [(*case, Outcome.UNKNOWN) for case in UNKNOWN],
)
def test_claims(spec: str, claim: str, outcome: Outcome) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is outcome, (found.summary, found.residual, found.witness)
    assert (found.witness is not None) == (outcome is Outcome.REFUTED)
    assert found.residual or outcome is not Outcome.UNKNOWN


def test_a_limit_can_be_worked_out_again() -> None:
    """upper = final_lr*(1 + 1/(gamma*t)) with 1 and 2/3: 1 + 3/200 at t = 100, and 1 in the end."""
    witness = verdict("adabound", "limit(upper) = 2*final_lr").witness
    assert witness is not None
    assert witness.values == {"final_lr": Fraction(1), "gamma": Fraction(2, 3)}
    assert witness.found.startswith("it is 203/200, ")
    assert witness.found.endswith("tends to 1")
    assert witness.expected == "2"


def test_a_rotation_can_be_worked_out_again() -> None:
    """theta = (1, 1), lr = 1/10 and sign(g) for g = (1, 2): (9/10, 9/10), rotated (-9/50, 63/50); the rotated
    start is (-1/5, 7/5), the rotated gradient (-1, 2), so theta goes to (-1/10, 13/10)."""
    signs = "optimizer S\nhyper lr = 0.1 in [0, inf)\ntheta[t] = theta[t-1] - lr*sign(g[t])\n"
    witness = verdict("signs", "rotation_equivariant", {"signs": signs}).witness
    assert witness is not None
    assert witness.found.endswith("theta[1] = (-1/10, 13/10)")
    assert witness.expected == "(9/10, 9/10) rotated, (-9/50, 63/50)"


def test_conditions_hold_for_witnesses() -> None:
    """The default lr = 1/1000 is none of them."""
    assert verdict("gd", "nonnegative(lr - 1) when lr > 2").outcome is Outcome.PROVED
    witness = verdict("gd", "nonnegative(lr - 4) when lr > 2").witness
    assert witness is not None
    assert witness.values["lr"] > 2


# --- fuzz ----------------------------------------------------------------------------------------

T = Ref(Role.TIME, "t")
LATE = Fraction(10**16)  # what tends to its limit as slowly as t^(-1/4) is then within 1e-4 of it


def _apply(op: str, *args: Expr) -> Expr:
    return Apply(op, args, Shape.SCALAR, Kind.REAL)


A, B = Ref(Role.HYPER, "a"), Ref(Role.HYPER, "b")
TWO = "optimizer Two\nhyper a = 1 in [-1, 2]\nhyper b = 0.5 in [0, 1]\ntheta[t] = theta[t-1] - a*b*g[t]\n"
FACTS = {
    ("a", Age.NOW): Interval(Fraction(-1), Fraction(2), False, False),
    ("b", Age.NOW): Interval(Fraction(0), Fraction(1), False, False),
    TIME: Interval(Fraction(1), None, False, True),
}
POINTS = [
    {"a": Fraction(a), "b": Fraction(b)} for a in ("-1", "0", "1/2", "2") for b in ("0", "1/3", "1/2", "1")
]
NUMBERS = [Number(Fraction(n, d)) for n in (-2, -1, 0, 1, 3) for d in (1, 2)]
POWERS = [_apply("pow", B, T), _apply("pow", B, _apply("sub", T, NUMBERS[6])), _apply("pow", NUMBERS[7], T)]
OF_TIME = st.recursive(
    st.sampled_from([*NUMBERS, *POWERS, T, A, B]),
    lambda inner: (
        st.builds(_apply, st.sampled_from(["add", "sub", "mul", "div", "max", "min"]), inner, inner)
        | st.builds(_apply, st.sampled_from(["neg", "abs", "sqrt", "sign"]), inner)
        | st.builds(
            lambda op, x, y, z, w: _apply("where", Apply(op, (x, y), Shape.SCALAR, Kind.BOOL), z, w),
            st.sampled_from(["gt", "ge", "eq"]),
            *[inner] * 4,
        )
    ),
    max_leaves=7,
)


def close(x: Real, y: Real) -> bool:
    return not abs(as_ball(x) - as_ball(y)) > as_ball(Fraction(1, 50))


def late(expr: Expr, optimizer: Optimizer, point: dict[str, Fraction]) -> Real | None:
    try:
        return number_at(expr, optimizer, point, LATE)
    except (IllDefinedError, UndecidedError):
        return None


@given(OF_TIME)
@settings(max_examples=200, deadline=None)
def test_limits_against_balls(expr: Expr) -> None:
    """What is derived for some hypers, and what is proved for all, is what the values at t = 10^16 are close
    to (or, where it is infinite, far on the way to)."""
    optimizer, _ = driver.front(Source("two.opt", TWO))
    found: dict[Expr, None] = {A: None, B: None}
    for point in POINTS:
        limit, value = limit_at(optimizer, expr, point), late(expr, optimizer, point)
        if isinstance(limit, Fraction):
            found[Number(limit)] = None
            assert value is None or close(value, limit)
        elif limit is not None and value is not None:
            assert not as_ball(value) * (1 if limit == "inf" else -1) < 50
    for claimed in found:
        try:
            proved = list(proof(optimizer, FACTS, expr, claimed))
        except (BudgetError, NoFormError, NoLimitError):
            continue
        for point in POINTS if proved else ():
            value, wanted = late(expr, optimizer, point), late(claimed, optimizer, point)
            assert value is None or wanted is None or close(value, wanted)
