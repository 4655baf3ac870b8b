"""`reduces`, `equivalent` and `same_oracle`: true ones proved, near-misses refuted by runs that differ."""

from fractions import Fraction

import pytest

from optdsl import checks, driver, library
from optdsl.checks.catalogue import NoSpecError
from optdsl.checks.rational import ONE, Rational, generator
from optdsl.checks.solve import inconsistent, solutions
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import Source
from optdsl.files import library_names
from optdsl.language.optimizer import Optimizer
from optdsl.language.printer import print_claim
from tests.support import programs
from tests.support.claims import verdict

HEAD = "hyper lr = 0.1 in [0, inf)\nhyper mu = 0.9 in [0, 1)\n"
ADAM = (
    "hyper lr = 0.1 in [0, inf)\nhyper beta1 = 0.9 in [0, 1)\nhyper beta2 = 0.99 in [0, 1)\n"
    "hyper eps = 0.1 in (0, inf)\nstate m[0] = 0\nstate v[0] = 0\n"
    "m[t] = beta1*m[t-1] + (1 - beta1)*g[t]\nv[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2\n"
)
SPECS = {
    "heavy": f"optimizer Heavy\n{HEAD}state b[0] = 0\nb[t] = mu*b[t-1] + g[t]\n"
    "theta[t] = theta[t-1] - lr*b[t]\n",
    "ema": f"optimizer Ema\n{HEAD}state m[0] = 0\nm[t] = mu*m[t-1] + (1 - mu)*g[t]\n"
    "theta[t] = theta[t-1] - lr*m[t]\n",
    # the heavy ball in Polyak's own form, with the last point for a state
    "polyak": f"optimizer Polyak\n{HEAD}state last[0] = theta[0]\n"
    "theta[t] = theta[t-1] - lr*g[t] + mu*(theta[t-1] - last[t-1])\nlast[t] = theta[t-1]\n",
    # Ma & Yarats 2019: quasi-hyperbolic momentum
    "qhm": "optimizer Qhm\nhyper lr = 0.1 in [0, inf)\nhyper beta = 0.9 in [0, 1)\n"
    "hyper nu = 0.7 in [0, 1]\nstate m[0] = 0\nm[t] = beta*m[t-1] + (1 - beta)*g[t]\n"
    "theta[t] = theta[t-1] - lr*((1 - nu)*g[t] + nu*m[t])\n",
    # Kingma & Ba 2015, the end of section 2: the order of computation is changed
    "hat": f"optimizer Hat\n{ADAM}rate = lr*sqrt(1 - beta2^t)/(1 - beta1^t)\n"
    "theta[t] = theta[t-1] - rate*m[t]/(sqrt(v[t]) + eps)\n",
    "plain": f"optimizer Plain\n{ADAM}"
    "theta[t] = theta[t-1] - lr*m[t]/(1 - beta1^t)/(sqrt(v[t]/(1 - beta2^t)) + eps)\n",
    # Zeiler's AdaDelta with a decay and an eps of its own for the updates
    "delta": "optimizer Delta\nhyper lr = 1 in [0, inf)\nhyper alpha = 0.9 in [0, 1]\n"
    "hyper rho_u = 0.9 in [0, 1]\nhyper eps = 0.1 in (0, inf)\nhyper eps_u = 0.1 in (0, inf)\n"
    "state v[0] = 0\nstate u[0] = 0\nv[t] = alpha*v[t-1] + (1 - alpha)*g[t]^2\n"
    "x = sqrt(u[t-1] + eps_u)/sqrt(v[t] + eps)*g[t]\nu[t] = rho_u*u[t-1] + (1 - rho_u)*x^2\n"
    "theta[t] = theta[t-1] - x\n",
    "root": "optimizer Root\nhyper lr = 1 in [0, inf)\nhyper alpha = 0.9 in [0, 1]\n"
    "hyper eps = 0.1 in (0, inf)\nstate v[0] = 0\nv[t] = alpha*v[t-1] + (1 - alpha)*g[t]^2\n"
    "theta[t] = theta[t-1] - lr*g[t]/sqrt(v[t] + eps)\n",
    # Nesterov's step as momentum plus a difference of gradients (as Xie et al. 2022 restate it for Adan)
    "difference": f"optimizer Difference\n{HEAD}state d[0] = 0\nstate last[0] = 0\n"
    "d[t] = mu*d[t-1] + g[t] + mu*(g[t] - last[t-1])\nlast[t] = g[t]\n"
    "theta[t] = theta[t-1] - lr*d[t]\n",
    # RMSProp that corrects the bias of v, which torch's does not
    "corrected": "optimizer Corrected\nhyper lr = 0.1 in [0, inf)\nhyper beta2 = 0.99 in [0, 1)\n"
    "hyper eps = 0.1 in (0, inf)\nstate v[0] = 0\nv[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2\n"
    "theta[t] = theta[t-1] - lr*g[t]/(sqrt(v[t]/(1 - beta2^t)) + eps)\n",
    # the decay enters at step 6 only: gradient descent to whoever looks at five steps
    "late": "optimizer Late\nhyper lr = 0.1 in [0, inf)\n"
    "theta[t] = theta[t-1] - lr*(if t > 5 then 2*g[t] else g[t])\n",
    # the hyper `rate` and the other spec's value `rate` are two things
    "named": "optimizer Named\nhyper rate = 0.1 in [0, inf)\ntheta[t] = theta[t-1] - rate*g[t]\n",
    "lines": "optimizer Lines\nhyper lr = 0.1 in [0, inf)\nrate = 2*lr\ntheta[t] = theta[t-1] - rate*g[t]\n",
    # 1/0 is not looked at in the branch that is not taken
    "branch": "optimizer Branch\nhyper lr = 0.1 in [0, inf)\n"
    "theta[t] = theta[t-1] - lr*(if g[t] == 0 then 5 else sign(1/g[t]))\n",
    "signs": "optimizer Signs\nhyper lr = 0.1 in [0, inf)\ntheta[t] = theta[t-1] - lr*sign(g[t])\n",
    "first": f"optimizer First\n{HEAD}state b[0] = 0\nb[1] = 2*g[t]\nb[t] = mu*b[t-1] + g[t]\n"
    "theta[t] = theta[t-1] - lr*b[t]\n",
    "dead": "optimizer Dead\nhyper lr = 0.1 in [0, inf)\nstate k[0] = 1\nk[t] = k[t-1]^2\n"
    "theta[t] = theta[t-1] - lr*k[t]*g[t]\n",
}

