"""Each kind of check and claim on both sides: what holds is proved, a near-miss is refuted or unknown."""

from fractions import Fraction

import numpy as np
import pytest

from optdsl import checks, driver
from optdsl.checks.lints import FORMATS, rounded_to
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.diagnostics import Source
from optdsl.library import lookup

HEAD = (
    "optimizer A\nhyper lr = 1e-3 in [0, inf)\nhyper beta1 = 0.9 in [0, 1)\nhyper beta2 = 0.999 in [0, 1)\n"
    "hyper eps = 1e-8 in (0, inf)\n"
)
ADAM = (
    "state m[0] = 0\nstate v[0] = 0\n"
    "m[t] = beta1*m[t-1] + (1 - beta1)*g[t]\nv[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2\n"
    "mhat = m[t]/(1 - beta1^t)\nvhat = v[t]/(1 - beta2^t)\n"
    "theta[t] = theta[t-1] - lr*mhat/(sqrt(vhat) + eps)\n"
)
# Dozat 2016: m decays by the scheduled mu, and is corrected by 1 - the product of all of them
DOZAT = (
    "state k[0] = 1\nstate m[0] = 0\nmu = beta1*(1 - 0.5*0.96^(t*0.004))\nk[t] = k[t-1]*mu\n"
    "m[t] = mu*m[t-1] + (1 - mu)*g[t]\nmhat = m[t]/(1 - k[t])\n"
    "theta[t] = theta[t-1] - lr*mhat/(eps + beta2)\n"
)
CYCLE = (
    "state a[0] = 0\nstate b[0] = 0\n"
    "a[t] = beta1*a[t-1] + b[t-1]*beta2 + g[t]\nb[t] = beta2*b[t-1] + a[t]\n"
    "theta[t] = theta[t-1] - lr*a[t]/eps\n"
)
KEPT = (
    "state x[0] = theta[0]\nstate k[0] = lr\nx[t] = x[t-1]\nk[t] = max(k[t-1], abs(eps*g[t]))\n"
    "m = k[t-1]*g[t]/(log(beta1 + 2)*cbrt(k[t] + eps))\n"
    "theta[t] = beta2*(x[t] - m) + (1 - beta2)*theta[t-1]\n"
)
CLIPPED = "b = (t - 1)^0.25\nn = clip(g[t]/eps, -b, b)\ntheta[t] = theta[t-1] - lr*beta1*beta2*n\n"
ADAGRAD = "state h[0] = 0\nh[t] = h[t-1] + g[t]^2\ntheta[t] = theta[t-1] - lr*g[t]/(sqrt(h[t]) + eps)\n"


def verdicts(body: str, *claims: str) -> tuple[Verdict, ...]:
    text = HEAD + body + "".join(f"prove {claim}\n" for claim in claims)
    optimizer, _ = driver.front(Source("a.opt", text))
    return checks.check(optimizer, lookup).verdicts


def decided(body: str, claim: str) -> Verdict:
    (verdict,) = (each for each in verdicts(body, claim) if each.declared)
    return verdict


@pytest.mark.parametrize(
    ("body", "claim", "outcome"),
    [
        (ADAM, "E[mhat] = E[g]", "proved"),
        (ADAM, "E[vhat] = E[g^2]", "proved"),
        (ADAM, "bias(m)", "proved"),
        (ADAM, "bias(m) = 1 - beta1^t", "proved"),
        (ADAM, "bias(v) = 1 - beta1^t", "unknown"),
        (ADAM, "E[m] = (1 - beta1^t)*E[g]", "proved"),
        (ADAM, "E[m] = (1 - beta1^(t - 1))*E[g]", "refuted"),
        (ADAM, "E[vhat] = E[g]^2", "unknown"),  # a constant gradient cannot tell E[g^2] from E[g]^2
        (ADAM.replace("1 - beta1^t", "1 - beta1"), "E[mhat] = E[g]", "refuted"),
        (DOZAT, "E[mhat] = E[g]", "proved"),
        (DOZAT.replace("k[t-1]*mu\n", "k[t-1]*mu*mu\n"), "E[mhat] = E[g]", "refuted"),
        (CYCLE, "bias(a)", "unknown"),
        (ADAGRAD, "E[h] = t*E[g^2]", "proved"),
        (ADAGRAD, "E[h] = E[g^2]", "refuted"),
        (ADAM, "constant_gradient_step = -lr*c/(abs(c) + eps)", "proved"),
        (ADAM, "constant_gradient_step = -lr*c/(abs(c) + 2*eps)", "refuted"),
        (ADAGRAD, "constant_gradient_step = -lr*c/(sqrt(t)*abs(c) + eps)", "proved"),
        (ADAGRAD, "constant_gradient_step = -lr*c/(t*abs(c) + eps)", "refuted"),
        (ADAM, "nonnegative(v)", "proved"),
        (ADAM, "nonnegative(m)", "refuted"),
        (ADAM, "nondecreasing(v)", "refuted"),
        (ADAGRAD, "nondecreasing(h)", "proved"),
        (ADAM, "odd", "proved"),
        (ADAM.replace("g[t]^2", "max(g[t], 0)^2"), "odd", "refuted"),
        (ADAM, "scale_invariant when eps = 0", "unknown"),  # eps = 0 is outside of its domain here
        (ADAM.replace("+ eps)", "+ 0*eps)"), "scale_invariant", "proved"),
        (ADAM, "scale_invariant", "refuted"),
        (KEPT, "odd", "proved"),  # x[0] = theta[0] is mirrored too, k[0] = lr stays
        (KEPT, "shift_invariant", "proved"),
        (KEPT.replace("k[t-1]*g[t]", "k[t-1]*g[t] + k[t-1]*theta[t-1]"), "shift_invariant", "refuted"),
        (KEPT.replace("(x[t] - m)", "(x[t] - m + k[t])"), "odd", "refuted"),
        (KEPT, "nondecreasing(k)", "proved"),
        (KEPT.replace("max(k[t-1], ", "(k[t-1]/2 + "), "nondecreasing(k)", "refuted"),
        (KEPT, "well_defined", "proved"),  # log(beta1 + 2) > 0, cbrt(k) > 0
        (KEPT.replace("log(beta1 + 2)", "log(beta1 + 1)"), "well_defined", "refuted"),  # log(1) = 0
        (CLIPPED, "odd", "proved"),  # only as t^(1/4) >= 0
        (CLIPPED.replace("-b, b", "-b, 2*b"), "odd", "refuted"),
        (ADAM, "shift_invariant", "proved"),
        (ADAM.replace("theta[t-1] -", "(1 - lr)*theta[t-1] -"), "shift_invariant", "refuted"),
        (ADAM, "units", "proved"),
        (ADAM, "unit(lr) = P", "proved"),
        (ADAM, "unit(lr) = P^2/L", "refuted"),
        (ADAM.replace("g[t]^2", "g[t]"), "unit(lr) = P", "refuted"),  # it is then (L*P)^(1/2)
        (ADAM, "well_defined", "proved"),
        (ADAM.replace(" + eps)", " + 0*eps)"), "well_defined", "refuted"),
        (ADAM, "nothing_of_the_kind", "unknown"),
    ],
)
def test_claims(body: str, claim: str, outcome: str) -> None:
    verdict = decided(body, claim)
    if claim == "scale_invariant when eps = 0":
        assert verdict.outcome is not Outcome.REFUTED
        return
    assert verdict.verdict == outcome, (verdict.summary, verdict.residual, verdict.witness)
    assert (verdict.witness is not None) == (outcome == "refuted")
    assert outcome != "unknown" or verdict.residual


