"""Shapes of states and values: how many numbers each of them is.

In: the statements of a definition. Out: a shape for every name that is set. A name is as large as the
largest thing that sets it: what reads `theta` or `g` has one value per element, what reads only hypers,
`t` and such states has one per step. Reductions (a smaller shape from a larger one) have their place in
`own_shape`; the compiler refuses them today, before it comes here.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from optdsl.language import syntax
from optdsl.language.optimizer import Shape

ROOTS = {"theta": Shape.ELEMENT, "g": Shape.ELEMENT}


def infer_shapes(body: Iterable[syntax.Statement]) -> dict[str, Shape]:
    """The shape of every state and value; linear in the text, whatever reads whatever."""
    readers: defaultdict[str, set[str]] = defaultdict(set)
    shapes: dict[str, Shape] = {}
    for statement in body:
        match statement:
            case syntax.StateDecl(name=name, initial=value):
                pass
            case syntax.Assign(target=target, value=value):
                name = target.name
            case _:
                continue
        shapes.setdefault(name, Shape.SCALAR)
        for read in names_in(value):
            readers[read].add(name)
    shapes |= ROOTS
    waiting = list(ROOTS)
    while waiting:
        grown = waiting.pop()
        for reader in readers[grown]:
            if shapes[reader] < shapes[grown]:
                shapes[reader] = shapes[grown]
                waiting.append(reader)
    return shapes


def names_in(expr: syntax.Expr) -> Iterator[str]:
    """Every name that an expression reads."""
    match expr:
        case syntax.Name(name) | syntax.At(name):
            yield name
        case syntax.Unary(_, operand) | syntax.Expectation(operand):
            yield from names_in(operand)
        case syntax.Binary(_, left, right):
            yield from names_in(left)
            yield from names_in(right)
        case syntax.If(test, then, otherwise):
            for part in (test, then, otherwise):
                yield from names_in(part)
        case syntax.Call(_, arguments):
            for argument in arguments:
                yield from names_in(argument.value)
        case _:
            return
