"""Every spec of the library with every setting of its flags, and data to run it on."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optdsl import driver
from optdsl.backend import Program, Step
from optdsl.diagnostics import Source
from optdsl.files import library_names, read_library
from optdsl.kernel.ir import Precision, Type
from optdsl.language.history import lengths
from optdsl.language.inputs import inputs_by_shape
from optdsl.language.optimizer import Number, Optimizer, Ref, Role, Shape
from optdsl.language.reductions import totals
from optdsl.language.specialise import flag_settings
from optdsl.language.stages import plan
from optdsl.runtime.batch import Batch
from optdsl.runtime.layout import COUNTS, LINE_COUNTS
from optdsl.runtime.lines import buffers

INPUT = 0.75  # every input of one number
Setting = tuple[str, tuple[tuple[str, bool], ...]]


@cache
def meaning(name: str) -> Optimizer:
    optimizer, _ = driver.front(read_library(name))
    return optimizer


def settings() -> Iterator[Setting]:
    """(spec, flags), for every spec and every combination."""
    for name in library_names():
        for flags in flag_settings(meaning(name)):
            yield name, tuple(flags.items())


def label(setting: Setting) -> str:
    name, flags = setting
    return "-".join((name, *(flag for flag, value in flags if value)))


@cache
def program(setting: Setting, mode: str, storage: Type) -> Program:
    name, flags = setting
    return driver.build(meaning(name), Precision(mode, storage), dict(flags))


def program_of(text: str, mode: str, storage: Type) -> Program:
    optimizer, _ = driver.front(Source("test.opt", text))
    return driver.build(optimizer, Precision(mode, storage))


def dtype_of(storage: Type) -> type[np.floating[Any]]:
    return np.float32 if storage is Type.F32 else np.float64


@dataclass
class Data:
    """Arrays per tensor and buffer, and scalar states: what one run works on."""

    arrays: list[dict[str, NDArray[Any]]]
    scalar_states: NDArray[np.float64]

    def copy(self) -> "Data":
        arrays = [{name: array.copy() for name, array in tensor.items()} for tensor in self.arrays]
        return Data(arrays, self.scalar_states.copy())


def element_states(optimizer: Optimizer) -> list[str]:
    """And those with a value for each row or column."""
    return [state.name for state in optimizer.states if state.shape > Shape.TENSOR]


def scalar_states(optimizer: Optimizer) -> list[str]:
    return [state.name for state in optimizer.states if state.shape <= Shape.TENSOR]


def spread(optimizer: Optimizer, name: str, array: NDArray[Any], size: int) -> NDArray[Any]:
    """A buffer's value at each of the elements of a tensor."""
    shapes = {state.name: state.shape for state in optimizer.states}
    rows, columns = dims_of(size)
    line = np.arange(size) // columns
    match shapes.get(name):
        case Shape.ROWS:
            return np.asarray(array[line])
        case Shape.COLS:
            return np.asarray(array[line // rows * columns + np.arange(size) % columns])
        case _:
            return array


def line_sums(optimizer: Optimizer) -> list[str]:
    """ "rows" or "cols" for each reduction over columns or rows; what stages take and make."""
    return list(driver.build(optimizer, Precision("accurate", Type.F32)).update.line_sums)


def goes_by_rows(optimizer: Optimizer) -> bool:
    return plan(optimizer.lines).by_rows


def dims_of(size: int) -> tuple[int, int]:
    """Rows and columns of a matrix, or of each of some, with so many elements."""
    columns = next((n for n in (37, 16, 5, 3, 2) if size % n == 0), 1)
    rows = next((n for n in (41, 7, 4, 2) if size // columns % n == 0), size // columns)
    return rows, columns


def initial_data(optimizer: Optimizer, sizes: list[int], storage: Type, rows: int, seed: int = 0) -> Data:
    """Random parameters and gradients over many magnitudes; states as the spec says they begin."""
    rng = np.random.default_rng(seed)
    rows = len(sizes) if plan(optimizer.lines).passes else rows
    dtype = dtype_of(storage)
    hypers = {hyper.name: float(hyper.default) for hyper in optimizer.hypers}

    def start(name: str, theta: NDArray[Any]) -> NDArray[Any]:
        (state,) = (state for state in optimizer.states if state.name == name)
        like = theta
        rows, columns = dims_of(theta.size)
        if state.shape is Shape.PAST:
            like = np.empty(lengths(optimizer)[name].of(hypers) * theta.size, theta.dtype)
        elif state.shape is not Shape.ELEMENT:
            sides = {Shape.ROWS: rows, Shape.COLS: columns, Shape.LEFT: rows**2, Shape.RIGHT: columns**2}
            matrices = theta.size // max(rows * columns, 1)
            like = np.empty(matrices * sides[state.shape], theta.dtype)
        match state.initial:
            case Number(value=value):
                return np.full_like(like, float(value))
            case Ref(role=Role.HYPER, name=hyper):
                return np.full_like(like, hypers[hyper])
            case _:
                return theta.copy()

    arrays = []
    for size in sizes:
        theta = rng.standard_normal(size).astype(dtype)
        scale = 10.0 ** rng.uniform(-3, 1, size)
        g = (rng.standard_normal(size) * scale).astype(dtype)
        given = {name: (g * theta).astype(dtype) for name in inputs_by_shape(optimizer.inputs)[1]}
        states = {name: start(name, theta) for name in element_states(optimizer)}
        arrays.append({"theta": theta, "g": g} | states | given)
    scalars = np.array(
        [
            [float(state.initial.value) if isinstance(state.initial, Number) else hypers[state.initial.name]  # type: ignore[union-attr]
             for state in optimizer.states if state.shape <= Shape.TENSOR]
        ]
        * rows
    ).reshape(rows, -1)  # fmt: skip
    return Data(arrays, scalars)


def hyper_rows(optimizer: Optimizer, rows: int) -> NDArray[np.float64]:
    """The defaults, and rows beside them that stay within every domain."""
    found = []
    for row in range(rows):
        values = []
        for hyper in optimizer.hypers:
            value = hyper.default
            if row:
                tried = (value * Fraction(9, 10), value + Fraction(1, 100))
                value = next((x for x in (tried[1], tried[0]) if hyper.domain.contains(x)), value)
            values.append(float(value))
        found.append(values)
    return np.array(found, np.float64).reshape(rows, len(optimizer.hypers))


def run(step: Step, optimizer: Optimizer, data: Data, hypers: NDArray[np.float64], t: int) -> None:
    """One step of a backend on the data, in place; tensor i uses row i modulo the number of rows."""
    numbers, inputs = inputs_by_shape(optimizer.inputs)
    names = ["theta", "g", *element_states(optimizer), *inputs]
    hypers = np.hstack([hypers, np.full((len(hypers), len(numbers)), INPUT)])
    found = [[tensor[name].ctypes.data for name in names] for tensor in data.arrays]
    addresses = np.array(found, np.uint64).reshape(len(data.arrays), len(names))
    sizes = np.array([tensor["theta"].size for tensor in data.arrays], np.int64)
    dims = None
    by_rows = goes_by_rows(optimizer)
    if by_rows:
        dims = np.array([dims_of(size) for size in sizes.tolist()])
        sums, _memory = buffers(sizes, dims, line_sums(optimizer))
        addresses = np.hstack((addresses, sums))
    if plan(optimizer.lines).passes:  # a row for each tensor, with columns for counts and totals
        each = hypers[np.arange(len(data.arrays)) % len(hypers)]
        reduced = [total for total in totals(optimizer.lines) if not total.of_lines]
        extra = (COUNTS + LINE_COUNTS if by_rows else COUNTS) + len(reduced)
        hypers = np.hstack([each, np.full((len(data.arrays), extra), np.nan)])
    rows = len(hypers)
    step(
        Batch(
            addresses=addresses,
            sizes=sizes,
            rows=np.arange(len(data.arrays), dtype=np.int64) % rows,
            hypers=hypers,
            t=np.full(rows, float(t)),
            direction=np.ones(rows),
            scalar_states=data.scalar_states,
            dims=dims,
        )
    )
