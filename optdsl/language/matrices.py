"""Matrices: what a spec can do with the matrices that a tensor is, besides going through their elements.

In: shapes of operands. Out: a table with one row for each operator, the shapes of what they give, and where
in a step they are computed: not in passes over elements, but in stages between these, a matrix at a time.
Not done here: arithmetic on matrices (`runtime.matrix_math`, and `backends._matrices` for the reference).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import mpmath

from optdsl.language.history import SWEEP, counting_hypers
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Apply, Expr, Optimizer, Ref, Role, Shape

_Part = TypeVar("_Part")

_AXES = {
    Shape.ELEMENT: ("rows", "cols"),
    Shape.LEFT: ("rows", "rows"),
    Shape.RIGHT: ("cols", "cols"),
    Shape.FLIPPED: ("cols", "rows"),
}
_SHAPE_OF = {axes: shape for shape, axes in _AXES.items()}
SQUARE = (Shape.LEFT, Shape.RIGHT)


@dataclass(frozen=True)
class MatrixOperator:
    """`shape` gives the shape of the result, None for operands that do not fit; `of_one`: what it is of a
    matrix with one element. `numbers`: how many operands behind the first are one number each.
    """

    name: str
    arity: int
    shape: Callable[..., Shape | None]
    of_one: Callable[..., Any]
    wants: str
    numbers: int = 0


def _product(x: Shape, y: Shape) -> Shape | None:
    if x in _AXES and y in _AXES and _AXES[x][1] == _AXES[y][0]:
        return _SHAPE_OF[_AXES[x][0], _AXES[y][1]]
    return None


def _transposed(x: Shape) -> Shape | None:
    return _SHAPE_OF[_AXES[x][::-1]] if x in _AXES else None


def _square(x: Shape) -> Shape | None:
    return x if x in SQUARE else None


def _any(x: Shape) -> Shape | None:
    return x if x in _AXES else None


def _root_of_one(x: Any, p: Any) -> Any:
    return mpmath.nan if x < 0 else mpmath.inf if x == 0 else mpmath.power(x, -1 / mpmath.mpf(p))


_FITTING = "two matrices, the first with as many columns as the second has rows"
_ONE = "a matrix"
_SQUARE = "a square matrix, such as `g[t] @ transpose(g[t])`"

MATRIX: dict[str, MatrixOperator] = {
    row.name: row
    for row in (
        MatrixOperator("matmul", 2, _product, lambda x, y: x * y, _FITTING),
        MatrixOperator("transpose", 1, _transposed, lambda x: x, _ONE),
        MatrixOperator("identity", 1, _square, lambda x: mpmath.mpf(1), _SQUARE),
        MatrixOperator("inverse_root", 2, _square, _root_of_one, _SQUARE, numbers=1),
        MatrixOperator("eigenvectors", 1, _square, lambda x: mpmath.mpf(1), _SQUARE),
        MatrixOperator("orthonormal", 1, _any, lambda x: mpmath.sign(x), _ONE),
        MatrixOperator("polar", 1, _any, lambda x: mpmath.sign(x), _ONE),
        MatrixOperator("spectral_norm", 1, lambda x: Shape.TENSOR if x in _AXES else None, abs, _ONE),
    )
}
"""By the name that a spec calls them by; `matmul` is written `@`."""

REPEAT = "repeat"
"""`repeat(n, x = start, a = ..., x made new)` is Apply(REPEAT, (n, x, start, a, ..., new)), names `Ref`s."""

COUNTS = {"rows": "rows", "cols": "cols"}
"""`rows(theta)` is Apply("rows", ()): one number for each tensor."""


def loop_parts(expr: Apply) -> tuple[Expr, tuple[tuple[Ref, Expr], ...], Expr]:
    """Of a `repeat`: how often, what is bound (first what goes around, at its start), and its new value."""
    count, bound, new = loop_parts_of(expr.args)
    return count, tuple((name, value) for name, value in bound if isinstance(name, Ref)), new


def loop_parts_of(args: tuple[_Part, ...]) -> tuple[_Part, tuple[tuple[_Part, _Part], ...], _Part]:
    """The same of the arguments alone, of whatever kind they are."""
    count, *bound, new = args
    return count, tuple(zip(bound[::2], bound[1::2], strict=True)), new


def in_stage(expr: Expr) -> bool:
    """Whether it is computed on whole matrices, in a stage between passes over the elements."""
    if isinstance(expr, Ref):
        return expr.role is Role.LOOP or expr.shape.is_whole
    if not isinstance(expr, Apply) or expr.op in COUNTS:
        return False
    if expr.op in MATRIX or expr.op in (REPEAT, SWEEP) or expr.shape.is_whole or _reads_loop(expr):
        return True
    return expr.op in REDUCTIONS and any(arg.shape.is_whole for arg in expr.args)


def _reads_loop(expr: Expr) -> bool:
    match expr:
        case Ref(role=role):
            return role is Role.LOOP
        case Apply(op=op, args=args):
            return op not in (REPEAT, SWEEP) and any(map(_reads_loop, args))
        case _:
            return False


def uses_matrices(expr: Expr) -> bool:
    """Whether a stage, or the number of rows or columns, is anywhere in it."""
    return in_stage(expr) or next(_counts(expr), None) is not None or any(map(uses_matrices, parts(expr)))


def parts(expr: Expr) -> tuple[Expr, ...]:
    return expr.args if isinstance(expr, Apply) else ()


def _counts(expr: Expr) -> Iterator[Apply]:
    if isinstance(expr, Apply):
        if expr.op in COUNTS:
            yield expr
        for arg in expr.args:
            yield from _counts(arg)


def loop_counts(optimizer: Optimizer) -> set[str]:
    """The hypers with a whole default that say how often a loop goes around."""
    found = counting_hypers(optimizer)
    waiting = [part for line in optimizer.lines for part in (line.value, line.first) if part is not None]
    while waiting:
        expr = waiting.pop()
        if isinstance(expr, Apply):
            if expr.op == REPEAT and isinstance(expr.args[0], Ref):
                found.add(expr.args[0].name)
            waiting += expr.args
    return {
        hyper.name for hyper in optimizer.hypers if hyper.name in found and hyper.default.denominator == 1
    }
