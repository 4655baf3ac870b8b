"""The functions of a library, called with NumPy arrays."""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from optdsl.backends._llvm_levels import attribute_groups
from optdsl.backends._llvm_library import interface, write_library
from optdsl.backends._llvm_machine import alias_metadata

from optdsl.backend import Program
from optdsl.portable.llvm_text import ATTRIBUTES, Module
from optdsl.runtime.llvm_kernel import CompiledModule, host_triple

SIZES = [5, 0, 1, 17, 1030, 16384 + 40]


class Library:
    """The functions of one optimizer for float32, with NumPy arrays for tensors."""

    def __init__(self, program: Program, step: Any, init: Any) -> None:
        self.given = interface(program.optimizer)
        self.step_, self.init_ = step, init

    def step(self, hypers: Any, t: int, data: Mapping[str, list[Any]], numbers: Any, loss: float) -> int:
        pointers, _kept = self._pointers(("theta", "g", *(s.name for s in self.given.states)), data)
        arrays, _kept_too = self._pointers(self.given.arrays, data)
        sizes = np.array([each.size for each in data["theta"]], np.int64)
        call = [ctypes.c_void_p(hypers.ctypes.data), ctypes.c_int64(t), ctypes.c_int64(sizes.size)]
        call += [ctypes.c_void_p(sizes.ctypes.data), *pointers, *arrays]
        call += [ctypes.c_void_p(numbers.ctypes.data)] if self.given.numbers else []
        call += [ctypes.c_double(loss) for _ in self.given.scalars]
        return int(self.step_(*call))

    def init(self, hypers: Any, data: Mapping[str, list[Any]], numbers: Any) -> int:
        pointers, _kept = self._pointers(("theta", *(s.name for s in self.given.states)), data)
        sizes = np.array([each.size for each in data["theta"]], np.int64)
        call = [ctypes.c_void_p(hypers.ctypes.data), ctypes.c_int64(sizes.size)]
        call += [ctypes.c_void_p(sizes.ctypes.data), *pointers]
        call += [ctypes.c_void_p(numbers.ctypes.data)] if self.given.numbers else []
        return int(self.init_(*call))

    @staticmethod
    def _pointers(names: Any, data: Mapping[str, list[Any]]) -> tuple[list[Any], list[Any]]:
        tables = [np.array([each.ctypes.data for each in data[name]], np.uint64) for name in names]
        return [ctypes.c_void_p(table.ctypes.data) for table in tables], tables


def in_process(program: Program) -> Library:
    """The library's functions, compiled here without a linker."""
    module, triple = Module(), host_triple()
    write_library(module, [program], triple, "a test")
    compiled = CompiledModule(
        module.text(ATTRIBUTES, attribute_groups(triple), alias_metadata(program.kernels)), plain=True
    )
    name = interface(program.optimizer).name
    step, init = (compiled.returning(f"{name}_{kind}_f32") for kind in ("step", "init"))
    library = Library(program, step, init)
    library.module = compiled  # type: ignore[attr-defined]  # which the functions live in
    return library


def tensors(program: Program) -> dict[str, list[Any]]:
    rng = np.random.default_rng(1)
    given = interface(program.optimizer)
    names = ("theta", "g", *(state.name for state in given.states), *given.arrays)
    return {name: [rng.standard_normal(size).astype(np.float32) for size in SIZES] for name in names}
