"""Intervals of the reals with exact ends, each end in or out: sound arithmetic on sets of values.

Every operation gives an interval that holds all results for operands in the given ones (where they have
a result); it may be larger than needed, never smaller. None stands for an infinite end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

MAX_BITS = 2048  # ends with more digits are given up (rounded outwards to infinity or zero)


@dataclass(frozen=True)
class Interval:
    """`low`/`high` are None where the interval is unbounded; an `open` end is not attained."""

    low: Fraction | None = None
    high: Fraction | None = None
    low_open: bool = True
    high_open: bool = True

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None:
            empty = self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))
            assert not empty, "an interval has a point"

    # --- questions ---

    @property
    def positive(self) -> bool:
        return self.low is not None and (self.low > 0 or (self.low == 0 and self.low_open))

    @property
    def negative(self) -> bool:
        return self.high is not None and (self.high < 0 or (self.high == 0 and self.high_open))

    @property
    def nonnegative(self) -> bool:
        return self.low is not None and self.low >= 0

    @property
    def nonpositive(self) -> bool:
        return self.high is not None and self.high <= 0

    @property
    def nonzero(self) -> bool:
        return self.positive or self.negative

    @property
    def point(self) -> Fraction | None:
        """The one value, when there is only one."""
        return self.low if self.low is not None and self.low == self.high else None

    def __contains__(self, value: Fraction) -> bool:
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        below = self.high is None or value < self.high or (value == self.high and not self.high_open)
        return above and below

    def __le__(self, other: "Interval") -> bool:
        """Whether this lies inside of the other."""
        low = other.low is None or (
            self.low is not None
            and (self.low > other.low or (self.low == other.low and (self.low_open or not other.low_open)))
        )
        high = other.high is None or (
            self.high is not None
            and (
                self.high < other.high
                or (self.high == other.high and (self.high_open or not other.high_open))
            )
        )
        return low and high

    def __str__(self) -> str:
        low = "-inf" if self.low is None else str(self.low)
        high = "inf" if self.high is None else str(self.high)
        return f"{'(' if self.low_open else '['}{low}, {high}{')' if self.high_open else ']'}"

    # --- arithmetic ---

    def __neg__(self) -> "Interval":
        low = None if self.high is None else -self.high
        high = None if self.low is None else -self.low
        return Interval(low, high, self.high_open, self.low_open)

    def __add__(self, other: "Interval") -> "Interval":
        low = None if self.low is None or other.low is None else self.low + other.low
        high = None if self.high is None or other.high is None else self.high + other.high
        return _trimmed(low, high, self.low_open or other.low_open, self.high_open or other.high_open)

    def __sub__(self, other: "Interval") -> "Interval":
        return self + -other

    def __mul__(self, other: "Interval") -> "Interval":
        corners = [_product(x, y) for x in self._ends() for y in other._ends()]
        return _hull(corners)

    def reciprocal(self) -> "Interval":
        """1/x; everything when zero is inside (where it is not defined)."""
        if not self.nonzero:
            return EVERYTHING
        low: Fraction | None
        high: Fraction | None
        if self.positive:
            low = Fraction(0) if self.high is None else 1 / self.high
            high = None if self.low is None or self.low == 0 else 1 / self.low
            return _trimmed(low, high, self.high is None or self.high_open, self.low_open)
        return -((-self).reciprocal())

    def __truediv__(self, other: "Interval") -> "Interval":
        return self * other.reciprocal()

    def power(self, n: int) -> "Interval":
        if n < 0:
            return self.power(-n).reciprocal()
        if n == 0:
            return exactly(1)
        if n % 2 == 0:
            return self.abs()._grown(n)
        return self._grown(n)

    def _grown(self, n: int) -> "Interval":
        """x^n for an n at which x^n is increasing on this interval."""
        low = None if self.low is None else _power_below(self.low, n)
        high = None if self.high is None else _power_above(self.high, n)
        low_open = self.low_open and low is not None
        high_open = self.high_open and high is not None
        return _trimmed(low, high, low_open, high_open)

    def abs(self) -> "Interval":
        if self.nonnegative:
            return self
        if self.nonpositive:
            return -self
        return hull(
            (
                Interval(Fraction(0), self.high, False, self.high_open),
                Interval(Fraction(0), (-self).high, False, self.low_open),
            )
        )

    def sqrt(self) -> "Interval":
        """Of the part that is not negative."""
        if self.low is None or self.low <= 0:
            low, low_open = Fraction(0), self.low is not None and self.low == 0 and self.low_open
        else:
            low = _sqrt_below(self.low)
            low_open = self.low_open or low * low != self.low
        if self.high is None:
            return Interval(low, None, low_open, True)
        high = _sqrt_above(max(self.high, Fraction(0)))
        return _closed_if_point(low, high, low_open, self.high_open or high * high != self.high)

    def log_sign(self) -> "Interval":
        """Where the logarithm is, as far as its sign goes."""
        if self.high is not None and self.high <= 1:
            return Interval(None, Fraction(0), True, self.high < 1 or self.high_open)
        if self.low is not None and self.low >= 1:
            return Interval(Fraction(0), None, self.low > 1 or self.low_open, True)
        return Interval(None, None, True, True)

    def cbrt_sign(self) -> "Interval":
        """Where the cube root is, as far as its sign goes."""
        if self.nonnegative:
            return Interval(Fraction(0), None, self.positive, True)
        if self.nonpositive:
            return Interval(None, Fraction(0), True, self.negative)
        return Interval(None, None, True, True)

    def sign(self) -> "Interval":
        low = Fraction(1) if self.positive else Fraction(0) if self.nonnegative else Fraction(-1)
        high = Fraction(-1) if self.negative else Fraction(0) if self.nonpositive else Fraction(1)
        return Interval(low, high, False, False)

    def _ends(self) -> tuple["_End", "_End"]:
        return (self.low, -1, self.low_open), (self.high, 1, self.high_open)


_End = tuple[Fraction | None, int, bool]  # value, or the sign of its infinity, and whether it is left out

EVERYTHING = Interval()
NONNEGATIVE = Interval(Fraction(0), None, False, True)
POSITIVE = Interval(Fraction(0), None, True, True)


def exactly(value: Fraction | int) -> Interval:
    return Interval(Fraction(value), Fraction(value), False, False)


def minimum(x: Interval, y: Interval) -> Interval:
    return -maximum(-x, -y)


def maximum(x: Interval, y: Interval) -> Interval:
    if x.low is None or y.low is None:
        low, low_open = (y.low, y.low_open) if x.low is None else (x.low, x.low_open)
    elif x.low == y.low:
        low, low_open = x.low, x.low_open or y.low_open
    else:
        low, low_open = (x.low, x.low_open) if x.low > y.low else (y.low, y.low_open)
    if x.high is None or y.high is None:
        return Interval(low, None, low_open, True)
    if x.high == y.high:
        high, high_open = x.high, x.high_open and y.high_open
    else:
        high, high_open = (x.high, x.high_open) if x.high > y.high else (y.high, y.high_open)
    return _closed_if_point(low, high, low_open, high_open)


def hull(parts: Iterable[Interval]) -> Interval:
    """The smallest interval around all parts."""
    first, *rest = parts
    low, low_open, high, high_open = first.low, first.low_open, first.high, first.high_open
    for part in rest:
        if low is not None:
            if part.low is None or part.low < low:
                low, low_open = part.low, part.low_open
            elif part.low == low:
                low_open = low_open and part.low_open
        if high is not None:
            if part.high is None or part.high > high:
                high, high_open = part.high, part.high_open
            elif part.high == high:
                high_open = high_open and part.high_open
    return Interval(low, high, low is None or low_open, high is None or high_open)


def intersection(x: Interval, y: Interval) -> Interval | None:
    """What lies in both; None when nothing does."""
    low, low_open = max(((i.low, i.low_open) for i in (x, y) if i.low is not None), default=(None, True))
    high, high_open = _lowest([(i.high, i.high_open) for i in (x, y) if i.high is not None])
    if low is not None and high is not None and (low > high or (low == high and (low_open or high_open))):
        return None
    return Interval(low, high, low_open, high_open)


def _lowest(ends: list[tuple[Fraction, bool]]) -> tuple[Fraction | None, bool]:
    if not ends:
        return None, True
    value = min(end for end, _ in ends)
    return value, any(is_open for end, is_open in ends if end == value)


def _product(x: _End, y: _End) -> _End:
    (a, a_sign, a_open), (b, b_sign, b_open) = x, y
    if a == 0 or b == 0:  # zero times anything is zero, attained when a zero is
        attained = (a == 0 and not a_open) or (b == 0 and not b_open)
        return Fraction(0), 0, not attained
    if a is None or b is None:
        sign = (a_sign if a is None else (1 if a > 0 else -1)) * (
            b_sign if b is None else (1 if b > 0 else -1)
        )
        return None, sign, True
    return a * b, 0, a_open or b_open


def _hull(ends: list[_End]) -> Interval:
    finite = [(value, is_open) for value, _, is_open in ends if value is not None]
    signs = [sign for value, sign, _ in ends if value is None]
    low = None if -1 in signs or not finite else min(value for value, _ in finite)
    high = None if 1 in signs or not finite else max(value for value, _ in finite)
    low_open = low is None or all(is_open for value, is_open in finite if value == low)
    high_open = high is None or all(is_open for value, is_open in finite if value == high)
    return _trimmed(low, high, low_open, high_open)


def _trimmed(low: Fraction | None, high: Fraction | None, low_open: bool, high_open: bool) -> Interval:
    """The interval, with ends of too many digits moved outwards."""
    if low is not None and _long(low):
        low, low_open = (Fraction(0), True) if low > 0 else (None, True)
    if high is not None and _long(high):
        high, high_open = (Fraction(0), True) if high < 0 else (None, True)
    return _closed_if_point(low, high, low is None or low_open, high is None or high_open)


def _closed_if_point(
    low: Fraction | None, high: Fraction | None, low_open: bool, high_open: bool
) -> Interval:
    if low is not None and low == high:
        return Interval(low, high, False, False)
    return Interval(low, high, low_open, high_open)


def _power_below(x: Fraction, n: int) -> Fraction | None:
    """x^n, or something below it when x^n has too many digits."""
    if n * (x.numerator.bit_length() + x.denominator.bit_length()) <= 2 * MAX_BITS:
        return x**n
    return None if x < 0 else Fraction(0) if x < 1 else Fraction(1)


def _power_above(x: Fraction, n: int) -> Fraction | None:
    """x^n, or something above it; None for infinity."""
    if n * (x.numerator.bit_length() + x.denominator.bit_length()) <= 2 * MAX_BITS:
        return x**n
    return Fraction(0) if x < 0 else Fraction(1) if x <= 1 else None


def _long(value: Fraction) -> bool:
    return max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS


_SCALE = 1 << 64


def _sqrt_below(x: Fraction) -> Fraction:
    """A rational at or below the root; the root itself when it is rational."""
    top, bottom = isqrt(x.numerator), isqrt(x.denominator)
    if top * top == x.numerator and bottom * bottom == x.denominator:
        return Fraction(top, bottom)
    return Fraction(isqrt(x.numerator * _SCALE * _SCALE // x.denominator), _SCALE)


def _sqrt_above(x: Fraction) -> Fraction:
    below = _sqrt_below(x)
    return below if below * below == x else below + Fraction(1, _SCALE)
