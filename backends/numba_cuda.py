"""Kernels for NVIDIA's GPUs as Python text that Numba compiles: to be read, changed and compiled again.

The text is what `llvm` has for GPUs, element for element: one block of threads a chunk of any number of
tensors, vectors of 16 bytes, sums in the same order; so what launches its kernels launches these. In the
modes `fma`, `strict` and `accurate` the bits are the same, too; `fast` lets NVIDIA's compiler join what it
likes. Writing the text needs nothing; PTX needs Numba and NVIDIA's libNVVM, and only running it a GPU.
NOT done: rows, columns and matrices; what is remembered.
"""

import re
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from optdsl.backend import Backend, FileWriter, GpuWriter, Program, Step, UnsupportedKernelError
from optdsl.diagnostics import Source
from optdsl.emit.loading import load_generated
from optdsl.kernel.ir import IN_16_BITS, Kernel, Type
from optdsl.language.link import snake

from ._chunked_step import checked, chunked_step
from ._cuda_source import phase_source, prologue_source, totals_source
from ._llvm_ptx import unsupported_on_gpu

_DECORATORS = ("fast_kernel", "kernel")
_WORDS = """
BLOCK HALVINGS THREADS aligned barrier cbrt clip cos exp f32 f32_bytes f64 f64_bytes floor fma log maximum
minimum modulo power read2_f64 read4_f32 read4_i64 read_address read_f32 read_f64 read_i64 read_summand
short_cbrt short_power sigmoid sign sin sqrt tanh this_block this_thread where write2_f64 write4_f32 write_f32
write_f64 write_summand
""".split()
"""Of `optdsl.runtime.cuda.numba_kernel` and `numba_words`: what the text may say."""


class NumbaCuda:
    name = "numba_cuda"
    modes: tuple[str, ...] = ("fast", "fma", "strict", "accurate")
    forms: tuple[str, ...] = ("py", "ptx")

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        if phase == "query" and program.query is not None:
            program = program.query
        return "\n\n\n".join(self._functions(program, program.kernel(phase), comments=comments)) + "\n"

    def _functions(self, program: Program, kernel: Kernel, *, comments: bool) -> list[str]:
        checked(kernel, self.name)
        reason = unsupported_on_gpu(kernel)
        if any(buffer.type in IN_16_BITS for buffer in kernel.buffers):
            reason = "what is kept in fewer bits than 32 has no kernel there yet"
        if reason is not None:
            raise UnsupportedKernelError(self.name, reason)
        source: Source | None = program.optimizer.source if comments else None
        name = kernel.name
        written = [prologue_source(kernel, f"prepare_{name}", source), phase_source(kernel, name, source)]
        if kernel.sums:
            written.append(totals_source(program, kernel, f"totals_{name}"))
        return written

    def load(self, program: Program, phase: str = "update") -> Step:
        """The same text run in Python, on the host: to look at what it computes, some elements at a time."""
        return chunked_step(program, phase, self.name, lambda kernel: _in_python(program, kernel))

    def ptx(self, program: Program) -> str:
        return ptx(program)

    def files(
        self, programs: Sequence[Program], form: str, by: str, *, on_gpu: bool = True
    ) -> dict[str, bytes]:
        """`py`: the kernels for float32 as a module, to be changed. `ptx`: those for float64, too.

        on_gpu: there is nothing else in them.
        """
        optimizer = programs[0].optimizer
        name, title = snake(optimizer.name), f"{optimizer.name}, compiled by optdsl {by}"
        if form == "py":
            return {f"{name}.py": f"# {title}\n{module_text(programs[0])}".encode()}
        from optdsl.runtime.cuda.driver import CudaError

        try:
            return {f"{name}.ptx": f"// {title}\n{ptx(*programs)}".encode()}
        except CudaError as error:
            raise UnsupportedKernelError(self.name, str(error)) from None


def module_text(program: Program) -> str:
    """All kernels of a program as a module that can be imported, with the spec's lines in comments."""
    functions = [
        function
        for kernel in program.kernels
        for function in NumbaCuda()._functions(program, kernel, comments=True)
    ]
    precision = program.update.precision
    does = f"computes in {precision.compute}, stores {precision.storage}"
    head = f'"""Kernels for NVIDIA\'s GPUs, {precision.mode}: {does}. `docs/gpu.md` says how to use them."""'
    return "\n\n\n".join([f"{head}\n\n{_imports(functions)}", *functions]) + "\n"


def _imports(functions: Sequence[str]) -> str:
    """What these say, and no more."""
    said = set(re.findall(r"\w+", "\n".join(functions)))
    decorators = ", ".join(name for name in _DECORATORS if name in said)
    words = textwrap.fill(", ".join(name for name in _WORDS if name in said) + ",", 100)
    return (
        f"from optdsl.runtime.cuda.numba_kernel import {decorators}\n"
        f"from optdsl.runtime.cuda.numba_words import (\n{textwrap.indent(words, '    ')}\n)"
    )


def ptx(*programs: Program, capability: tuple[int, int] = (8, 0)) -> str:
    """One module, with the entries that `llvm.ptx` has. Raises `UnsupportedKernelError`, `CudaError`."""
    from optdsl.runtime.cuda.numba_kernel import joined

    texts = []
    for program in programs:
        for kernel in program.kernels:
            module = _module(program, kernel)
            for name in (f"prepare_{kernel.name}", kernel.name, f"totals_{kernel.name}"):
                if hasattr(module, name):
                    made = getattr(module, name)
                    texts.append(made.ptx(f"{name}_{kernel.precision.storage}", capability))
    return joined(texts)


def _module(program: Program, kernel: Kernel) -> ModuleType:
    functions = NumbaCuda()._functions(program, kernel, comments=False)
    text = "\n\n\n".join([_imports(functions), *functions]) + "\n"
    return load_generated(text, f"optdsl_cuda_{program.optimizer.name}")


def _in_python(program: Program, kernel: Kernel) -> tuple[Any, Any]:
    from optdsl.runtime.cuda.numba_in_python import Phase, Prologue

    module = _module(program, kernel)
    compute = np.float32 if kernel.precision.compute is Type.F32 else np.float64
    prepare, phase = getattr(module, f"prepare_{kernel.name}"), getattr(module, kernel.name)
    return Prologue(prepare.function, compute), Phase(phase.function, compute)


BACKEND: Backend = NumbaCuda()
FILES: FileWriter = NumbaCuda()
GPU: GpuWriter = NumbaCuda()
