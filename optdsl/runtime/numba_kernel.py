"""What generated kernels are written with: the `kernel` and `prologue` decorators, reads, writes, casts.

A kernel takes the table of addresses, the table of chunks, which chunks to do, and the step scalars; it
is serial, holds no lock of Python's, and never raises. A prologue turns rows of hyperparameters into rows
of step scalars. Both are compiled when first called, for one signature each, or loaded from
`kernel_cache`.

Assumed: the buffers of one tensor do not overlap. `read_*` and `write_*` promise that to LLVM (a scope
for each buffer number, written on every access), which otherwise gives up on vectors after a few
pointers; whoever fills the table has to see to it.
NOT done: bounds checks. An address that is not one is a crash.
"""

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, register_jitable

from optdsl.runtime.batch import BLOCK as BLOCK  # kernels read it here
from optdsl.runtime.batch import MAX_BUFFERS, MAX_SUMS
from optdsl.runtime.kernel_cache import KernelCache
from optdsl.runtime.scalar_math import maximum

_ADDRESSES = types.Array(types.uint64, 2, "C")
_CHUNKS = types.Array(types.int64, 2, "C")
_ROWS = types.Array(types.float64, 2, "C")
_ROW = types.Array(types.float64, 1, "C")

f32 = np.float32
f64 = np.float64


class Kernel:
    """A function of Python that runs compiled; calling it compiles it first when need be.

    Thread-safe. Raises `TypeError` for arguments of other types than the signature's, and
    `RuntimeError` when Numba is switched off.
    """

    def __init__(self, function: Callable[..., None], signature: tuple[Any, ...]) -> None:
        self.function = function
        self.signature = signature
        self.cache = KernelCache(function, signature)
        self._dispatcher: Any = None
        self._lock = threading.Lock()
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    @property
    def compiled(self) -> Any:
        """The Numba dispatcher, with the one signature compiled and no other possible."""
        if self._dispatcher is None:
            with self._lock:
                if self._dispatcher is None:
                    self._dispatcher = self._compile()
        return self._dispatcher

    def _compile(self) -> Any:
        if getattr(numba.config, "DISABLE_JIT", 0):
            raise RuntimeError("fused kernels need Numba's compiler: unset NUMBA_DISABLE_JIT")
        dispatcher: Any = njit(error_model="numpy", nogil=True)(self.function)
        dispatcher._cache = self.cache
        dispatcher.compile(self.signature)
        dispatcher.disable_compile()
        return dispatcher

    def assembly(self) -> str:
        """The machine code for this processor as text, which is kept beside the code."""
        dispatcher: Any = njit(error_model="numpy", nogil=True)(self.function)

        def make() -> str:
            dispatcher.compile(self.signature)
            return "\n".join(dispatcher.inspect_asm().values())

        return self.cache.assembly(dispatcher.targetctx, make)

    def __call__(self, *arguments: Any) -> None:
        self.compiled(*arguments)


def compiled(*signature: Any) -> Callable[[Callable[..., None]], Kernel]:
    """Decorator: a `Kernel` for the argument types `signature`."""
    return lambda function: Kernel(function, signature)


# update(addresses, chunks, first, last, scalars)
kernel = compiled(_ADDRESSES, _CHUNKS, types.int64, types.int64, _ROWS)
# reduce0(addresses, chunks, first, last, scalars, scratch, partials)
reduction = compiled(_ADDRESSES, _CHUNKS, types.int64, types.int64, _ROWS, types.uint64, _ROWS)
# reduce0(addresses, chunks, first, last, scalars, scratch, partials, columns)
matrix_reduction = compiled(
    *(_ADDRESSES, _CHUNKS, types.int64, types.int64, _ROWS, types.uint64, _ROWS),
    types.Array(types.uint64, 1, "C"),
)
# prepare(hypers, t, direction, states, scalars)
prologue = compiled(_ROWS, _ROW, _ROW, _ROWS, _ROWS)


@register_jitable
def f32_bytes(count: int) -> int:
    """How far `count` float32 are from the first, as an unsigned number that can be added to an address."""
    return np.uint64(4) * np.uint64(count)  # type: ignore[return-value]


@register_jitable
def u16_bytes(count: int) -> int:
    """How far `count` numbers of 16 bits are from the first."""
    return np.uint64(2) * np.uint64(count)  # type: ignore[return-value]


@register_jitable
def u8_bytes(count: int) -> int:
    """How far `count` numbers of 8 bits are from the first."""
    return np.uint64(count)  # type: ignore[return-value]


@register_jitable
def f64_bytes(count: int) -> int:
    """How far `count` float64 are from the first."""
    return np.uint64(8) * np.uint64(count)  # type: ignore[return-value]


