"""One walk over the lines of an optimizer, in any arithmetic.

A check is mostly a choice of what numbers are: intervals, units, balls, rational functions. `Arithmetic`
is that choice; `run_step` computes every line of one step in it, in the author's order, each line once,
so that cost is linear in the spec however its values are shared.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Generic, TypeVar

from optdsl.language.optimizer import Age, Apply, Assign, Expr, Number, Optimizer, Ref, Role, Shape, Truth

T = TypeVar("T")

Key = tuple[str, Age]
"""A quantity: ("beta1", NOW), ("m", OLD), ("m", NEW), ("theta", OLD), ("g", NOW), ("mhat", NOW)."""

TIME: Key = ("t", Age.NOW)
GRADIENT: Key = ("g", Age.NOW)
THETA: Key = ("theta", Age.OLD)
NEW_THETA: Key = ("theta", Age.NEW)
POINT = Ref(Role.VALUE, "where the gradient is taken", shape=Shape.ELEMENT)  # a name that no spec can spell


class Arithmetic(ABC, Generic[T]):
    """What numbers are. Conditions (`lt`, `and`, `where`'s first operand) are values of T too."""

    @abstractmethod
    def number(self, value: Fraction) -> T: ...

    @abstractmethod
    def truth(self, value: bool) -> T: ...

    @abstractmethod
    def apply(self, expr: Apply, args: tuple[T, ...]) -> T:
        """The value of the operator `expr.op` on the values of its operands."""

    def evaluate(self, expr: Expr, values: Mapping[Key, T]) -> T:
        match expr:
            case Number(value=value):
                return self.number(value)
            case Truth(value=value):
                return self.truth(value)
            case Ref(name=name, age=age):
                return values[name, age]
            case Apply(args=args):
                return self.apply(expr, tuple(self.evaluate(arg, values) for arg in args))


def run_step(
    optimizer: Optimizer, arithmetic: Arithmetic[T], values: dict[Key, T], *, first: bool = False
) -> dict[Key, T]:
    """`values` with the result of every line added to it.

    `values` holds the hypers, t, theta and the states (OLD), g and the inputs; `first` chooses the lines'
    cases for the first step. The optimizer's flags are chosen (`specialise`).
    """
    for line in optimizer.lines:
        values[key_of(line)] = arithmetic.evaluate(value_of(line, first=first), values)
    return values


def value_of(line: Assign, *, first: bool) -> Expr:
    return line.first if first and line.first is not None else line.value


def key_of(line: Assign) -> Key:
    return line.target.name, line.target.age


def with_outputs(optimizer: Optimizer) -> Optimizer:
    """Its outputs, and where it takes its gradient, as last lines: what is asked of every line of a step is
    asked of them.
    """
    views = (
        Assign(Ref(Role.VALUE, output.name, shape=output.value.shape), output.value, span=output.span)
        for output in optimizer.outputs
    )
    point = () if optimizer.query is None else (Assign(POINT, optimizer.query, span=optimizer.query.span),)
    return replace(optimizer, lines=(*optimizer.lines, *views, *point))


def inputs(optimizer: Optimizer) -> list[Key]:
    """Everything that a step is given."""
    return [
        *((hyper.name, Age.NOW) for hyper in optimizer.hypers),
        TIME,
        THETA,
        GRADIENT,
        *((name, Age.NOW) for name in optimizer.inputs),
        *((state.name, Age.OLD) for state in optimizer.states),
    ]
