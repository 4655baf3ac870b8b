"""Functions that are no instruction, as the same few instructions everywhere.

A CPU, a GPU and NumPy agree in every bit of them. Each takes lanes of float32 or float64 and gives lanes of
the same; it adds, multiplies, divides, compares and moves bits, and never branches, so it runs in vectors.
IEEE meaning: nothing raises, NaN goes through. Errors, against 200 bits (tests/test_portable_math.py): `exp`,
`log`, `sigmoid`, `tanh`, `cbrt` at most 2 units in the last place; `power` at most 2 of results between 1e-10
and 1e10, 16 at the ends of the range; results below the smallest normal number may be 0 (`sigmoid`).
Reductions of arguments and coefficients: Sun's fdlibm (e_exp.c, e_log.c, s_cbrt.c, k_sin.c, k_cos.c) and
Moshier's Cephes (tanh); `power`: T. J. Dekker's products of two numbers, "A floating-point technique for
extending the available precision", 1971.
NOT done: `sin` and `cos` of more than 1e5, which are NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

from .lanes import Lane, select

INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class _Format:
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


_DOUBLE = _Format(
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
_SINGLE = _Format(
    32, 23, 127, 2.0**-126, 89.5, -104.0,
    6.93145751953125e-01, 1.42860682030941723212e-06,
    (1.6666625440e-1, -2.7667332906e-3),
    (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841),
    4097.0, 6, 2.0**32, (16, 0x5555, 709958130),
    (-3.33332819422e-1, 1.33314422036e-1, -5.37397155531e-2, 2.06390887954e-2, -5.70498872745e-3),
    (1.0,),
)  # fmt: skip


def _format(x: Lane) -> _Format:
    return _DOUBLE if x.maker.bits == 64 else _SINGLE


def _polynomial(x: Lane, coefficients: Sequence[float]) -> Lane:
    value = x.number(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def floor(x: Lane) -> Lane:
    """A zero keeps its sign, and what has no fraction stays as it is."""
    form = _format(x)
    whole = 2.0**form.mantissa
    size = abs(x)
    nearest = (size + whole) - whole  # rounded to an integer, since no bit is left for less
    nearest = with_sign(nearest, x)
    down = select(nearest > x, nearest - 1.0, nearest)
    return select(size < whole, with_sign(down, select(down.equals(0.0), x, down)), x)


def with_sign(size: Lane, sign: Lane) -> Lane:
    top = 1 << (_format(size).bits - 1)
    return ((size.bits() & (top - 1)) | (sign.bits() & top)).from_bits()


def sign(x: Lane) -> Lane:
    """-1, 0 or 1; a zero keeps its sign, NaN stays."""
    return select((x > 0.0) | (x < 0.0), with_sign(x.number(1.0), x), x)


def maximum(x: Lane, y: Lane) -> Lane:
    return select((x > y) | x.is_nan(), x, y)


def minimum(x: Lane, y: Lane) -> Lane:
    return select((x < y) | x.is_nan(), x, y)


def clip(x: Lane, low: Lane, high: Lane) -> Lane:
    return minimum(maximum(x, low), high)


def _two_to(power: Lane, form: _Format) -> Lane:
    """2 to an integer that is no smaller than that of a normal number."""
    return ((power + form.bias) << form.mantissa).from_bits()


def _nearest(x: Lane, form: _Format) -> tuple[Lane, Lane]:
    """The nearest integer as a float, and as an integer; |x| below half the mantissa's range."""
    shifted = x + form.magic
    whole = shifted - form.magic
    return whole, shifted.bits() - x.number(form.magic).bits()


def exp(x: Lane) -> Lane:
    form = _format(x)
    bounded = select(x > form.exp_most, form.exp_most, x)
    bounded = select(bounded < form.exp_least, form.exp_least, bounded)
    whole, number = _nearest(bounded * 1.44269504088896338700, form)
    high = bounded - whole * form.ln2_high
    low = whole * form.ln2_low
    r = high - low
    square = r * r
    c = r - square * _polynomial(square, form.exp)
    value = 1.0 + (r * c / (2.0 - c) - low + high)
    half = _halved(number, form)
    return value * _two_to(half, form) * _two_to(number - half, form)


def _halved(number: Lane, form: _Format) -> Lane:
    """Half of a small integer, rounded down, with its sign."""
    far = 1 << (form.bits - 3)
    return ((number + far) >> 1) - (far >> 1)


def _taken_apart(x: Lane, form: _Format) -> tuple[Lane, Lane]:
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


def log(x: Lane) -> Lane:
    form = _format(x)
    k, m = _taken_apart(x, form)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    r = z * _polynomial(z, form.log)
    value = k * form.ln2_high - ((half_square - (s * (half_square + r) + k * form.ln2_low)) - f)
    value = select(x.equals(INF), x, value)
    value = select(x.equals(0.0), -INF, value)
    return select((x < 0.0) | x.is_nan(), NAN, value)


