"""Numbers of 16 and of 8 bits as float32 is turned into them and back, the same bits everywhere.

Each function, but for keys, takes and gives lanes of 32 bits: a float, or the code of a number in an integer.
`nearest_*` rounds to nearest, ties to even. `stochastic_*` takes 32 random bits, too, and rounds up as often
as the number is near to what is above it, so that what is added a thousand times is not lost a thousand
times. NaN stays NaN, infinities stay infinite, and a number beyond the largest becomes infinite.

bf16  bfloat16: the upper half of a float32
f16   float16, IEEE's binary16
p16   the same for numbers that are not below 0: what is not 0 never becomes 0, so a denominator stays one
s8    8 bits, signed, for numbers of magnitude up to `MOST`: 4 bits of exponent, 3 of fraction; from 2^-17
      on. No infinity, no NaN: a block of them has a scale, which may be NaN
u8    8 bits for numbers from 0 to `MOST`: 5 bits of exponent, 3 of fraction; from 2^-33 on. What is not 0
      never becomes 0
low   what a bfloat16 is short of a float32 that it is the nearest to: 16 more bits

`random_bits` is a function of a key and of an element's number (the finalizer of A. Appleby's MurmurHash3 on
them): no state, and the same bits for the same step again.
"""

from collections.abc import Callable

from .lanes import Lane, select

MOST = 1.875  # of the numbers of 8 bits

_ABS, _QUIET, _HIGH = 0x7FFFFFFF, 0x00400000, 0xFFFF0000


def _xor(x: Lane, y: Lane) -> Lane:
    return (x | y) - (x & y)


def random_bits(element: Lane, key: Lane) -> Lane:
    x = element + key
    x = _xor(x, x >> 16) * 0x85EBCA6B
    x = _xor(x, x >> 13) * 0xC2B2AE35
    return _xor(x, x >> 16)


def rounding_key(parameter: Lane, step: Lane, pair: int, start: Lane) -> Lane:
    """For lanes of 64 bits: SplitMix64's finalizer. Its lower half is a key for `random_bits` of elements
    that are counted from `start`.
    """
    x = step * 0x9E3779B97F4A7C15 + parameter * 0xBF58476D1CE4E5B9 + pair
    x = _xor(x, x >> 30) * 0xBF58476D1CE4E5B9
    x = _xor(x, x >> 27) * 0x94D049BB133111EB
    return _xor(x, x >> 31) + start


def other_half(bits: Lane) -> Lane:
    """Random bits that are independent of the upper half of those that are given."""
    return bits << 16


def bf16_value(code: Lane) -> Lane:
    return (code << 16).from_bits()


def _bf16(x: Lane, added: Lane) -> Lane:
    bits = x.bits()
    return select(x.is_nan(), bits | _QUIET, bits + added) >> 16


def nearest_bf16(x: Lane) -> Lane:
    return _bf16(x, ((x.bits() >> 16) & 1) + 0x7FFF)


def stochastic_bf16(x: Lane, bits: Lane) -> Lane:
    return _bf16(x, bits >> 16)


def joined(high: Lane, low: Lane) -> Lane:
    """The float32 of which `high` is the nearest bfloat16, as a code, and `low` the rest."""
    return ((high << 16) + low - ((low & 0x8000) << 1)).from_bits()


def low_of(x: Lane) -> Lane:
    """The rest for `high_of`: the lower half, to be read as a signed number of 16 bits."""
    return select(x.is_nan(), 0, x.bits() & 0xFFFF)


def high_of(x: Lane) -> Lane:
    """The nearest bfloat16, of two that are as near the larger."""
    bits = x.bits()
    return select(x.is_nan(), bits | _QUIET, bits + 0x8000) >> 16


def f16_value(code: Lane) -> Lane:
    magnitude = code & 0x7FFF
    normal = ((magnitude << 13) + (112 << 23)).from_bits()
    small = ((magnitude << 13) + (113 << 23)).from_bits() - 2.0**-14
    special = ((magnitude << 13) + (224 << 23)).from_bits()
    value = select((magnitude >> 10).equals(0), small, normal)
    value = select((magnitude >> 10).equals(31), special, value)
    return (value.bits() | ((code & 0x8000) << 16)).from_bits()


