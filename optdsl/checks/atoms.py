"""The table of atoms behind `canonical`: what each generator of a polynomial is, where it lies, its name.

An atom is an input of the step, a power with t in its exponent, a square root, or something opaque. From the
intervals of atoms follow those of polynomials; nothing is decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from flint import fmpq

from optdsl.checks.interval import EVERYTHING, NONNEGATIVE, POSITIVE, Interval, exactly
from optdsl.checks.rational import ONE, Poly, Rational, as_fraction, generator, used
from optdsl.checks.walk import GRADIENT, Key
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Age, Shape

CORNERS = 3  # atoms that are moved to their two ends, one inside of the other
Definition = tuple[object, ...]
"""What an atom is: ("input", key), ("sqrt", poly), ("power", base, exponents) or (operator, *arguments)."""


@dataclass
class Atoms:
    """`facts` are intervals of inputs; everything else grows as atoms are met."""

    facts: Mapping[Key, Interval] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    squares: dict[int, Poly] = field(default_factory=dict)
    definitions: list[Definition] = field(default_factory=list)
    replaced: Mapping[int, Fraction] = field(default_factory=dict)  # inputs that are this number here
    relations: list[Poly] = field(default_factory=list)  # of several atoms, and never negative
    _atoms: dict[object, int] = field(default_factory=dict)
    _known: dict[str, Interval] = field(default_factory=dict)  # of polynomials, by their text

    def atom(self, key: object, name: str, interval: Interval, definition: Definition) -> int:
        if key not in self._atoms:
            generator(len(self.names))
            self._atoms[key] = len(self.names)
            self.names.append(name)
            self.intervals.append(interval)
            self.definitions.append(definition)
        return self._atoms[key]

    def symbol(self, key: Key) -> Rational:
        """An input of the step."""
        name, age = key
        index = self.atom(key, f"{name}{age.value}", self.facts.get(key, EVERYTHING), ("input", key))
        if index in self.replaced:
            return Rational.of(self.replaced[index])
        return Rational(generator(index), ONE)

    def fresh(self, name: str, interval: Interval = EVERYTHING) -> Rational:
        """A new unknown, which no spec can spell."""
        return Rational(generator(self.atom(("fresh", name), name, interval, ("input", name))), ONE)

    def index(self, rational: Rational) -> int:
        """The generator that a rational is."""
        (index,) = rational.generators()
        return index

    def is_scalar(self, poly: Poly) -> bool:
        """Whether it is one number for a whole tensor: made of hypers, t and reductions."""
        return all(self._is_scalar_atom(index) for index in used(poly))

    def _is_scalar_atom(self, index: int) -> bool:
        match self.definitions[index]:
            case ("input", (_, Age.NOW) as key):
                return key != GRADIENT
            case ("input", key):
                return key in getattr(self.facts, "scalars", ())
            case ("power", Poly() as base, tuple() as exponents):
                return self.is_scalar(base) and all(self._is_scalar_atom(i) for i, _ in exponents)
            case (str(op), *args):
                if op in REDUCTIONS:
                    return REDUCTIONS[op].shape <= Shape.TENSOR
                return all(
                    self.is_scalar(part)
                    for arg in args
                    for part in ((arg.num, arg.den) if isinstance(arg, Rational) else (arg,))
                    if isinstance(part, Poly)
                )
            case _:
                return False

    # --- intervals ---

    def interval(self, poly: Poly) -> Interval:
        """Where a polynomial can be, from the intervals of its atoms."""
        text = str(poly)
        if text not in self._known:
            self._known[text] = self._interval(poly, CORNERS)
        return self._known[text]

    def _interval(self, poly: Poly, depth: int) -> Interval:
        total = exactly(0)
        for monomial, coefficient in poly.to_dict().items():
            term = exactly(as_fraction(coefficient))
            for index, exponent in enumerate(monomial):
                if exponent:
                    term = term * self.intervals[index].power(int(exponent))
            total = total + term
        if total.nonnegative or total.nonpositive or not depth:
            return total
        return self._by_corners(poly, depth) or total

    def _by_corners(self, poly: Poly, depth: int) -> Interval | None:
        """What is affine in an atom with two ends has its sign at both of them."""
        for index in used(poly):
            around = self.intervals[index]
            if around.low is None or around.high is None or poly.degrees()[index] != 1:
                continue
            at_low = self._interval(poly.subs({index: as_fmpq(around.low)}), depth - 1)
            at_high = self._interval(poly.subs({index: as_fmpq(around.high)}), depth - 1)
            for flip in (False, True):
                low, high = (-at_low, -at_high) if flip else (at_low, at_high)
                if low.nonnegative and high.nonnegative:
                    inside = (low.positive or high.positive) and (low.positive or around.low_open)
                    positive = inside and (high.positive or around.high_open)
                    found = POSITIVE if positive else NONNEGATIVE
                    return -found if flip else found
        return None

    # --- text ---

    def text(self, x: Rational) -> str:
        top = self._poly_text(x.num)
        if x.den.is_one():
            return top
        bottom = self._poly_text(x.den)
        top = f"({top})" if len(x.num) > 1 else top
        return f"{top}/({bottom})" if len(x.den) > 1 or "*" in bottom else f"{top}/{bottom}"

    def _poly_text(self, poly: Poly) -> str:
        terms = []
        for monomial, coefficient in poly.to_dict().items():
            value = as_fraction(coefficient)
            factors = [
                (
                    f"({self.names[index]})^{exponent}"
                    if "^" in self.names[index]
                    else f"{self.names[index]}^{exponent}"
                )
                if exponent > 1
                else self.names[index]
                for index, exponent in enumerate(monomial)
                if exponent
            ]
            if abs(value) != 1 or not factors:
                factors.insert(0, str(abs(value)))
            terms.append((value < 0, "*".join(factors)))
        terms.sort(key=lambda term: term[0])
        text = "".join((" - " if negative else " + ") + term for negative, term in terms)
        return text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" - ") else text[3:] or "0"

    def _shown_base(self, base: Poly) -> str:
        text = self._poly_text(base)
        return text if text.isidentifier() else f"({text})"


def as_fmpq(value: Fraction) -> fmpq:
    return fmpq(value.numerator, value.denominator)
