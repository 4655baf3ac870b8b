"""Real algebraic numbers, and points whose coordinates they are: exact equality, exact signs.

A number is the k-th real root, from below, of an irreducible polynomial over Z: two of them are the same
number if and only if they are equal as data. Enclosures are balls (python-flint's arb) of any precision.
The sign of a polynomial at a point is found from balls when it is not zero; that it is zero is shown exactly,
by division, when at most one coordinate of each factor is irrational, and is not known otherwise.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flint import arb, arb_mat, ctx, fmpq, fmpq_poly, fmpz, fmpz_poly

from optdsl.checks.rational import BudgetError, Poly, as_fraction, used

PRECISIONS = (64, 128, 256, 512)
MAX_ROOT_DEGREE = 60


@contextmanager
def precision(bits: int) -> Iterator[None]:
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


@dataclass(frozen=True)
class Root:
    """`coefficients` (of x^0, x^1, ...) of an irreducible polynomial over Z, and which real root of it."""

    coefficients: tuple[int, ...]
    index: int = 0

    @property
    def value(self) -> Fraction | None:
        """The number, when it is rational."""
        if len(self.coefficients) > 2:
            return None
        return Fraction(-self.coefficients[0], self.coefficients[1])

    def ball(self, bits: int) -> arb:
        return _real_roots(self.coefficients, bits)[self.index]

    def __str__(self) -> str:
        value = self.value
        return str(value) if value is not None else f"≈{float(self.ball(64).mid()):.6g}"


@lru_cache(maxsize=4096)
def _real_roots(coefficients: tuple[int, ...], bits: int) -> tuple[arb, ...]:
    """Of an irreducible polynomial, from below; the balls do not touch."""
    with precision(bits):
        if len(coefficients) == 2:
            return (arb(-coefficients[0]) / coefficients[1],)
        roots: Any = fmpz_poly(list(coefficients)).complex_roots()
        found = [root.real for root, _ in roots if root.imag == 0]  # arb says exactly which are real
        return tuple(sorted(found, key=lambda ball: ball.mid()))


def real_roots(poly: fmpq_poly) -> list[Root]:
    """Every real root once, in no order. Raises `BudgetError` when the degree is too large."""
    if poly.degree() > MAX_ROOT_DEGREE:
        raise BudgetError(f"an equation of degree {poly.degree()}")
    found = []
    for factor, _ in poly.numer().factor()[1]:
        coefficients = tuple(int(c) for c in factor.coeffs())
        if coefficients[-1] < 0:
            coefficients = tuple(-c for c in coefficients)
        found += [Root(coefficients, i) for i in range(len(_real_roots(coefficients, PRECISIONS[0])))]
    return found


Point = Mapping[int, Root]
"""The coordinate of each generator."""


def univariate(poly: Poly, index: int) -> fmpq_poly:
    """A polynomial in which no other generator occurs."""
    found: dict[int, fmpq] = {int(m[index]): c for m, c in poly.to_dict().items()}
    return fmpq_poly([found.get(i, fmpq(0)) for i in range(max(found, default=0) + 1)])


def with_rationals(poly: Poly, point: Point) -> Poly:
    """The polynomial after the rational coordinates are put in."""
    known: dict[str | int, int | fmpz | fmpq] = {
        i: fmpq(value.numerator, value.denominator)
        for i in used(poly)
        if i in point and (value := point[i].value) is not None
    }
    return poly.subs(known) if known else poly


def ball_at(poly: Poly, point: Mapping[int, arb]) -> arb:
    """An enclosure, in the current precision."""
    total = arb(0)
    for monomial, coefficient in poly.to_dict().items():
        term = arb(coefficient)
        for index in used_in(monomial):
            term *= point[index] ** int(monomial[index])
        total += term
    return total


def used_in(monomial: tuple[Any, ...]) -> list[int]:
    return [i for i, exponent in enumerate(monomial) if exponent]


def sign_at(poly: Poly, point: Point) -> int | None:
    """-1, 0, 1, or None when it is not decided."""
    poly = with_rationals(poly, point)
    if poly.is_zero():
        return 0
    constant, factors = poly.factor()
    sign: int | None = 1 if as_fraction(fmpq(constant)) > 0 else -1
    for factor, power in factors:
        one = _sign_of_factor(factor, point)
        if one == 0:
            return 0
        sign = None if one is None or sign is None else sign * one ** int(power)
    return sign


def _sign_of_factor(poly: Poly, point: Point) -> int | None:
    indices = used(poly)
    if len(indices) == 1:
        minimal = fmpq_poly(list(point[indices[0]].coefficients))
        if (univariate(poly, indices[0]) % minimal).degree() < 0:
            return 0
    for bits in PRECISIONS:
        with precision(bits):
            ball = ball_at(poly, {i: point[i].ball(bits) for i in indices})
            if ball > 0:
                return 1
            if ball < 0:
                return -1
    return None


def identify(poly: Poly, index: int, point: Point, minimal: fmpq_poly) -> Root:
    """The real root of `minimal` that the value of `poly` at a point is, when it is known to be one."""
    candidates = real_roots(minimal)
    for bits in PRECISIONS:
        with precision(bits):
            ball = ball_at(poly, {i: point[i].ball(bits) for i in used(poly)})
            candidates = [root for root in candidates if root.ball(bits).overlaps(ball)]
        if len(candidates) == 1:
            return candidates[0]
    raise BudgetError("two numbers are too close to each other")


Rivals = Mapping[int, list[Root]]
"""Every number that a coordinate of a common zero can be."""


def is_common_zero(p: Poly, q: Poly, point: Point, rivals: Rivals) -> bool | None:
    """Whether two polynomials in two generators are zero at a point of rivals. None: not decided."""
    p, q = with_rationals(p, point), with_rationals(q, point)
    indices = sorted({*used(p), *used(q)})
    if len(indices) < 2:
        return sign_at(p, point) == 0 and sign_at(q, point) == 0
    for bits in PRECISIONS:
        with precision(bits):
            tight = {i: point[i].ball(bits) for i in indices}
            if not (ball_at(p, tight).contains(0) and ball_at(q, tight).contains(0)):
                return False
            if _newton(p, q, indices, point, rivals, bits):
                return True
    return None


def _newton(p: Poly, q: Poly, indices: list[int], point: Point, rivals: Rivals, bits: int) -> bool:
    """Interval Newton: a box that has a common zero, and no other pair of rivals: the zero is the point."""
    middle = {i: arb(point[i].ball(bits).mid()) for i in indices}
    width = arb(2) ** (-bits // 2)
    box = {i: middle[i] + arb(0, width) for i in indices}
    for i in indices:
        if any(root != point[i] and root.ball(bits).overlaps(box[i]) for root in rivals[i]):
            return False
    jacobian = arb_mat([[ball_at(f.derivative(i), box) for i in indices] for f in (p, q)])
    values = arb_mat([[ball_at(f, middle)] for f in (p, q)])
    try:
        shift = jacobian.solve(values)
    except ZeroDivisionError:
        return False
    moved = [middle[i] - shift[row, 0] for row, i in enumerate(indices)]
    return all(box[i].contains_interior(new) for i, new in zip(indices, moved, strict=True))
