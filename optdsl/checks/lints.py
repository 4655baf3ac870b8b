"""What small number formats do to the defaults of a spec: information, never a verdict.

float16 and bfloat16 are what people keep states in to save memory; the defaults of papers were chosen for
float32. Rounding is exact (fractions to the nearest value, ties to even).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from optdsl.checks.context import Context
from optdsl.language.optimizer import Hyper


@dataclass(frozen=True)
class Format:
    """`bits` of precision (the hidden one too); exponents of the smallest and largest normal number."""

    name: str
    bits: int
    lowest: int
    highest: int


FORMATS = (Format("float16", 11, -14, 15), Format("bfloat16", 8, -126, 127))


@dataclass(frozen=True)
class Lint:
    dtype: str
    subject: str
    text: str


def dtype_lints(context: Context) -> Iterator[Lint]:
    for form in FORMATS:
        for hyper in context.optimizer.hypers:
            yield from _of(hyper, form)


def _of(hyper: Hyper, form: Format) -> Iterator[Lint]:
    rounded = rounded_to(hyper.default, form)
    if rounded is None:
        yield Lint(form.name, hyper.name, f"{hyper.name} = {float(hyper.default):g} is too large")
    elif rounded != hyper.default and (rounded in (0, 1) or not hyper.domain.contains(rounded)):
        outside = "" if hyper.domain.contains(rounded) else ", outside of its domain"
        text = f"{hyper.name} = {float(hyper.default):g} rounds to {float(rounded):g}{outside}"
        yield Lint(form.name, hyper.name, text)


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
