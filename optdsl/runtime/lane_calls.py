"""Functions of `optdsl.portable` in Numba's kernels: LLVM's language, linked to the kernel that calls them.

In: a function on lanes, and the values that it is called with. Out: the value of the call. Straight lines of
instructions on one element, which become vectors where a loop does. Many kernels may have the same function.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils

from optdsl.portable.lanes import Lane, Sort
from optdsl.portable.llvm_text import Function, LlvmMaker, Module

_SORTS = {"f": Sort.FLOAT, "i": Sort.INT}


def _kind(letter: str, bits: int) -> Any:
    return ir.IntType(bits) if letter == "i" else {32: ir.FloatType(), 64: ir.DoubleType()}[bits]


def lane_call(
    context: Any,
    builder: Any,
    symbol: str,
    function: Callable[..., Lane],
    signature: str,
    bits: int,
    arguments: Any,
    *,
    contract: bool = False,
) -> Any:
    """`symbol`: its name, the same for the same text. `signature`: what it gives, then what it takes, each
    "f" or "i" of so many bits. `contract`: a product and a sum may be rounded once.
    """
    if symbol not in builder.module.globals:
        text = _text(symbol, function, signature, bits, contract)
        context.active_code_library.add_llvm_module(llvm.parse_assembly(text))
    gives, *takes = (_kind(letter, bits) for letter in signature)
    insert: Any = cgutils.get_or_insert_function
    return builder.call(insert(builder.module, ir.FunctionType(gives, takes), symbol), arguments)


def _text(symbol: str, function: Callable[..., Lane], signature: str, bits: int, contract: bool) -> str:
    module, kinds = Module(), [_kind(letter, bits) for letter in signature]
    places = [f"%{letter}" for letter, _ in zip("xyz", kinds[1:], strict=False)]
    given = ", ".join(f"{kind} {at}" for kind, at in zip(kinds[1:], places, strict=True))
    body = Function(module, f"define weak_odr {kinds[0]} @{symbol}({given}) alwaysinline", "nounwind")
    maker = LlvmMaker(body, bits, 1, contract=contract)
    lanes = (Lane(maker, at, _SORTS[letter]) for at, letter in zip(places, signature[1:], strict=True))
    body.finish(f"ret {kinds[0]} {function(*lanes).at}")
    return module.text()
