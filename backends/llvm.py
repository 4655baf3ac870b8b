"""Kernels in LLVM's own language, with explicit vectors: for this process, for libraries and for GPUs.

`source` is the text for a CPU with fused multiply-add; `load` compiles it for this one, in this process,
without Numba's compiler, and runs it as `numba_cpu` runs its own: the same chunks, threads and sums. Modes:
`strict` rounds every operation; `fma` (float32) does not round a product before something is added to it.
Both give the bits that the backend `interpreter` computes, whatever the processor. `accurate` and `fast` as
everywhere.
NOT done: rows, columns and matrices.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from optdsl.backend import (
    Backend,
    FileWriter,
    GpuWriter,
    PairBackend,
    Program,
    Step,
    UnsupportedKernelError,
)
from optdsl.kernel.ir import Kernel
from optdsl.kernel.printer import print_kernel
from optdsl.language.link import snake
from optdsl.portable.llvm_text import ATTRIBUTES, Module

from ._c_header import header
from ._chunked_step import checked, chunked_step
from ._llvm_cpu import Target, write_phase, write_prologue
from ._llvm_levels import attribute_groups
from ._llvm_library import interface, not_for_a_library, write_library
from ._llvm_machine import alias_metadata
from ._llvm_ptx import TRIPLE, unsupported_on_gpu, write_gpu_phase, write_gpu_prologue, write_totals
from ._python_library import python_library


class Llvm:
    name = "llvm"
    modes: tuple[str, ...] = ("fma", "strict", "accurate", "fast")
    forms: tuple[str, ...] = ("ll", "asm", "o", "so", "py", "ptx")

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        if phase == "query" and program.query is not None:
            program = program.query
        kernel = program.kernel(phase)
        text = module_text(kernel, Target())
        above = "".join(f"; {line}".rstrip() + "\n" for line in print_kernel(kernel).splitlines())
        return f"{above}\n{text}" if comments else text

    def load(self, program: Program, phase: str = "update") -> Step:
        return chunked_step(program, phase, self.name, _compiled)

    def check(self, kernel: Kernel) -> None:
        checked(kernel, self.name)

    def pair(self, kernel: Kernel) -> tuple[Any, Any]:
        return _compiled(kernel)

    def ptx(self, program: Program) -> str:
        return ptx(program)

    def files(
        self, programs: Sequence[Program], form: str, by: str, *, on_gpu: bool = True
    ) -> dict[str, bytes]:
        return _files(programs, form, by, on_gpu=on_gpu)


def module_text(kernel: Kernel, target: Target) -> str:
    """A module with `prepare` and the phase, under its own name."""
    checked(kernel, Llvm.name)
    module = Module()
    write_prologue(module, kernel, "prepare")
    write_phase(module, kernel, kernel.name, target)
    return module.text(ATTRIBUTES, alias_metadata([kernel]))


def gpu_module_text(*programs: Program) -> str:
    """A module for NVIDIA's GPUs: `prepare_NAME` and `NAME` of every kernel, `totals_NAME` of those that sum.

    A name ends in the type that is stored, as `update_f32`; programs that differ in it may be together.

    Raises `UnsupportedKernelError` for specs whose kernels are not there.
    """
    module = Module()
    for program in programs:
        for kernel in program.kernels:
            checked(kernel, Llvm.name)
            reason = unsupported_on_gpu(kernel)
            if reason is not None:
                raise UnsupportedKernelError(Llvm.name, reason)
            name = f"{kernel.name}_{kernel.precision.storage}"
            write_gpu_prologue(module, kernel, f"prepare_{name}")
            write_gpu_phase(module, kernel, name)
            if kernel.sums:
                write_totals(module, program, kernel, f"totals_{name}")
    return module.text(ATTRIBUTES, alias_metadata(_kernels(programs)))


def _kernels(programs: Iterable[Program]) -> list[Kernel]:
    return [kernel for program in programs for kernel in program.kernels]


def ptx(*programs: Program, processor: str = "sm_80", version: int = 70) -> str:
    """The text for the driver of NVIDIA's GPUs: PTX `version` (70 is 7.0), for `processor` and later."""
    from optdsl.runtime.llvm_kernel import assembly

    return assembly(gpu_module_text(*programs), TRIPLE, processor, f"+ptx{version}")


def _files(programs: Sequence[Program], form: str, by: str, *, on_gpu: bool) -> dict[str, bytes]:
    """Names and contents of what a spec becomes: a library and its header, or one stage on the way to it.

    by: what generated files say after `compiled by optdsl`. Raises `UnsupportedKernelError`.
    """
    optimizer = programs[0].optimizer
    name = snake(optimizer.name)
    if form == "ptx":
        text = f"// {optimizer.name}, compiled by optdsl {by}\n{ptx(*programs)}"
        return {f"{name}.ptx": text.encode()}
    reason = not_for_a_library(programs[0])
    if reason is not None:
        raise UnsupportedKernelError(Llvm.name, reason)
    from optdsl.runtime import llvm_kernel as compiler

    triple = compiler.host_triple()
    module = Module()
    write_library(module, programs, triple, f"{optimizer.name}, compiled by optdsl {by}")
    text = module.text(ATTRIBUTES, attribute_groups(triple), alias_metadata(_kernels(programs)))
    made = {f"{name}.h": header(optimizer, by).encode()}
    if form == "ll":
        return {f"{name}.ll": f"; {optimizer.name}, compiled by optdsl {by}\n{text}".encode()}
    if form == "asm":
        comment = "#" if triple.startswith("x86_64") else "//"
        assembly = compiler.assembly(text, triple, "")
        return {f"{name}.s": f"{comment} {optimizer.name}, compiled by optdsl {by}\n{assembly}".encode()}
    code = compiler.object_code(text, triple)
    if form == "o":
        return {f"{name}.o": code, **made}
    if form == "py":
        if interface(optimizer).arrays:
            raise UnsupportedKernelError(Llvm.name, "a file of Python takes no inputs of elements")
        on_gpu = on_gpu and not any(map(unsupported_on_gpu, _kernels(programs)))
        text = ptx(*programs) if on_gpu else ""
        return {f"{name}.py": python_library(optimizer, compiler.linked(code), text, triple, by).encode()}
    return {f"lib{name}.so": compiler.linked(code), **made}


def _compiled(kernel: Kernel) -> tuple[Any, Any]:
    from optdsl.runtime.llvm_kernel import CompiledModule, host_has_fma

    compiled = CompiledModule(module_text(kernel, Target(host_has_fma())))
    return compiled.prologue("prepare"), compiled.phase(kernel.name, sums=kernel.sums)


BACKEND: Backend = Llvm()
FILES: FileWriter = Llvm()
PAIRS: PairBackend = Llvm()
GPU: GpuWriter = Llvm()
