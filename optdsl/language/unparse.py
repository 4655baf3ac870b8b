"""Meaning back to syntax, so that what was derived can be printed in the notation of specs or as mathematics.

Spans are lost; brackets are put in by whoever prints.
"""

from collections.abc import Iterator
from fractions import Fraction

from optdsl.language import syntax
from optdsl.language.history import parts_of_sweep
from optdsl.language.matrices import COUNTS, MATRIX, REPEAT, loop_parts
from optdsl.language.operators import OPERATORS, REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Number, Optimizer, Ref, Role, Truth


def as_syntax(expr: Expr) -> syntax.Expr:
    match expr:
        case Number(value=value):
            return number(value)
        case Truth(value=truth):
            return syntax.Bool(truth)
        case Ref(role=role, name=name, age=age):
            offset = 0 if role is Role.GRAD else {Age.OLD: -1, Age.NEW: 0}.get(age)
            return syntax.Name(name) if offset is None else syntax.At(name, offset, None)
        case Apply(op="neg" | "not" as op, args=(x,)):
            return syntax.Unary("-" if op == "neg" else op, as_syntax(x))
        case Apply(op="where", args=(test, x, y)):
            return syntax.If(as_syntax(test), as_syntax(x), as_syntax(y))
        case Apply(op=op, args=args) if op in REDUCTIONS:
            row = REDUCTIONS[op]
            arguments = tuple(syntax.Argument(None, as_syntax(arg)) for arg in args)
            return syntax.Call(row.spelled, arguments, "all" if row.over_all else None)
        case Apply(op=op) if op in COUNTS:
            return syntax.Call(op, (syntax.Argument(None, syntax.Name("theta")),))
        case Apply(op="repeat"):
            count, bound, new = loop_parts(expr)
            inner = (syntax.Argument(name.name, as_syntax(value)) for name, value in bound)
            last = syntax.Argument(None, as_syntax(new))
            return syntax.Call(REPEAT, (syntax.Argument(None, as_syntax(count)), *inner, last))
        case Apply(op="sweep"):
            return _sweep(expr)
        case Apply("entry", (Ref(name=name), Ref(name=count))):
            return syntax.At(name, 0, None, count=count)
        case Apply("round", (Ref(name=name), Ref(name=count), *_)):
            return syntax.At(name, None, None, count=count)
        case Apply(op="matmul", args=(x, y)):
            return syntax.Binary("@", as_syntax(x), as_syntax(y))
        case Apply(op=op, args=args) if op in MATRIX:
            return syntax.Call(op, tuple(syntax.Argument(None, as_syntax(arg)) for arg in args))
        case Apply(op=op, args=args) if (infix := OPERATORS[op].infix) is not None:
            left, right = map(as_syntax, args)
            return syntax.Binary(infix, left, right)
        case Apply(op=op, args=args):
            return syntax.Call(op, tuple(syntax.Argument(None, as_syntax(arg)) for arg in args))


def _sweep(expr: Apply) -> syntax.Expr:
    parts = parts_of_sweep(expr)
    arguments = [
        syntax.Argument(parts.count.name, syntax.Range(as_syntax(parts.first), as_syntax(parts.last)))
    ]
    for target, value in ((parts.around, parts.start), *parts.bound):
        shown = as_syntax(target)
        assert isinstance(shown, syntax.Name | syntax.At)
        at = shown if isinstance(shown, syntax.At) else None
        arguments.append(syntax.Argument(shown.name, as_syntax(value), at=at))
    return syntax.Call(REPEAT, (*arguments, syntax.Argument(None, as_syntax(parts.new))))


def as_definition(optimizer: Optimizer) -> syntax.Definition:
    """States and lines."""
    states = (syntax.StateDecl(each.name, 0, _initial(each.initial), None) for each in optimizer.states)
    lines = (line for each in optimizer.lines for line in _lines(each))
    return syntax.Definition(syntax.Kind.OPTIMIZER, optimizer.name, (), (*states, *lines))


def _initial(expr: Expr) -> syntax.Expr:
    return syntax.At("theta", None, 0) if isinstance(expr, Ref) and expr.name == "theta" else as_syntax(expr)


def _lines(line: Assign) -> Iterator[syntax.Assign]:
    target = as_syntax(line.target)
    assert isinstance(target, syntax.Name | syntax.At)
    if line.first is not None:
        yield syntax.Assign(syntax.At(target.name, None, 1), as_syntax(line.first))
    yield syntax.Assign(target, as_syntax(line.value))


_LONG = 10**6


def number(value: Fraction) -> syntax.Expr:
    """`-3/2`, or `-3.141592653589793`: exact."""
    top: syntax.Expr = syntax.Number(str(abs(value.numerator)))
    digits = len(str(value.denominator))
    if value.denominator > _LONG and 10**digits % value.denominator == 0:
        whole, part = divmod(abs(value.numerator) * 10**digits // value.denominator, 10**digits)
        top = syntax.Number(f"{whole}.{part:0{digits}}".rstrip("0"))
    elif value.denominator != 1:
        top = syntax.Binary("/", top, syntax.Number(str(value.denominator)))
    return syntax.Unary("-", top) if value < 0 else top
