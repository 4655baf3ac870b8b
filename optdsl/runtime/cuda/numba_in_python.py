"""Runs a kernel that Numba would compile for a GPU in Python, on this process's memory: to see what it does.

The words of `numba_words`, on numbers of NumPy: `print` and a debugger work, and vectors that do not lie at
multiples of 16 bytes are refused. `Prologue` and `Phase` stand where compiled kernels of the CPU do. Slow:
some microseconds for each operation.
Threads that wait at a barrier to which others do not come wait for ever on a GPU, and are told so here.
NOT done: bounds checks.
"""

import ctypes
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from optdsl.portable.functions import FUNCTIONS, fma_by_double
from optdsl.portable.lanes import Lane, NumpyMaker, Sort
from optdsl.runtime.batch import BLOCK, MAX_SUMS

THREADS = 2  # of a block: any number gives the same bits
_WAIT = 60.0  # seconds for other threads to come to a barrier


class _Place(threading.local):
    """Which block and which thread of it this is."""

    block = thread = 0


_place = _Place()
_summands = np.zeros((MAX_SUMS, BLOCK))
_barrier = threading.Barrier(1)
_ended: list[int] = []  # threads of the block
_lock = threading.Lock()  # one launch at a time


def run(function: Callable[..., None], blocks: int, *arguments: int, barriers: bool = False) -> None:
    """`function`: what a `Kernel` was made of. barriers: threads wait for each other, and are real ones."""
    global _barrier
    here = FunctionType(function.__code__, {**function.__globals__, **WORDS})

    def thread(block: int, number: int) -> None:
        _place.block, _place.thread = block, number
        try:
            with np.errstate(all="ignore"):
                here(*arguments)
            _ended.append(number)
            if _barrier.n_waiting:  # for this thread, which does not come
                _barrier.abort()
        except BaseException as error:
            failed.append(error)
            _barrier.abort()

    failed: list[BaseException] = []
    with _lock:
        for block in range(blocks):
            _summands.fill(np.nan)  # what shared memory holds before it is written, nobody knows
            _barrier = threading.Barrier(THREADS if barriers else 1)
            _ended.clear()
            if barriers:
                workers = [threading.Thread(target=thread, args=(block, each)) for each in range(THREADS)]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
            else:
                for number in range(THREADS):
                    thread(block, number)
            for error in failed:
                raise error


def _accessors(kind: Any, lanes: int = 1) -> tuple[Callable[..., Any], Callable[..., None]]:
    size = np.dtype(kind).itemsize
    number: Any = {np.float32: ctypes.c_float, np.float64: ctypes.c_double, np.int64: ctypes.c_int64}[kind]

    def place(address: int, index: int) -> Any:
        at = int(address) + size * int(index)
        if kind is not np.int64 and at % (size * lanes):
            raise ValueError(f"{lanes} numbers of {size} bytes are read or written at {at:#x}: not aligned")
        return (number * lanes).from_address(at)

    def read(address: int, index: int) -> Any:
        values = [kind(value) for value in place(address, index)]
        values = [int(value) for value in values] if kind is np.int64 else values
        return values[0] if lanes == 1 else tuple(values)

    def write(address: int, index: int, *values: Any) -> None:
        if any(type(value) is not kind and type(value) is not float for value in values):
            raise TypeError(
                f"a {type(values[0]).__name__} is written where {kind.__name__} are kept: cast it"
            )
        place(address, index)[:] = [float(value) for value in values]

    return read, write


def _wait() -> None:
    try:
        if _ended and _barrier.parties > 1:
            raise threading.BrokenBarrierError
        _barrier.wait(_WAIT)
    except threading.BrokenBarrierError:
        raise RuntimeError("a thread waits at a barrier that others do not come to") from None


def _read_summand(column: int, index: int) -> np.float64:
    return np.float64(_summands[column, index])


def _write_summand(column: int, index: int, value: float) -> None:
    _summands[column, index] = value


def _function(name: str) -> Callable[..., Any]:
    makers = {np.float32: NumpyMaker(32), np.float64: NumpyMaker(64), float: NumpyMaker(64)}

    def function(*given: Any) -> Any:
        kinds = {type(each) for each in given}
        maker = makers[(kinds - {float} or {float}).pop()]
        lanes = (Lane(maker, np.asarray(maker.float(each)), Sort.FLOAT) for each in given)
        return maker.float(FUNCTIONS[name](*lanes).at)

    return function


def _fma(x: np.float32, y: np.float32, z: np.float32) -> np.float32:
    maker = NumpyMaker(64)
    lanes = (Lane(maker, np.asarray(np.float64(each)), Sort.FLOAT) for each in (x, y, z))
    return np.float32(fma_by_double(*lanes).at)


read_f32, write_f32 = _accessors(np.float32)
read_f64, write_f64 = _accessors(np.float64)
read4_f32, write4_f32 = _accessors(np.float32, 4)
read2_f64, write2_f64 = _accessors(np.float64, 2)
read_i64, _ = _accessors(np.int64)
read4_i64, _ = _accessors(np.int64, 4)

WORDS: dict[str, Any] = {
    "THREADS": THREADS,
    "this_block": lambda: _place.block,
    "this_thread": lambda: _place.thread,
    "barrier": _wait,
    "read_summand": _read_summand,
    "write_summand": _write_summand,
    "aligned": lambda addresses: addresses % 16 == 0,
    "f32_bytes": lambda count: 4 * count,
    "f64_bytes": lambda count: 8 * count,
    "read_address": read_i64,
    "fma": _fma,
    "sqrt": lambda x: type(x)(np.sqrt(x)),
    "where": lambda condition, x, y: x if condition else y,
    **{"read_f32": read_f32, "write_f32": write_f32, "read4_f32": read4_f32, "write4_f32": write4_f32},
    **{"read_f64": read_f64, "write_f64": write_f64, "read2_f64": read2_f64, "write2_f64": write2_f64},
    **{"read_i64": read_i64, "read4_i64": read4_i64},
    **{name: _function(name) for name in FUNCTIONS if name not in ("pow", "short_pow", "mod", "max", "min")},
    **{"power": _function("pow"), "short_power": _function("short_pow"), "modulo": _function("mod")},
    **{"maximum": _function("max"), "minimum": _function("min")},
}


class InPython:
    """A prologue or a phase, called as those of the CPU are (`runtime.numba_kernel`)."""

    def __init__(self, function: Callable[..., None], compute: Any) -> None:
        self.function, self.compute = function, compute

    @property
    def compiled(self) -> Callable[..., None]:
        return self._run

    def _run(self, *arguments: Any) -> None:
        raise NotImplementedError


class Prologue(InPython):
    def _run(self, hypers: Any, t: Any, direction: Any, states: Any, scalars: Any) -> None:
        kept = np.empty(scalars.shape, self.compute)
        given = [each.ctypes.data for each in (hypers, t, direction, states, kept)]
        run(self.function, -(-t.size // THREADS), *given, t.size)
        scalars[:] = kept


class Phase(InPython):
    def _run(self, addresses: Any, chunks: Any, first: int, last: int, scalars: Any, *more: Any) -> None:
        table, kept = np.ascontiguousarray(chunks[first:last]), scalars.astype(self.compute)
        given = [each.ctypes.data for each in (addresses, table, kept)]
        if not more:
            run(self.function, last - first, *given)
            return
        partials = np.zeros_like(more[1][first:last])
        run(self.function, last - first, *given, partials.ctypes.data, barriers=True)
        more[1][first:last] = partials
