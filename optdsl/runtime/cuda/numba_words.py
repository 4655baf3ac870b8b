"""What kernels that Numba compiles for GPUs say: reads and writes, threads, shared sums, functions.

Each of them becomes a few instructions in the kernel that calls it; nothing is called, and no float64 comes
in where float32 goes in. Functions are those of `optdsl.portable`, with their bits.
Assumed: addresses are right, and vectors (`read4_f32` and its like) lie at multiples of 16 bytes.
NOT done: bounds checks. An address that is not one is a fault, after which the process has lost the GPU.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from optdsl.portable.functions import FUNCTIONS
from optdsl.portable.lanes import Lane, Sort
from optdsl.runtime.batch import BLOCK as BLOCK  # kernels read it here
from optdsl.runtime.cuda.kernel import THREADS as THREADS
from optdsl.runtime.cuda.numba_package import intrinsic, signature, types

HALVINGS = 10  # from BLOCK to 1
f32 = np.float32
f64 = np.float64
SUMS = "optdsl_sums"  # how the names of shared memory begin

_GLOBAL, _SHARED = 1, 3  # address spaces
_I1, _I32, _I64 = (ir.IntType(bits) for bits in (1, 32, 64))
_FLOATS = {32: ir.FloatType(), 64: ir.DoubleType()}
_BITS = {types.float32: 32, types.float64: 64}


# --- memory ----------------------------------------------------------------------------------------------


def _number(context: Any, builder: Any, value: Any, type_: Any) -> Any:
    return context.cast(builder, value, type_, types.int64)


def _place(builder: Any, address: Any, index: Any, element: ir.Type) -> Any:
    return builder.gep(builder.inttoptr(address, element.as_pointer(_GLOBAL)), [index])


def _check(address: Any, index: Any) -> None:
    """Numba makes another type of an address and a number with a sign, and would cast that back."""
    if address != types.uint64:
        raise TypeError(f"an address is a uint64, not {address}: add f32_bytes(...) or f64_bytes(...) to one")
    if not isinstance(index, types.Integer):
        raise TypeError(f"an index is an integer, not {index}")


def _accessors(number: Any, element: ir.Type, align: int, lanes: int = 1) -> tuple[Any, Any]:
    """`read(address, index)` and `write(address, index, value, ...)` of so many neighbours."""
    vector = ir.VectorType(element, lanes)

    def place(builder: Any, address: Any, index: Any) -> Any:
        at = _place(builder, address, index, element)
        return at if lanes == 1 else builder.bitcast(at, vector.as_pointer(_GLOBAL))

    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
            at = place(builder, given[0], _number(context, builder, given[1], sign.args[1]))
            value = builder.load(at)
            value.align = align
            if lanes == 1:
                return value
            found = [builder.extract_element(value, _I32(lane)) for lane in range(lanes)]
            return context.make_tuple(builder, sign.return_type, found)

        _check(address, index)
        gives = number if lanes == 1 else types.UniTuple(number, lanes)
        return signature(gives, address, index), generate

    def store(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        at = place(builder, given[0], _number(context, builder, given[1], sign.args[1]))
        value = given[2]
        if lanes > 1:
            value = ir.Constant(vector, ir.Undefined)
            for lane in range(lanes):
                value = builder.insert_element(value, given[2 + lane], _I32(lane))
        builder.store(value, at).align = align
        return context.get_dummy_value()

    def stores(address: Any, index: Any, *values: Any) -> Any:
        _check(address, index)
        if any(value != number for value in values):
            raise TypeError(f"{values[0]} is written where {number} are kept: cast it")
        return signature(types.void, address, index, *values), store

    if lanes == 1:
        write = intrinsic(lambda typing_context, address, index, x: stores(address, index, x))
    elif lanes == 2:
        write = intrinsic(lambda typing_context, address, index, x, y: stores(address, index, x, y))
    else:
        write = intrinsic(
            lambda typing_context, address, index, x, y, z, w: stores(address, index, x, y, z, w)
        )
    return read, write


read_f32, write_f32 = _accessors(types.float32, ir.FloatType(), 4)
read_f64, write_f64 = _accessors(types.float64, ir.DoubleType(), 8)
read4_f32, write4_f32 = _accessors(types.float32, ir.FloatType(), 16, 4)
read2_f64, write2_f64 = _accessors(types.float64, ir.DoubleType(), 16, 2)
read_i64, _ = _accessors(types.int64, _I64, 8)
read4_i64, _ = _accessors(types.int64, _I64, 8, 4)
read_address, _ = _accessors(types.uint64, _I64, 8)


def _bytes(size: int) -> Any:
    @intrinsic
    def byte_count(typing_context: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
            return builder.mul(_number(context, builder, given[0], sign.args[0]), _I64(size))

        return signature(types.uint64, count), generate

    return byte_count


f32_bytes, f64_bytes = _bytes(4), _bytes(8)


@intrinsic
def aligned(typing_context: Any, addresses: Any) -> Any:
    """Whether 16 divides what several addresses are when `|` joins them."""

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        return builder.icmp_unsigned("==", builder.and_(given[0], _I64(15)), _I64(0))

    return signature(types.boolean, types.uint64), generate


# --- threads and what they share -------------------------------------------------------------------------


def _special(register: str) -> Any:
    @intrinsic
    def read(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
            name = f"llvm.nvvm.read.ptx.sreg.{register}"
            return builder.zext(_call(builder, name, _I32), _I64)

        return signature(types.int64), generate

    return read


def _call(builder: Any, name: str, gives: ir.Type, *arguments: Any) -> Any:
    """Of one of LLVM's functions."""
    module = builder.module
    kind = ir.FunctionType(gives, [each.type for each in arguments])
    known = module.globals.get(name) or ir.Function(module, kind, name)
    return builder.call(known, arguments)


