"""A gate before functions of Python that XLA calls from threads of its own: it closes before Python ends.

A computation that nobody waits for may come to its call when Python has begun to end; whoever then asks for
Python's lock waits for ever, and so does the process. In: the function, as ctypes has it. Out: a native one
with the same frame, which counts who is inside. At exit it lets nobody in any more, who get an error instead,
and waits for those inside.
"""

import atexit
import ctypes
import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

from optdsl.runtime.numba_kernel import read_u64

_INTERNAL = 13
_WORD = ir.IntType(64)


class _ErrorArguments(ctypes.Structure):
    """XLA_FFI_Error_Create_Args."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    )


def error_arguments(message: str) -> _ErrorArguments:
    return _ErrorArguments(_ErrorArguments.code.offset + 4, None, message.encode(), _INTERNAL)


@intrinsic
def _add_to(typing_context: Any, address: Any, amount: Any) -> Any:
    """Adds to a word in memory at once, and gives what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = builder.inttoptr(arguments[0], _WORD.as_pointer())
        return builder.atomic_rmw("add", at, arguments[1], "seq_cst")

    return types.int64(types.uint64, types.int64), generate


@intrinsic
def _call_of_c(typing_context: Any, function: Any, argument: Any) -> Any:
    """A function of C, from an address to an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_WORD, [_WORD]).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], kind), [arguments[1]])

    return types.uint64(types.uint64, types.uint64), generate


_add: Any = _add_to
_call: Any = _call_of_c


def gate(function: Any) -> Any:
    """A native function as `function`; it is never freed, since XLA may call it as long as the process is."""
    words = np.zeros(2, np.int64)  # who is inside; whether it is closed
    refusal = error_arguments("Python has ended before this step was taken")
    inside, closed = np.uint64(words.ctypes.data), np.uint64(words.ctypes.data + 8)
    wrapped = np.uint64(ctypes.cast(function, ctypes.c_void_p).value or 0)
    refused = np.uint64(ctypes.addressof(refusal))

    @cfunc(types.uint64(types.uint64))
    def enter(frame):  # type: ignore[no-untyped-def]
        _add(inside, 1)
        if _add(closed, 0) == 0:
            error = _call(wrapped, frame)
        else:  # by XLA_FFI_Error_Create
            error = _call(read_u64(read_u64(frame, 2, 0), 6, 0), refused)
        _add(inside, -1)
        return error

    def close() -> None:
        words[1] = 1
        while words[0]:
            time.sleep(1e-3)

    for kept in (enter, words, refusal, function):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
    atexit.register(close)
    return enter.ctypes
