"""Critical points of a polynomial in a few variables, all of them, and what they are.

In: the polynomial, and its variables (generators). Out: every real zero of the gradient, with its class by
the exact signs of the leading minors of the Hessian: minimum, maximum, saddle, or degenerate where the
determinant is zero (such a point can be any of them). Sets of infinitely many critical points, such as
w1*w2 = 1 for (1 - w1*w2)^2, come as their equations.
Raises `UndecidedError` where some point is not decided, and `BudgetError` for what is too large.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

from flint import arb

from optdsl.checks.algebraic import Point, Root, ball_at, precision, sign_at, with_rationals
from optdsl.checks.polynomial_system import Family, put, solve
from optdsl.checks.rational import ONE, BudgetError, Poly, Rational, as_fraction, used
from optdsl.checks.trace import Real, UndecidedError

MAX_DEGREE = 16
MAX_TERMS = 200
MAX_VARIABLES = 6
MAX_MINOR = 4  # rows of a minor that is worked out, unless the Hessian is diagonal


class Class(StrEnum):
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    SADDLE = "saddle"
    DEGENERATE = "degenerate"


@dataclass(frozen=True, eq=False)
class Critical:
    """`coordinates` in the order of the variables; `value` is the polynomial's there."""

    coordinates: tuple[Root, ...]
    kind: Class
    value: Real


@dataclass(frozen=True, eq=False)
class CriticalSet:
    """A curve, or a surface, of degenerate points. `value` where it is the same number on all of it."""

    family: Family
    value: Fraction | None


@dataclass(frozen=True, eq=False)
class Landscape:
    points: tuple[Critical, ...]
    sets: tuple[CriticalSet, ...]

    def count(self, kind: Class) -> int:
        return sum(point.kind is kind for point in self.points)


def landscape(poly: Poly, variables: Sequence[int]) -> Landscape:
    """Everything there is to say about where the gradient is zero."""
    if len(variables) > MAX_VARIABLES:
        raise BudgetError(f"more than {MAX_VARIABLES} variables")
    if poly.total_degree() > MAX_DEGREE or len(poly) > MAX_TERMS:
        raise BudgetError(f"a polynomial of degree {poly.total_degree()} with {len(poly)} terms")
    gradient = [poly.derivative(i) for i in variables]
    hessian = hessian_of(poly, variables)
    found = solve(gradient, variables)
    largest = [each for each in found.families if not any(_inside(each, other) for other in found.families)]
    sets = tuple(CriticalSet(family, _value_on(poly, family)) for family in largest)
    points = []
    for point in found.points:
        if any(all(sign_at(equation, point) == 0 for equation in each.equations) for each in found.families):
            continue
        kind = classify(hessian, point)
        points.append(Critical(tuple(point[i] for i in variables), kind, _value_at(poly, point)))
    points.sort(key=lambda each: [float(root.ball(64).mid()) for root in each.coordinates])
    return Landscape(tuple(points), sets)


def hessian_of(poly: Poly, variables: Sequence[int]) -> list[list[Poly]]:
    return [[poly.derivative(i).derivative(j) for j in variables] for i in variables]


def classify(hessian: Sequence[Sequence[Poly]], point: Point) -> Class:
    """What a critical point is. Raises `UndecidedError` where a sign that matters is not decided."""
    here = [[Rational(with_rationals(entry, point), ONE) for entry in row] for row in hessian]
    minors = leading_minors(here, lambda entry: entry.is_zero)
    kind = class_of([sign_at(minor.num, point) for minor in minors])
    if kind is None:
        where = ", ".join(str(root) for root in point.values())
        raise UndecidedError(f"a sign of the Hessian at ({where}) is not decided")
    return kind


def class_of(signs: Sequence[int | None]) -> Class | None:
    """By the signs of the leading minors: all positive, a minimum; alternating from -, a maximum; the last
    one zero, degenerate; anything else a saddle. None where an undecided sign (None) matters."""
    if signs[-1] == 0:
        return Class.DEGENERATE
    if signs[-1] is None:
        return None
    saddle = True
    for kind, base in ((Class.MINIMUM, 1), (Class.MAXIMUM, -1)):
        wanted = [base ** (k + 1) for k in range(len(signs))]
        if list(signs) == wanted:
            return kind
        saddle = saddle and any(sign not in (None, want) for sign, want in zip(signs, wanted, strict=True))
    return Class.SADDLE if saddle else None


T = TypeVar("T", Rational, Fraction, arb)


def leading_minors(matrix: Sequence[Sequence[T]], is_zero: Callable[[T], bool]) -> list[T]:
    """Determinants of the upper left corners. Raises `BudgetError`."""
    count = len(matrix)
    if all(is_zero(matrix[i][j]) for i in range(count) for j in range(count) if i != j):
        minors = [matrix[0][0]]
        for i in range(1, count):
            minors.append(minors[-1] * matrix[i][i])
        return minors
    if count > MAX_MINOR:
        raise BudgetError(f"a Hessian with {count} rows")
    return [_determinant([row[:k] for row in matrix[:k]]) for k in range(1, count + 1)]


def _determinant(matrix: Sequence[Sequence[T]]) -> T:
    total = matrix[0][0]
    if len(matrix) == 1:
        return total
    for column, entry in enumerate(matrix[0]):
        term = entry * _determinant(_without(matrix[1:], column))
        total = term if column == 0 else total - term if column % 2 else total + term
    return total


def _without(rows: Sequence[Sequence[T]], column: int) -> list[list[T]]:
    return [[entry for j, entry in enumerate(row) if j != column] for row in rows]


def _value_at(poly: Poly, point: Point) -> Real:
    value = with_rationals(poly, point)
    if value.is_constant():
        return constant_value(value)
    with precision(128):
        return ball_at(value, {i: point[i].ball(128) for i in used(value)})


def _inside(small: Family, large: Family) -> bool:
    """Whether a set of zeros is part of another one, of higher dimension."""
    if small.dimension >= large.dimension:
        return False
    return all(_on(equation, small).is_zero() for equation in large.equations)


def _value_on(poly: Poly, family: Family) -> Fraction | None:
    """The polynomial on a set of zeros, where it is the same number on all of it."""
    poly = _on(poly, family)
    return constant_value(poly) if poly.is_constant() else None


def _on(poly: Poly, family: Family) -> Poly:
    """A polynomial that is the same on a set of zeros, and simpler."""
    for index, value in family.solved:
        poly = put(poly, index, value)
    for equation in family.rest:
        _, poly = divmod(poly, equation)
    return poly


def constant_value(poly: Poly) -> Fraction:
    return Fraction(0) if poly.is_zero() else as_fraction(poly.leading_coefficient())
