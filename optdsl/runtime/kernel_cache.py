"""Compiled kernels, kept between processes; any doubt about one means that it is compiled again.

In: a kernel's function and signature. Out: what Numba's dispatcher asks of a cache, one file per kernel
in a directory that is nobody else's. A file is named by the SHA-256 of everything that its machine code
depends on: the function's bytecode, constants and globals (so comments, line numbers and paths are no
part of it), the runtime's own helpers, the versions of Python, NumPy, Numba, llvmlite and optdsl, the
processor, the compiler's options. What it holds (`kept_code`) is unpickled only when its sum is right.

Why not `njit(cache=True)`: a truncated index there ends every later run with EOFError, a planted one
runs code, and both lie where Numba's settings say rather than in a private directory.

Never raises and never warns: a cache that cannot be used is not used. NOT done: eviction.
"""

import contextlib
import hashlib
import math
import pickle
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import compiler, serialize

from optdsl.runtime.kept_code import cache_directory, keep, read_kept


class KernelCache:
    """Stands in for the `_cache` of a Numba dispatcher that has the one signature."""

    cache_path = None

    def __init__(self, function: Callable[..., None], signature: tuple[Any, ...]) -> None:
        self._function = function
        self._signature = signature

    def path(self, target_context: Any) -> Path | None:
        """Where this kernel is or would be kept; None if it is not."""
        directory = cache_directory()
        key = _key(self._function, self._signature, target_context) if directory else None
        return directory / f"{key}.kernel" if directory and key else None

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Numba's compile result, or None."""
        try:
            target_context.refresh()  # without it LLVM aborts on symbols of Numba's own runtime
            payload = read_kept(self.path(target_context))
            if payload is None:
                return None
            rebuild: Any = compiler.CompileResult._rebuild
            return rebuild(target_context, *pickle.loads(payload))
        except Exception:
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        with contextlib.suppress(Exception):
            path = self.path(result.target_context)
            if path is None or result.library.has_dynamic_globals:
                return
            dumps: Any = serialize.dumps
            keep(path, dumps(result._reduce()))

    def assembly(self, target_context: Any, make: Callable[[], str]) -> str:
        """The text of what `load_overload` gives; `make` compiles it."""
        path: Path | None = None
        with contextlib.suppress(Exception):
            target_context.refresh()
            path = self.path(target_context)
            path = path and path.with_suffix(".assembly")
            found = read_kept(path)
            if found is not None:
                return found.decode()
        made = make()
        with contextlib.suppress(Exception):
            if path is not None:
                keep(path, made.encode())
        return made

    def flush(self) -> None:
        """Nothing to forget: files are read when asked for."""


def _key(function: Callable[..., None], signature: tuple[Any, ...], target_context: Any) -> str | None:
    """Names the machine code of `function`; None if it depends on something that cannot be named."""
    code = function.__code__
    names = _describe_globals(code, function.__globals__)
    if names is None or function.__closure__ or any(isinstance(c, CodeType) for c in code.co_consts):
        return None
    description = (
        code.co_code,
        code.co_exceptiontable,
        code.co_consts,
        code.co_names,
        code.co_varnames,
        code.co_argcount,
        names,
        signature,
        target_context.codegen().magic_tuple(),
        _toolchain(),
        [getattr(numba.config, option) for option in _OPTIONS],
    )
    return hashlib.sha256(repr(description).encode()).hexdigest()


_HELPERS = ("numba_kernel", "scalar_math", "stored_math", "vector_math")  # whose names kernels may use
_OPTIONS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "USING_SVML")


def _describe_globals(code: CodeType, namespace: dict[str, Any]) -> list[str] | None:
    """What the global names of a kernel stand for; None if one is neither ours nor a plain constant."""
    described = []
    for name in code.co_names:
        if name not in namespace:
            continue  # a builtin or an attribute
        value = namespace[name]
        if isinstance(value, bool | int | float):
            described.append(f"{name}: {value!r}")
        elif known := _known().get(id(value)):
            described.append(f"{name}: {known}")
        else:
            return None
    return described


def _known() -> dict[int, str]:
    """The names of what kernels may use, by identity."""
    known = {id(math): "math", id(np): "numpy"}
    for module in (f"optdsl.runtime.{name}" for name in _HELPERS):
        known |= {id(value): f"{module}.{name}" for name, value in vars(import_module(module)).items()}
    return known


@cache
def _toolchain() -> tuple[str, ...]:
    """Versions, and the text of the helpers that are compiled into kernels."""
    here = Path(__file__).parent
    files = [here / f"{name}.py" for name in (*_HELPERS, "lane_calls")]
    helpers = [file.read_bytes() for file in (*files, *sorted((here.parent / "portable").glob("*.py")))]
    return (
        sys.version,
        np.__version__,
        numba.__version__,
        llvmlite.__version__,
        *(hashlib.sha256(text).hexdigest() for text in helpers),
    )
