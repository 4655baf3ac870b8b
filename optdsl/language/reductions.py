"""The reductions of an optimizer: which there are, and after how many passes over memory each is known.

A reduction of what is known at once takes one pass; a reduction of something that reads its result takes a
second, and so on. The last pass, which writes, comes after all of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Number, Ref, Shape, Truth


@dataclass(frozen=True)
class Total:
    """A sum over elements that a pass makes: `passes` of them come before."""

    reduction: Apply
    passes: int

    @property
    def of_lines(self) -> bool:
        """Whether there is one for each row or column of a tensor."""
        return self.reduction.shape > Shape.TENSOR

    @property
    def over_all(self) -> bool:
        return self.reduction.shape is Shape.GLOBAL

    @property
    def key(self) -> str:
        """The same for the same reduction."""
        return _text(self.reduction)


def _text(expr: Expr) -> str:
    match expr:
        case Apply(op=op, args=args):
            return f"{op}({', '.join(map(_text, args))})"
        case Ref(name=name, age=age):
            return f"{name}{age.value}"
        case Number(value=value):
            return str(value)
        case Truth(value=value):
            return str(value)


def is_reduction(expr: Expr) -> bool:
    """Whether there is one anywhere in it."""
    return next(reductions_in(expr), None) is not None


def reductions_in(expr: Expr) -> Iterator[Apply]:
    """Innermost first."""
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from reductions_in(arg)
        if expr.op in REDUCTIONS:
            yield expr


def totals(lines: Iterable[Assign]) -> list[Total]:
    """Every reduction once, in the order of the lines, with the passes that have to come before it."""
    known: dict[tuple[str, Age], int] = {}
    found: dict[Apply, Total] = {}

    def passes(expr: Expr) -> int:
        match expr:
            case Ref(name=name, age=age):
                return known.get((name, age), 0)
            case Apply(op=op, args=args):
                before = max(map(passes, args))
                if op not in REDUCTIONS:
                    return before
                found.setdefault(expr, Total(expr, before))
                return before + 1
            case _:
                return 0

    for line in lines:
        parts = [line.value] if line.first is None else [line.value, line.first]
        known[line.target.name, line.target.age] = max(map(passes, parts))
    return list(found.values())
