"""What PTX's arithmetic gives, on arrays: fused multiply-adds rounded once, comparisons, conversions.

In and out: NumPy arrays of one dtype, an element for each thread. NaN comes out where it should, with
whatever payload: compare it as NaN. Divisions and roots are IEEE also where PTX says `.approx` or `.full`.
"""

from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_KINDS = {"b": "u", "u": "u", "s": "i", "f": "f"}


def dtype_of(kind: str) -> Any:
    """`f32` as NumPy has it. Raises `KeyError`."""
    if kind[1:] not in ("8", "16", "32", "64") or kind[0] not in _KINDS:
        raise KeyError(f"the type .{kind}")
    return np.dtype(f"{_KINDS[kind[0]]}{int(kind[1:]) // 8}")


_SPLIT = 134217729.0  # 2^27 + 1: Veltkamp's, cuts 53 bits in two halves
_SAFE = 2.0**400  # products and sums of numbers between 1/_SAFE and _SAFE neither overflow nor lose bits


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and its error, exactly (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded product and its error, exactly where nothing over- or underflows (Dekker)."""
    product = a * b
    x, y = _SPLIT * a, _SPLIT * b
    a_high, b_high = x - (x - a), y - (y - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _sum_to_odd(a: Array, b: Array) -> Array:
    """The sum, rounded to odd: rounding it again, to fewer bits, is as rounding the exact sum once."""
    total, error = _two_sum(a, b)
    bits = total.view(np.int64)
    step = np.where((error > 0) == (total > 0), 1, -1)
    inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    return np.where(inexact, bits + step, bits).view(np.float64)


def fma(a: Array, b: Array, c: Array) -> Array:
    """a*b + c, rounded once: of float32, or of float64."""
    with np.errstate(all="ignore"):
        if a.dtype == np.float32:
            a, b, c = (each.astype(np.float64) for each in (a, b, c))
            return _sum_to_odd(a * b, c).astype(np.float32)  # a product of two has at most 48 bits
        return _fma64(a, b, c)


def _fma64(a: Array, b: Array, c: Array) -> Array:
    """Boldo & Melquiond, "Emulation of a FMA and Correctly Rounded Sums", IEEE Trans. Computers 2008.

    What is so large or so small that it does not apply is computed with fractions.
    """
    high, low = _two_product(a, b)
    sum_high, sum_low = _two_sum(c, low)
    total_high, total_low = _two_sum(high, sum_high)
    result: Array = total_high + _sum_to_odd(sum_low, total_low)
    finite = np.isfinite(a) & np.isfinite(b)
    result = np.where(finite & np.isfinite(c) & (a != 0) & (b != 0), result, a * b + c)
    result = np.where(finite & np.isinf(c), c, result)  # where a*b overflows, too
    usual = (c == 0) | _usual(c)
    for each in (a, b, a * b):
        usual &= _usual(each)
    for i in np.flatnonzero(finite & np.isfinite(c) & (a != 0) & (b != 0) & ~usual):
        result[i] = _exactly(float(a[i]), float(b[i]), float(c[i]))
    return result


def _usual(x: Array) -> Array:
    return (np.abs(x) > 1 / _SAFE) & (np.abs(x) < _SAFE)


def _exactly(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c  # which has the right sign: zero, or what cancels
    try:
        return float(exact)
    except OverflowError:
        return float("inf") if exact > 0 else -float("inf")


def shift(left: bool, x: Array, places: Array) -> Array:
    """As PTX: places beyond the width give zeros, or the sign."""
    width = 8 * x.dtype.itemsize
    beyond = places >= width
    inside = np.where(beyond, 0, places).astype(x.dtype)
    negative = not left and x.dtype.kind == "i"
    rest = np.where(x < 0, x.dtype.type(-1), x.dtype.type(0)) if negative else np.zeros_like(x)
    found: Array = np.where(beyond, rest, np.left_shift(x, inside) if left else np.right_shift(x, inside))
    return found


def _extreme(largest: bool, a: Array, b: Array) -> Array:
    """The larger or smaller; a NaN gives way to the other, and -0 is less than +0."""
    if a.dtype.kind != "f":
        return np.maximum(a, b) if largest else np.minimum(a, b)
    first = np.where(np.signbit(a) == largest, b, a)  # of two zeros
    chosen = np.fmax(a, b) if largest else np.fmin(a, b)
    found: Array = np.where((a == 0) & (b == 0), first, chosen)
    return found


def largest(a: Array, b: Array) -> Array:
    return _extreme(True, a, b)


def smallest(a: Array, b: Array) -> Array:
    return _extreme(False, a, b)


def multiply_high(a: Array, b: Array) -> Array:
    """The upper half of the product of two integers."""
    bits = 8 * a.dtype.itemsize
    exact = a.astype(object) * b.astype(object)
    upper = [int(each) >> bits & (1 << bits) - 1 for each in exact]
    return np.array(upper, f"u{a.dtype.itemsize}").view(a.dtype)


def multiply_wide(a: Array, b: Array) -> Array:
    wide = np.dtype(f"{a.dtype.kind}{2 * a.dtype.itemsize}")
    product: Array = np.multiply(a.astype(wide), b.astype(wide))
    return product


def divide(a: Array, b: Array) -> Array:
    """Integers towards zero."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if (b == 0).any():
        raise ZeroDivisionError("an integer is divided by zero")
    return ((a - np.fmod(a, b)) // b).astype(a.dtype)


def remainder(a: Array, b: Array) -> Array:
    if (b == 0).any():
        raise ZeroDivisionError("an integer is divided by zero")
    return np.fmod(a, b)


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": divide, "rem": remainder,
    "min": smallest, "max": largest, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip

UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative, "abs": np.abs, "not": np.bitwise_not, "sqrt": np.sqrt,
    "rcp": lambda x: x.dtype.type(1) / x, "rsqrt": lambda x: x.dtype.type(1) / np.sqrt(x),
    "ex2": np.exp2, "lg2": np.log2, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
}  # fmt: skip

COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal, "ne": lambda a, b: (a < b) | (a > b) if a.dtype.kind == "f" else a != b,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
    "equ": lambda a, b: ~((a < b) | (a > b)), "neu": np.not_equal, "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b), "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: (a == a) & (b == b), "nan": lambda a, b: (a != a) | (b != b),
}  # fmt: skip

_ROUND: dict[str, Callable[[Array], Array]] = {
    "rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil,
}  # fmt: skip


def convert(x: Array, to: Any, modes: tuple[str, ...]) -> Array:
    """Raises `KeyError` for a mode that is not known, or that is missing."""
    to = np.dtype(to)
    whole = [_ROUND[mode] for mode in modes if mode in _ROUND]
    unknown = set(modes) - set(_ROUND) - {"rn", "ftz"}
    if unknown:
        raise KeyError(f"the mode {sorted(unknown)[0]}")
    if x.dtype.kind != "f":
        return x.astype(to)
    if to.kind == "f":
        return (whole[0](x) if whole else x).astype(to)
    limits = np.iinfo(to)
    rounded = whole[0](x)
    missing = 0 if x.dtype != np.float64 and to.itemsize < 8 else 1 << (8 * to.itemsize - 1)
    found = np.empty(x.shape, to)
    for i, value in enumerate(rounded.tolist()):
        exact = int(value) if isfinite(value) else limits.max if value > 0 else limits.min
        exact = min(max(exact, limits.min), limits.max)
        found[i] = np.array(missing, f"u{to.itemsize}").view(to) if value != value else exact
    return found
