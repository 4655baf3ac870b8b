"""A step with some of its inputs given: what they switch off is not read any more.

In: an optimizer and numbers for some inputs (g = 0, weight_decay = 0, the states' start). Out: the same
lines, with the numbers worked out as far as they go, exactly: 0*x is 0, where x has a value at all, and a
branch that is not taken is dropped. `only` leaves out the lines that a name does not read any more.
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from optdsl.checks.trace import EXACT, IllDefinedError, UndecidedError
from optdsl.checks.walk import Key, key_of, value_of
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Apply, Assign, Expr, Number, Optimizer, Ref, Truth, references


def fixed(optimizer: Optimizer, numbers: Mapping[Key, Fraction], *, first: bool) -> Optimizer:
    """Every line folded, in its case for the first step or for the later ones."""
    known: dict[Key, Expr] = {key: Number(value) for key, value in numbers.items()}
    lines = []
    for line in optimizer.lines:
        value = _folded(value_of(line, first=first), known)
        lines.append(replace(line, value=value, first=None))
        if isinstance(value, Number | Truth):
            known[key_of(line)] = value
    return replace(optimizer, lines=tuple(lines))


def only(optimizer: Optimizer, name: str) -> Optimizer:
    """The lines that a name needs in this step."""
    needed = {name}
    lines: list[Assign] = []
    for line in reversed(optimizer.lines):
        if line.target.name in needed:
            lines.append(line)
            needed |= {ref.name for ref in references(line.value)}
    return replace(optimizer, lines=tuple(reversed(lines)))


def _folded(expr: Expr, known: Mapping[Key, Expr]) -> Expr:
    match expr:
        case Ref(name=name, age=age):
            return known.get((name, age), expr)
        case Apply(op="where", args=(condition, x, y)):
            test = _folded(condition, known)
            if isinstance(test, Truth):
                return _folded(x if test.value else y, known)
            return replace(expr, args=(test, _folded(x, known), _folded(y, known)))
        case Apply(args=args):
            return _simpler(replace(expr, args=tuple(_folded(arg, known) for arg in args)))
        case _:
            return expr


def _simpler(expr: Apply) -> Expr:
    match expr.op, expr.args:
        case ("mul", (Number(value=x), _) | (_, Number(value=x))) if x == 0:
            return Number(x, expr.span)
        case ("mul", (Number(value=x), other) | (other, Number(value=x))) if x == 1:
            return other
        case ("add", (Number(value=x), other) | (other, Number(value=x))) if x == 0:
            return other
        case ("sub" | "add", (other, Number(value=x))) if x == 0:
            return other
        case "div", (Number(value=x), other) if x == 0 and not isinstance(other, Number):
            return Number(x, expr.span)
    if expr.op in REDUCTIONS and not all(isinstance(arg, Number) and arg.value == 0 for arg in expr.args):
        return expr  # of one element it would be another number than of many
    values = tuple(arg.value for arg in expr.args if isinstance(arg, Number | Truth))
    if len(values) < len(expr.args):
        return expr
    try:
        value = EXACT.apply(expr, values)
    except (IllDefinedError, UndecidedError):
        return expr
    if isinstance(value, bool):
        return Truth(value, expr.span)
    return Number(value, expr.span) if isinstance(value, Fraction) else expr