def sigmoid(x: Lane) -> Lane:
    return 1.0 / (1.0 + exp(-x))


def tanh(x: Lane) -> Lane:
    form = _format(x)
    size = abs(x)
    z = x * x
    near = x * z * _polynomial(z, form.tanh_over) / _polynomial(z, form.tanh_under) + x
    far = 1.0 - 2.0 / (exp(size + size) + 1.0)
    return with_sign(select(size < 0.625, near, select(x.is_nan(), x, far)), x)


def cbrt(x: Lane) -> Lane:
    form = _format(x)
    shift, factor, start = form.third
    size = abs(x)
    tiny = size < form.smallest
    up = 2.0**54 if form.bits == 64 else 2.0**24  # powers of 8
    scaled = select(tiny, size * up, size)
    t = ((scaled.bits() >> shift) * factor) + start
    if form.bits == 64:
        t = t & ~0xFFFFFFFF
    t = t.from_bits()
    r = (t * t) * (t / scaled)
    t = t * (
        (1.87595182427177009643 + r * (-1.88497979543377169875 + r * 1.621429720105354466140))
        + ((r * r) * r) * (-0.758397934778766047437 + r * 0.145996192886612446982)
    )
    if form.bits == 64:
        t = ((t.bits() + 0x80000000) & ~0x3FFFFFFF).from_bits()
    r = scaled / (t * t)
    t = t + t * ((r - t) / (t + t + r))
    t = select(tiny, t * (2.0**-18 if form.bits == 64 else 2.0**-8), t)
    same = size.equals(0.0) | size.equals(INF) | x.is_nan()
    return select(same, x, with_sign(t, x))


# --- powers: numbers as the sum of two ---------------------------------------------------------------


def two_sum(x: Lane, y: Lane) -> tuple[Lane, Lane]:
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _two_product(x: Lane, y: Lane) -> tuple[Lane, Lane]:
    split = _format(x).split

    def halves(value: Lane) -> tuple[Lane, Lane]:
        up = value * split
        high = up - (up - value)
        return high, value - high

    product = x * y
    (xh, xl), (yh, yl) = halves(x), halves(y)
    return product, ((xh * yh - product) + xh * yl + xl * yh) + xl * yl


def _log_of_two_parts(x: Lane, form: _Format) -> tuple[Lane, Lane]:
    """log(x) of a positive number as a sum of two, the second of which is some 2**-53 of the first."""
    k, m = _taken_apart(x, form)
    f = m - 1.0
    d, d_rest = two_sum(m, m.number(1.0))
    s = f / d
    product, rest = _two_product(s, d)
    s_rest = (((f - product) - rest) - s * d_rest) / d
    z = s * s
    series = z * _polynomial(z, [2.0 / (2 * n + 3) for n in range(form.power_terms)])
    high, low = two_sum(k * form.ln2_high, s + s)
    low = low + ((s_rest + s_rest) + s * series + k * form.ln2_low)
    return two_sum(high, low)


def power(x: Lane, y: Lane) -> Lane:
    """C's `pow`: 1 for the power 0 and of the base 1, NaN where there is no real value."""
    form = _format(x)
    size = abs(x)
    bounded = select(y > form.most_power, form.most_power, y)
    bounded = select(bounded < -form.most_power, -form.most_power, bounded)
    high, low = _log_of_two_parts(select((size.equals(0.0)) | size.equals(INF), 1.0, size), form)
    product, rest = _two_product(bounded, high)
    product, rest = two_sum(product, rest + bounded * low)
    value = exp(product)
    refined = value + value * rest
    value = select(value.equals(0.0) | value.equals(INF), value, refined)
    return _power_of_any(x, y, size, value)


def _power_of_any(x: Lane, y: Lane, size: Lane, value: Lane) -> Lane:
    """`value`, the power of |x|, or what C says where x is no positive number."""
    form = _format(x)
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


# --- of float64 that is rounded to float32: with an error of at most 1e-12 of the result ----------------


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
    form = _format(x)
    size = abs(x)
    k, m = _taken_apart(size, form)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    logarithm = k * _LN2 + s * (2.0 + z * _in_pairs(z, form.log))
    return _power_of_any(x, y, size, _short_exp(y * logarithm, form))


_LN2 = 6.93147180559945309417e-01
_SHORT_EXP = [1.0 / factorial(n) for n in range(11)]  # the next term is 2.2e-13 at the root of 2
_SHORT_MOST, _SHORT_LEAST = 709.78, -708.0  # between these, exponents are those of normal numbers


