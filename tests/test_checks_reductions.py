"""Claims about specs that reduce: a witness has one element, a proof must hold for tensors of many."""

import pytest

from optdsl.checks.verdict import Outcome
from tests.support.claims import verdict

HEAD = """optimizer Probe
hyper lr = 0.1 in [0, inf)
hyper b = 0.9 in [0, 1)
state m[0] = 0
state s[0] = 0
"""
TAIL = """m[t] = b*m[t-1] + g[t]
s[t] = s[t-1] + norm(g[t])
theta[t] = theta[t-1] - lr*m[t]/(s[t] + 1) + 0*x*g[t]
"""


def probe(x: str) -> str:
    return f"{HEAD}x = {x}\n{TAIL}"


PROVED = [
    ("norm(g[t])", "nonnegative(x)"),
    ("sum(g[t]^2)", "nonnegative(x)"),
    ("mean(abs(g[t]))", "nonnegative(x)"),
    ("sum(m[t-1]^2 over all)", "nonnegative(x)"),
    ("dot(g[t], g[t])", "nonnegative(x)"),
    ("norm(g[t])", "nondecreasing(s)"),
    ("norm(lr*g[t]) - lr*norm(g[t])", "nonnegative(x)"),
    ("lr*norm(g[t]) - norm(-lr*g[t])", "nonnegative(x)"),
    ("sum(lr*g[t]) - lr*sum(g[t])", "nonnegative(-x)"),
    ("dot(g[t], m[t-1]) - dot(m[t-1], g[t])", "nonnegative(x)"),
    ("norm(g[t])", "odd"),
]
NOT_PROVED = [
    # true of one element, and not of two of different signs
    ("abs(sum(g[t])) - sum(abs(g[t]))", "nonnegative(x)"),
    ("abs(sum(g[t])) - norm(g[t])", "nonnegative(x)"),
    ("sum(g[t])^2 - dot(g[t], g[t])", "nonnegative(x)"),
    # within the case g > 0 of one element, the others may be negative
    ("if g[t] > 0 then sum(g[t]) - sum(abs(g[t])) else 0", "nonnegative(x)"),
    ("if g[t] > 0 then sum(g[t]) else 1", "nonnegative(x)"),
    ("if g[t] > 0 then mean(g[t]) else norm(g[t])", "nonnegative(x)"),
    ("g[t]*sum(g[t])", "nonnegative(x)"),
    ("max(g[t], 0) - max(sum(g[t]), 0)", "nonnegative(-x)"),
    # of the tensor and of all are two things, one element or not
    ("norm(g[t] over all) - norm(g[t])", "nonnegative(-x)"),
    ("norm(g[t]) - norm(m[t-1])", "nonnegative(-x)"),
]


@pytest.mark.parametrize(("x", "claim"), PROVED)
def test_is_proved(x: str, claim: str) -> None:
    found = verdict("probe", claim, {"probe": probe(x)})
    assert found.outcome is Outcome.PROVED, found.residual


@pytest.mark.parametrize(("x", "claim"), NOT_PROVED)
def test_is_not_proved(x: str, claim: str) -> None:
    assert verdict("probe", claim, {"probe": probe(x)}).outcome is not Outcome.PROVED


def test_a_negative_sum_is_refuted() -> None:
    found = verdict("probe", "nonnegative(x)", {"probe": probe("sum(g[t])")})
    assert found.outcome is Outcome.REFUTED


NORMALISED = "optimizer N\nhyper lr = 0.1 in [0, inf)\ntheta[t] = theta[t-1] - lr*g[t]/({})\n"


@pytest.mark.parametrize(
    ("here", "there", "outcome"),
    [
        ("norm(g[t]) + 1", "norm(-g[t]) + 1", Outcome.PROVED),
        ("norm(2*g[t]) + 1", "2*norm(g[t]) + 1", Outcome.PROVED),
        ("dot(g[t], g[t]) + 1", "sum(g[t]^2) + 1", Outcome.PROVED),
        ("norm(g[t]) + 1", "norm(2*g[t]) + 1", Outcome.REFUTED),
        # the same on every run of one element
        ("norm(g[t]) + 1", "norm(g[t] over all) + 1", Outcome.UNKNOWN),
        ("norm(g[t]) + 1", "sum(abs(g[t])) + 1", Outcome.UNKNOWN),
        ("mean(g[t]^2) + 1", "sum(g[t]^2) + 1", Outcome.UNKNOWN),
    ],
)
def test_two_specs(here: str, there: str, outcome: Outcome) -> None:
    specs = {"here": NORMALISED.format(here), "there": NORMALISED.format(there)}
    assert verdict("here", "reduces(there)", specs).outcome is outcome
