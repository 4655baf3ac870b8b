"""Shapes of names where a definition has matrices: what a product gives depends on both of its factors.

In: the statements of a definition, and the shapes of what is given. Out: a shape for every name that is set.
Shapes only grow while the lines are read again, so that few rounds are enough; what does not fit is told
where the expression is resolved (`expressions`), and is as large as its larger part here.
"""

from collections.abc import Iterable, Mapping, Sequence

from optdsl.language import syntax
from optdsl.language.inputs import DRAWN
from optdsl.language.matrices import COUNTS, MATRIX, REPEAT
from optdsl.language.operators import REDUCTIONS, reduction_name
from optdsl.language.optimizer import Shape, joined

MATMUL = "@"


def has_matrices(exprs: Iterable[syntax.Expr]) -> bool:
    waiting = list(exprs)
    while waiting:
        match waiting.pop():
            case syntax.Binary(op, left, right):
                if op == MATMUL:
                    return True
                waiting += (left, right)
            case syntax.Call(function, arguments):
                if function in MATRIX or function == REPEAT:
                    return True
                waiting += (argument.value for argument in arguments)
            case syntax.Unary(_, operand) | syntax.Expectation(operand):
                waiting.append(operand)
            case syntax.If(test, then, otherwise):
                waiting += (test, then, otherwise)
            case _:
                pass
    return False


def infer(setters: Sequence[tuple[str, syntax.Expr]], given: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shape of every name that is set; `setters` are the lines and what states begin with, in order."""
    shapes = {name: Shape.SCALAR for name, _ in setters} | dict(given)
    changed = True
    while changed:
        changed = False
        for name, value in setters:
            shape = shapes[name].joined(shape_of(value, shapes))
            if name not in given and shape is not shapes[name] and shape > shapes[name]:
                shapes[name], changed = shape, True
    return shapes


def shape_of(expr: syntax.Expr, shapes: Mapping[str, Shape]) -> Shape:
    match expr:
        case syntax.Name(name) | syntax.At(name):
            return shapes.get(name, Shape.SCALAR)
        case syntax.Binary(op, left, right):
            first, second = shape_of(left, shapes), shape_of(right, shapes)
            if op == MATMUL:
                return MATRIX["matmul"].shape(first, second) or Shape.SCALAR
            return first.joined(second)
        case syntax.Unary(_, operand) | syntax.Expectation(operand):
            return shape_of(operand, shapes)
        case syntax.If(test, then, otherwise):
            return joined(shape_of(part, shapes) for part in (test, then, otherwise))
        case syntax.Call():
            return _of_call(expr, shapes)
        case _:
            return Shape.SCALAR


def _of_call(call: syntax.Call, shapes: Mapping[str, Shape]) -> Shape:
    name = reduction_name(call.function, call.over)
    if call.function == REPEAT:
        return _of_loop(call, shapes)
    if call.function in DRAWN:
        return Shape.ELEMENT
    if call.function in COUNTS and call.function not in shapes:
        return Shape.TENSOR
    found = [shape_of(argument.value, shapes) for argument in call.arguments]
    if call.function in MATRIX:
        row = MATRIX[call.function]
        fits = len(found) == row.arity
        return (row.shape(*found[: row.arity - row.numbers]) if fits else None) or Shape.SCALAR
    if name in REDUCTIONS:
        return joined([Shape.SCALAR, *found]).reduced(REDUCTIONS[name].shape)
    return joined([Shape.SCALAR, *found])


def _of_loop(call: syntax.Call, shapes: Mapping[str, Shape]) -> Shape:
    inner = dict(shapes)
    shape = Shape.SCALAR
    for argument in call.arguments[1:]:
        shape = shape_of(argument.value, inner)
        if argument.name is not None:
            inner[argument.name] = shape
    return shape
