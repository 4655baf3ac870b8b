"""What lowering asks of the meaning's lines and expressions."""

from dataclasses import replace
from fractions import Fraction

from optdsl.language import optimizer as meaning
from optdsl.language.optimizer import Age, Assign


def keeps(line: Assign) -> bool:
    """Whether a state stays what it is, as the point where a run began does: nothing to store."""
    same = isinstance(line.value, meaning.Ref) and line.value.age is Age.OLD
    return same and line.first is None and line.value == replace(line.target, age=Age.OLD)


def constant_of(expr: meaning.Expr) -> Fraction | None:
    match expr:
        case meaning.Number(value=value):
            return value
        case meaning.Apply(op="neg", args=(meaning.Number(value=value),)):
            return -value
        case meaning.Apply(op="div", args=(meaning.Number(value=x), meaning.Number(value=y))) if y != 0:
            return x / y
        case _:
            return None


def as_kept(expr: meaning.Expr) -> meaning.Expr:
    """Between steps, what the last one made new is what is kept."""
    match expr:
        case meaning.Ref(age=Age.NEW):
            return replace(expr, age=Age.OLD)
        case meaning.Apply(args=args):
            return replace(expr, args=tuple(map(as_kept, args)))
        case _:
            return expr