PROVED = [
    ("momentum", "reduces(gd) when mu = 0"),
    ("nesterov", "reduces(gd) when mu = 0"),
    ("nesterov", "reduces(momentum) when mu = 0"),
    ("sgd", "reduces(gd) when mu == 0 and weight_decay == 0"),
    ("sgd", "reduces(sgd, nesterov = true) when mu = 0"),
    ("adamw", "reduces(adam) when weight_decay = 0"),
    ("adam", "reduces(adamw) when weight_decay = 0 with weight_decay = 0"),
    ("adam", "reduces(nadam) when beta1 = 0"),
    ("plain", "reduces(adam)"),
    ("adam", "reduces(plain) when weight_decay = 0"),
    ("plain", "reduces(hat) with eps = eps*sqrt(1 - beta2^t)"),
    ("delta", "reduces(root) when rho_u = 1 with lr = sqrt(eps_u)"),  # RMSProp from AdaDelta, not back
    ("delta", "reduces(root) when rho_u = 1 and eps_u = lr^2"),
    ("difference", "reduces(sgd, nesterov = true)"),
    ("difference", "equivalent(nesterov)"),
    ("nesterov", "equivalent(difference)"),
    ("adam", "reduces(corrected) when beta1 = 0 and weight_decay = 0"),
    ("lines", "reduces(gd) with lr = 2*lr"),
    ("named", "reduces(lines) with lr = rate/2"),
    ("dead", "reduces(gd)"),
    ("heavy", "reduces(polyak)"),
    ("first", "reduces(first)"),
    ("late", "reduces(late)"),
    ("momentum", "reduces(sgd)"),  # by a relation that is found
    ("nesterov", "equivalent(sgd, nesterov = true)"),
    ("sgd", "equivalent(momentum) when weight_decay == 0 and dampening == 0 and mu < 1"),
    ("momentum", "equivalent(sgd)"),
    ("heavy", "equivalent(ema) free lr"),
    ("heavy", "equivalent(ema) free lr, mu"),
    ("ema", "equivalent(heavy) free lr"),
    ("polyak", "equivalent(momentum)"),
    ("momentum", "equivalent(polyak)"),
    ("gd", "equivalent(sgd)"),
    ("nesterov", "equivalent(qhm) free lr, nu, beta"),
    ("nesterov", "same_oracle(sgd, nesterov = true)"),
    ("nesterov", "same_oracle(qhm) free lr, nu, beta"),
    ("heavy", "same_oracle(ema) free lr"),
    ("polyak", "same_oracle(momentum)"),
    ("gd", "same_oracle(momentum) with mu = 0"),
]
REFUTED = [
    ("momentum", "reduces(gd)"),
    ("nesterov", "reduces(momentum)"),
    ("sgd", "reduces(gd) when mu = 0"),  # the decay is left
    ("adamw", "reduces(adam)"),
    ("adam", "reduces(rmsprop) with alpha = beta2"),
    ("adam", "reduces(amsgrad) when weight_decay = 0"),
    ("adam", "reduces(nadam)"),
    ("plain", "reduces(hat)"),
    ("plain", "reduces(hat) with eps = eps*(1 - beta2^t)"),
    ("delta", "reduces(root) with lr = sqrt(eps_u)"),
    ("delta", "reduces(root) when rho_u = 1 and eps_u = lr"),
    ("difference", "reduces(sgd)"),
    ("difference", "equivalent(momentum)"),
    ("adam", "reduces(rmsprop) when beta1 = 0 and weight_decay = 0 with alpha = beta2"),
    ("lines", "reduces(gd)"),
    ("named", "reduces(lines) with lr = rate"),
    ("branch", "reduces(signs)"),
    ("signs", "reduces(branch)"),
    ("late", "reduces(gd)"),  # sees step 6
    ("first", "reduces(heavy)"),
    ("heavy", "equivalent(ema)"),
    ("momentum", "equivalent(nesterov)"),
    ("nesterov", "equivalent(sgd)"),
    ("nesterov", "same_oracle(sgd)"),
    ("momentum", "same_oracle(nesterov)"),
    ("momentum", "same_oracle(nesterov) free lr, mu"),
    ("adam", "same_oracle(adamw)"),
    ("late", "same_oracle(gd)"),
    ("first", "same_oracle(heavy)"),
]
UNKNOWN = [
    ("momentum", "equivalent(nesterov) free lr, mu"),
    ("momentum", "equivalent(adam) free lr"),
    ("adam", "same_oracle(adam)"),  # not linear
    ("late", "same_oracle(late)"),  # depends on t
    ("first", "same_oracle(first)"),  # the first step is an exception
    ("momentum", "reduces(gd) free lr"),
    ("momentum", "reduces(gd) when nosuch = 0"),
    ("momentum", "reduces(gd) with nosuch = 0"),
    ("momentum", "reduces(gd) when mu < 0"),  # no such mu
    ("momentum", "reduces(gd, lr)"),
    ("nesterov", "equivalent(sgd, nesterov = 1)"),
    ("rprop", "reduces(rprop) with lr = 2*lr"),  # s[0] = 2*lr is not carried
]


