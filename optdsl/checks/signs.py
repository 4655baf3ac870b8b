"""Signs of polynomials in one case of a question, and what they imply.

Under `canonical`: a case is a set of polynomials with a sign each. A sign is known from intervals, from this
case, from what the case implies (what is at least a multiple of something positive is positive; single atoms
have narrower intervals), or it is asked for: `NeedCaseError`. Nothing is evaluated here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Self

from optdsl.checks.atoms import Atoms
from optdsl.checks.narrow import narrowed, vanishing
from optdsl.checks.rational import Poly, Rational, as_fraction, constant, oriented


class NeedCaseError(Exception):
    """The sign of a polynomial decides how to go on; `signs` are those that it can have."""

    def __init__(self, poly: Poly, signs: tuple[int, ...]) -> None:
        self.poly, self.signs = poly, signs


class VacuousError(Exception):
    """In this case the expression is not defined: it says nothing about it."""


class NoFormError(Exception):
    """There is no value (division by zero), or none of this arithmetic."""


class ElementSignError(NoFormError):
    """The sign of one element matters where all elements of a tensor are reduced."""


@dataclass
class Signs(Atoms):
    """`facts` are intervals of inputs; `signs` are the case that is being looked at (by the poly's text)."""

    signs: Mapping[str, int] = field(default_factory=dict)
    zeros: tuple[Poly, ...] = ()
    positive: tuple[Poly, ...] = ()  # what the signs of this case say is
    asked: Mapping[str, Poly] = field(default_factory=dict)  # the polynomials of `signs`
    whole: bool = False  # what is said holds for whole tensors: no sign of an element is assumed

    def assuming(self, poly: Poly, sign: int) -> Self:
        """The case in which `poly` has this sign, too. Its atoms are those met so far."""
        positive = (*self.positive, poly if sign > 0 else -poly) if sign else self.positive
        narrower = narrowed(self, positive[-1]) if sign else vanishing(poly)
        return replace(
            self,
            signs={**self.signs, str(poly): sign},
            asked={**self.asked, str(poly): poly},
            zeros=self.zeros if sign else (*self.zeros, poly),
            positive=positive,
            names=list(self.names),
            intervals=[narrower.get(i, around) for i, around in enumerate(self.intervals)],
            replaced={**self.replaced, **({} if sign else self._replaced(poly))},
            squares=dict(self.squares),
            definitions=list(self.definitions),
            relations=list(self.relations),
            _atoms=dict(self._atoms),
            _known={} if narrower else dict(self._known),
        )

    def sign_of(self, x: Rational) -> int:
        """1, 0 or -1. Raises `NeedCaseError` when it is open."""
        return self._sign(x, self._poly_sign)

    def side_of(self, x: Rational) -> int:
        """1 where x >= 0, -1 where x <= 0: enough for what is the same from both sides of zero."""
        return self._sign(x, self._poly_side)

    def _sign(self, x: Rational, sign_of_factor: Callable[[Poly], int]) -> int:
        if x.is_zero:
            return 0
        constant_part, factors = x.factors()
        sign = 1 if constant_part > 0 else -1
        for poly, k in factors:
            factor = sign_of_factor(poly)
            if factor == 0 and k < 0:
                if self._is_base(poly):  # b^(t-1) is b^t/b in this form
                    raise NoFormError(
                        "a power of what is zero: b^(t-1) is b^t/b in this form, and has a value"
                    )
                raise VacuousError
            sign *= factor if k % 2 else factor * factor
        return sign

    def _replaced(self, poly: Poly) -> dict[int, Fraction]:
        """The base of a power that is zero here is written so: b^(t-1) is not b^t/b then."""
        found = {index: around.point for index, around in vanishing(poly).items()}
        return {i: value for i, value in found.items() if value is not None and self._is_base(poly)}

    def _is_base(self, poly: Poly) -> bool:
        """Whether a power with t in its exponent has this polynomial in its base."""
        bases = (each[1] for each in self.definitions if each[0] == "power")
        return any(isinstance(base, Poly) and (base % poly).is_zero() for base in bases)

    def _poly_sign(self, poly: Poly) -> int:
        known = self.interval(poly)
        if known.positive or known.negative:
            return 1 if known.positive else -1
        if known.point == 0:
            return 0
        poly, flipped = oriented(poly)
        if str(poly) in self.signs:
            return -self.signs[str(poly)] if flipped else self.signs[str(poly)]
        implied = self.implied(poly)
        if implied:
            return -implied if flipped else implied
        if self.whole and not self.is_scalar(poly):
            raise ElementSignError("the sign of an element")
        known = -known if flipped else known
        possible = (1, 0) if known.nonnegative else (-1, 0) if known.nonpositive else (1, -1, 0)
        raise NeedCaseError(poly, possible)

    def _poly_side(self, poly: Poly) -> int:
        known = self.interval(poly)
        if known.nonnegative or known.nonpositive:
            return 1 if known.nonnegative else -1
        return self.at_least_zero(poly) or self._poly_sign(poly) or 1

    def implied(self, poly: Poly) -> int:
        """1 where it is at least a multiple of what is positive here, -1 where its negative is, or else 0."""
        terms = poly.to_dict()
        for positive in self.positive:
            shared = [(terms[m], value) for m, value in positive.to_dict().items() if m in terms]
            for ratio in {as_fraction(mine / other) for mine, other in shared}:
                rest = self.interval(poly - constant(ratio) * positive)
                if (ratio > 0 and rest.nonnegative) or (ratio < 0 and rest.nonpositive):
                    return 1 if ratio > 0 else -1
        return 0

    def at_least_zero(self, poly: Poly) -> int:
        """As `implied`, by what is never negative: 1 where poly >= 0, -1 where poly <= 0, or else 0."""
        for relation in self.relations:
            for mine, value in poly.to_dict().items():
                for other, factor in relation.to_dict().items():
                    left = tuple(int(x) - int(y) for x, y in zip(mine, other, strict=True))
                    if any(
                        e < 0 or (e % 2 and not self.intervals[i].nonnegative) for i, e in enumerate(left)
                    ):
                        continue
                    ratio = as_fraction(value / factor)
                    rest = self.interval(poly - poly.context().from_dict({left: value / factor}) * relation)
                    if (ratio > 0 and rest.nonnegative) or (ratio < 0 and rest.nonpositive):
                        return 1 if ratio > 0 else -1
        return 0

    def contradiction(self) -> bool:
        """Whether two signs of this case exclude each other: p > 0 and q > 0 where p + q <= 0."""
        return any(self._excludes(p, self.positive[:i]) for i, p in enumerate(self.positive))

    def _excludes(self, positive: Poly, others: tuple[Poly, ...]) -> bool:
        either = (*others, *self.zeros, *(-zero for zero in self.zeros))
        totals = (positive + other for other in either)
        return any(self.interval(total).nonpositive for total in totals if len(total) <= len(positive))

    def possible(self, poly: Poly, sign: int) -> bool:
        """Whether `poly` can have this sign together with each of the others."""
        if sign:
            return not self._excludes(poly if sign > 0 else -poly, self.positive)
        return not any(self._excludes(positive, (poly, -poly)) for positive in self.positive)
