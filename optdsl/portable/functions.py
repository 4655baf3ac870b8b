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

from collections.abc import Callable

from .lanes import Lane, select
from .parts import (
    INF,
    NAN,
    Format,
    floor,
    format_of,
    nearest,
    polynomial,
    power_of_any,
    taken_apart,
    two_sum,
    two_to,
    with_sign,
)
from .short import short_cbrt, short_power


def sign(x: Lane) -> Lane:
    """-1, 0 or 1; a zero keeps its sign, NaN stays."""
    return select((x > 0.0) | (x < 0.0), with_sign(x.number(1.0), x), x)


def maximum(x: Lane, y: Lane) -> Lane:
    return select((x > y) | x.is_nan(), x, y)


def minimum(x: Lane, y: Lane) -> Lane:
    return select((x < y) | x.is_nan(), x, y)


def clip(x: Lane, low: Lane, high: Lane) -> Lane:
    return minimum(maximum(x, low), high)


def exp(x: Lane) -> Lane:
    form = format_of(x)
    bounded = select(x > form.exp_most, form.exp_most, x)
    bounded = select(bounded < form.exp_least, form.exp_least, bounded)
    whole, number = nearest(bounded * 1.44269504088896338700, form)
    high = bounded - whole * form.ln2_high
    low = whole * form.ln2_low
    r = high - low
    square = r * r
    c = r - square * polynomial(square, form.exp)
    value = 1.0 + (r * c / (2.0 - c) - low + high)
    half = _halved(number, form)
    return value * two_to(half, form) * two_to(number - half, form)


def _halved(number: Lane, form: Format) -> Lane:
    """Half of a small integer, rounded down, with its sign."""
    far = 1 << (form.bits - 3)
    return ((number + far) >> 1) - (far >> 1)


def log(x: Lane) -> Lane:
    form = format_of(x)
    k, m = taken_apart(x, form)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    r = z * polynomial(z, form.log)
    value = k * form.ln2_high - ((half_square - (s * (half_square + r) + k * form.ln2_low)) - f)
    value = select(x.equals(INF), x, value)
    value = select(x.equals(0.0), -INF, value)
    return select((x < 0.0) | x.is_nan(), NAN, value)


def sigmoid(x: Lane) -> Lane:
    return 1.0 / (1.0 + exp(-x))


def tanh(x: Lane) -> Lane:
    form = format_of(x)
    size = abs(x)
    z = x * x
    near = x * z * polynomial(z, form.tanh_over) / polynomial(z, form.tanh_under) + x
    far = 1.0 - 2.0 / (exp(size + size) + 1.0)
    return with_sign(select(size < 0.625, near, select(x.is_nan(), x, far)), x)


def cbrt(x: Lane) -> Lane:
    form = format_of(x)
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


def _two_product(x: Lane, y: Lane) -> tuple[Lane, Lane]:
    split = format_of(x).split

    def halves(value: Lane) -> tuple[Lane, Lane]:
        up = value * split
        high = up - (up - value)
        return high, value - high

    product = x * y
    (xh, xl), (yh, yl) = halves(x), halves(y)
    return product, ((xh * yh - product) + xh * yl + xl * yh) + xl * yl


def _log_of_two_parts(x: Lane, form: Format) -> tuple[Lane, Lane]:
    """log(x) of a positive number as a sum of two, the second of which is some 2**-53 of the first."""
    k, m = taken_apart(x, form)
    f = m - 1.0
    d, d_rest = two_sum(m, m.number(1.0))
    s = f / d
    product, rest = _two_product(s, d)
    s_rest = (((f - product) - rest) - s * d_rest) / d
    z = s * s
    series = z * polynomial(z, [2.0 / (2 * n + 3) for n in range(form.power_terms)])
    high, low = two_sum(k * form.ln2_high, s + s)
    low = low + ((s_rest + s_rest) + s * series + k * form.ln2_low)
    return two_sum(high, low)


def power(x: Lane, y: Lane) -> Lane:
    """C's `pow`: 1 for the power 0 and of the base 1, NaN where there is no real value."""
    form = format_of(x)
    size = abs(x)
    bounded = select(y > form.most_power, form.most_power, y)
    bounded = select(bounded < -form.most_power, -form.most_power, bounded)
    high, low = _log_of_two_parts(select((size.equals(0.0)) | size.equals(INF), 1.0, size), form)
    product, rest = _two_product(bounded, high)
    product, rest = two_sum(product, rest + bounded * low)
    value = exp(product)
    refined = value + value * rest
    value = select(value.equals(0.0) | value.equals(INF), value, refined)
    return power_of_any(x, y, size, value)


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
    form = format_of(x)
    assert form.bits == 64, "sin and cos are for float64"
    whole, number = nearest(x * 0.636619772367581343076, form)
    high, low = two_sum(x - whole * _QUARTERS[0], -(whole * _QUARTERS[1]))
    r, rest = two_sum(high, low - whole * _QUARTERS[2])
    z = r * r
    sine = r + (r * z * polynomial(z, _SIN) + rest)
    half = 0.5 * z
    cosine = 1.0 - (half - (z * z * polynomial(z, _COS) - r * rest))
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