def _f16(x: Lane, normal: Lane, small: Lane) -> Lane:
    """From the bits of the magnitude as rounded: those of normal numbers, and the codes of the small ones."""
    code = select(abs(x) < 2.0**-14, small, (normal - (112 << 23)) >> 13)
    code = select(abs(x) < 65536.0, code, 0x7C00)
    code = select((code >> 10).equals(31), 0x7C00, code)
    code = select(x.is_nan(), 0x7E00, code)
    return code | ((x.bits() >> 16) & 0x8000)


def nearest_f16(x: Lane) -> Lane:
    bits = x.bits() & _ABS
    return _f16(x, bits + ((bits >> 13) & 1) + 0xFFF, (abs(x) + 0.5).bits() - x.number(0.5).bits())


def stochastic_f16(x: Lane, bits: Lane) -> Lane:
    """Of small numbers too, in steps of 2^-24; there, bits below 2^-37 of them are not seen."""
    magnitude = x.bits() & _ABS
    shifted = select(abs(x) < 2.0**-14, abs(x), 0.0) + 2.0**-14  # so that steps are those of 2^-24
    small = ((shifted.bits() + (bits >> 19)) >> 13) - (113 << 10)
    return _f16(x, magnitude + (bits >> 19), small)


def stochastic_p16(x: Lane, bits: Lane) -> Lane:
    """Of what is below 0, 0."""
    code = stochastic_f16(x, bits)
    code = select(code.equals(0), 1, code)
    return select(x <= 0.0, 0, code)


def _eight(x: Lane, bits: Lane, exponent: int) -> Lane:
    """The code of a magnitude up to `MOST`, where the smallest normal number is 2^-exponent."""
    magnitude = abs(x)
    small = magnitude < 2.0**-exponent
    shifted = magnitude + select(small, x.number(2.0**-exponent), 0.0)
    base = select(small, (x.bits() & 0) + ((127 - exponent) << 3), (126 - exponent) << 3)
    return ((shifted.bits() + (bits >> 12)) >> 20) - base


def _eight_value(code: Lane, exponent: int) -> Lane:
    normal = ((code << 20) + ((126 - exponent) << 23)).from_bits()
    small = ((code << 20) + ((127 - exponent) << 23)).from_bits() - 2.0**-exponent
    return select((code >> 3).equals(0), small, normal)


def stochastic_s8(x: Lane, bits: Lane) -> Lane:
    return _eight(x, bits, 14) | ((x.bits() >> 24) & 0x80)


def s8_value(code: Lane) -> Lane:
    return (_eight_value(code & 0x7F, 14).bits() | ((code & 0x80) << 24)).from_bits()


def stochastic_u8(x: Lane, bits: Lane) -> Lane:
    """Of what is below 0, 0."""
    code = _eight(x, bits, 30)
    code = select(code.equals(0), 1, code)
    return select(x > 0.0, code, 0)


def u8_value(code: Lane) -> Lane:
    return _eight_value(code, 30)


FORMATS: dict[str, tuple[Callable[..., Lane], str, str]] = {
    "random_bits": (random_bits, "i", "ii"),
    "other_half": (other_half, "i", "i"),
    "bf16_value": (bf16_value, "f", "i"),
    "nearest_bf16": (nearest_bf16, "i", "f"),
    "stochastic_bf16": (stochastic_bf16, "i", "fi"),
    "joined": (joined, "f", "ii"),
    "low_of": (low_of, "i", "f"),
    "high_of": (high_of, "i", "f"),
    "f16_value": (f16_value, "f", "i"),
    "nearest_f16": (nearest_f16, "i", "f"),
    "stochastic_f16": (stochastic_f16, "i", "fi"),
    "p16_value": (f16_value, "f", "i"),
    "stochastic_p16": (stochastic_p16, "i", "fi"),
    "stochastic_s8": (stochastic_s8, "i", "fi"),
    "s8_value": (s8_value, "f", "i"),
    "stochastic_u8": (stochastic_u8, "i", "fi"),
    "u8_value": (u8_value, "f", "i"),
}
"""Every function, what it gives, and what it takes: "f" a float, "i" an integer."""
