"""Quotients of polynomials over Q, in generators that are numbered rather than named.

The arithmetic under `algebra`: exact, always in lowest terms, and bounded. What would grow past the
budget raises `BudgetError`, which every check turns into 'unknown'.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from flint import Ordering, fmpq, fmpq_mpoly, fmpq_mpoly_ctx

GENERATORS = 40
MAX_TERMS = 4_000
MAX_PRODUCT = 200_000  # terms of a product before like ones are collected
MAX_DEGREE = 120

_CONTEXT = fmpq_mpoly_ctx.get([f"x{i}" for i in range(GENERATORS)], Ordering.degrevlex)
_GENERATORS = _CONTEXT.gens()
ZERO, ONE = _CONTEXT.constant(0), _CONTEXT.constant(1)

Poly = fmpq_mpoly


class BudgetError(Exception):
    """The expression grows past what is worked with."""


def constant(value: Fraction | int) -> Poly:
    value = Fraction(value)
    return _CONTEXT.constant(fmpq(value.numerator, value.denominator))


def generator(index: int) -> Poly:
    if index >= GENERATORS:
        raise BudgetError(f"more than {GENERATORS} quantities")
    return _GENERATORS[index]


def product(x: Poly, y: Poly) -> Poly:
    if len(x) * len(y) > MAX_PRODUCT or x.total_degree() + y.total_degree() > MAX_DEGREE:
        raise BudgetError("too many terms")
    return bounded(x * y)


def power(x: Poly, n: int) -> Poly:
    result = ONE
    for _ in range(n):
        result = product(result, x)
    return result


def bounded(x: Poly) -> Poly:
    if len(x) > MAX_TERMS:
        raise BudgetError("too many terms")
    return x


def used(x: Poly) -> list[int]:
    """The generators that occur."""
    return [i for i, degree in enumerate(x.degrees()) if degree] if len(x) else []


def as_fraction(value: fmpq) -> Fraction:
    return Fraction(int(value.p), int(value.q))


@dataclass(frozen=True, eq=False)
class Rational:
    """num/den without common factor; the leading coefficient of den is 1."""

    num: Poly
    den: Poly

    @staticmethod
    def make(num: Poly, den: Poly) -> "Rational":
        """Raises `ZeroDivisionError` for a zero denominator."""
        if den.is_zero():
            raise ZeroDivisionError
        if num.is_zero():
            return Rational(ZERO, ONE)
        if not den.is_constant():
            common = num.gcd(den)
            if not common.is_one():
                num, den = num / common, den / common
        leading = den.leading_coefficient()
        return Rational(bounded(num / leading), bounded(den / leading))

    @staticmethod
    def of(value: Fraction | int) -> "Rational":
        return Rational(constant(value), ONE)

    def __add__(self, other: "Rational") -> "Rational":
        if str(self.den) == str(other.den):
            return Rational.make(self.num + other.num, self.den)
        num = product(self.num, other.den) + product(other.num, self.den)
        return Rational.make(num, product(self.den, other.den))

    def __neg__(self) -> "Rational":
        return Rational(-self.num, self.den)

    def __sub__(self, other: "Rational") -> "Rational":
        return self + -other

    def __mul__(self, other: "Rational") -> "Rational":
        return Rational.make(product(self.num, other.num), product(self.den, other.den))

    def __truediv__(self, other: "Rational") -> "Rational":
        return Rational.make(product(self.num, other.den), product(self.den, other.num))

    def power(self, n: int) -> "Rational":
        base = self if n >= 0 else Rational.of(1) / self
        return Rational.make(power(base.num, abs(n)), power(base.den, abs(n)))

    @cached_property
    def key(self) -> tuple[str, str]:
        """Equal rationals have equal keys."""
        return str(self.num), str(self.den)

    @property
    def is_zero(self) -> bool:
        return bool(self.num.is_zero())

    @property
    def value(self) -> Fraction | None:
        """The number, when it is one."""
        if not (self.num.is_constant() and self.den.is_constant()):
            return None
        if self.num.is_zero():
            return Fraction(0)
        return as_fraction(self.num.leading_coefficient()) / as_fraction(self.den.leading_coefficient())

    def factors(self) -> tuple[Fraction, list[tuple[Poly, int]]]:
        """The constant, and irreducible polynomials with their powers (negative below the line)."""
        (top, tops), (bottom, bottoms) = _factors(self.num), _factors(self.den)
        return top / bottom, [*tops, *((p, -k) for p, k in bottoms)]

    def generators(self) -> set[int]:
        return {*used(self.num), *used(self.den)}

    def derivative(self, index: int) -> "Rational":
        d_num, d_den = self.num.derivative(index), self.den.derivative(index)
        return Rational.make(product(d_num, self.den) - product(self.num, d_den), product(self.den, self.den))

    def substituted(self, index: int, value: "Rational") -> "Rational":
        """With a generator replaced."""
        return _in(self.num, index, value) / _in(self.den, index, value)


_KNOWN: dict[tuple[Any, ...], tuple[Fraction, list[tuple[Poly, int]]]] = {}
"""The same few polynomials are asked for in every case; there is one context for all of them."""
MAX_KNOWN = 20_000


def _factors(poly: Poly) -> tuple[Fraction, list[tuple[Poly, int]]]:
    key = (*poly.monoms(), *poly.coeffs())
    found = _KNOWN.get(key)
    if found is None:
        if len(_KNOWN) >= MAX_KNOWN:
            _KNOWN.clear()
        constant, factors = poly.factor()
        found = _KNOWN[key] = as_fraction(fmpq(constant)), [(each, int(power)) for each, power in factors]
    return found


def _in(poly: Poly, index: int, value: Rational) -> Rational:
    total = Rational.of(0)
    for exponent, rest in coefficients(poly, index).items():
        total = total + Rational(rest, ONE) * value.power(exponent)
    return total


def coefficients(poly: Poly, index: int) -> dict[int, Poly]:
    """The polynomial in one generator: exponent to coefficient."""
    found: dict[int, Poly] = {}
    for monomial, value in poly.to_dict().items():
        rest = tuple(0 if i == index else int(e) for i, e in enumerate(monomial))
        term = _CONTEXT.from_dict({rest: value})
        found[int(monomial[index])] = found.get(int(monomial[index]), ZERO) + term
    return found


def oriented(poly: Poly) -> tuple[Poly, bool]:
    """The polynomial or its negative, so that both are one and the same question."""
    return (-poly, True) if as_fraction(poly.leading_coefficient()) < 0 else (poly, False)


def replace_square(poly: Poly, index: int, square: Poly) -> Poly:
    total = constant(0)
    for monomial, coefficient in poly.to_dict().items():
        exponent = int(monomial[index])
        lowered = tuple(exponent % 2 if i == index else int(e) for i, e in enumerate(monomial))
        term = poly.context().from_dict({lowered: coefficient})
        for _ in range(exponent // 2):
            term = product(term, square)
        total = total + term
    return total