this_block, this_thread = _special("ctaid.x"), _special("tid.x")


@intrinsic
def barrier(typing_context: Any) -> Any:
    """All threads of the block come here before one goes on."""

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        _call(builder, "llvm.nvvm.barrier0", ir.VoidType())
        return context.get_dummy_value()

    return signature(types.void), generate


def _summand(builder: Any, column: int, index: Any) -> Any:
    """Where it is: BLOCK float64 for each sum, that the threads of a block share."""
    name, module = f"{SUMS}_{column}", builder.module
    if name not in module.globals:
        kind = ir.ArrayType(ir.DoubleType(), BLOCK)
        made = ir.GlobalVariable(module, kind, name, _SHARED)
        made.linkage, made.initializer, made.align = "internal", ir.Constant(kind, ir.Undefined), 16
    return builder.gep(module.globals[name], [_I64(0), index])


@intrinsic
def read_summand(typing_context: Any, column: Any, index: Any) -> Any:
    if not isinstance(column, types.IntegerLiteral):
        return None  # Numba asks again, with the number

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        at = _number(context, builder, given[1], sign.args[1])
        return builder.load(_summand(builder, column.literal_value, at))

    return signature(types.float64, column, index), generate


@intrinsic
def write_summand(typing_context: Any, column: Any, index: Any, value: Any) -> Any:
    if not isinstance(column, types.IntegerLiteral):
        return None  # Numba asks again, with the number

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        at = _number(context, builder, given[1], sign.args[1])
        builder.store(given[2], _summand(builder, column.literal_value, at))
        return context.get_dummy_value()

    return signature(types.void, column, index, types.float64), generate


# --- arithmetic ------------------------------------------------------------------------------------------

_BUILT = {
    **{"fadd": "fadd", "fsub": "fsub", "fmul": "fmul", "fdiv": "fdiv", "iadd": "add", "isub": "sub"},
    **{"imul": "mul", "iand": "and_", "ior": "or_", "ishl": "shl", "ishr": "lshr", "band": "and_"},
    "bor": "or_",
}
_COMPARED = {"flt": "<", "fle": "<=", "feq": "=="}


