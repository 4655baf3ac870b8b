"""Expressions of hypers and t for all large t: their signs, and what they tend to.

The canonical form of `canonical` with another idea of a sign: that of all t from some t on, the hypers being
fixed in their domains. An atom is constant, or c*t^d(1 + o(1)), or vanishes faster than every power of t
(b^t with 0 <= b < 1); sums are compared by their highest degree whose coefficient is not zero, which may
split the hypers into cases (b < 1 or b = 1). So `if`, abs, max and roots are decided as they are for large t.
What cancels in its highest degree, where an atom is known only up to 1 + o(1), has no answer: `NoLimitError`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from optdsl.checks.canonical import Algebra
from optdsl.checks.interval import Interval, exactly, intersection
from optdsl.checks.rational import ONE, ZERO, Poly, Rational, as_fraction, coefficients, generator, used
from optdsl.checks.signs import NoFormError, VacuousError
from optdsl.checks.walk import TIME

CONTINUOUS = {
    "exp": Fraction(1), "tanh": Fraction(0), "sigmoid": Fraction(1, 2), "cbrt": Fraction(0),
    "cos": Fraction(1), "sin": Fraction(0),
}  # fmt: skip
"""Continuous everywhere, with the value at 0."""


class NoLimitError(Exception):
    """Nothing is known of how something behaves for large t; the text says why."""


class ImpossibleError(VacuousError):
    """No hypers have the signs of this case."""


@dataclass(frozen=True)
class Leading:
    """coefficient * t^degree * (1 + o(1)); without the o(1) for an atom that is `exact`.

    The coefficient of a sum is not zero.
    """

    coefficient: Rational
    degree: Fraction
    exact: bool


Growth = Leading | None
"""None: it vanishes faster than every power of t."""

INFINITE = {1: "inf", -1: "-inf"}


@dataclass
class Eventually(Algebra):
    """`told` are the limits of atoms that were used, as text."""

    told: dict[str, None] = field(default_factory=dict)
    _timed: dict[int, bool] = field(default_factory=dict)

    def assuming(self, poly: Poly, sign: int) -> "Eventually":
        child = super().assuming(poly, sign)
        assert isinstance(child, Eventually)
        return replace(child, told={}, _timed=dict(self._timed))

    def limit(self, x: Rational) -> Rational | str:
        """What x tends to: a constant, "inf" or "-inf"."""
        x = self.reduced(x)
        top, bottom = self.leading(x.num), self.leading(x.den)
        if bottom is None:
            raise NoLimitError(f"`{self._poly_text(x.den)}` vanishes, and is divided by")
        if top is None or top.degree < bottom.degree:
            return Rational.of(0)
        ratio = self.reduced(top.coefficient / bottom.coefficient)
        return ratio if top.degree == bottom.degree else INFINITE[self.sign_of(ratio)]

    def leading(self, poly: Poly) -> Growth:
        return self._split(poly)[0]

    def _split(self, poly: Poly) -> tuple[Growth, Poly]:
        """With the terms that vanish faster than every power of t."""
        exactly_zero, fast = Rational.of(0), ZERO
        sums: dict[Fraction, dict[tuple[int, ...], tuple[Rational, Rational]]] = {}
        for monomial, value in poly.to_dict().items():
            parts = {i: self._atom(i) for i, e in enumerate(monomial) if e}
            degree, known, rough = Fraction(0), Rational.of(as_fraction(value)), Rational.of(1)
            for i, part in parts.items():
                if part is None:
                    fast = fast + poly.context().from_dict({monomial: value})
                    break
                factor = part.coefficient.power(int(monomial[i]))
                degree += part.degree * int(monomial[i])
                known, rough = (known * factor, rough) if part.exact else (known, rough * factor)
            else:
                # what is known up to 1 + o(1) is told apart: a coefficient of zero makes it a zero
                atoms = tuple(
                    0 if part is None or part.exact else int(monomial[i]) for i, part in parts.items()
                )
                key = tuple(x for pair in zip(parts, atoms, strict=True) if pair[1] for x in pair)
                group = sums.setdefault(degree, {})
                so_far, _ = group.get(key, (exactly_zero, rough))
                group[key] = so_far + known, rough
        for degree in sorted(sums, reverse=True):
            group = sums[degree]
            total = exactly_zero
            for known, rough in group.values():
                total = total + known * rough
            total = self.reduced(total)
            if self.sign_of(total):
                return Leading(total, degree, exact=False), fast
            if any(key and self.sign_of(self.reduced(known)) for key, (known, _) in group.items()):
                raise NoLimitError(f"the leading terms of `{self._poly_text(poly)}` cancel")
        return None, fast

    # --- atoms ---

    def timed(self, poly: Poly) -> bool:
        """Whether t occurs."""
        return any(self._atom_timed(index) for index in used(poly))

    def _atom_timed(self, index: int) -> bool:
        if index not in self._timed:
            match self.definitions[index]:
                case ("input", key):
                    found = key == TIME
                case ("sqrt", Poly() as radicand):
                    found = self.timed(radicand)
                case ("power", Poly() as base, tuple() as exponents):
                    found = self.timed(base) or any(self._atom_timed(i) for i, _ in exponents)
                case (_, *args):
                    rationals = [arg for arg in args if isinstance(arg, Rational)]
                    found = any(self.timed(arg.num) or self.timed(arg.den) for arg in rationals)
                case _:
                    found = True
            self._timed[index] = found
        return self._timed[index]

    def _atom(self, index: int) -> Growth:
        itself = Rational(generator(index), ONE)
        match self.definitions[index]:
            case ("power", Poly() as base, tuple() as exponents):
                return self._power_atom(index, base, dict(exponents))
            case _ if not self._atom_timed(index):
                return Leading(itself, Fraction(0), True)
            case ("input", _):
                return Leading(Rational.of(1), Fraction(1), True)
            case ("sqrt", Poly() as radicand):
                inner = self.leading(radicand)
                if inner is None:
                    if self.interval(radicand).nonnegative:
                        return None
                    raise NoLimitError(f"the sign of `{self._poly_text(radicand)}` is open, under a root")
                if self.sign_of(inner.coefficient) < 0:
                    raise NoFormError(f"`{self._poly_text(radicand)}` is negative for large t, under a root")
                return Leading(self.root(inner.coefficient), inner.degree / 2, False)
            case ("pow", Rational() as base, Rational() as exponent) if exponent.value is not None:
                return self._fixed_power(index, base, exponent.value)
            case (str(op), Rational() as inside) if op in CONTINUOUS:
                found = self.limit(inside)
                if op == "exp" and found == "-inf":
                    return None
                if isinstance(found, Rational):
                    value = self._opaque(op, (found,)) if not found.is_zero else Rational.of(CONTINUOUS[op])
                    if not value.is_zero:
                        return Leading(value, Fraction(0), False)
        raise NoLimitError(f"how `{self.names[index]}` behaves for large t is not known")

    def _power_atom(self, index: int, base: Poly, exponents: Mapping[int, int]) -> Growth:
        """b^(t*k): 1, or it vanishes. Bases are not negative (`canonical`)."""
        time = self.index(self.symbol(TIME))
        others = Rational.of(1)
        for i, exponent in exponents.items():
            if i != time:
                others = others * Rational(generator(i), ONE).power(exponent)
        if self.timed(base) or self.timed(others.num):
            raise NoLimitError(f"how `{self.names[index]}` behaves for large t is not known")
        if time not in exponents:
            if self.interval(others.num).point == 0:
                return Leading(Rational.of(1), Fraction(0), True)
            return Leading(Rational(generator(index), ONE), Fraction(0), True)
        times = self.sign_of(others)
        below = self.sign_of(Rational(ONE - base, ONE)) if times else 0
        if times * below == 0:
            self.told[f"{self.names[index]} = 1"] = None
            return Leading(Rational.of(1), Fraction(0), True)
        if times < 0 or below < 0:
            raise NoLimitError(f"how `{self.names[index]}` grows is not known")
        self.told[f"{self.names[index]} -> 0, and t^k*{self.names[index]} too"] = None
        return None

    def _fixed_power(self, index: int, base: Rational, exponent: Fraction) -> Growth:
        """t^(-4/5) and the like."""
        top, bottom = self.leading(base.num), self.leading(base.den)
        if top is not None and bottom is not None:
            ratio = self.reduced(top.coefficient / bottom.coefficient)
            if self.sign_of(ratio) > 0:
                power = self.power(ratio, Rational.of(exponent))
                return Leading(power, (top.degree - bottom.degree) * exponent, False)
        raise NoLimitError(f"how `{self.names[index]}` behaves for large t is not known")

    # --- signs ---

    def _sign(self, x: Rational, sign_of_factor: Callable[[Poly], int]) -> int:
        """What divides by zero here may have a value all the same: b^(t-1) is b^t/b in this form."""
        try:
            return super()._sign(x, sign_of_factor)
        except ImpossibleError:
            raise
        except VacuousError:
            raise NoLimitError(f"`{self.text(x)}` divides by what can be zero") from None

    def _poly_sign(self, poly: Poly) -> int:
        known = self.interval(poly)
        if known.positive or known.negative:
            return 1 if known.positive else -1
        if not self.timed(poly):
            found = super()._poly_sign(poly)
            self._learn(poly, found)
            return found
        lead, fast = self._split(poly)
        return self.sign_of(lead.coefficient) if lead is not None else self._fast_sign(fast)

    def _fast_sign(self, poly: Poly) -> int:
        """The sign of terms that all vanish: known when one power is in all of them."""
        known = self.interval(poly)
        if known.point == 0 or known.positive or known.negative:
            return 0 if known.point == 0 else 1 if known.positive else -1
        parts: dict[tuple[int, ...], Poly] = {}
        for monomial, value in poly.to_dict().items():
            fast = [bool(e) and self._atom(i) is None for i, e in enumerate(monomial)]
            shared = tuple(int(e) if is_fast else 0 for e, is_fast in zip(monomial, fast, strict=True))
            rest = tuple(0 if is_fast else int(e) for e, is_fast in zip(monomial, fast, strict=True))
            parts[shared] = parts.get(shared, ZERO) + poly.context().from_dict({rest: value})
        if len(parts) == 1:
            ((shared, rest_poly),) = parts.items()
            sign = self._poly_sign(rest_poly)
            for index, exponent in enumerate(shared):
                sign *= self._power_sign(index) if exponent else 1
            return sign
        raise NoLimitError(f"the sign of `{self._poly_text(poly)}` for large t is open")

    def _power_sign(self, index: int) -> int:
        match self.definitions[index]:
            case ("power", Poly() as base, _):
                return self.sign_of(Rational(base, ONE))
            case ("exp", *_):
                return 1
        raise NoLimitError(f"the sign of `{self.names[index]}` for large t is open")

    def _learn(self, poly: Poly, sign: int) -> None:
        """Narrows the interval of a hyper that this case's sign is about: 3*b > 2."""
        if len(used(poly)) != 1 or poly.total_degree() != 1:
            return
        (index,) = used(poly)
        parts = coefficients(poly, index)
        slope = as_fraction(parts[1].leading_coefficient())
        end = -as_fraction(parts[0].leading_coefficient()) / slope if 0 in parts else Fraction(0)
        upwards = sign * (1 if slope > 0 else -1)
        half = exactly(end) if not sign else Interval(end) if upwards > 0 else Interval(None, end)
        narrowed = intersection(self.intervals[index], half)
        if narrowed is None:
            raise ImpossibleError
        self.intervals[index] = narrowed
        self._known.clear()
