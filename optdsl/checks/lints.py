"""What small number formats do to a spec at its defaults: information, never a verdict.

Papers chose their defaults for float32, and people keep states in float16 or bfloat16 to save memory. Told is
what goes wrong where a value is *kept* in a format (computed exactly, rounded when it is stored), and where
the arithmetic itself is done in it. optdsl works out what depends on hypers and t in float64, and keeps
states and torch's step counter in float32 or float64.
Rounding is exact (fractions to the nearest value, ties to even). Not looked at: errors that add up over many
operations, and what rounding does to theta.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from optdsl.checks.context import Context
from optdsl.checks.self_decay import Recursion, recursions
from optdsl.language.optimizer import Hyper, Role, references


@dataclass(frozen=True)
class Format:
    """`bits` of precision (the hidden one too); exponents of the smallest and largest normal number."""

    name: str
    bits: int
    lowest: int
    highest: int

    @property
    def ulp(self) -> Fraction:
        """From 1 to the next number."""
        return Fraction(2) ** (1 - self.bits)

    @property
    def largest(self) -> Fraction:
        return (2 - self.ulp) * Fraction(2) ** self.highest

    @property
    def overflow(self) -> Fraction:
        """What is rounded to infinity, from here on."""
        return (2 - self.ulp / 2) * Fraction(2) ** self.highest

    @property
    def underflow(self) -> Fraction:
        """What is rounded to zero, up to here."""
        return Fraction(2) ** (self.lowest - self.bits)


FLOAT16, BFLOAT16, FLOAT32 = FORMATS = (
    Format("float16", 11, -14, 15),
    Format("bfloat16", 8, -126, 127),
    Format("float32", 24, -126, 127),
)

ORDINARY = Fraction(2) ** 16
"""A limit on gradients is told when it is below this (where loss scaling begins) and above its inverse."""

HIGHEST_POWER = 32

MUCH = 16
"""1 - beta is told to be off when it is so by this many times the rounding error of a single operation."""


@dataclass(frozen=True)
class Lint:
    dtype: str
    place: str  # "kept" or "computed"
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.place} in {self.dtype}: {self.text}"


def dtype_lints(context: Context) -> Iterator[Lint]:
    found = tuple(recursions(context))
    for form in FORMATS:
        for recursion in found:
            for text in _kept(recursion, form):
                yield Lint(form.name, "kept", recursion.state, text)
        if _reads_time(context):
            yield Lint(form.name, "kept", "t", f"t stops at {2**form.bits}")
        powers = {recursion.power for recursion in found if recursion.power is not None}
        for power in sorted(powers - {1}):
            limit = _limit(form.overflow, power)
            if limit is not None:
                yield Lint(form.name, "computed", "g", f"g^{power} overflows where abs(g) >= {limit:.3g}")
        for hyper in context.optimizer.hypers:
            for text in _computed(hyper, form):
                yield Lint(form.name, "computed", hyper.name, text)


def _kept(recursion: Recursion, form: Format) -> Iterator[str]:
    name, keeps, adds, power = recursion.state, recursion.keeps, recursion.adds, recursion.power
    if 0 < keeps < 1:
        probes = (Fraction(1), 1 + form.ulp, 2 - form.ulp)
        stuck = [rounded_to(keeps * value, form) == value for value in probes]
        if any(stuck):
            decay = "does not decay" if all(stuck) else "soon stops decaying"
            yield f"{name} {decay}: {float(1 - keeps):g} of it is less than half of its last bit"
    if power is None:
        return
    if keeps == 1:
        yield f"{name} stops growing after {2**form.bits} equal steps"
    if recursion.start == 0:
        limit = _limit(form.underflow / adds, power)
        if limit is not None:
            yield f"{name} stays 0 while abs(g) <= {limit:.3g}"
    if 0 <= keeps <= 1:
        limit = _limit((form.overflow - keeps * form.largest) / adds, power)
        if limit is not None:
            yield f"{name} overflows where abs(g) stays above {limit:.3g}"


def _limit(value: Fraction, power: int) -> float | None:
    """The gradient whose power is `value`, if it is an ordinary one."""
    if power > HIGHEST_POWER or not ORDINARY**-power < value < ORDINARY**power:
        return None
    root: float = float(value) ** (1 / power)
    return root


def _computed(hyper: Hyper, form: Format) -> Iterator[str]:
    rounded = rounded_to(hyper.default, form)
    if rounded is None:
        yield f"{hyper.name} = {float(hyper.default):g} is too large"
        return
    if rounded != hyper.default and (rounded in (0, 1) or not hyper.domain.contains(rounded)):
        outside = "" if hyper.domain.contains(rounded) else ", outside of its domain"
        yield f"{hyper.name} = {float(hyper.default):g} rounds to {float(rounded):g}{outside}"
    elif hyper.domain.high == 1 and hyper.default < 1:
        off = abs(rounded - hyper.default) / (1 - hyper.default)
        if off > MUCH * form.ulp / 2:
            yield f"1 - {hyper.name} is off by {float(off):.1e} of itself"


def _reads_time(context: Context) -> bool:
    return any(
        ref.role is Role.TIME
        for line in context.optimizer.lines
        for value in (line.value, line.first)
        if value is not None
        for ref in references(value)
    )


def rounded_to(value: Fraction, form: Format) -> Fraction | None:
    """The nearest number of a format, ties to even; None past its largest."""
    if value == 0:
        return value
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, form.lowest) - form.bits + 1)
    result = round(magnitude / unit) * unit  # Python rounds halves to even
    if result >= Fraction(2) ** (form.highest + 1):
        return None
    return result if value > 0 else -result
