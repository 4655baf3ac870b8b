"""Claims of the parts of a composition, to be asked of the whole.

What holds of AdamW need not hold of `clip_by_value | adamw`: so each claim is taken over in the names of the
whole, and decided anew. In: a part, and what its names and its hyperparameters have become. Out: `Inherited`
claims. Left behind are those that could not mean the same any more: what a part expects to be refuted or has
estimated, what is about a hyperparameter that a schedule now stands for, what every optimizer is asked
anyway, and claims of transforms, wrappers and schedules about themselves as a whole (`odd`).
Nothing is decided here.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from optdsl.language import syntax
from optdsl.language.optimizer import Inherited, Optimizer
from optdsl.language.parts import mapped
from optdsl.language.shapes import names_in

OF_LINES = frozenset("bias limit nondecreasing nonnegative unit".split())
"""Claims that are about what they name, not about a step as a whole; and equations of expectations."""


def inherited(
    optimizer: Optimizer,
    name: str,
    names: Mapping[str, str],
    scheduled: Collection[str],
    *,
    is_core: bool,
) -> Iterator[Inherited]:
    """`names` are those of the whole; `scheduled` the part's hyperparameters that are none any more."""
    for claim in optimizer.claims:
        left = claim.left
        of_lines = isinstance(left, syntax.Expectation) or (
            isinstance(left, syntax.Call) and left.function in OF_LINES
        )
        if claim.refuted or claim.estimate or not (is_core or of_lines):
            continue
        if scheduled and not named(claim).isdisjoint(scheduled):
            continue
        yield Inherited(name, _renamed(claim, names))
    yield from optimizer.inherited


def named(claim: syntax.Claim) -> set[str]:
    """Everything that a claim names, on the other side of a `with` too."""
    sides = (claim.left, claim.right, claim.iff, claim.when, *(each.value for each in claim.substitution))
    found = {name for side in sides if side is not None for name in names_in(side)}
    return found | set(claim.free)


def _renamed(claim: syntax.Claim, names: Mapping[str, str]) -> syntax.Claim:
    """The core keeps its names, and only it has claims with `free` and `with`: these stay."""

    def change(expr: syntax.Expr) -> syntax.Expr:
        if isinstance(expr, syntax.Name | syntax.At):
            return replace(expr, name=names.get(expr.name, expr.name))
        return expr

    def side(expr: syntax.Expr | None) -> syntax.Expr | None:
        return mapped(expr, change) if expr is not None else None

    left = mapped(claim.left, change)
    return replace(claim, left=left, right=side(claim.right), iff=side(claim.iff), when=side(claim.when))
