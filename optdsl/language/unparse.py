"""Meaning back to syntax, so that what was derived can be printed in the notation of specs or as mathematics.

Spans are lost; brackets are put in by whoever prints.
"""

from fractions import Fraction

from optdsl.language import syntax
from optdsl.language.operators import OPERATORS
from optdsl.language.optimizer import Age, Apply, Expr, Number, Ref, Truth


def as_syntax(expr: Expr) -> syntax.Expr:
    match expr:
        case Number(value=value):
            return number(value)
        case Truth(value=truth):
            return syntax.Bool(truth)
        case Ref(name=name, age=age):
            offset = {Age.OLD: -1, Age.NEW: 0}.get(age)
            return syntax.Name(name) if offset is None else syntax.At(name, offset, None)
        case Apply(op="neg" | "not" as op, args=(x,)):
            return syntax.Unary("-" if op == "neg" else op, as_syntax(x))
        case Apply(op="where", args=(test, x, y)):
            return syntax.If(as_syntax(test), as_syntax(x), as_syntax(y))
        case Apply(op=op, args=args) if (infix := OPERATORS[op].infix) is not None:
            left, right = map(as_syntax, args)
            return syntax.Binary(infix, left, right)
        case Apply(op=op, args=args):
            return syntax.Call(op, tuple(syntax.Argument(None, as_syntax(arg)) for arg in args))


def number(value: Fraction) -> syntax.Expr:
    """`-3/2`: exact."""
    top: syntax.Expr = syntax.Number(str(abs(value.numerator)))
    if value.denominator != 1:
        top = syntax.Binary("/", top, syntax.Number(str(value.denominator)))
    return syntax.Unary("-", top) if value < 0 else top
