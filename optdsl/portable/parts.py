"""What functions that are no instruction are made of: what fits a type of floats, and numbers taken apart.

In and out: lanes of float32 or float64. As `functions`: nothing branches, nothing raises, NaN goes through.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .lanes import Lane, select

INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class Format:
    """A type of floats, and the coefficients that fit it. Polynomials have their lowest coefficient first."""

    bits: int
    mantissa: int
    bias: int
    smallest: float  # that is normal
    exp_most: float  # above it, exp overflows in any case
    exp_least: float
    ln2_high: float  # with so many zeros at its end that its product with an exponent is exact
    ln2_low: float
    exp: Sequence[float]
    log: Sequence[float]
    split: float  # Dekker's: cuts a number in two halves
    power_terms: int
    most_power: float
    third: tuple[int, int, int]  # cbrt: shift, factor, and what is added to the bits
    tanh_over: Sequence[float]
    tanh_under: Sequence[float]

    @property
    def magic(self) -> float:
        """Added to a small number, it leaves the nearest integer in the lowest bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def mask(self) -> int:
        return (1 << self.mantissa) - 1


DOUBLE = Format(
    64, 52, 1023, 2.0**-1022, 710.0, -746.0,
    6.93147180369123816490e-01, 1.90821492927058770002e-10,
    (1.66666666666666019037e-01, -2.77777777770155933842e-03, 6.61375632143793436117e-05,
     -1.65339022054652515390e-06, 4.13813679705723846039e-08),
    (6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
     1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01),
    134217729.0, 12, 2.0**64, (32, 0x55555555, 715094163 << 32),
    (-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1),
    (4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1.0),
)  # fmt: skip
SINGLE = Format(
    32, 23, 127, 2.0**-126, 89.5, -104.0,
    6.93145751953125e-01, 1.42860682030941723212e-06,
    (1.6666625440e-1, -2.7667332906e-3),
    (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841),
    4097.0, 6, 2.0**32, (16, 0x5555, 709958130),
    (-3.33332819422e-1, 1.33314422036e-1, -5.37397155531e-2, 2.06390887954e-2, -5.70498872745e-3),
    (1.0,),
)  # fmt: skip


def format_of(x: Lane) -> Format:
    return DOUBLE if x.maker.bits == 64 else SINGLE


def polynomial(x: Lane, coefficients: Sequence[float]) -> Lane:
    value = x.number(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def floor(x: Lane) -> Lane:
    """A zero keeps its sign, and what has no fraction stays as it is."""
    form = format_of(x)
    whole = 2.0**form.mantissa
    size = abs(x)
    nearest = (size + whole) - whole  # rounded to an integer, since no bit is left for less
    nearest = with_sign(nearest, x)
    down = select(nearest > x, nearest - 1.0, nearest)
    return select(size < whole, with_sign(down, select(down.equals(0.0), x, down)), x)


def with_sign(size: Lane, sign: Lane) -> Lane:
    top = 1 << (format_of(size).bits - 1)
    return ((size.bits() & (top - 1)) | (sign.bits() & top)).from_bits()


def two_to(power: Lane, form: Format) -> Lane:
    """2 to an integer that is no smaller than that of a normal number."""
    return ((power + form.bias) << form.mantissa).from_bits()


def nearest(x: Lane, form: Format) -> tuple[Lane, Lane]:
    """The nearest integer as a float, and as an integer; |x| below half the mantissa's range."""
    shifted = x + form.magic
    whole = shifted - form.magic
    return whole, shifted.bits() - x.number(form.magic).bits()


def taken_apart(x: Lane, form: Format) -> tuple[Lane, Lane]:
    """x > 0 as k and m, where x = 2**k * m and m is between the roots of 1/2 and of 2; k is a float."""
    root = {64: 0x3FE6A09E00000000, 32: 0x3F3504F3}[form.bits]
    one = form.bias << form.mantissa
    up = 2.0 ** (form.mantissa + 2)
    tiny = x < form.smallest
    shifted = select(tiny, x * up, x).bits() + (one - root)
    exponent = (shifted >> form.mantissa) - form.bias
    k = (exponent + x.number(form.magic).bits()).from_bits() - form.magic
    mantissa = ((shifted & form.mask) + root).from_bits()
    return select(tiny, k - (form.mantissa + 2.0), k), mantissa


def two_sum(x: Lane, y: Lane) -> tuple[Lane, Lane]:
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def power_of_any(x: Lane, y: Lane, size: Lane, value: Lane) -> Lane:
    """`value`, the power of |x|, or what C says where x is no positive number."""
    form = format_of(x)
    value = select(size.equals(0.0), select(y > 0.0, 0.0, x.number(INF)), value)
    value = select(size.equals(INF), select(y > 0.0, INF, x.number(0.0)), value)
    whole = floor(y).equals(y)
    half = y * 0.5
    odd = whole & ~floor(half).equals(half)
    negative = ~(x.bits() & (1 << (form.bits - 1))).equals(0)
    value = select(negative & odd, -value, value)
    beyond = ~whole & (x < 0.0) & ~size.equals(INF)
    value = select(beyond | x.is_nan() | y.is_nan(), NAN, value)
    one = y.equals(0.0) | x.equals(1.0) | (size.equals(1.0) & abs(y).equals(INF))
    return select(one, 1.0, value)