def _tag(builder: ir.IRBuilder, access: ir.Instruction, buffer: int) -> None:
    """`access` touches this buffer and none of the others."""
    module = builder.module
    domain = module.add_metadata(["optdsl.buffers"])
    scopes = [module.add_metadata([f"buffer {number}", domain]) for number in range(MAX_BUFFERS)]
    access.set_metadata("alias.scope", module.add_metadata([scopes[buffer]]))
    access.set_metadata("noalias", module.add_metadata(scopes[:buffer] + scopes[buffer + 1 :]))


def _accessors(element: Any, llvm_type: Any, size: int) -> tuple[Any, Any]:
    """`read(address, index, buffer)` and `write(address, index, value, buffer)` for one element type.

    Integers of 8 and 16 bits are uint32 outside of memory.
    """
    short = size < 4

    def place(builder: ir.IRBuilder, address: ir.Value, index: ir.Value) -> ir.Value:
        return builder.gep(builder.inttoptr(address, llvm_type.as_pointer()), [index])

    def check(address: Any, buffer: Any) -> int:
        if address != types.uint64:
            raise TypeError(f"an address is a uint64, not {address}")
        number: int = buffer.literal_value
        if not 0 <= number < MAX_BUFFERS:
            raise ValueError(f"buffers are numbered 0 to {MAX_BUFFERS - 1}, not {number}")
        return number

    @intrinsic(prefer_literal=True)
    def read(typing_context: Any, address: Any, index: Any, buffer: Any) -> Any:
        number = check(address, buffer)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            access = builder.load(place(builder, arguments[0], arguments[1]))
            access.align = size
            _tag(builder, access, number)
            return builder.zext(access, ir.IntType(32)) if short else access

        return element(address, index, buffer), generate

    @intrinsic(prefer_literal=True)
    def write(typing_context: Any, address: Any, index: Any, value: Any, buffer: Any) -> Any:
        number = check(address, buffer)
        if value != element:
            raise TypeError(f"a {value} is written where {element} are kept: cast it")

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.trunc(arguments[2], llvm_type) if short else arguments[2]
            access = builder.store(value, place(builder, arguments[0], arguments[1]))
            access.align = size
            _tag(builder, access, number)
            return context.get_dummy_value()

        return types.void(address, index, value, buffer), generate

    return read, write


read_f32, write_f32 = _accessors(types.float32, ir.FloatType(), 4)
read_f64, write_f64 = _accessors(types.float64, ir.DoubleType(), 8)
read_u64, _ = _accessors(types.uint64, ir.IntType(64), 8)
read_u16, write_u16 = _accessors(types.uint32, ir.IntType(16), 2)
read_u8, write_u8 = _accessors(types.uint32, ir.IntType(8), 1)


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Asks for the memory at an address, without waiting. One that is not an address does no harm."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        builder.call(function, [place, i32(0), i32(3), i32(1)])  # to read, into all caches, data
        return context.get_dummy_value()

    return types.void(types.uint64), generate


def _block_sum(buffer: int) -> Any:
    """For summands that were written as this buffer: the number has to be a constant."""

    @register_jitable
    def block_sum(scratch, count):  # type: ignore[no-untyped-def]
        """The sum of `count` float64 at an address, at most BLOCK: halves are added to halves, in vectors.

        The order of additions depends on nothing but the count; their errors grow with its logarithm.
        """
        width = BLOCK
        while width // 2 >= count:  # folding zeros into the first half changes nothing
            width = width // 2
        for j in range(count, width):
            write_f64(scratch, j, 0.0, buffer)
        while width > 1:
            width = width // 2
            for j in range(width):
                left, right = read_f64(scratch, j, buffer), read_f64(scratch, j + width, buffer)
                write_f64(scratch, j, left + right, buffer)
        return read_f64(scratch, 0, buffer)

    return block_sum


def _block_max(buffer: int) -> Any:
    @register_jitable
    def block_max(scratch, count):  # type: ignore[no-untyped-def]
        """The largest of `count` float64 at an address, NaN if one is; at least one is there."""
        largest = read_f64(scratch, 0, buffer)
        for j in range(1, count):
            largest = maximum(largest, read_f64(scratch, j, buffer))
        return largest

    return block_max


block_sum0, block_sum1, block_sum2, block_sum3, block_sum4, block_sum5, block_sum6, block_sum7 = (
    _block_sum(MAX_BUFFERS - 1 - number) for number in range(MAX_SUMS)
)
block_max0, block_max1, block_max2, block_max3, block_max4, block_max5, block_max6, block_max7 = (
    _block_max(MAX_BUFFERS - 1 - number) for number in range(MAX_SUMS)
)
