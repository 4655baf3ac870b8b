"""Every check and every kind of claim: one row each, one function each.

A default check is `check(context) -> Iterator[Verdict]`; a claim is `claim(claim, context) -> Verdict`, or
with `lookup` as third argument when it names another spec. Modules are imported when they are used.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from optdsl.language import syntax
from optdsl.language.optimizer import Optimizer


class NoSpecError(Exception):
    """There is no spec of that name."""


Lookup = Callable[[str], Optimizer]
"""The meaning of another spec by its name; raises `NoSpecError` when there is none."""

CHECKS: dict[str, str] = {
    "well_defined": "well_defined:well_defined",
    "fixed_point": "sanity:fixed_point",
    "decay_direction": "sanity:decay_direction",
    "descent": "sanity:descent",
    "coasting": "coasting:coasting",
    "idle_step": "sanity:idle_step",
    "units": "units:units",
}
"""Run on every spec, and claims of the same name: where they are."""

CLAIMS: dict[str, str] = {
    "E": "expectation:claim_expectation",
    "bias": "expectation:claim_bias",
    "constant_gradient_step": "constant_gradient:claim_constant_gradient_step",
    "nonnegative": "ordered:claim_nonnegative",
    "nondecreasing": "ordered:claim_nondecreasing",
    "unit": "units:claim_unit",
    "limit": "limits:claim_limit",
    "odd": "symmetry:claim_odd",
    "scale_invariant": "symmetry:claim_scale_invariant",
    "shift_invariant": "symmetry:claim_shift_invariant",
    "rotation_equivariant": "rotation:claim_rotation_equivariant",
    "reduces": "bisimulation:claim_reduces",
    "equivalent": "linear:claim_equivalent",
    "same_oracle": "transfer:claim_same_oracle",
    "stability": "stability:claim_stability",
    "stable": "stability:claim_stable",
    "step": "step_bound:claim_step",
}
ESTIMATES: dict[str, str] = {
    "rate": "rates:estimate_rate",
    "worst_case": "rates:estimate_worst_case",
}
"""What `estimate` can ask for: `estimate(claim, context, run) -> Verdict`, NOT_RUN unless `run`."""

NAMES_ANOTHER = frozenset(("reduces", "equivalent", "same_oracle"))


TAKES_INPUTS = frozenset(
    "well_defined fixed_point decay_direction idle_step units unit nonnegative nondecreasing".split()
)
"""Rows that are right for specs with inputs, which are new in every step and can be anything; the others
take for granted that a step is given nothing but the gradient.
"""
OF_A_STILL_STEP = frozenset(("fixed_point", "decay_direction"))
"""Of these, rows about a step without gradient, in which there is noise where anything is drawn."""


TAKES_MATRICES: frozenset[str] = frozenset()
"""Rows that know what products and factors of matrices are."""


def find(place: str) -> Any:
    """The function of a row."""
    module, name = place.split(":")
    return getattr(import_module(f"optdsl.checks.{module}"), name)


def kind_of(claim: syntax.Claim) -> str:
    """The row of `CLAIMS` or `CHECKS` that a claim belongs to; "" when it has no such form."""
    match claim.left:
        case syntax.Expectation():
            return "E"
        case syntax.Call(function=name) | syntax.Name(name=name):
            return name
        case syntax.Binary("<=", syntax.Name("step"), _):
            return "step"
        case _:
            return ""
