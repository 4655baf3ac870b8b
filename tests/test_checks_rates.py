"""Worst-case rates: values from theorems, values that two other engines found, and near-misses.

The tests that need the solver are skipped where `optdsl[rates]` is not installed.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optdsl import checks, cli, driver
from optdsl.checks.performance import Step, certified, interpolation
from optdsl.checks.semidefinite import Expression, Statement, holds
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.diagnostics import Source
from optdsl.files import library_names, read_library
from tests.support import programs

solver = pytest.mark.skipif(find_spec("clarabel") is None, reason="needs optdsl[rates]")

MOMENTUM = "v[t] = mu*v[t-1] - lr*g[t]\ntheta[t] = theta[t-1] + v[t]\n"
HYPERS = "hyper lr = 1 in [0, inf)\nhyper mu = 0.5 in [0, 1)\nstate v[0] = 0\n"
SPECS = {
    "nag": f"optimizer Nag\n{HYPERS}g[t] = grad(theta[t-1] + mu*v[t-1])\n{MOMENTUM}",
    "ball": f"optimizer Ball\n{HYPERS}{MOMENTUM}",
    "copied": "optimizer Copied\nhyper lr = 1 in [0, inf)\nstate y[0] = theta[0]\n"
    "g[t] = grad(y[t-1])\ny[t] = y[t-1] - lr*g[t]\ntheta[t] = y[t-1]\n",
    # the buffer begins with the whole gradient: only the first step differs from ball
    "first": f"optimizer First\n{HYPERS}v[1] = -lr*g[t]/2\n{MOMENTUM}",
    "falling": "optimizer Falling\nhyper lr = 1 in [0, inf)\ntheta[t] = theta[t-1] - lr/t*g[t]\n",
    "clipped": "optimizer Clipped\nhyper lr = 1 in [0, inf)\ntheta[t] = theta[t-1] - lr*clip(g[t], -1, 1)\n",
    "decayed": "optimizer Decayed\nhyper lr = 1 in [0, inf)\ntheta[t] = 0.9*theta[t-1] - lr*g[t]\n",
    "rooted": "optimizer Rooted\nhyper lr = 2 in [0, inf)\ntheta[t] = theta[t-1] - sqrt(lr)*g[t]\n",
    "rolling": f"optimizer Rolling\n{HYPERS.replace('v[0] = 0', 'v[0] = 1')}{MOMENTUM}",
}


def verdict(spec: str, claim: str, *, rates: bool = True) -> Verdict:
    """On `estimate CLAIM`."""
    text = SPECS[spec] if spec in SPECS else read_library(spec).text
    optimizer, _ = driver.front(Source("test.opt", f"{text}\nestimate {claim}\n"))
    optimizer = replace(optimizer, claims=optimizer.claims[-1:])
    (found,) = checks.check_claims(optimizer, rates=rates)
    return found


def number(found: Verdict) -> float:
    """rho or tau, as the summary says it."""
    assert found.outcome is Outcome.ESTIMATED, found.residual
    return float(found.summary.partition("<= ")[2].removeprefix("c*").replace("^", "*").split("*")[0])


# Polyak's heavy ball for L = 1, m = 1/10 and for L = 50, m = 1: lr = 4/(sqrt(L) + sqrt(m))^2,
# mu = ((sqrt(L) - sqrt(m))/(sqrt(L) + sqrt(m)))^2
TUNED_10 = "when lr == 2.30886157 and mu == 0.26987386"
TUNED_50 = "when lr == 0.06140419 and mu == 0.56580682"

RATES = [
    # max(|1 - lr*m|, |1 - lr*L|), as on quadratics
    ("gd", "rate(L = 1, m = 0.1) when lr = 2/1.1", 0.9 / 1.1),
    ("gd", "rate(L = 1, m = 0.1) when lr = 1", 0.9),
    ("gd", "rate(L = 1, m = 0.1) when lr = 1.9", 0.9),
    ("gd", "rate(L = 1, m = 0.1)", 0.9999),
    ("gd", "rate(L = 100, m = 10) when lr = 0.01", 0.9),
    # IQCs and AutoLyap both found .75183, and .86041 and .86044, with coarser bisections
    ("nag", "rate(L = 1, m = 0.1) when mu = 0.519493853", 0.75183),
    ("ball", f"rate(L = 1, m = 0.1) {TUNED_10}", 0.86041),
    # the same path as gd at lr = 1
    ("nag", "rate(L = 1, m = 0.1) when mu = 0", 0.9),
    ("copied", "rate(L = 1, m = 0.1)", 0.9),
    # the first step changes c alone: ball's rate at lr = 1/10, of which the other two engines found .97959
    ("ball", "rate(L = 1, m = 0.1) when lr = 1/10", 0.97958),
    ("first", "rate(L = 1, m = 0.1) when lr = 1/10", 0.97958),
]


@solver
@pytest.mark.parametrize(("spec", "claim", "expected"), RATES)
def test_rates(spec: str, claim: str, expected: float) -> None:
    assert number(verdict(spec, claim)) == pytest.approx(expected, abs=2e-5)


WORST_CASES = [
    # Drori & Teboulle 2014, for 1/L: 1/(4n + 2)
    *(("gd", f"worst_case(L = 1, n = {n}) when lr = 1", 1 / (4 * n + 2)) for n in (1, 2, 5, 10)),
    ("gd", "worst_case(L = 4, n = 5) when lr = 1/4", 1 / 22),
    # the same, for h/L: max(1/(2n*h + 1), (1 - h)^(2n))/2
    ("gd", "worst_case(L = 1, n = 3) when lr = 1/2", 1 / 8),
    ("gd", "worst_case(L = 1, n = 2) when lr = 3", 8.0),
    # f - f* <= L/2 |theta - x*|^2, and that shrinks by ((L - m)/(L + m))^2n
    ("gd", "worst_case(L = 1, n = 5, m = 0.1) when lr = 2/1.1", (0.9 / 1.1) ** 10 / 2),
    # PEPit 0.5.1 with the same solver
    ("nag", "worst_case(L = 1, n = 10) when mu = 0.519493853", 0.0171082),
    ("nag", "worst_case(L = 1, n = 10, m = 0.1) when mu = 0.519493853", 0.00205069),
    ("ball", "worst_case(L = 1, n = 5) when lr = 1/2", 0.0551724),
    ("ball", "worst_case(L = 1, n = 5, m = 0.1) when lr = 1/2", 0.0332033),
    # n steps of copied are n - 1 of gd
    ("copied", "worst_case(L = 1, n = 3)", 0.1),
    # its first step is one of gd with h = 1/2: 1/(2h + 1)/2; and so is that of falling with h = 1
    ("first", "worst_case(L = 1, n = 1)", 0.25),
    ("falling", "worst_case(L = 1, n = 1)", 1 / 6),
]


@solver
@pytest.mark.parametrize(("spec", "claim", "expected"), WORST_CASES)
def test_worst_cases(spec: str, claim: str, expected: float) -> None:
    found = number(verdict(spec, claim))
    assert found > expected * (1 - 1e-6)
    assert found == pytest.approx(expected, rel=2e-5)


UNKNOWN = [
    # Lessard, Recht & Packard 2016, section 4.6: beyond quadratics it may cycle
    ("ball", f"rate(L = 50, m = 1) {TUNED_50}", "no certificate found"),
    ("gd", "rate(L = 1, m = 0.1) when lr = 2", "no certificate found"),  # theta goes to and fro
    ("adam", "rate(L = 1, m = 0.1)", "only linear steps"),
    ("adam", "worst_case(L = 1, n = 2)", "only linear steps"),
    ("clipped", "rate(L = 1, m = 0.1)", "only linear steps"),
    ("falling", "rate(L = 1, m = 0.1)", "it depends on t"),
    ("decayed", "rate(L = 1, m = 0.1)", "no fixed point"),
    ("decayed", "worst_case(L = 1, n = 2)", "where the origin is"),
    ("rolling", "worst_case(L = 1, n = 2)", "begins as 1"),
    ("rooted", "rate(L = 1, m = 0.1)", "not a rational number"),
]


@solver
@pytest.mark.parametrize(("spec", "claim", "reason"), UNKNOWN)
def test_what_is_unknown_says_why(spec: str, claim: str, reason: str) -> None:
    found = verdict(spec, claim)
    assert found.outcome is Outcome.UNKNOWN
    assert reason in found.residual


def test_nothing_is_solved_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clarabel", None)  # an import of it fails
    for claim in ("rate(L = 1, m = 0.1)", "worst_case(L = 1, n = 3)"):
        assert verdict("gd", claim, rates=False).outcome is Outcome.NOT_RUN
        missing = verdict("gd", claim)
        assert missing.outcome is Outcome.UNKNOWN
        assert "pip install 'optdsl[rates]'" in missing.residual


@pytest.mark.parametrize("name", library_names())
def test_estimates_of_the_library_make_sense(name: str) -> None:
    optimizer = programs.meaning(name)
    asked = [claim for claim in optimizer.claims if claim.estimate]
    found = list(checks.check_claims(replace(optimizer, claims=tuple(asked))))
    assert [verdict.outcome for verdict in found] == [Outcome.NOT_RUN] * len(asked)


# --- soundness -------------------------------------------------------------------------------------

GD = Step(((Fraction(1),),), (Fraction(-20, 11),), (Fraction(1),))  # rho = 9/11


@solver
def test_less_than_the_least_is_not_certified() -> None:
    m = Fraction(1, 10)
    assert certified(GD, m, Fraction(818182, 10**6)) is not None
    assert certified(GD, m, Fraction(818181, 10**6)) is None
    assert certified(GD, m, Fraction(1, 2)) is None


def test_only_a_positive_definite_rest_holds() -> None:
    """x^2 + 2c*x*y + y^2 is positive definite just when |c| < 1."""

    def rest(c: Fraction) -> Statement:
        return Statement(2, Expression({}, {(0, 0): Fraction(1), (1, 1): Fraction(1), (0, 1): c}), (), ())

    assert holds(rest(Fraction(10**20 - 1, 10**20)), (), ())
    assert not holds(rest(Fraction(1)), (), ())
    assert not holds(rest(Fraction(-2)), (), ())


def test_a_function_value_that_is_left_over_does_not_hold() -> None:
    """f + x^2 >= 0 follows from f - x^2/2 >= 0, times one, and from nothing else."""
    square = {(0, 0): Fraction(1)}
    stated = Expression({0: Fraction(1)}, square)
    enough = Expression({0: Fraction(1)}, {(0, 0): Fraction(-1, 2)})
    against = Expression({0: Fraction(-1)}, square)
    assert holds(Statement(1, stated, (), (enough,)), (), (1.0,))
    assert holds(Statement(1, stated, (), (enough,)), (), (1 - 1e-9,))  # made up for
    assert not holds(Statement(1, stated, (), (against,)), (), (-1.0,))
    assert not holds(Statement(1, stated, (), ()), (), ())


@given(st.integers(10, 100), st.floats(-2, 2), st.floats(-2, 2))
def test_interpolation_holds_for_functions_of_the_class(curvature: int, x: float, y: float) -> None:
    """On f = h/2*x^2 with m <= h <= 1, and its minimiser: every inequality, with exact numbers."""
    from optdsl.checks.performance import Sample

    h, one, zero = Fraction(curvature, 100), Fraction(1), Fraction(0)
    samples = [
        Sample((one, zero), (h, zero), 0),
        Sample((zero, one), (zero, h), 1),
        Sample((zero, zero), (zero, zero), None),
    ]
    point = (Fraction(x), Fraction(y))
    losses = [h / 2 * at**2 for at in point]
    for found in interpolation(samples, Fraction(1, 10)):
        total = sum((value * losses[i] for i, value in found.values.items()), zero)
        for (i, j), entry in found.form.items():
            total += entry * point[i] * point[j] * (1 if i == j else 2)
        assert total >= 0


@solver
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 150), st.integers(0, 9), st.integers(0, 10))
def test_a_certified_rate_is_at_least_that_of_every_quadratic(lr: int, mu: int, ahead: int) -> None:
    """The spectral radius of the steps on h/2*x^2, m <= h <= L."""
    from optdsl.checks.performance import rate

    step_size, momentum, look = Fraction(lr, 100), Fraction(mu, 10), Fraction(mu * ahead, 100)
    one, zero = Fraction(1), Fraction(0)
    step = Step(((one, momentum), (zero, momentum)), (-step_size, -step_size), (one, look))
    found = rate(step, Fraction(1, 10))
    if found is None:
        return
    a, b, c = (np.array(part, dtype=float) for part in (step.a, step.b, step.c))
    for h in np.linspace(0.1, 1, 10):
        radius = max(abs(np.linalg.eigvals(a + h * np.outer(b, c))))
        assert radius <= float(found.rho) + 1e-7


# --- the command line ------------------------------------------------------------------------------

GOOD = "optimizer Good\nhyper lr = 1e-3 in [0, inf)\ntheta[t] = theta[t-1] - lr*g[t]\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def optdsl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        return (cli.main(arguments), *capsys.readouterr())

    return run


def test_estimates_are_told_and_run_only_when_asked(optdsl: Run) -> None:
    Path("good.opt").write_text(f"{GOOD}estimate rate(L = 1, m = 0.1)\n")
    told = optdsl("check", "--strict", "good.opt")
    assert told[0] == 0
    assert told[1].splitlines()[1:] == ["good.opt: not run: rate(L = 1, m = 0.1): --rates runs it"]
    (line, *_, summary) = optdsl("check", "good.opt", "--format", "json")[1].splitlines()
    assert json.loads(line).items() >= {"kind": "estimate", "outcome": "not run", "file": "good.opt"}.items()
    assert json.loads(summary)["kind"] == "summary"
    assert "not run  rate(L = 1, m = 0.1)" in optdsl("explain", "good.opt")[1]


@solver
def test_estimates_are_run_when_asked(optdsl: Run) -> None:
    Path("good.opt").write_text(f"{GOOD}estimate rate(L = 1, m = 0.1) when lr = 1\n")
    told = optdsl("check", "--strict", "--rates", "good.opt")
    assert (told[0], told[2]) == (0, "")
    # gd at lr = 1/L: 1 - m/L, and the next number of six digits
    bound = "|theta[t] - x*| <= c*0.900001^t for every 1-smooth, 0.1-strongly convex loss"
    claim = "rate(L = 1, m = 0.1) when lr = 1"
    assert told[1].splitlines()[1:] == [f"good.opt: certified numerically: {claim}: {bound}"]
    line = optdsl("check", "good.opt", "--rates", "--format", "json")[1].splitlines()[0]
    assert json.loads(line).items() >= {
        "kind": "estimate", "outcome": "certified numerically", "claim": claim, "text": bound,
    }.items()  # fmt: skip
    explained = optdsl("explain", "--rates", "good.opt")[1]
    assert f"certified numerically  {claim}: {bound}" in explained
    assert "semidefinite programming" in explained
    assert "proved   rate" not in explained


def test_without_the_solver_a_line_says_what_to_install(optdsl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clarabel", None)  # an import of it fails
    Path("good.opt").write_text(f"{GOOD}estimate rate(L = 1, m = 0.1)\n")
    told = optdsl("check", "--rates", "good.opt")
    assert told[0] == 0
    assert "warning[OD602]" in told[2]
    assert "pip install 'optdsl[rates]'" in told[2]
