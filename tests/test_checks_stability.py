"""`stability`, `stable iff` and `step <=`: regions known from the literature, near-misses with witnesses."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optdsl.checks.algebra import Algebra
from optdsl.checks.interval import NONNEGATIVE, Interval
from optdsl.checks.jury import conditions, is_stable
from optdsl.checks.lti import characteristic
from optdsl.checks.rational import ONE, ZERO, Poly, Rational, as_fraction, constant, generator
from optdsl.checks.region import range_of
from optdsl.checks.verdict import Outcome
from optdsl.files import library_names
from optdsl.language.printer import print_claim
from tests.support import programs
from tests.support.claims import verdict

HEAD = "hyper lr = 0.1 in [0, inf)\nhyper gamma = 0.9 in [0, 1)\nstate m[0] = 0\n"
SPECS = {
    "ema": f"optimizer Ema\n{HEAD}m[t] = gamma*m[t-1] + (1 - gamma)*g[t]\ntheta[t] = theta[t-1] - lr*m[t]\n",
    # printed without the damping
    "undamped": f"optimizer Undamped\n{HEAD}m[t] = m[t-1] + lr*g[t]\ntheta[t] = theta[t-1] - gamma*m[t]\n",
    # and, for Nesterov, with the look-ahead on the wrong side
    "misprint": f"optimizer Misprint\n{HEAD}g[t] = grad(theta[t-1] + m[t-1])\nm[t] = m[t-1] + lr*g[t]\n"
    "theta[t] = theta[t-1] - gamma*m[t]\n",
    "ascent": "optimizer Ascent\nhyper lr = 0.1 in [0, inf)\ntheta[t] = theta[t-1] + lr*g[t]\n",
    # Ma & Yarats 2019
    "qhm": "optimizer Qhm\nhyper lr = 0.1 in [0, inf)\nhyper beta = 0.9 in [0, 1)\nhyper nu = 0.7 in [0, 1]\n"
    "state m[0] = 0\nm[t] = beta*m[t-1] + (1 - beta)*g[t]\n"
    "theta[t] = theta[t-1] - lr*((1 - nu)*g[t] + nu*m[t])\n",
    # Lucas et al. 2019, two velocities: a cubic
    "aggmo": "optimizer Aggmo\nhyper lr = 0.1 in (0, inf)\nhyper a = 0.9 in [0, 1)\nhyper c = 0.5 in [0, 1)\n"
    "state m[0] = 0\nstate n[0] = 0\nm[t] = a*m[t-1] - g[t]\nn[t] = c*n[t-1] - g[t]\n"
    "theta[t] = theta[t-1] + lr/2*(m[t] + n[t])\n",
    "late": "optimizer Late\nhyper lr = 0.1 in [0, inf)\n"
    "theta[t] = theta[t-1] - lr*(if t > 5 then 2*g[t] else g[t])\n",
    "clipped": "optimizer Clipped\nhyper lr = 0.1 in [0, inf)\n"
    "theta[t] = theta[t-1] - lr*clip(g[t], -1, 1)\n",
    "offset": "optimizer Offset\nhyper lr = 0.1 in [0, inf)\ntheta[t] = theta[t-1] - lr*(g[t] + 1)\n",
    "signs": "optimizer Signs\nhyper lr = 0.1 in [0, inf)\nhyper gamma = 0.9 in [0, 1)\nstate m[0] = 0\n"
    "m[t] = gamma*m[t-1] + (1 - gamma)*g[t]\ntheta[t] = theta[t-1] - lr*sign(m[t])\n",
    "flipped": "optimizer Flipped\nhyper lr = 0.1 in [0, inf)\nstate s[0] = 0\nstate n[0] = 0\n"
    "n[t] = n[t-1] + g[t]\ns[t] = s[t-1] + g[t]^2\ntheta[t] = theta[t-1] - lr*n[t]/(sqrt(s[t]) + 1)\n",
    "first": "optimizer First\nhyper lr = 0.1 in [0, inf)\nstate k[0] = 1\nk[1] = 3\nk[t] = 1\n"
    "theta[t] = theta[t-1] - lr*k[t]*sign(g[t])\n",
}
MOMENTUM = "lr > 0 and lr < 2*(1 + mu)/lam"

DERIVED = [
    ("gd", "stability", "stable iff lr > 0 and lr < 2/lam"),
    ("momentum", "stability", f"stable iff {MOMENTUM}"),
    ("nesterov", "stability", "stable iff lr > 0 and lr < 2*(1 + mu)/(lam*(1 + 2*mu))"),
    ("nesterov", "stability when mu = 1/2", "stable iff lr > 0 and lr < 3/(2*lam)"),
    ("ema", "stability", "stable iff lr > 0 and lr < 2*(1 + gamma)/(lam*(1 - gamma))"),
    ("qhm", "stability", "stable iff lr > 0 and lr < 2*(1 + beta)/(lam*(1 + beta - 2*beta*nu))"),
    ("aggmo", "stability", "stable iff lr < 4*(1 + c)*(1 + a)/(lam*(2 + a + c))"),
    (
        "sgd",
        "stability when mu = 0",
        "stable iff lr > 0 and lr < 2/(weight_decay + lam)",
    ),
]
PROVED = [
    ("gd", "stable iff lr > 0 and lr < 2/lam"),
    ("gd", "stable iff lr > 0 and lr*lam < 2"),
    ("gd", "stable iff 0 < lr and 2 > lam*lr and lam > 0"),
    ("momentum", f"stable iff {MOMENTUM}"),
    ("momentum", f"stable iff {MOMENTUM} and mu < 1"),
    ("nesterov", "stable iff lr > 0 and lr < 2*(1 + mu)/(lam*(1 + 2*mu))"),
    ("aggmo", "stable iff lr < 4*(1 + a)*(1 + c)/(lam*(2 + a + c))"),
    ("misprint", "stable iff lr < 0"),  # nowhere
]
REFUTED = [
    ("gd", "stable iff lr < 2/lam"),  # lr = 0 stays where it is
    ("gd", "stable iff lr > 0 and lr <= 2/lam"),  # 2/lam goes to and fro
    ("gd", "stable iff lr > 0 and lr < 3/lam"),
    ("gd", "stable iff lr > 0 and lr < 1/lam"),
    ("gd", "stable iff lr > 0 or lr < 2/lam"),
    ("momentum", "stable iff lr > 0 and lr < 2/lam"),
    ("momentum", "stable iff lr > 0 and lr < 2*(1 + mu)/((1 - mu)*lam)"),
    ("nesterov", f"stable iff {MOMENTUM}"),
    ("nesterov", "stable iff lr > 0 and lr < 2*(1 + mu)/(lam*(1 + 3*mu))"),
    ("sgd", "stable iff lr > 0 and lr < 2/lam"),
    ("aggmo", "stable iff lr < 4/lam"),
    ("misprint", "stable iff lr > 0 and lr*lam < 1"),
    ("misprint", "stability"),
    ("undamped", "stability"),
    ("ascent", "stability"),
]
UNKNOWN = [
    ("adam", "stability"),
    ("adam", "stable iff lr < 1"),
    ("late", "stability"),
    ("clipped", "stability"),
    ("offset", "stability"),
    ("gd", "stable iff lr < nosuch"),
    ("gd", "stability when lr < 0"),
    ("gd", "stable"),
]


@pytest.mark.parametrize(("spec", "claim", "region"), DERIVED)
def test_regions(spec: str, claim: str, region: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert (found.outcome, found.summary) == (Outcome.PROVED, region)
    assert any("first step" in line for line in found.derivation)


@pytest.mark.parametrize(("spec", "claim"), PROVED)
def test_true_regions_are_proved(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.PROVED, found


@pytest.mark.parametrize(("spec", "claim"), REFUTED)
def test_near_misses_are_refuted(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.REFUTED, found
    assert found.witness is not None
    assert "lam" in found.witness.values


@pytest.mark.parametrize(("spec", "claim"), UNKNOWN)
def test_what_is_beyond_the_method_is_unknown(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.UNKNOWN, found
    assert found.residual


def test_the_offending_states_are_named() -> None:
    assert "v" in verdict("adam", "stability").residual
    assert "s" in verdict("adagrad", "stability").residual


def test_a_witness_by_hand() -> None:
    """x' = (1 - lr*lam)*x: at lr = 0 it is x, and the root of z - 1 is 1."""
    found = verdict("gd", "stable iff lr < 2/lam")
    assert found.witness is not None
    assert found.witness.values == {"lr": Fraction(0), "lam": Fraction(1)}
    assert found.witness.found == "z - 1 has a root on or outside of the unit circle"


