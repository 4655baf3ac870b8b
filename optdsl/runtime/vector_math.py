"""`optdsl.portable.functions` for Numba's kernels: straight lines of instructions, which become vectors.

In and out: float32 or float64 scalars, of one type per call; the result has that type. The C library's
functions, which `scalar_math` calls, take one element at a time.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from optdsl.portable.functions import FUNCTIONS
from optdsl.portable.lanes import Lane, Sort
from optdsl.portable.llvm_text import Function, LlvmMaker, Module

CONTRACTED = frozenset({"exp", "log", "tanh", "sigmoid", "cbrt", "short_cbrt", "short_pow"})
"""Nothing in these is a rounding error that is computed, so fewer roundings only make them more exact."""

_BITS = {types.float32: 32, types.float64: 64}


def _text(function: str, name: str, bits: int, arity: int) -> str:
    """A function of one element as LLVM's language; many kernels may have the same one."""
    module = Module()
    element = {32: "float", 64: "double"}[bits]
    letters = "xyz"[:arity]
    head = f"{element} @{name}({', '.join(f'{element} %{letter}' for letter in letters)})"
    body = Function(module, f"define weak_odr {head} alwaysinline", "nounwind")
    maker = LlvmMaker(body, bits, 1, contract=function in CONTRACTED)
    value = FUNCTIONS[function](*(Lane(maker, f"%{letter}", Sort.FLOAT) for letter in letters))
    body.finish(f"ret {element} {value.at}")
    return module.text()


def _function(function: str, arity: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = _BITS[signature.return_type]
        name = f"optdsl.{function}.{bits}"
        library = context.active_code_library
        if name not in builder.module.globals:
            library.add_llvm_module(llvm.parse_assembly(_text(function, name, bits, arity)))
        element = {32: ir.FloatType(), 64: ir.DoubleType()}[bits]
        kind = ir.FunctionType(element, [element] * arity)
        insert: Any = cgutils.get_or_insert_function
        return builder.call(insert(builder.module, kind, name), arguments)

    def typed(*given: Any) -> tuple[Any, Callable[..., Any]]:
        if any(each not in _BITS for each in given) or len(set(given)) > 1:
            raise TypeError(f"{function} is of floats of one type, not {given}")
        return given[0](*given), generate

    if arity == 1:
        return intrinsic(lambda typing_context, x: typed(x))
    return intrinsic(lambda typing_context, x, y: typed(x, y))


vector_exp, vector_log, vector_tanh, vector_sigmoid, vector_cbrt, vector_short_cbrt = (
    _function(name, 1) for name in ("exp", "log", "tanh", "sigmoid", "cbrt", "short_cbrt")
)
vector_power, vector_short_power = (_function(name, 2) for name in ("pow", "short_pow"))
