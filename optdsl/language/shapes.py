"""Shapes of states and values: how many numbers each of them is.

In: the statements of a definition. Out: a shape for every name that is set. A name is as large as the
largest thing that sets it: what reads `theta`, `g` or an input of elements has one value per element, what
reads only hypers, `t` and such states has one per step, and a reduction of elements has one per tensor, one
over all, or one per row or column; rows and columns together make elements. Definitions with matrices are
for `matrix_shapes`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from optdsl.language import syntax
from optdsl.language.inputs import DRAWN, INPUTS
from optdsl.language.matrix_shapes import has_matrices, infer
from optdsl.language.operators import REDUCTIONS, reduction_name
from optdsl.language.optimizer import Shape

ROOTS = {"theta": Shape.ELEMENT, "g": Shape.ELEMENT}


def infer_shapes(body: Iterable[syntax.Statement]) -> dict[str, Shape]:
    """The shape of every state and value; linear in the text, whatever reads whatever."""
    readers: defaultdict[str, set[tuple[str, Shape]]] = defaultdict(set)
    shapes: dict[str, Shape] = {}
    given = dict(ROOTS)
    setters: list[tuple[str, syntax.Expr]] = []
    for statement in flattened(body):
        match statement:
            case syntax.InputDecl(name=name):
                given[name] = INPUTS[name].shape if name in INPUTS else Shape.ELEMENT
                continue
            case syntax.StateDecl(name=name, initial=value):
                pass
            case syntax.Assign(target=target, value=value):
                name = target.name
            case _:
                continue
        shapes.setdefault(name, Shape.SCALAR)
        setters.append((name, value))
        for read, limit in _reads(value, Shape.ELEMENT):
            readers[read].add((name, limit))
    if has_matrices(value for _, value in setters):
        return infer(setters, given)
    shapes |= given
    waiting = list(given)
    while waiting:
        grown = waiting.pop()
        for reader, limit in readers[grown]:
            shape = shapes[reader].joined(shapes[grown].reduced(limit))
            if shapes[reader] is not shape:
                shapes[reader] = shape
                waiting.append(reader)
    return shapes


def flattened(body: Iterable[syntax.Statement]) -> Iterator[syntax.Statement]:
    """Every statement, those of both branches of a `when` in its place."""
    for statement in body:
        if isinstance(statement, syntax.When):
            yield from flattened((*statement.then, *statement.otherwise))
        else:
            yield statement


def _reads(expr: syntax.Expr, limit: Shape) -> Iterator[tuple[str, Shape]]:
    """Every name that is read, and how large what it is read for can be: a reduction has one value."""
    match expr:
        case syntax.Name(name) | syntax.At(name):
            yield name, limit
        case syntax.Call(function=function) if function in DRAWN:
            yield "theta", limit  # one for each element
        case syntax.Call(function, arguments, over):
            row = REDUCTIONS.get(reduction_name(function, over))
            inside = row.shape.reduced(limit) if row else limit
            for argument in arguments:
                yield from _reads(argument.value, inside)
        case _:
            for part in parts_of(expr):
                yield from _reads(part, limit)


def parts_of(expr: syntax.Expr) -> tuple[syntax.Expr, ...]:
    """What an expression is made of."""
    match expr:
        case syntax.Unary(_, operand) | syntax.Expectation(operand):
            return (operand,)
        case syntax.Binary(_, left, right) | syntax.Range(left, right):
            return (left, right)
        case syntax.If(test, then, otherwise):
            return (test, then, otherwise)
        case syntax.Call(_, arguments):
            return tuple(argument.value for argument in arguments)
        case _:
            return ()


def names_in(expr: syntax.Expr) -> Iterator[str]:
    """Every name that an expression reads."""
    if isinstance(expr, syntax.Name | syntax.At):
        yield expr.name
    for part in parts_of(expr):
        yield from names_in(part)