@pytest.mark.parametrize("name", library_names())
def test_no_spec_is_never_stable(name: str) -> None:
    if name not in ("lbfgs", "muon", "shampoo", "soap"):  # refused before a check sees them
        assert verdict(name, "stability").outcome is not Outcome.REFUTED


LIBRARY_CLAIMS = [
    (name, print_claim(claim).removeprefix("prove "))
    for name in library_names()
    for claim in programs.meaning(name).claims
    if print_claim(claim).startswith(("prove stab", "prove step"))
]


@pytest.mark.parametrize(("spec", "claim"), LIBRARY_CLAIMS)
def test_claims_of_the_library_are_proved(spec: str, claim: str) -> None:
    assert verdict(spec, claim).outcome is Outcome.PROVED


def test_the_library_has_such_claims() -> None:
    assert LIBRARY_CLAIMS


# --- step <= ... ---------------------------------------------------------------------------------

BOUNDED = [
    ("adagrad", "step <= lr"),
    ("adagrad", "step <= lr/(1 + (t - 1)*lr_decay)"),
    ("rmsprop", "step <= lr/sqrt(1 - alpha) when mu = 0"),
    ("adamax", "step <= lr when beta1 = 0"),
    ("rprop", "step <= step_max"),
    ("signs", "step <= lr"),
    ("first", "step <= 3*lr"),
]
LONGER = [
    ("adagrad", "step <= lr/2"),
    ("adagrad", "step <= lr/t"),
    ("rmsprop", "step <= lr when mu = 0"),
    ("rmsprop", "step <= lr/sqrt(1 - alpha)"),  # the momentum is left
    ("adam", "step <= lr when weight_decay = 0"),
    ("gd", "step <= lr"),
    ("rprop", "step <= lr"),
    ("signs", "step <= lr/2"),
    ("first", "step <= lr"),  # the first step alone
    ("flipped", "step <= lr"),
]


