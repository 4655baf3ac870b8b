"""What a step can be given besides the gradient: the rows that `input NAME` may name.

An input comes from the function whose gradient g is: it is linear in that function, so it is multiplied by
c where the function is, and by -1 where it is maximized. It is new in every step, and nothing is known of it.
What is drawn is no part of that function, and is an input all the same.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from optdsl.language.optimizer import Shape


@dataclass(frozen=True)
class Input:
    """`unit`: exponents of P (a parameter) and L (the loss)."""

    shape: Shape
    unit: tuple[int, int]
    what: str


INPUTS: dict[str, Input] = {
    "loss": Input(Shape.SCALAR, (0, 1), "the value of the loss that the gradient is of"),
    "hvp": Input(Shape.ELEMENT, (-2, 1), "an estimate of the Hessian's diagonal, one value per element"),
}

FIRST_GRADIENT = "first_g"
"""What `h = grad(theta[t-1])` reads in a step of two gradients; found by the runtime, not given by a user."""

_MADE = {FIRST_GRADIENT: Input(Shape.ELEMENT, (-1, 1), "the gradient at theta[t-1], before g[t] is taken")}


DRAWN = frozenset(("normal", "uniform"))
"""Functions of nothing that draw a random number for each element, mean 0 and variance 1, or in (0, 1]."""

SEED = "seed"
"""The hyperparameter that every spec which draws has."""

_DRAW = Input(Shape.ELEMENT, (0, 0), "random numbers")
_DRAW_NAME = re.compile(r"(normal|uniform)_draw([0-9]+)")


def draw_name(function: str, number: int) -> str:
    """The input that the call number `number` (from 0) of a spec reads."""
    return f"{function}_draw{number}"


def drawn(name: str) -> tuple[str, int] | None:
    """The function and the number of an input that is drawn."""
    found = _DRAW_NAME.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def made(name: str) -> bool:
    """Whether it is no user's to give."""
    return name in _MADE or drawn(name) is not None


def input_of(name: str) -> Input:
    """The row of what an optimizer's step is given."""
    return _DRAW if drawn(name) else INPUTS[name] if name in INPUTS else _MADE[name]


def asked_for(names: Iterable[str]) -> tuple[str, ...]:
    """Those that a user passes to a step."""
    return tuple(name for name in names if name in INPUTS)


def inputs_by_shape(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of one number a step, and those of one value per element."""
    names = tuple(names)
    numbers = tuple(name for name in names if input_of(name).shape is Shape.SCALAR)
    return numbers, tuple(name for name in names if name not in numbers)