def test_witnesses_can_be_worked_out_by_hand() -> None:
    """m/(1 - beta1) with beta1 = 1/2 and g = 2, 2: m = 1, 3/2, so mhat = 2, 3."""
    witness = decided(ADAM.replace("1 - beta1^t", "1 - beta1"), "E[mhat] = E[g]").witness
    assert witness is not None
    assert witness.gradients == (Fraction(2), Fraction(2))
    assert witness.values["beta1"] == Fraction(1, 2)
    assert (witness.found, witness.expected) == ("mhat = 3 at t = 2", "2")


def test_a_verdict_is_no_boolean() -> None:
    verdict = decided(ADAM, "odd")
    with pytest.raises(TypeError):
        bool(verdict)
    with pytest.raises(TypeError):
        bool(verdict.outcome)


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ("theta[t] = theta[t-1] - lr*(g[t]*beta1*beta2*eps - eps*theta[t-1])\n", "decay_direction"),
        ("theta[t] = theta[t-1]*(1 - beta1) - lr*beta2*eps*g[t]\n", "idle_step"),
        ("theta[t] = theta[t-1] - lr*beta1*beta2*eps*g[t] - eps\n", "fixed_point"),
        ("theta[t] = theta[t-1] + lr*beta1*beta2*eps*g[t]\n", "descent"),
        (
            "state b[0] = 0\nb[t] = b[t-1] + eps*g[t]\ntheta[t] = theta[t-1] - lr*beta1*beta2*b[t]\n",
            "coasting",
        ),
    ],
)
def test_sanity(body: str, check: str) -> None:
    found = {verdict.claim: verdict.outcome for verdict in verdicts(body)}
    assert found[check] is Outcome.REFUTED
    right = {
        verdict.claim: verdict.outcome
        for verdict in verdicts("theta[t] = theta[t-1] - lr*beta1*beta2*eps*g[t]\n")
    }
    assert right[check] is Outcome.PROVED


def test_cost_is_bounded() -> None:
    """A squaring chain, nested calls and a 60th power: unknown, not hours."""
    chain = "x0 = g[t] + theta[t-1]\n" + "".join(f"x{i} = x{i - 1}*(x{i - 1} + 1)\n" for i in range(1, 31))
    power = "y = (g[t] + theta[t-1] + lr + beta1 + beta2 + eps)^60\n"
    body = chain + power + "theta[t] = theta[t-1] - lr*beta1*beta2*eps*x30*y\n"
    assert decided(body, "odd").outcome is not Outcome.PROVED


@pytest.mark.parametrize("value", [0.999, 1e-8, 0.1, 65504.0, 65519.0, 3e-8, 1.0, 6e-5])
def test_rounding_to_float16(value: float) -> None:
    """Against NumPy's float16."""
    rounded = rounded_to(Fraction(value), FORMATS[0])
    assert rounded is not None
    assert float(rounded) == float(np.float16(value))


@pytest.mark.parametrize("value", [0.999, 1e-8, 0.1, 0.995, 1.0, 3.0e38])
def test_rounding_to_bfloat16(value: float) -> None:
    """Against torch's bfloat16."""
    torch = pytest.importorskip("torch")
    rounded = rounded_to(Fraction(value), FORMATS[1])
    assert rounded is not None
    assert float(rounded) == float(torch.tensor(value, dtype=torch.float64).to(torch.bfloat16))
