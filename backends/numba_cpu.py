"""Fused multi-tensor kernels for the CPU: Python text that Numba compiles, one pass over memory a step.

The kernel itself is serial; `runtime.launch` gives contiguous ranges of chunks to threads. Hypers, lr and
t come in as arguments. Vectorised because the buffers are promised not to overlap (see
`runtime.numba_kernel`) and because the error model is NumPy's: nothing raises.
"""

import re
from dataclasses import dataclass
from types import ModuleType

from optdsl.backend import Backend, KernelWriter, Program, Step
from optdsl.diagnostics import InternalError, Source
from optdsl.emit.loading import load_generated
from optdsl.kernel.ir import Kernel
from optdsl.runtime.batch import Batch

from ._python_source import phase_source, prologue_source


@dataclass(frozen=True)
class Vectorisation:
    """How many vector and scalar floating-point instructions the machine code of a kernel holds."""

    packed: int
    scalar: int
    widest: int  # bits of the widest vector register that is named


IMPORTS = """from optdsl.runtime.numba_kernel import BLOCK, f32, f32_bytes, f64, f64_bytes, kernel, prologue
from optdsl.runtime.numba_kernel import block_sum0, block_sum1, block_sum2, block_sum3, block_sum4, block_sum5
from optdsl.runtime.numba_kernel import block_sum6, block_sum7, reduction
from optdsl.runtime.numba_kernel import block_max0, block_max1, block_max2, block_max3, block_max4, block_max5
from optdsl.runtime.numba_kernel import block_max6, block_max7, matrix_reduction
from optdsl.runtime.numba_kernel import read_f32, read_f64, write_f32, write_f64
from optdsl.runtime.scalar_math import cbrt, floor, maximum, minimum, modulo, power, sigmoid, sign, where
"""


class NumbaCpu:
    name = "numba_cpu"
    imports = IMPORTS

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        kernel = _kernel(program, phase)
        source = program.optimizer.source if comments else None
        return "\n\n\n".join(self.functions(kernel, "prepare", phase, source)) + "\n"

    def functions(
        self, kernel: Kernel, prologue: str, phase: str, source: Source | None = None
    ) -> tuple[str, str]:
        return prologue_source(kernel, prologue, source), phase_source(kernel, phase, source)

    def load(self, program: Program, phase: str = "update") -> Step:
        from optdsl.runtime.layout import Column, Reduction, Total, Vector
        from optdsl.runtime.lines import update_lines
        from optdsl.runtime.reduce import reduce_batches

        if phase == "query" and program.query is not None:
            program = program.query
        module = self._module(program, phase)
        prepare, update = module.prepare, getattr(module, phase)
        count = len(_kernel(program, phase).scalars)
        passes = []
        for kernel in program.reductions:
            reducing = self._module(program, kernel.name)
            pair = (reducing.prepare, getattr(reducing, kernel.name))
            totals = (Total(column, total.key, total.over_all) for column, total in program.summed(kernel))
            columns = (Column(*each) for each in kernel.column_sums)
            passes.append(Reduction(pair, len(kernel.scalars), tuple(totals), tuple(columns)))
        vectors = []
        for kernel in program.vectors if phase == "update" else ():
            writing = self._module(program, kernel.name)
            pair = (writing.prepare, getattr(writing, kernel.name))
            vectors.append(Vector(pair, len(kernel.scalars), kernel.name.removeprefix("update_")))

        def step(batch: Batch) -> None:
            if passes:
                reduce_batches([(batch, passes)])
            update_lines((prepare, update), vectors, batch, count)

        return step

    def vectorisation(self, program: Program, phase: str = "update") -> Vectorisation:
        """What became of a kernel on this machine's processor (x86 only)."""
        assembly = getattr(self._module(program, phase), phase).assembly()
        return count_vector_instructions(assembly)

    def _module(self, program: Program, phase: str) -> ModuleType:
        text = f"import math\n\n{self.imports}\n\n{self.source(program, phase, comments=False)}"
        return load_generated(text, f"optdsl_kernel_{program.optimizer.name}")


_INSTRUCTION = re.compile(r"\bv?(?:add|sub|mul|div|sqrt|fn?m(?:add|sub)\d{3})(p|s)[sd]\b")


def count_vector_instructions(assembly: str) -> Vectorisation:
    kinds = [match[1] for match in _INSTRUCTION.finditer(assembly)]
    registers = {"xmm": 128, "ymm": 256, "zmm": 512}
    widest = max((bits for name, bits in registers.items() if f"%{name}" in assembly), default=0)
    return Vectorisation(kinds.count("p"), kinds.count("s"), widest)


def _kernel(program: Program, phase: str) -> Kernel:
    for kernel in program.kernels:
        if kernel.name == phase:
            return kernel
    raise InternalError(f"{program.optimizer.name} has no {phase} kernel")


BACKEND: Backend = NumbaCpu()
WRITER: KernelWriter = NumbaCpu()
