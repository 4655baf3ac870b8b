"""`coasting`: what is proved to die away does so in numbers, and what must not be proved is not."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optdsl.backends.reference import NUMPY

from optdsl import driver
from optdsl.checks.coasting import coasting
from optdsl.checks.context import Context
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.diagnostics import OptdslError, Source
from optdsl.language.optimizer import Age
from optdsl.language.specialise import specialise

HEAD = """optimizer Probe
hyper lr  = 0.1  in [0, inf)
hyper mu  = 0.9  in [0, 1)
hyper eps = 0.01 in (0, inf)
state a[0] = 0
state b[0] = 0
"""


def verdict(body: str, head: str = HEAD) -> tuple[Context, Verdict]:
    context = Context(specialise(driver.front(Source("probe.opt", head + body + "\n"))[0], {}))
    (found,) = coasting(context)
    return context, found


AT_REST = {
    "momentum": "a[t] = mu*a[t-1] + g[t]\nb[t] = 0*g[t]\ntheta[t] = theta[t-1] - lr*(a[t] + b[t])",
    "cascade": "a[t] = mu*a[t-1] + g[t]\nb[t] = mu*b[t-1] + a[t]\ntheta[t] = theta[t-1] - lr*b[t]",
    "divided": "a[t] = mu*a[t-1] + g[t]\nb[t] = b[t-1] + g[t]^2\n"
    "theta[t] = theta[t-1] - lr*a[t]/(sqrt(b[t]) + eps)",
    "times t": "a[t] = mu*a[t-1] + g[t]\nb[t] = g[t]\ntheta[t] = theta[t-1] - lr*(t*a[t] + b[t])",
    "largest": "a[t] = mu*a[t-1] + g[t]\nb[t] = max(b[t-1], abs(a[t]))\ntheta[t] = theta[t-1] - lr*a[t]*b[t]",
}
NOT_PROVED = {
    # a and b change places for ever
    "swap": "a[t] = b[t-1] + g[t]\nb[t] = a[t-1]\ntheta[t] = theta[t-1] - lr*(a[t] + b[t])",
    # a is g[1]/t: it goes to zero, but the steps add up to infinity
    "harmonic": "a[t] = a[t-1]*(1 - 1/t) + g[t]\nb[t] = g[t]\ntheta[t] = theta[t-1] - lr*(a[t] + b[t])",
    "kept": "a[t] = a[t-1] + g[t]\nb[t] = g[t]\ntheta[t] = theta[t-1] - lr*(a[t] + b[t])",
    "negative": "a[t] = g[t] - a[t-1]\nb[t] = g[t]\ntheta[t] = theta[t-1] - lr*(a[t] + b[t])",
    # a/b with both dying away at the same rate is constant
    "ratio": "a[t] = mu*a[t-1] + g[t]\nb[t] = max(mu*b[t-1], abs(g[t]))\n"
    "theta[t] = theta[t-1] - lr*(if b[t] > 0 then a[t]/b[t] else 0)",
    "sign": "a[t] = mu*a[t-1] + g[t]\nb[t] = g[t]\ntheta[t] = theta[t-1] - lr*(sign(a[t]) + b[t])",
    "opaque": "a[t] = mu*a[t-1] + g[t]\nb[t] = g[t]\ntheta[t] = theta[t-1] - lr*(exp(a[t]) - 1 + b[t])",
}


@pytest.mark.parametrize("name", AT_REST)
def test_comes_to_rest(name: str) -> None:
    assert verdict(AT_REST[name])[1].outcome is Outcome.PROVED


@pytest.mark.parametrize("name", NOT_PROVED)
def test_is_not_proved(name: str) -> None:
    assert verdict(NOT_PROVED[name])[1].outcome is not Outcome.PROVED


def test_what_is_kept_is_refuted() -> None:
    _, found = verdict(NOT_PROVED["kept"])
    assert found.outcome is Outcome.REFUTED
    # a = 1 after g = 1, 0, 0, 0: theta moves by -lr*a = -1/10 in each step
    assert found.witness is not None
    assert "-1/10" in str(found.witness)


def test_a_momentum_that_may_be_one_is_named() -> None:
    head = HEAD.replace("hyper mu  = 0.9  in [0, 1)", "hyper mu  = 0.9  in [0, inf)")
    _, found = verdict(AT_REST["momentum"], head)
    assert found.outcome is Outcome.PROVED
    assert "while mu < 1" in found.summary


ATOMS = st.sampled_from(["a[t-1]", "b[t-1]", "g[t]", "eps", "mu", "t", "mu^t", "1"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda x: f"sqrt(abs({x}))"),
        inner.map(lambda x: f"mu*{x}"),
        st.tuples(inner, inner).map(lambda p: f"max({p[0]}, {p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"min({p[0]}, {p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"{p[0]}/(abs({p[1]}) + eps)"),
        st.tuples(inner, inner, inner).map(lambda p: f"clip({p[0]}, {p[1]}, {p[2]})"),
        inner.map(lambda x: f"(1 - {x})"),
    )


EXPRESSIONS = st.recursive(ATOMS, _grown, max_leaves=4)


@settings(max_examples=400, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS, EXPRESSIONS)
def test_what_is_proved_to_rest_rests_in_numbers(a: str, b: str, step: str) -> None:
    """Whatever the lines: after gradients 1, -2 and then none, a proved theta stops moving."""
    new = step.replace("a[t-1]", "a[t]").replace("b[t-1]", "b[t]")
    body = f"a[t] = {a}\nb[t] = {b}\ntheta[t] = theta[t-1] - lr*({new} + 0*a[t]*b[t]*g[t]*eps*mu)"
    try:
        context, found = verdict(body)
    except OptdslError:  # 0/0 in numbers alone, and the like
        return
    if found.outcome is not Outcome.PROVED or " = 0 what" in found.summary.replace("g = 0 what", ""):
        return  # not proved, or for another mu than that of the run
    moves = _moves(context, 1500)
    if not all(map(math.isfinite, moves)):
        return  # a state that does not move theta overflows, and 0*inf is not 0 in float64
    sizes = [abs(move) for move in moves]
    middle, late = max(sizes[500:700]), max(sizes[-200:])  # roots of roots of mu^t die away slowly
    assert late <= max(1e-9 * max(1.0, *sizes), middle / 2)


def _moves(context: Context, steps: int) -> list[float]:
    """The changes of theta in float64, by the arithmetic of the reference backend."""
    values: dict[tuple[str, Age], Any] = {
        (name, Age.NOW): float(value) for name, value in context.defaults.items()
    }
    names = ("theta", *(state.name for state in context.optimizer.states))
    values |= {(name, Age.OLD): 0.0 for name in names}
    moves = []
    with np.errstate(all="ignore"):
        for t, g in enumerate((1.0, -2.0, *([0.0] * steps)), start=1):
            values["t", Age.NOW], values["g", Age.NOW] = float(t), g
            NUMPY.run(context.optimizer.lines, values)
            moves.append(float(values["theta", Age.NEW] - values["theta", Age.OLD]))
            values |= {(name, Age.OLD): values[name, Age.NEW] for name in names}
    return moves
