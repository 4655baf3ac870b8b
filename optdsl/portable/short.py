"""Functions whose results are stored in half of the bits: float64 that is rounded to float32.

In and out: lanes of float64. Errors: at most 1e-12 of the result (tests/test_portable_math.py), some 1e-5 of
what rounding to float32 takes away. What is no number is as in `functions`.
"""

from collections.abc import Sequence
from math import factorial

from .lanes import Lane, select
from .parts import DOUBLE, INF, Format, format_of, nearest, polynomial, power_of_any, taken_apart, with_sign


def _in_pairs(x: Lane, coefficients: Sequence[float]) -> Lane:
    """A polynomial, added up as a tree: half of the time, where each operation waits for the one before."""
    terms: list[Lane] = [x.number(each) for each in coefficients]
    while len(terms) > 1:
        pairs = [terms[n] + x * terms[n + 1] for n in range(0, len(terms) - 1, 2)]
        terms = [*pairs, *terms[len(terms) // 2 * 2 :]]
        x = x * x
    return terms[0]


def short_power(x: Lane, y: Lane) -> Lane:
    """`power`; results below 3e-308 may be 0."""
    form = format_of(x)
    size = abs(x)
    k, m = taken_apart(size, form)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    logarithm = k * _LN2 + s * (2.0 + z * _in_pairs(z, form.log))
    return power_of_any(x, y, size, _short_exp(y * logarithm, form))


_LN2 = 6.93147180559945309417e-01
_SHORT_EXP = [1.0 / factorial(n) for n in range(11)]  # the next term is 2.2e-13 at the root of 2
_SHORT_MOST, _SHORT_LEAST = 709.78, -708.0  # between these, exponents are those of normal numbers


def _short_exp(x: Lane, form: Format) -> Lane:
    bounded = select(x > _SHORT_MOST, _SHORT_MOST, select(x < _SHORT_LEAST, _SHORT_LEAST, x))
    whole, number = nearest(bounded * 1.44269504088896338700, form)
    r = (bounded - whole * form.ln2_high) - whole * form.ln2_low
    value = (_in_pairs(r, _SHORT_EXP).bits() + (number << form.mantissa)).from_bits()
    return select(x > _SHORT_MOST, INF, select(x < _SHORT_LEAST, 0.0, value))


def short_cbrt(x: Lane) -> Lane:
    """`cbrt`, by what is nearly its reciprocal: without a division."""
    size = abs(x)
    tiny = size < DOUBLE.smallest
    scaled = select(tiny, size * 2.0**54, size)
    # A third of the logarithm, from the bits, is 3.6% off at most; h is what is missing to 1 = x*y**3.
    y = (0x553EF9DB00000000 - (scaled.bits() >> 32) * 0x55555555).from_bits()
    h = 1.0 - scaled * y * (y * y)
    y = y + y * (h * polynomial(h, (1.0 / 3.0, 2.0 / 9.0, 14.0 / 81.0)))
    h = 1.0 - scaled * y * (y * y)
    y = y + y * (h * polynomial(h, (1.0 / 3.0, 2.0 / 9.0)))
    t = scaled * (y * y)
    t = select(tiny, t * 2.0**-18, t)
    return select(size.equals(0.0) | size.equals(INF) | x.is_nan(), x, with_sign(t, x))
