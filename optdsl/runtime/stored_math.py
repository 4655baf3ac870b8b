"""`optdsl.portable.formats` for Numba's kernels, and what goes with it: keys, and the scales of blocks.

In and out: float32 and uint32 scalars; the functions are straight lines of instructions, which become
vectors.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from optdsl.portable.formats import FORMATS, MOST
from optdsl.runtime.batch import CODED as CODED  # kernels read it here
from optdsl.runtime.lane_calls import lane_call

_TYPES = {"f": types.float32, "i": types.uint32}


def _function(name: str) -> Any:
    function, gives, takes = FORMATS[name]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wanted = [
            context.cast(builder, value, given, _TYPES[kind])
            for value, given, kind in zip(arguments, signature.args, takes, strict=True)
        ]
        return lane_call(context, builder, f"optdsl.{name}", function, gives + takes, 32, wanted)

    def typed(*given: Any) -> Any:
        for each, kind in zip(given, takes, strict=True):
            if (kind == "f") != (each == types.float32) or (
                kind == "i" and not isinstance(each, types.Integer)
            ):
                raise TypeError(f"{name} takes {takes}, not {given}")
        return _TYPES[gives](*given), generate

    if len(takes) == 1:
        return intrinsic(lambda typing_context, x: typed(x))
    return intrinsic(lambda typing_context, x, y: typed(x, y))


random_bits, other_half = _function("random_bits"), _function("other_half")
bf16_value, nearest_bf16, stochastic_bf16 = map(_function, ("bf16_value", "nearest_bf16", "stochastic_bf16"))
joined, low_of, high_of = map(_function, ("joined", "low_of", "high_of"))
f16_value, nearest_f16, stochastic_f16 = map(_function, ("f16_value", "nearest_f16", "stochastic_f16"))
p16_value, stochastic_p16 = map(_function, ("p16_value", "stochastic_p16"))
s8_value, stochastic_s8, u8_value, stochastic_u8 = map(
    _function, ("s8_value", "stochastic_s8", "u8_value", "stochastic_u8")
)


@register_jitable
def rounding_key(parameter: int, step: float, pair: int, start: int) -> int:
    """What `random_bits` are a function of beside the element: SplitMix64's finalizer, its lower half."""
    x = np.uint64(step) * np.uint64(0x9E3779B97F4A7C15)
    x = x + np.uint64(parameter) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(pair)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = (x ^ (x >> np.uint64(31))) + np.uint64(start)  # so that elements are counted from there
    return np.uint32(x & np.uint64(0xFFFFFFFF))  # type: ignore[return-value]


@intrinsic(prefer_literal=True)
def block_memory(typing_context: Any, number: Any) -> Any:
    """The address of `CODED` float32 on the stack: others for each number, the same in every round."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        allocate: Any = cgutils.alloca_once
        room = allocate(builder, ir.ArrayType(ir.FloatType(), CODED))
        room.align = 64
        return builder.ptrtoint(room, ir.IntType(64))

    return types.uint64(number), generate


@intrinsic
def _load_bits(typing_context: Any, address: Any, index: Any) -> Any:
    """Of a float32, untagged: whatever the number of its buffer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = builder.inttoptr(arguments[0], ir.IntType(32).as_pointer())
        return builder.load(builder.gep(start, [arguments[1]]))

    return types.uint32(address, index), generate


@intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


_bits_at: Any = _load_bits
_from_bits: Any = _as_float


@register_jitable
def block_scale(block: int, count: int) -> Any:
    """What turns numbers up to `MOST` into those of a block of float32; 0 where all are below 2^-120.

    By their bits, which are in the order of their magnitudes, NaN the largest: it makes the scale NaN.
    """
    most = np.uint32(0)
    for j in range(count):
        most = max(most, np.uint32(_bits_at(block, j) & np.uint32(0x7FFFFFFF)))
    largest = _from_bits(most)
    return np.float32(0.0) if largest < np.float32(2.0**-120) else largest / np.float32(MOST)


_BELOW = np.float32(1 - 2.0**-22)


@register_jitable
def inverse_of(scale: Any) -> Any:
    """A little below it, so that rounding makes no number larger than `MOST`; 0 where there is none."""
    return _BELOW / scale if scale > np.float32(0.0) else np.float32(0.0)