@pytest.mark.parametrize(("spec", "claim"), PROVED)
def test_true_claims_are_proved(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.PROVED, found
    assert found.derivation


@pytest.mark.parametrize(("spec", "claim"), REFUTED)
def test_near_misses_are_refuted(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.REFUTED, found
    assert found.witness is not None
    assert found.witness.found
    assert found.witness.found != found.witness.expected


@pytest.mark.parametrize(("spec", "claim"), UNKNOWN)
def test_what_is_beyond_the_method_is_unknown(spec: str, claim: str) -> None:
    found = verdict(spec, claim, SPECS)
    assert found.outcome is Outcome.UNKNOWN, found
    assert found.residual


OTHERWISE = {
    "rprop": "step_max = 2*step_max, step_min = 2*step_min",
    "asgd": "alpha = 2*alpha",  # its rate is a state that starts at lr: 2*lr is no hyper
    "adam_hd": "beta1 = beta1/2",
    "sps_max": "c = 2*c",
}
UNREAD = (
    "lbfgs",
    "muon",
    "shampoo",
    "soap",
)  # of whole matrices, and of what is remembered, nothing is decided
UNFOUND = ("nd_adam", "adgd")  # no run is found in which rows differ; its only hyper is where a state starts


@pytest.mark.parametrize("name", library_names())
def test_every_spec_is_itself_and_not_with_twice_the_rate(name: str) -> None:
    if name in UNREAD:
        return
    assert verdict(name, f"reduces({name})").outcome is Outcome.PROVED
    other = OTHERWISE.get(name, "lr = 2*lr")
    if name not in UNFOUND:
        assert verdict(name, f"reduces({name}) with {other}").outcome is Outcome.REFUTED


GIVEN = [name for name in library_names() if programs.meaning(name).inputs]


@pytest.mark.parametrize("name", [*GIVEN, "adafactor", "dowg"])
@pytest.mark.parametrize("claim", ["same_oracle(momentum)", "equivalent(adam) free lr", "step <= lr"])
def test_what_a_step_is_given_is_nothing_that_is_known(name: str, claim: str) -> None:
    """Inputs and reductions: an answer, and never that it is so."""
    assert verdict(name, claim).outcome is not Outcome.PROVED


LIBRARY_CLAIMS = [
    (name, print_claim(claim).removeprefix("prove "))
    for name in library_names()
    for claim in programs.meaning(name).claims
    if print_claim(claim).startswith(("prove reduces", "prove equivalent", "prove same_oracle"))
]


@pytest.mark.parametrize(("spec", "claim"), LIBRARY_CLAIMS)
def test_claims_of_the_library_are_proved(spec: str, claim: str) -> None:
    assert verdict(spec, claim).outcome is Outcome.PROVED


def test_the_library_has_such_claims() -> None:
    assert LIBRARY_CLAIMS


def test_relations_that_are_found() -> None:
    """Sutskever's Nesterov and torch's, by hand: theta' = theta + mu*v, b' = -v/lr; needs lr != 0."""
    found = verdict("nesterov", "equivalent(sgd, nesterov = true)")
    assert "theta' = theta + mu*v, b' = -v/lr" in found.summary
    assert any(text.startswith("lr is not 0") for text in found.assumptions)
    found = verdict("heavy", "equivalent(ema) free lr", SPECS)
    assert "m' = b*(1 - mu), lr' = lr/(1 - mu)" in found.summary
    assert not any("is not 0" in text for text in found.assumptions)  # mu < 1 in its domain
    found = verdict("nesterov", "same_oracle(qhm) free lr, nu, beta", SPECS)
    assert "lr' = lr/(1 - mu), nu' = mu, beta' = mu" in found.summary


def test_a_witness_by_hand() -> None:
    """theta[0] = 1, lr = 1/2, mu = 1/4, g = 1, 1: v = -1/2, -5/8, so theta = 1/2, -1/8; plain: 1/2, 0."""
    found = verdict("momentum", "reduces(gd)")
    assert found.witness is not None
    assert found.witness.values == {"lr": Fraction(1, 2), "mu": Fraction(1, 4)}
    assert found.witness.gradients == (Fraction(1), Fraction(1))
    assert (found.witness.found, found.witness.expected) == ("theta[2] = -1/8", "0 (gd)")


def test_defaults_of_the_other_spec_are_told() -> None:
    found = verdict("momentum", "equivalent(sgd)")
    assert "sgd: dampening = 0, weight_decay = 0 (defaults, which nothing here matches)" in found.derivation


def test_a_spec_that_is_not_there() -> None:
    with pytest.raises(NoSpecError):
        verdict("momentum", "reduces(nosuch)")


def test_a_mistake_of_ours_is_not_told_as_a_spec_that_is_not_there() -> None:
    source = Source("a.opt", f"{SPECS['heavy']}prove reduces(gd)\nprove reduces(nosuch)\n")
    optimizer, _ = driver.front(source)

    def mistaken(name: str) -> Optimizer:
        raise KeyError(name)

    with pytest.raises(KeyError):
        list(checks.check_claims(optimizer, mistaken))
    _, missing = checks.check_claims(optimizer, library.lookup)
    assert missing.residual == "there is no spec `nosuch`"


# --- the equation solver -------------------------------------------------------------------------

a, b, x, y = (generator(i) for i in range(4))  # a and b are known, x and y are not
UNKNOWNS = frozenset((2, 3))


def test_a_bilinear_system() -> None:
    """x*y = a, x*b = 1: x = 1/b, y = a*b."""
    (found,) = solutions([x * y - a, x * b - ONE], UNKNOWNS)
    assert (found[2] - Rational(ONE, b)).is_zero
    assert (found[3] - Rational(a * b, ONE)).is_zero


def test_every_factor_is_a_branch() -> None:
    assert {solution[2].value for solution in solutions([x * (x - 1)], UNKNOWNS)} == {0, 1}


def test_inconsistent_only_when_sure() -> None:
    assert inconsistent([x - 1, x - 2], UNKNOWNS)
    assert inconsistent([x * y - 1, x], UNKNOWNS)
    assert not inconsistent([x * y - 1, x - 2], UNKNOWNS)
    assert not inconsistent([x * x - 2], UNKNOWNS)  # x is the root of 2
    assert not inconsistent([x * x - 2, x * x - 3], UNKNOWNS)  # true, but not shown
