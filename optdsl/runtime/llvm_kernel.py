"""LLVM's assembly language to machine code in this process, and that as kernels which the runtime can call.

In: the text of a module that optdsl has written. Out: callables for the same arguments as Numba's kernels
take. What a text has become is kept between processes, as Numba's kernels are: in a file named by the SHA-256
of the text, of what it is for, and of the versions of LLVM and of this module.
Assumed: the text is ours; LLVM ends the process on some that it cannot lower.
"""

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.kept_code import cache_directory, keep, read_kept

_LOCK = threading.Lock()  # LLVM's contexts are not for two threads at once


@cache
def initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()  # for the instruction that tells what a processor can do


def _processor(*, plain: bool) -> tuple[str, str]:
    """The name and the features of this processor, or those that every processor of its kind has."""
    return ("generic", "") if plain else (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())


def _machine(processor: str, features: str) -> Any:
    """For this process; an engine takes it over, so everyone gets one of their own."""
    initialize()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=processor, features=features, opt=3, jit=True)


def host_has_fma() -> bool:
    """Whether this processor multiplies and adds in one instruction; of 64 bits, only old x86 does not."""
    return not host_triple().startswith("x86_64") or "fma" in host_features()


def host_features() -> frozenset[str]:
    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)


def optimized(text: str, machine: Any) -> Any:
    """The module, verified, and taken through LLVM's passes for a target machine."""
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = False  # vectors are explicit
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module


def machine_for(triple: str, processor: str, features: str) -> Any:
    """A target machine for objects and libraries, which may lie anywhere in memory."""
    initialize()
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(
        cpu=processor, features=features, opt=3, reloc="pic", codemodel="default"
    )


def _kept(make: Callable[[], bytes], *what: object) -> bytes:
    """What `make` makes of `what`, from the cache if it is there; a cache that cannot be used is not used."""
    path: Path | None = None
    with contextlib.suppress(Exception):
        directory = cache_directory()
        name = hashlib.sha256(repr((what, _toolchain())).encode()).hexdigest()
        path = directory / f"{name}.code" if directory is not None else None
        found = read_kept(path)
        if found is not None:
            return found
    with _LOCK:
        made = make()
    with contextlib.suppress(Exception):
        if path is not None:
            keep(path, made)
    return made


@cache
def _toolchain() -> tuple[object, ...]:
    """The versions, and the text of this module, which says what LLVM is asked for."""
    return (
        llvmlite.__version__,
        llvm.llvm_version_info,
        hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    )


def assembly(text: str, triple: str, processor: str, features: str = "") -> str:
    """What a module becomes for a processor that need not be this one, as text."""

    def make() -> bytes:
        machine = machine_for(triple, processor, features)
        made: str = machine.emit_assembly(optimized(text, machine))
        return made.encode()

    return _kept(make, "assembly", text, triple, processor, features).decode()


def object_code(text: str, triple: str) -> bytes:
    """An object file for every processor of a kind; functions may ask for more in their attributes."""

    def make() -> bytes:
        machine = machine_for(triple, "x86-64" if triple.startswith("x86_64") else "", "")
        made: bytes = machine.emit_object(optimized(text, machine))
        return made

    return _kept(make, "object", text, triple)


def host_triple() -> str:
    triple: str = llvm.get_default_triple()
    return triple


def linked(code: bytes) -> bytes:
    """An object file as a shared library that depends on nothing.

    Raises `FileNotFoundError` where there is no C compiler, which is what links, and `RuntimeError` with its
    words.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise FileNotFoundError("cc")
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "kernels.o"), Path(folder, "library.so")
        before.write_bytes(code)
        command = [compiler, "-shared", "-nostdlib", "-s", "-o", str(after), str(before)]
        if sys.platform.startswith("linux"):
            command += ["-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--no-undefined", "-Wl,--build-id=none"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return after.read_bytes()


class CompiledModule:
    """Machine code for this processor, kept as long as one of its functions is.

    plain: of the instructions that every processor of its kind has.
    """

    def __init__(self, text: str, *, plain: bool = False) -> None:
        processor = _processor(plain=plain)

        def make() -> bytes:
            machine = _machine(*processor)
            made: bytes = machine.emit_object(optimized(text, machine))
            return made

        code = _kept(make, "kernels", text, host_triple(), *processor)
        with _LOCK:
            self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(*processor))
            self._engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
            self._engine.finalize_object()

    def _function(self, name: str, arguments: int) -> Callable[..., None]:
        address = self._engine.get_function_address(name)
        return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address)

    def returning(self, name: str) -> Callable[..., int]:
        """A function of a library, with arguments as `ctypes` values; lives as long as the module."""
        address = self._engine.get_function_address(name)
        return ctypes.CFUNCTYPE(ctypes.c_int32)(address)

    def prologue(self, name: str) -> "CompiledKernel":
        call = self._function(name, 6)

        def prepare(
            hypers: NDArray[np.float64],
            t: NDArray[np.float64],
            direction: NDArray[np.float64],
            states: NDArray[np.float64],
            scalars: NDArray[np.float64],
        ) -> None:
            arrays = (hypers, t, direction, states, scalars)
            call(*(each.ctypes.data for each in arrays), t.size)

        return CompiledKernel(self, prepare)

    def phase(self, name: str, *, sums: bool) -> "CompiledKernel":
        call = self._function(name, 7 if sums else 5)

        def run(addresses: Any, chunks: Any, first: int, last: int, scalars: Any, *more: Any) -> None:
            places = (more[0], more[1].ctypes.data) if sums else ()
            call(
                addresses.ctypes.data, chunks.ctypes.data, first, last, scalars.ctypes.data, *map(int, places)
            )

        return CompiledKernel(self, run)


class CompiledKernel:
    """Stands where a `numba_kernel.Kernel` does."""

    def __init__(self, module: CompiledModule, function: Callable[..., None]) -> None:
        self.module = module
        self.compiled = function

    def __call__(self, *arguments: Any) -> None:
        self.compiled(*arguments)