class _Maker:
    """Writes the instructions of `portable.lanes` where Numba builds a kernel."""

    def __init__(self, builder: Any, bits: int) -> None:
        self.builder, self.bits = builder, bits
        self.float, self.int = _FLOATS[bits], ir.IntType(bits)

    def number(self, value: float) -> Any:
        return ir.Constant(self.float, float(value))

    def integer(self, value: int) -> Any:
        return ir.Constant(self.int, value % 2**self.bits)

    def truth(self, value: bool) -> Any:
        return _I1(int(value))

    def select(self, condition: Any, then: Any, otherwise: Any, sort: Sort) -> Any:
        return self.builder.select(condition, then, otherwise)

    def make(self, operation: str, *operands: Any) -> Any:
        build = self.builder
        match operation:
            case "ibits":
                return build.bitcast(operands[0], self.int)
            case "ffrom":
                return build.bitcast(operands[0], self.float)
            case "fneg":
                return build.fsub(self.number(-0.0), operands[0])  # LLVM 7, as NVIDIA has it, knows no fneg
            case "bnot":
                return build.xor(operands[0], self.truth(True))
            case "fabs":  # libNVVM knows no llvm.fabs
                bits = build.bitcast(operands[0], self.int)
                return build.bitcast(build.and_(bits, self.integer(2 ** (self.bits - 1) - 1)), self.float)
            case "fsqrt":
                return _call(build, f"llvm.sqrt.f{self.bits}", self.float, *operands)
            case "ieq":
                return build.icmp_unsigned("==", *operands)
            case "flt" | "fle" | "feq":
                return build.fcmp_ordered(_COMPARED[operation], *operands)
        return getattr(build, _BUILT[operation])(*operands)


def _function(name: str) -> Any:
    """One of `portable.functions.FUNCTIONS`, of floats of one type, as its instructions."""

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        maker = _Maker(builder, _BITS[sign.return_type])
        return FUNCTIONS[name](*(Lane(maker, each, Sort.FLOAT) for each in given)).at

    def typed(*given: Any) -> tuple[Any, Callable[..., Any]]:
        if any(each not in _BITS for each in given) or len(set(given)) > 1:
            raise TypeError(f"{name} is of floats of one type, not {given}")
        return signature(given[0], *given), generate

    match name:
        case "pow" | "short_pow" | "mod" | "max" | "min":
            return intrinsic(lambda typing_context, x, y: typed(x, y))
        case "clip":
            return intrinsic(lambda typing_context, x, y, z: typed(x, y, z))
    return intrinsic(lambda typing_context, x: typed(x))


exp, log, tanh, sigmoid = map(_function, ("exp", "log", "tanh", "sigmoid"))
cbrt, short_cbrt = map(_function, ("cbrt", "short_cbrt"))
sin, cos, sign, floor = map(_function, ("sin", "cos", "sign", "floor"))
power, short_power, modulo = map(_function, ("pow", "short_pow", "mod"))
maximum, minimum, clip = map(_function, ("max", "min", "clip"))


@intrinsic
def sqrt(typing_context: Any, x: Any) -> Any:
    """Rounded as IEEE asks."""

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        return _Maker(builder, _BITS[x]).make("fsqrt", *given)

    return signature(x, x), generate


@intrinsic
def fma(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """x*y + z of float32, rounded once."""

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        return _call(builder, "llvm.fma.f32", ir.FloatType(), *given)

    if {x, y, z} != {types.float32}:
        raise TypeError(f"fma is of float32, not {x}, {y}, {z}")
    return signature(x, x, x, x), generate


@intrinsic
def where(typing_context: Any, condition: Any, x: Any, y: Any) -> Any:
    """x or y; both are computed."""

    def generate(context: Any, builder: Any, sign: Any, given: Any) -> Any:
        return builder.select(given[0], given[1], given[2])

    if x != y:
        raise TypeError(f"where is of one type, not {x} and {y}")
    return signature(x, types.boolean, x, x), generate
