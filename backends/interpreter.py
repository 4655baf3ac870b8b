"""Runs Kernel IR as it stands, operation by operation, in NumPy: what the bits of the modes `strict` and
`fma` are.

Where `reference` says what a spec means, this says what a kernel of it computes when every operation is
rounded once, to nearest, in the order of the kernel. Slow and plain on purpose; sums are folded as
everywhere.
NOT done: rows, columns and matrices; what is kept in 8 bits.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optdsl.backend import Backend, Program, Step
from optdsl.kernel.ir import DIRECTION, IN_16_BITS, PARAMETER, TIME, Buffer, Kernel, Type
from optdsl.kernel.printer import print_kernel
from optdsl.portable.formats import rounding_key
from optdsl.portable.functions import FUNCTIONS, fma_by_double
from optdsl.portable.lanes import Lane, NumpyMaker, Sort
from optdsl.runtime.batch import BLOCK

from ._chunked_step import checked, chunked_step
from ._kernel_lanes import run_phase, run_prologue

_MAKERS = {Type.F32: NumpyMaker(32), Type.F64: NumpyMaker(64)}
_CTYPES: dict[Type, Any] = {
    Type.F32: ctypes.c_float,
    Type.F64: ctypes.c_double,
    **dict.fromkeys(IN_16_BITS, ctypes.c_uint16),
}


class _Machine:
    """The elements from `start` on of one tensor; `columns` are the addresses of its buffers."""

    def __init__(self, kernel: Kernel, columns: NDArray[np.uint64], start: int, size: int) -> None:
        self.kernel = kernel
        self.columns, self.start, self.size = columns, start, size
        self.scalars: NDArray[np.float64] = np.empty(0)
        self.sums: dict[int, NDArray[np.float64]] = {}

    def maker(self, type: Type) -> NumpyMaker:
        return _MAKERS[type]

    def scalar(self, number: int, name: str, type: Type) -> Lane:
        value = self.scalars[number]
        if type is Type.BOOL:
            return Lane(_MAKERS[Type.F64], np.asarray(value != 0), Sort.BOOL)
        maker = _MAKERS[type]
        return Lane(maker, np.asarray(value, maker.float), Sort.FLOAT)

    def _column(self, name: str) -> int:
        return int(self.columns[[each.name for each in self.kernel.buffers].index(name)])

    def _array(self, buffer: Buffer) -> NDArray[Any]:
        address = self._column(buffer.name) + self.start * ctypes.sizeof(_CTYPES[buffer.type])
        return np.ctypeslib.as_array((_CTYPES[buffer.type] * self.size).from_address(address))

    def load(self, buffer: Buffer) -> Lane:
        return Lane(_MAKERS[buffer.type], self._array(buffer).copy(), Sort.FLOAT)

    def store(self, buffer: Buffer, value: Lane) -> None:
        self._array(buffer)[:] = value.at

    def load_code(self, buffer: Buffer) -> Lane:
        return Lane(_MAKERS[Type.F32], self._array(buffer).astype(np.uint32), Sort.INT)

    def store_code(self, buffer: Buffer, code: Lane) -> None:
        self._array(buffer)[:] = np.asarray(code.at).astype(np.uint16)

    def element(self) -> Lane:
        return Lane(_MAKERS[Type.F32], np.arange(self.size, dtype=np.uint32), Sort.INT)

    def key(self, pair: int) -> Lane:
        step = self.scalar(self.kernel.scalars.index(TIME), TIME, self.kernel.precision.compute)
        given = (np.uint64(self._column(PARAMETER)), step.at.astype(np.uint64), np.uint64(self.start))
        parameter, at, start = (Lane(_MAKERS[Type.F64], np.asarray(each), Sort.INT) for each in given)
        key = np.asarray(rounding_key(parameter, at, pair, start).at).astype(np.uint32)
        return Lane(_MAKERS[Type.F32], key, Sort.INT)

    def total(self, number: int, value: Lane) -> None:
        self.sums[number] = np.broadcast_to(value.at, self.size)

    def cast(self, value: Lane, type: Type) -> Lane:
        return Lane(_MAKERS[type], np.asarray(value.at).astype(_MAKERS[type].float), Sort.FLOAT)

    def fma(self, x: Lane, y: Lane, z: Lane) -> Lane:
        return self.cast(fma_by_double(*(self.cast(each, Type.F64) for each in (x, y, z))), Type.F32)

    def call(self, function: str, arguments: list[Lane]) -> Lane:
        return FUNCTIONS[function](*arguments)


def folded(values: NDArray[np.float64]) -> float:
    """The sum of at most BLOCK numbers: halves are added to halves."""
    width = BLOCK
    while width // 2 >= max(values.size, 1):
        width //= 2
    parts = np.zeros(width)
    parts[: values.size] = values
    while parts.size > 1:
        parts = parts[: parts.size // 2] + parts[parts.size // 2 :]
    return float(parts[0])


class _Prologue:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.compiled = self.run

    def run(self, hypers: Any, t: Any, direction: Any, states: Any, scalars: Any) -> None:
        kernel, maker = self.kernel, _MAKERS[Type.F64]
        columns = {name: hypers[:, i] for i, name in enumerate(kernel.hypers)}
        columns |= {name: states[:, i].copy() for i, name in enumerate(kernel.scalar_states)}
        columns |= {TIME: t, DIRECTION: direction}
        machine = _Machine(kernel, np.empty(0, np.uint64), 0, 0)
        with np.errstate(all="ignore"):
            handed, new = run_prologue(
                kernel,
                machine,
                lambda name: Lane(maker, columns[name], Sort.FLOAT),
                lambda truth: Lane(maker, np.asarray(truth.at).astype(np.float64), Sort.FLOAT),
            )
        for array, values in ((scalars, handed), (states, new)):
            for column, value in enumerate(values):
                array[:, column] = value.at


class _Phase:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.compiled = self.run

    def run(self, addresses: Any, chunks: Any, first: int, last: int, scalars: Any, *more: Any) -> None:
        for chunk in range(first, last):
            tensor, start, size, row = chunks[chunk].tolist()
            machine = _Machine(self.kernel, addresses[tensor], start, size)
            machine.scalars = scalars[row]
            with np.errstate(all="ignore"):
                run_phase(self.kernel, machine)
                for number, summands in machine.sums.items():
                    partials = more[1]
                    partials[chunk, number] = 0.0
                    for block in range(0, size, BLOCK):
                        partials[chunk, number] += folded(summands[block : block + BLOCK])


class Interpreter:
    name = "interpreter"
    modes: tuple[str, ...] = ("fma", "strict", "accurate", "fast")

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        """The kernel itself."""
        return print_kernel(program.kernel(phase))

    def load(self, program: Program, phase: str = "update") -> Step:
        return chunked_step(program, phase, self.name, _interpreted)


def _interpreted(kernel: Kernel) -> tuple[_Prologue, _Phase]:
    checked(kernel, Interpreter.name)
    return _Prologue(kernel), _Phase(kernel)


BACKEND: Backend = Interpreter()
