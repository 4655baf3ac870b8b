"""Fused multi-tensor kernels for the CPU: Python text that Numba compiles, one pass over memory a step.

The kernel itself is serial; `runtime.launch` gives contiguous ranges of chunks to threads. Hypers, lr and
t come in as arguments. Vectorised because the buffers are promised not to overlap (see
`runtime.numba_kernel`) and because the error model is NumPy's: nothing raises.
"""

import re
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from optdsl.backend import Backend, KernelWriter, Program, Step
from optdsl.diagnostics import Source
from optdsl.emit.loading import load_generated
from optdsl.kernel.ir import Kernel, Loop
from optdsl.kernel.stage_facts import kept_by_stages, per_tensor, recursion, rings, wholes
from optdsl.runtime.batch import Batch

from ._matrix_source import IMPORTS as MATRIX_IMPORTS
from ._matrix_source import matrix_source
from ._past_source import IMPORTS as PAST_IMPORTS
from ._past_source import past_source
from ._python_source import phase_source, prologue_source
from ._stored_source import IMPORTS as STORED_IMPORTS

if TYPE_CHECKING:
    from optdsl.runtime.layout import Matrices
    from optdsl.runtime.past.layout import Recursion, Ring


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
from optdsl.runtime.vector_math import vector_cbrt, vector_exp, vector_log, vector_power, vector_short_power
from optdsl.runtime.vector_math import vector_short_cbrt, vector_sigmoid, vector_tanh
from optdsl.runtime.scalar_math import cbrt, floor, maximum, minimum, modulo, power, sigmoid, sign, where
"""


class NumbaCpu:
    name = "numba_cpu"
    modes: tuple[str, ...] = ("accurate", "fast")
    imports = IMPORTS + MATRIX_IMPORTS + PAST_IMPORTS + STORED_IMPORTS

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        kernel = program.kernel(phase)
        source = program.optimizer.source if comments else None
        return "\n\n\n".join(self.functions(kernel, "prepare", phase, source)) + "\n"

    def functions(
        self, kernel: Kernel, prologue: str, phase: str, source: Source | None = None
    ) -> tuple[str, str]:
        written = {Loop.WHOLE: matrix_source, Loop.PAST: past_source}.get(kernel.loop, phase_source)
        return prologue_source(kernel, prologue, source), written(kernel, phase, source)

    def load(self, program: Program, phase: str = "update") -> Step:
        from optdsl.runtime.layout import Column, Kept, Reduction, Total, Vector
        from optdsl.runtime.lines import update_lines
        from optdsl.runtime.past.loops import remember
        from optdsl.runtime.reduce import reduce_batches

        if phase == "query" and program.query is not None:
            program = program.query
        module = self._module(program, phase)
        prepare, update = module.prepare, getattr(module, phase)
        count = len(program.kernel(phase).scalars)
        passes = []
        for place, kernel in enumerate(program.reductions):
            pair = None if kernel.is_empty else self._functions(program, kernel)
            totals = (Total(column, total.key, total.over_all) for column, total in program.summed(kernel))
            columns = (Column(*each) for each in kernel.column_sums)
            whole, past = self._stage(program, place), self._recursion(program, place)
            facts = tuple(totals), tuple(columns), whole, kernel.sums, past
            passes.append(Reduction(pair, len(kernel.scalars), *facts))
        vectors = []
        for kernel in program.vectors if phase == "update" else ():
            pair = self._functions(program, kernel)
            vectors.append(Vector(pair, len(kernel.scalars), kernel.name.removeprefix("update_")))
        kept = [Kept(*each) for each in kept_by_stages(program)] if phase == "update" else []

        turning = self._rings(program) if phase == "update" else ()

        def step(batch: Batch) -> None:
            if passes:
                reduce_batches([(batch, passes)])
            update_lines((prepare, update), vectors, batch, count, kept=kept)
            remember(batch, turning)

        return step

    def _functions(self, program: Program, kernel: Kernel) -> tuple[Any, Any]:
        module = self._module(program, kernel.name)
        return module.prepare, getattr(module, kernel.name)

    def _stage(self, program: Program, place: int) -> "Matrices | None":
        from optdsl.runtime.layout import Matrices, Total, Whole

        kernel = program.stage(place)
        if kernel is None or kernel.loop is not Loop.WHOLE:
            return None
        totals = (Total(column, total.key, total.over_all) for column, total in program.summed(kernel))
        reads, writes = (tuple(Whole(*each) for each in some) for some in wholes(kernel))
        pair = self._functions(program, kernel)
        return Matrices(pair, len(kernel.scalars), reads, writes, tuple(totals))

    def _recursion(self, program: Program, place: int) -> "Recursion | None":
        from optdsl.runtime.past.layout import Recursion

        kernel = program.stage(place)
        if kernel is None or kernel.loop is not Loop.PAST:
            return None
        given, writes = map(tuple, recursion(kernel))
        pair = self._functions(program, kernel)
        facts = self._rings(program), given, writes, per_tensor(kernel)
        return Recursion(kernel.name, pair, len(kernel.scalars), *facts)

    def _rings(self, program: Program) -> "tuple[Ring, ...]":
        from optdsl.runtime.past.layout import Length, Ring

        return tuple(Ring(new, state, width, Length(*kept)) for new, state, width, kept in rings(program))

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


BACKEND: Backend = NumbaCpu()
WRITER: KernelWriter = NumbaCpu()
