"""A claim's `when` applied to a spec: hypers that it fixes are gone, the others have narrower domains.

In: a claim and its context. Out: another context, in which every value of a hyper satisfies the conditions;
a default that does not is replaced by a value that does. Raises `UnreadableError`.
"""

from collections.abc import Mapping
from dataclasses import replace

from optdsl.checks.context import Context
from optdsl.checks.interval import Interval
from optdsl.checks.pairing import bound, conditions
from optdsl.checks.runs import pool
from optdsl.language import syntax
from optdsl.language.optimizer import Domain, Expr, Hyper


def restricted(claim: syntax.Claim, context: Context) -> tuple[Context, Mapping[str, Expr]]:
    """With what the fixed hypers are."""
    said = conditions(claim, context)
    own = tuple(
        _narrowed(hyper, said.domains[hyper.name])
        for hyper in context.optimizer.hypers
        if hyper.name in said.domains
    )
    return Context(bound(context.optimizer, said.fixed, own)), said.fixed


def _narrowed(hyper: Hyper, around: Interval) -> Hyper:
    domain = Domain(around.low, around.high, not around.low_open, not around.high_open)
    default = hyper.default if hyper.default in around else pool(around)[0]
    return replace(hyper, domain=domain, default=default)