def _short_exp(x: Lane, form: _Format) -> Lane:
    bounded = select(x > _SHORT_MOST, _SHORT_MOST, select(x < _SHORT_LEAST, _SHORT_LEAST, x))
    whole, number = _nearest(bounded * 1.44269504088896338700, form)
    r = (bounded - whole * form.ln2_high) - whole * form.ln2_low
    value = (_in_pairs(r, _SHORT_EXP).bits() + (number << form.mantissa)).from_bits()
    return select(x > _SHORT_MOST, INF, select(x < _SHORT_LEAST, 0.0, value))


def short_cbrt(x: Lane) -> Lane:
    """`cbrt`, by what is nearly its reciprocal: without a division."""
    size = abs(x)
    tiny = size < _DOUBLE.smallest
    scaled = select(tiny, size * 2.0**54, size)
    # A third of the logarithm, from the bits, is 3.6% off at most; h is what is missing to 1 = x*y**3.
    y = (0x553EF9DB00000000 - (scaled.bits() >> 32) * 0x55555555).from_bits()
    h = 1.0 - scaled * y * (y * y)
    y = y + y * (h * _polynomial(h, (1.0 / 3.0, 2.0 / 9.0, 14.0 / 81.0)))
    h = 1.0 - scaled * y * (y * y)
    y = y + y * (h * _polynomial(h, (1.0 / 3.0, 2.0 / 9.0)))
    t = scaled * (y * y)
    t = select(tiny, t * 2.0**-18, t)
    return select(size.equals(0.0) | size.equals(INF) | x.is_nan(), x, with_sign(t, x))


def modulo(x: Lane, y: Lane) -> Lane:
    """The remainder with the sign of `y`; NaN for `y = 0`, and where the quotient has more than 52 digits.
    Float64.
    """
    quotient = floor(x / y)
    product, rest = _two_product(quotient, y)
    left = (x - product) - rest
    past = select(y > 0.0, left, -left)
    left = select(past < 0.0, left + y, select(past >= abs(y), left - y, left))
    left = select(abs(quotient) < 2.0**52, left, NAN)
    alike = ((x < 0.0) & (y < 0.0)) | ((x >= 0.0) & (y > 0.0)) | x.equals(0.0)
    left = select(abs(x) < abs(y), select(alike, x, x + y), left)
    return select(left.equals(0.0), with_sign(left, y), left)


def fma_by_double(x: Lane, y: Lane, z: Lane) -> Lane:
    """x*y + z of numbers that float32 has, as a float64 that rounds to float32 as the exact value does.

    The product is exact. The sum is rounded to odd: its last bit says that something was cut off, so that
    rounding it a second time cannot go wrong (Boldo & Melquiond, "Emulation of FMA and correctly rounded
    sums", 2008).
    """
    total, rest = two_sum(x * y, z)
    even = (total.bits() & 1).equals(0)
    inexact = (rest < 0.0) | (rest > 0.0)  # neither where something overflowed
    away = ((rest > 0.0) & (total > 0.0)) | ((rest < 0.0) & (total < 0.0))
    moved = select(away, total.bits() + 1, total.bits() - 1).from_bits()
    return select(even & inexact, moved, total)


# --- circles -----------------------------------------------------------------------------------------

_QUARTERS = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
_SIN = (-1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
        2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10)  # fmt: skip
_COS = (4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
        -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11)  # fmt: skip
MOST_ANGLE = 1e5


def _on_the_circle(x: Lane, quarters: int) -> Lane:
    """sin of x and so many quarters of a turn; float64 only."""
    form = _format(x)
    assert form.bits == 64, "sin and cos are for float64"
    whole, number = _nearest(x * 0.636619772367581343076, form)
    high, low = two_sum(x - whole * _QUARTERS[0], -(whole * _QUARTERS[1]))
    r, rest = two_sum(high, low - whole * _QUARTERS[2])
    z = r * r
    sine = r + (r * z * _polynomial(z, _SIN) + rest)
    half = 0.5 * z
    cosine = 1.0 - (half - (z * z * _polynomial(z, _COS) - r * rest))
    turn = (number + quarters) & 3
    value = select((turn & 1).equals(0), sine, cosine)
    value = select((turn & 2).equals(0), value, -value)
    return select(abs(x) <= MOST_ANGLE, value, NAN)


def sin(x: Lane) -> Lane:
    return _on_the_circle(x, 0)


def cos(x: Lane) -> Lane:
    return _on_the_circle(x, 1)


FUNCTIONS: dict[str, Callable[..., Lane]] = {
    each.__name__: each for each in (exp, log, sigmoid, tanh, cbrt, short_cbrt, floor, sign, sin, cos)
} | {"pow": power, "short_pow": short_power, "mod": modulo, "max": maximum, "min": minimum, "clip": clip}

SHORT = {"pow": "short_pow", "cbrt": "short_cbrt"}
"""What takes the place of a function where results are stored in half of the bits."""
"""By the names of `operators.OPERATORS`."""
ONLY_DOUBLE = frozenset(("sin", "cos", "mod"))
