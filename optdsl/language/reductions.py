"""The reductions of an optimizer: which there are, and after how many passes over memory each is known.

A reduction of what is known at once takes one pass; a reduction of something that reads its result takes a
second, and so on. The last pass, which writes, comes after all of them.
"""

from collections.abc import Iterable, Iterator

from optdsl.language.matrices import in_stage
from optdsl.language.operators import FAN_IN, REDUCTIONS
from optdsl.language.optimizer import Apply, Assign, Expr
from optdsl.language.stages import Total, plan

__all__ = ["Total", "by_channel", "is_reduction", "reductions_in", "totals"]


def is_reduction(expr: Expr) -> bool:
    """Whether there is one anywhere in it."""
    return next(reductions_in(expr), None) is not None


def reductions_in(expr: Expr) -> Iterator[Apply]:
    """Innermost first; those of whole matrices are for a stage, and not among them."""
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from reductions_in(arg)
        if expr.op in REDUCTIONS and not in_stage(expr):
            yield expr


def totals(lines: Iterable[Assign]) -> list[Total]:
    """Every reduction once, in the order of the lines, with the passes that have to come before it."""
    return plan(lines).totals


def by_channel(lines: Iterable[Assign]) -> Apply | None:
    """A reduction over all dimensions but the first, if there is one."""
    parts = (part for line in lines for part in (line.value, line.first) if part is not None)
    found = (each for part in parts for each in reductions_in(part) if REDUCTIONS[each.op].over == FAN_IN)
    return next(found, None)