@pytest.mark.parametrize(("spec", "claim"), BOUNDED)
def test_bounds_are_proved(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.PROVED, found


@pytest.mark.parametrize(("spec", "claim"), LONGER)
def test_longer_steps_are_found(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.REFUTED, found
    assert found.witness is not None
    assert found.witness.gradients


def test_a_bound_that_needs_more_than_signs_is_unknown() -> None:
    """|m| <= 10*sqrt(v)/sqrt(1 - ...) relates two states; at 100*lr no run is longer either."""
    claim = "step <= 100*lr when beta1 == 0.9 and beta2 == 0.999 and weight_decay == 0"
    assert verdict("adam", claim).outcome is Outcome.UNKNOWN


# --- the parts -----------------------------------------------------------------------------------

NUMBERS = st.fractions(min_value=-3, max_value=3, max_denominator=8)


@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=4))
def test_jury_and_schur_cohn_agree_with_numpy(lower: list[Fraction]) -> None:
    coefficients = [*lower, Fraction(1)]
    radius = max(abs(np.roots([float(x) for x in reversed(coefficients)])), default=0.0)
    assume(abs(radius - 1) > 1e-4)
    assert is_stable(coefficients) == (radius < 1)
    found = conditions([Rational.of(x) for x in coefficients])
    if found is not None:
        values = [value.value for _, value in found]
        assert all(value is not None and value > 0 for value in values) == (radius < 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=3, max_size=3))
def test_characteristic_polynomial(rows: list[list[Fraction]]) -> None:
    found = characteristic([[Rational.of(x) for x in row] for row in rows])
    expected = np.poly(np.array(rows, dtype=float))
    np.testing.assert_allclose([float(x.value or 0) for x in reversed(found)], expected, atol=1e-9)


TERMS = st.lists(
    st.tuples(st.integers(-3, 3), st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1))),
    min_size=1,
    max_size=5,
)
INSIDE = st.tuples(
    st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(99, 100)]),
    st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1)]),
    st.sampled_from([Fraction(0), Fraction(1, 7), Fraction(2), Fraction(50)]),
)


@settings(max_examples=400, deadline=None)
@given(TERMS, st.lists(INSIDE, min_size=8, max_size=8))
def test_the_sign_of_a_polynomial_on_a_box(
    terms: list[tuple[int, tuple[int, ...]]], box: list[tuple[Fraction, ...]]
) -> None:
    """x in [0, 1), y in [0, 1], z in [0, inf)."""
    algebra = Algebra()
    unit = Interval(Fraction(0), Fraction(1), False, True)
    closed = Interval(Fraction(0), Fraction(1), False, False)
    for name, interval in (("x", unit), ("y", closed), ("z", NONNEGATIVE)):
        algebra.fresh(name, interval)
    poly: Poly = ZERO
    for value, powers in terms:
        term = constant(value)
        for index, power in enumerate(powers):
            term = term * generator(index) ** power
        poly = poly + term
    around = range_of(algebra, poly)
    for point in box:
        total = Fraction(0)
        for monomial, coefficient in poly.to_dict().items():
            term_value = as_fraction(coefficient)
            for index, x in enumerate(point):
                term_value *= x ** int(monomial[index])
            total += term_value
        assert total in around


def test_the_sign_of_a_product_that_is_multiplied_out() -> None:
    """(1 - x)*(1 - y)*(1 - x*y) > 0 on [0, 1)^2, which intervals of its terms do not show."""
    algebra = Algebra()
    for name in ("x", "y"):
        algebra.fresh(name, Interval(Fraction(0), Fraction(1), False, True))
    x, y = generator(0), generator(1)
    assert range_of(algebra, (ONE - x) * (ONE - y) * (ONE - x * y)).positive
    assert not range_of(algebra, (ONE - x) * (ONE - y) * (ONE - 2 * x * y)).nonnegative
