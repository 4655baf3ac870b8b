"""Conditions on hypers as sets of polynomials that have to be positive: simplified, compared, told.

In: rational functions in an `Algebra` (in one case of its signs), each of which is to be > 0. Out: the
same set of hypers said by polynomials without factors that are positive on the domain. `NEVER` is the
empty set. `implies` is sound and finds only what a multiple of one condition shows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from optdsl.checks.algebra import Algebra
from optdsl.checks.interval import NONNEGATIVE, POSITIVE, Interval
from optdsl.checks.rational import (
    ONE,
    Poly,
    Rational,
    as_fraction,
    coefficients,
    constant,
    generator,
    product,
    used,
)
from optdsl.checks.show import shown

MAX_TERMS = 100
MULTIPLES = tuple(Fraction(k) for k in ("1", "1/2", "2", "1/4", "4"))


@dataclass(frozen=True)
class Region:
    """Where all of `positive` are > 0; nowhere with `never`, which says why."""

    positive: tuple[Poly, ...]
    never: str = ""


def region(algebra: Algebra, conditions: Iterable[Rational]) -> Region:
    found: dict[str, Poly] = {}
    for condition in conditions:
        for poly in _simplified(algebra, condition):
            if range_of(algebra, poly).nonpositive or poly.is_zero():
                text = shown(algebra, condition)
                return Region((), f"{text} is never positive")
            found[str(poly)] = poly
    polys = list(found.values())
    for i, p in enumerate(polys):
        for q in polys[:i]:
            if any(range_of(algebra, p + constant(k) * q).nonpositive for k in MULTIPLES):
                return Region((), f"{_text(algebra, p)} and {_text(algebra, q)} are never both positive")
    kept = list(polys)
    for poly in polys:
        rest = [other for other in kept if other is not poly]
        if implies(algebra, rest, poly):
            kept = rest
    return Region(tuple(kept))


def range_of(algebra: Algebra, poly: Poly) -> Interval:
    """Where a polynomial can be: from intervals or, for its sign, from the signs of its coefficients."""
    around = algebra.interval(poly)
    if around.nonnegative or around.nonpositive or len(poly) > MAX_TERMS:
        return around
    for sign in (1, -1):
        found = _by_coefficients(algebra, poly if sign > 0 else -poly)
        if found is not None:
            return found if sign > 0 else -found
    return around


def _by_coefficients(algebra: Algebra, poly: Poly) -> Interval | None:
    """With x = low + s, or x = (low + high*s)/(1 + s) between two ends, s >= 0: is no coefficient negative?

    Then the polynomial is not negative; it is positive when its constant term is, unless an end is
    reached only by s = infinity.
    """
    moved, reached = Rational(poly, ONE), True
    for index in used(poly):
        around, s = algebra.intervals[index], Rational(generator(index), ONE)
        if around.low is None:
            return None
        low = Rational.of(around.low)
        if around.high is None:
            value = low + s
        else:
            value = (low + Rational.of(around.high) * s) / (Rational.of(1) + s)
            reached = reached and around.high_open
        moved = moved.substituted(index, value)
    top, bottom = moved.num, moved.den
    flip = as_fraction(bottom.leading_coefficient()) < 0
    values = [as_fraction(value) * (-1 if flip else 1) for value in top.to_dict().values()]
    if (
        any(value < 0 for value in values)
        or any(as_fraction(v) < 0 for v in bottom.to_dict().values()) != flip
    ):
        return None
    constant_term = any(not any(monomial) for monomial in top.to_dict())
    return POSITIVE if constant_term and reached else NONNEGATIVE


def implies(algebra: Algebra, positive: Sequence[Poly], poly: Poly) -> bool:
    """Whether poly > 0 on the part of the domain where the others are (False: not shown)."""
    if range_of(algebra, poly).positive:
        return True
    return any(
        range_of(algebra, poly - constant(k) * other).nonnegative for other in positive for k in MULTIPLES
    )


def _simplified(algebra: Algebra, condition: Rational) -> Iterator[Poly]:
    """Polynomials that are positive together exactly where the condition is."""
    if condition.is_zero:
        yield constant(0)
        return
    sign, factors = condition.factors()
    rest = constant(1 if sign > 0 else -1)
    for poly, power in factors:
        around = range_of(algebra, poly)
        known = _asked(algebra, poly)
        odd = power % 2 == 1
        if around.positive or around.negative or known in (1, -1):
            if odd and (around.negative or known == -1):
                rest = -rest
        elif odd and (around.nonnegative or around.nonpositive):
            yield _scaled(poly if around.nonnegative else -poly)
            rest = rest if around.nonnegative else -rest
        else:
            rest = product(rest, poly if odd else product(poly, poly))
    if not (rest.is_constant() and as_fraction(rest.leading_coefficient()) > 0):
        yield _scaled(rest)


def _asked(algebra: Algebra, poly: Poly) -> int | None:
    """The sign of a polynomial in this case, up to a positive factor."""
    for text, asked in algebra.asked.items():
        for flip in (1, -1):
            if str(_scaled(asked)) == str(_scaled(poly if flip > 0 else -poly)):
                return algebra.signs[text] * flip
    return None


def _scaled(poly: Poly) -> Poly:
    """With a leading coefficient of 1 or -1."""
    return poly / constant(abs(as_fraction(poly.leading_coefficient())))


# --- text ----------------------------------------------------------------------------------------


def told(algebra: Algebra, found: Region, solve_for: Sequence[str] = ("lr",)) -> str:
    """`lr > 0 and lr < 2*(1 + mu)/lam`."""
    if found.never:
        return "never"
    positive = {str(poly) for poly in found.positive}
    told_parts = (_told(algebra, poly, positive, solve_for) for poly in found.positive)
    parts = sorted(told_parts, key=lambda part: part[0])
    return " and ".join(text for _, text in parts) or "always"


def _told(algebra: Algebra, poly: Poly, positive: set[str], solve_for: Sequence[str]) -> tuple[int, str]:
    """Solved for a hyper where the poly is linear in it with a slope of known sign."""
    indices = used(poly)
    named = [i for i in indices if algebra.names[i] in solve_for] or (indices if len(indices) == 1 else [])
    for index in named:
        if poly.degrees()[index] != 1:
            continue
        parts = coefficients(poly, index)
        slope = Rational(parts[1], ONE)
        number, factors = slope.factors()
        sign: int | None = 1 if number > 0 else -1
        for factor, _ in factors:
            if sign is not None:
                known = _known_sign(algebra, factor, positive)
                sign = sign * known if known is not None else None
        if sign is None:
            continue
        bound = -Rational(parts[0], ONE) / slope if 0 in parts else Rational.of(0)
        text = f"{algebra.names[index]} {'>' if sign > 0 else '<'} {shown(algebra, bound)}"
        return (0 if bound.is_zero else 1), text
    return 2, f"{_text(algebra, poly)} > 0"


def _known_sign(algebra: Algebra, factor: Poly, positive: set[str]) -> int | None:
    """Of a factor: on the domain, or because one of the other conditions says so."""
    around = range_of(algebra, factor)
    if around.nonzero:
        return 1 if around.positive else -1
    if str(_scaled(factor)) in positive:
        return 1
    return -1 if str(_scaled(-factor)) in positive else None


def _text(algebra: Algebra, poly: Poly) -> str:
    return shown(algebra, Rational(poly, ONE))
