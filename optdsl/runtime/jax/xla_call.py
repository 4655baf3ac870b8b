"""Functions of Python as typed XLA custom calls on the CPU, without C++: the ABI of `xla/ffi/api/c_api.h`.

In: functions of the addresses of operands and results. Out: a target for `jax.ffi.ffi_call`, which goes to
the one whose number is the first operand (uint32[2]). XLA calls with a frame of pointers, from any thread and
without Python's lock, which ctypes takes; what a function raises becomes the error of the computation.
Nothing is copied: the addresses are XLA's own buffers.

Assumed: frames are laid out as in the versions of `KNOWN`, which `why_not` reads from the header that JAX
brings; a frame that says other sizes of itself is refused. NOT done: GPUs, attributes, streams.
"""

import ctypes
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import numpy as np
from numba import types
from numpy.typing import NDArray

from optdsl.runtime.jax.xla_gate import error_arguments, gate
from optdsl.runtime.numba_kernel import compiled, read_u64

TARGET = "optdsl"
KNOWN = ((0, 3),)
"""Versions of the API whose frames are read here: the same fields at the same places."""

Called = Callable[[NDArray[np.uint64], NDArray[np.uint64]], None]

_Handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_METADATA = 1
_at = ctypes.c_uint64.from_address


class _Frame:
    """XLA_FFI_CallFrame: the words that are read, by their place in bytes."""

    EXTENSION, API = 8, 16
    ARGUMENTS, RESULTS = 40, 80  # each of size, extension, count, types, buffers
    COUNT, BUFFERS, SIZE = 16, 32, 40
    DATA = 3  # which word of an XLA_FFI_Buffer, after its size, extension and dtype
    ERROR_CREATE = 48  # in XLA_FFI_Api; `xla_gate` reads it, too


@compiled(types.uint64, types.Array(types.uint64, 1, "C"))
def _addresses(buffers, found):  # type: ignore[no-untyped-def]
    """Where the data of each buffer is."""
    for i in range(found.size):
        found[i] = read_u64(read_u64(buffers, i, 0), _DATA, 0)


_DATA = _Frame.DATA


def _buffers(group: int) -> NDArray[np.uint64]:
    if _at(group).value != _Frame.SIZE:
        raise RuntimeError("XLA calls with a frame of another layout than its header says")
    found = np.empty(_at(group + _Frame.COUNT).value, np.uint64)
    _addresses.compiled(_at(group + _Frame.BUFFERS).value, found)
    return found


def _answer(extension: int) -> bool:
    """Whether XLA asks for the version of the API, which is told; else there is work to do."""
    if not extension or ctypes.c_int.from_address(extension + 8).value != _METADATA:
        return False
    metadata = _at(extension + 24).value
    major, minor = version() or KNOWN[-1]
    for place, value in ((24, major), (28, minor), (32, 0)):  # 32: no trait
        ctypes.c_int.from_address(metadata + place).value = value
    return True


def _error(api: int, problem: BaseException) -> int:
    create = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(_at(api + _Frame.ERROR_CREATE).value)
    arguments = error_arguments(f"{type(problem).__name__}: {problem}")
    return int(create(ctypes.addressof(arguments)) or 0)


_known: dict[int, Called] = {}  # as long as what XLA has compiled may call them


def register(key: int, make: Callable[[], Called]) -> None:
    """What calls of `TARGET` whose first operand is this number go to; made for the first of a number."""
    if not _known:
        handler = jax.ffi.pycapsule(gate(_Handler(_handle)))  # type: ignore[no-untyped-call]
        jax.ffi.register_ffi_target(TARGET, handler, platform="cpu")
    if key not in _known:
        _known[key] = make()


def _handle(frame: int) -> int:
    try:
        if not _answer(_at(frame + _Frame.EXTENSION).value):
            operands = _buffers(frame + _Frame.ARGUMENTS)
            called = _known.get(_at(int(operands[0])).value)
            if called is None:
                raise RuntimeError("another process has traced this; trace it here")
            called(operands[1:], _buffers(frame + _Frame.RESULTS))
    except BaseException as problem:
        return _error(_at(frame + _Frame.API).value, problem)
    return 0


@cache
def version() -> tuple[int, int] | None:
    """Of the API that JAX's own header describes; None if there is no such header."""
    try:
        text = (Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h").read_text()
        major, minor = (re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR"))
        return (int(major[1]), int(minor[1])) if major and minor else None
    except (AttributeError, OSError):
        return None


@cache
def why_not() -> str | None:
    """Why nothing can be called from this JAX; None if it can."""
    if jax.default_backend() != "cpu":
        return f"they run on the CPU, and JAX on {jax.default_backend()}"
    if jax.local_device_count() > 1:
        return f"they step whole arrays, and JAX has {jax.local_device_count()} devices to share them among"
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return "they need a processor of 64 bits"
    if version() not in KNOWN:
        known = ", ".join(f"{major}.{minor}" for major, minor in KNOWN)
        there = "none" if version() is None else "{}.{}".format(*version() or ())
        return f"XLA's interface for custom calls is {there} in jax {jax.__version__}, not {known}"
    return None
