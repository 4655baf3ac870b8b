"""What a GPU would run, run here: the PTX of every spec, interpreted, has the bits of the CPU's kernel."""

from typing import Any

import numpy as np
import pytest
from optdsl.backends import llvm
from optdsl.backends._chunked_step import UnsupportedKernelError, chunked_step
from optdsl.backends._kernel_lanes import unsupported
from optdsl.backends._llvm_ptx import THREADS

from optdsl.backend import Program, Step, get_backend
from optdsl.kernel.ir import Kernel, Type
from tests.ptx.lint import findings
from tests.ptx.machine import launch
from tests.ptx.memory import Memory
from tests.ptx.ptxas import PTXAS, assembled
from tests.ptx.text import parsed
from tests.support import programs
from tests.support.programs import Setting, label
from tests.test_llvm import same_bits

SETTINGS = [
    setting
    for setting in programs.settings()
    if not any(unsupported(each) for each in programs.program(setting, "fma", Type.F32).kernels)
]
DEFAULTS = [
    setting
    for setting in SETTINGS
    if dict(setting[1]) == {flag.name: flag.default for flag in programs.meaning(setting[0]).flags}
]
SIZES = [0, 1, 3, 4, 5, 258, 1023, 1030]


class Interpreted:
    """A kernel in a device's memory, which begins `offset` bytes behind a multiple of 256."""

    def __init__(self, text: str, kernel: Kernel, offset: int) -> None:
        self.kernel, self.offset = kernel, offset
        self.entries = parsed(text).entries
        self.name = f"{kernel.name}_{kernel.precision.storage}"
        self.size = {Type.F32: 4, Type.F64: 8}[kernel.precision.storage]
        self.compute: Any = np.float32 if kernel.precision.compute is Type.F32 else np.float64

    def prepare(self, hypers: Any, t: Any, direction: Any, states: Any, scalars: Any) -> None:
        memory, rows = Memory(1 << 20), t.size
        inputs = [memory.put(each) for each in (hypers, t, direction, states)]
        kept = memory.allocate(max(scalars.size * self.compute().itemsize, 1))
        entry = self.entries[f"prepare_{self.name}"]
        launch(entry, memory, -(-rows // THREADS), THREADS, [*inputs, kept, rows])
        if scalars.size:
            raw = memory.read(kept, scalars.size * self.compute().itemsize)
            scalars[:] = raw.view(self.compute).reshape(scalars.shape)
        if states.size:
            states[:] = memory.read(inputs[3], states.nbytes).view(np.float64).reshape(states.shape)

    def run(self, addresses: Any, chunks: Any, first: int, last: int, scalars: Any, *more: Any) -> None:
        chunks = chunks[first:last]
        if not len(chunks):
            return
        memory = Memory(1 << 22)
        sizes = np.zeros(len(addresses), np.int64)
        np.maximum.at(sizes, chunks[:, 0], chunks[:, 1] + chunks[:, 2])
        table = np.zeros_like(addresses)
        for tensor, column in np.ndindex(addresses.shape):
            if sizes[tensor]:
                host = _bytes(int(addresses[tensor, column]), int(sizes[tensor]) * self.size)
                table[tensor, column] = memory.put(host, self.offset)
        where = [memory.put(each) for each in (table, chunks, scalars.astype(self.compute))]
        if more:
            partials = np.ascontiguousarray(more[1][first:last])
            where.append(memory.allocate(partials.nbytes))
        launch(self.entries[self.name], memory, len(chunks), THREADS, where)
        if more:
            more[1][first:last] = memory.read(where[-1], partials.nbytes).view(float).reshape(partials.shape)
        for tensor, column in np.ndindex(addresses.shape):
            if sizes[tensor]:
                host = _bytes(int(addresses[tensor, column]), int(sizes[tensor]) * self.size)
                host[:] = memory.read(int(table[tensor, column]), host.nbytes)


class Compiled:
    """Stands where a kernel of Numba's does."""

    def __init__(self, function: Any) -> None:
        self.compiled = function


def _bytes(address: int, size: int) -> Any:
    import ctypes

    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def interpreted(program: Program, offset: int) -> Step:
    text = llvm.ptx(program)

    def pair(kernel: Kernel) -> tuple[Any, Any]:
        on = Interpreted(text, kernel, offset)
        return Compiled(on.prepare), Compiled(on.run)

    step: Step = chunked_step(program, "update", "llvm", pair)
    return step


@pytest.mark.parametrize("setting", DEFAULTS, ids=label)
def test_the_gpu_has_the_bits_of_the_cpu(setting: Setting) -> None:
    """Aligned, in vectors of 16 bytes, and not aligned."""
    program = programs.program(setting, "fma", Type.F32)
    try:
        steps = [interpreted(program, offset) for offset in (0, 4)]
    except UnsupportedKernelError:
        pytest.skip("more sums than a GPU's block has memory for")
    same_bits(program, [get_backend("llvm").load(program), *steps], SIZES)


@pytest.mark.parametrize("setting", SETTINGS, ids=label)
def test_the_text_has_nothing_that_it_must_not_have(setting: Setting) -> None:
    text = llvm.ptx(programs.program(setting, "fma", Type.F32))
    assert findings(text) == []
    if PTXAS is not None:
        for name, took in assembled(text).items():
            assert took.spills == took.stack == 0, name
