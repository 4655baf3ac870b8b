"""The oracle: walks the meaning of a spec, and knows nothing of kernels, passes or Numba.

Two arithmetics over the same walk: mpmath at 200 bits, one element at a time (`exact_step`), against which
everything is measured; and NumPy float64, whole tensors at a time, which takes a `Batch` like every
backend. Slow and plain on purpose.
"""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from optdsl.backend import Backend, Program, Step
from optdsl.diagnostics import InternalError
from optdsl.kernel.ir import Type
from optdsl.language import float64
from optdsl.language.history import is_sweep, lengths
from optdsl.language.inputs import drawn, inputs_by_shape
from optdsl.language.operators import FAN_IN, OPERATORS, REDUCTIONS
from optdsl.language.optimizer import (
    Age,
    Apply,
    Assign,
    Expr,
    Number,
    Optimizer,
    Ref,
    Role,
    Shape,
    State,
    Truth,
)
from optdsl.language.reductions import reductions_in
from optdsl.language.stages import Total, plan
from optdsl.runtime.batch import Batch

from ._matrices import evaluate_matrix
from ._meaning_text import describe
from ._past import PAST, evaluate_past, run_loop

PRECISION = 200  # bits

Values = dict[tuple[str, Age], Any]  # what every name stands for, old and new
Tensors = list[Values]  # of each tensor; or of each element of one


class Arithmetic:
    """How operators and constants are computed."""

    def __init__(
        self, number: Callable[[Fraction], Any], operators: Mapping[str, Callable[..., Any]]
    ) -> None:
        self.number = number
        self.operators = operators

    def evaluate(self, expr: Expr, values: Values) -> Any:
        match expr:
            case Number(value=value):
                return self.number(value)
            case Truth(value=value):
                return value
            case Ref(role=Role.FLAG):
                raise InternalError("the reference takes a specialised optimizer")
            case Ref(name=name, age=age):
                return values[name, age]
            case Apply(op=op) if op in self.operators:
                return self.operators[op](*(self.evaluate(arg, values) for arg in expr.args))
            case Apply() if _key(expr) in values:
                return values[_key(expr)]
            case Apply(op="entry" | "round"):
                return evaluate_past(expr, values, self.evaluate)
            case Apply():
                return evaluate_matrix(expr, values, self.evaluate)

    def run(self, lines: tuple[Assign, ...], values: Values) -> None:
        """From top to bottom; results go into `values`, which holds those of reductions already."""
        for line in lines:
            first = line.first is not None and values["t", Age.NOW] == 1
            expr = line.first if first and line.first is not None else line.value
            values[line.target.name, line.target.age] = self.evaluate(expr, values)


EXACT = Arithmetic(
    lambda value: mpmath.mpf(value.numerator) / value.denominator,
    {name: row.exact for name, row in OPERATORS.items()},
)


NUMPY = Arithmetic(lambda value: np.float64(value), float64.NUMPY)


def exact_step(
    optimizer: Optimizer,
    hypers: Mapping[str, Any],
    t: int,
    theta: Any,
    g: Any,
    states: Mapping[str, Any],
) -> dict[str, Any]:
    """One step of one element in 200-bit arithmetic: the new `theta` and states, by name.

    All inputs are taken as the exact numbers that they are. The optimizer's flags are chosen.
    """
    (new,) = exact_steps(optimizer, hypers, t, [{"theta": theta, "g": g, **states}])
    return new


def exact_steps(
    optimizer: Optimizer,
    hypers: Mapping[str, Any],
    t: int,
    elements: Sequence[Mapping[str, Any]],
    dims: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """The same for all elements of one tensor, each given by its `theta`, `g`, states and inputs.

    dims: the rows and columns of its matrices; None for a vector.
    """
    height, width = dims or (1, len(elements))
    if len(elements) > 1 and plan(optimizer.lines).stages:
        raise InternalError("matrices are not stepped one element at a time")
    with mpmath.workprec(PRECISION):
        given = _inputs(optimizer, {name: mpmath.mpf(x) for name, x in hypers.items()}, mpmath.mpf(t))
        tensor: Tensors = []
        for element in elements:
            old = {(name, Age.OLD): mpmath.mpf(value) for name, value in element.items()}
            now = {(name, Age.NOW): mpmath.mpf(element[name]) for name in ("g", *optimizer.inputs)}
            tensor.append({**given, **old, **now})
        for line in optimizer.lines:
            for reduction in _reductions(line):
                groups: dict[object, Tensors] = {}
                for index, values in enumerate(tensor):
                    groups.setdefault(_group(reduction, index, height, width), []).append(values)
                for group in groups.values():
                    value = _exactly_reduced(reduction, group)
                    for values in group:
                        values[_key(reduction)] = value
            for values in tensor:
                EXACT.run((line,), values)
        names = ("theta", *(state.name for state in optimizer.states))
        return [{name: values[name, Age.NEW] for name in names} for values in tensor]


def _reductions(line: Assign) -> list[Apply]:
    return [each for part in (line.value, line.first) if part for each in reductions_in(part)]


def _group(reduction: Apply, element: int, height: int, width: int) -> object:
    """Elements of the same group are reduced to one value."""
    over = REDUCTIONS[reduction.op].over
    row = element // width
    return {"cols": row, FAN_IN: row, "rows": (row // height, element % width)}.get(over)


def _exactly_reduced(reduction: Apply, tensor: Tensors) -> Any:
    row = REDUCTIONS[reduction.op]
    args = [[EXACT.evaluate(arg, values) for values in tensor] for arg in reduction.args]
    summands = args[0]
    if row.spelled in ("norm", "dot"):
        summands = [x * y for x, y in zip(args[0], args[-1], strict=True)]
    if row.spelled == "max":
        return max(summands)
    total = mpmath.fsum(summands)
    if row.spelled == "norm":
        return mpmath.sqrt(total)
    return total / len(tensor) if row.spelled == "mean" else total


def _inputs(optimizer: Optimizer, hypers: Mapping[str, Any], t: Any) -> Values:
    values: Values = {(hyper.name, Age.NOW): hypers[hyper.name] for hyper in optimizer.hypers}
    values["t", Age.NOW] = t
    return values


class Reference:
    name = "reference"
    modes: tuple[str, ...] = ("accurate", "fast", "fma", "strict")

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        """The meaning as text: flags decided, every line with its shape."""
        return describe(program.optimizer, phase)

    def load(self, program: Program, phase: str = "update") -> Step:
        optimizer = program.optimizer
        dtype = np.float32 if program.update.precision.storage is Type.F32 else np.float64

        def step(batch: Batch) -> None:
            with np.errstate(all="ignore"):
                rows = [_row(optimizer, batch, row) for row in range(batch.t.size)]
                arrays = [_arrays(optimizer, batch, i, dtype) for i in range(batch.sizes.size)]
                tensors: Tensors = []
                for row, own in zip(batch.rows.tolist(), arrays, strict=True):
                    values = dict(rows[row])
                    values |= {(name, Age.OLD): array.astype(np.float64) for name, array in own.items()}
                    given = _hypers(optimizer, batch, row)
                    values |= _past(optimizer, own, given, int(batch.t[row]), dtype)
                    _, arrays_given = inputs_by_shape(optimizer.inputs)
                    for name in ("g", *arrays_given):
                        sign = 1.0 if drawn(name) else values["direction", Age.NOW]
                        values[name, Age.NOW] = sign * values[name, Age.OLD]
                    tensors.append(values)
                if phase == "query":
                    _query(optimizer, tensors, arrays)
                elif phase.startswith("view_"):
                    _view(optimizer, phase, tensors, arrays)
                else:
                    _update(optimizer, batch, tensors, arrays)

        return step


def _hypers(optimizer: Optimizer, batch: Batch, row: int) -> dict[str, Any]:
    return {hyper.name: batch.hypers[row, i] for i, hyper in enumerate(optimizer.hypers)}


def _row(optimizer: Optimizer, batch: Batch, row: int) -> Values:
    """What every tensor of a row begins with."""
    hypers = _hypers(optimizer, batch, row)
    values = _inputs(optimizer, hypers, batch.t[row])
    values["direction", Age.NOW] = batch.direction[row]
    numbers, _ = inputs_by_shape(optimizer.inputs)
    for column, name in enumerate(numbers, len(hypers)):
        values[name, Age.NOW] = batch.direction[row] * batch.hypers[row, column]
    for i, state in enumerate(_numbers(optimizer)):
        values[state.name, Age.OLD] = batch.scalar_states[row, i]
    return values


def _numbers(optimizer: Optimizer) -> list[State]:
    """States with one value per tensor, or per step."""
    return [state for state in optimizer.states if state.shape <= Shape.TENSOR]


def _arrays(
    optimizer: Optimizer, batch: Batch, tensor: int, dtype: type[np.floating[Any]]
) -> dict[str, NDArray[Any]]:
    shapes = {"theta": Shape.ELEMENT, "g": Shape.ELEMENT}
    shapes |= {state.name: state.shape for state in optimizer.states if state.shape > Shape.TENSOR}
    _, inputs = inputs_by_shape(optimizer.inputs)
    shapes |= dict.fromkeys(inputs, Shape.ELEMENT)
    arrays = {}
    for column, (name, shape) in enumerate(shapes.items()):
        elements = int(batch.sizes[tensor])
        size: tuple[int, ...] = (elements,)
        if shape is Shape.PAST:
            given = _hypers(optimizer, batch, int(batch.rows[tensor]))
            size = (lengths(optimizer)[name].of(given) * elements,)
        elif batch.dims is not None:
            size = _size(shape, elements, *batch.dims[tensor].tolist())
        arrays[name] = _array(int(batch.addresses[tensor, column]), math.prod(size), dtype).reshape(size)
    return arrays


def _past(
    optimizer: Optimizer,
    arrays: dict[str, NDArray[Any]],
    hypers: Mapping[str, Any],
    t: int,
    dtype: type[np.floating[Any]],
) -> dict[Any, Any]:
    """What is remembered, the newest first, from the places that turn with the step."""
    found: dict[Any, Any] = {("rounded", PAST): lambda x: np.asarray(x).astype(dtype).astype(np.float64)}
    for name, length in lengths(optimizer).items():
        count, shape = length.of(hypers), arrays["theta"].shape
        slots = arrays[name].reshape(count, *shape).astype(np.float64)
        found[name, PAST] = [slots[(t - k) % count] for k in range(1, count)]
    return found


def _size(shape: Shape, elements: int, rows: int, columns: int) -> tuple[int, ...]:
    """A batch of matrices; of each, one column or one row where there is one value for each row or column,
    and a square one where there is one for each pair of them.
    """
    batch = elements // max(rows * columns, 1)
    if shape.is_whole:
        flipped = {Shape.LEFT: (rows, rows), Shape.RIGHT: (columns, columns)}.get(shape, (columns, rows))
        return batch, *flipped
    return batch, 1 if shape is Shape.COLS else rows, 1 if shape is Shape.ROWS else columns


def _query(optimizer: Optimizer, tensors: Tensors, arrays: list[dict[str, NDArray[Any]]]) -> None:
    assert optimizer.query is not None
    point = Assign(Ref(Role.THETA, "theta", Age.NEW, Shape.ELEMENT), optimizer.query)
    _run((*optimizer.query_lines, point), tensors)
    for values, own in zip(tensors, arrays, strict=True):
        own["theta"][:] = values["theta", Age.NEW]


def _view(optimizer: Optimizer, phase: str, tensors: Tensors, arrays: list[dict[str, NDArray[Any]]]) -> None:
    (value,) = (output.value for output in optimizer.outputs if phase == f"view_{output.name}")
    for values, own in zip(tensors, arrays, strict=True):
        kept = {(name, Age.NEW): x for (name, age), x in values.items() if age is Age.OLD}
        own["theta"][:] = np.broadcast_to(NUMPY.evaluate(value, values | kept), own["theta"].shape)


def _update(
    optimizer: Optimizer, batch: Batch, tensors: Tensors, arrays: list[dict[str, NDArray[Any]]]
) -> None:
    _run(optimizer.lines, tensors)
    remembered = lengths(optimizer)
    for tensor, (values, own) in enumerate(zip(tensors, arrays, strict=True)):
        for name, array in own.items():
            if name in remembered:
                count = remembered[name].of(_hypers(optimizer, batch, int(batch.rows[tensor])))
                slots = array.reshape(count, -1)
                slots[int(values["t", Age.NOW]) % len(slots)] = np.ravel(values[name, Age.NEW])
            elif (name, Age.NEW) in values:
                array[:] = np.broadcast_to(values[name, Age.NEW], array.shape)
        for i, state in enumerate(_numbers(optimizer)):
            batch.scalar_states[batch.rows[tensor], i] = values[state.name, Age.NEW]


def _run(lines: tuple[Assign, ...], tensors: Tensors) -> None:
    """Line by line, each for all tensors: what is reduced over all of them is there when it is read."""
    for line in lines:
        for reduction in _reductions(line):
            for values, total in zip(tensors, _reduced(reduction, tensors), strict=True):
                values[_key(reduction)] = total
        if is_sweep(line.value):
            run_loop(line, tensors, NUMPY.evaluate, _reduced, _key)
            continue
        for values in tensors:
            NUMPY.run((line,), values)


def _key(reduction: Apply) -> tuple[str, Age]:
    """Where the value of a reduction is kept: under a name that no spec can spell."""
    return f"{Total(reduction, 0).key}", Age.NOW


def _reduced(reduction: Apply, tensors: Tensors) -> list[Any]:
    """Its value for each tensor: an exact sum of float64 summands, rounded once."""
    row = REDUCTIONS[reduction.op]
    if row.shape in _AXIS:
        return [_reduced_along(reduction, values) for values in tensors]
    sums: list[float] = []
    for values in tensors:
        args = [arg.ravel() for arg in _whole(reduction, values)]
        summands = args[0] * args[-1] if row.spelled in ("norm", "dot") else args[0]
        finite = bool(np.isfinite(summands).all())
        sums.append(math.fsum(summands.tolist()) if finite else float(summands.sum()))
    counts = [values["g", Age.NOW].size for values in tensors]
    if row.over_all:
        sums, counts = [math.fsum(sums)] * len(sums), [sum(counts)] * len(counts)
    if row.spelled == "norm":
        return [np.sqrt(np.float64(x)) for x in sums]
    if row.spelled == "mean":
        return [np.float64(x) / count for x, count in zip(sums, counts, strict=True)]
    return [np.float64(x) for x in sums]


_AXIS = {Shape.ROWS: -1, Shape.COLS: -2}


def _whole(reduction: Apply, values: Values) -> list[NDArray[Any]]:
    shape = values["g", Age.NOW].shape
    return [np.broadcast_to(NUMPY.evaluate(arg, values), shape) for arg in reduction.args]


def _reduced_along(reduction: Apply, values: Values) -> NDArray[Any]:
    row = REDUCTIONS[reduction.op]
    args, axis = _whole(reduction, values), _AXIS[row.shape]
    summands = args[0] * args[-1] if row.spelled in ("norm", "dot") else args[0]
    if row.spelled == "max":
        return np.asarray(np.max(summands, axis, keepdims=True, initial=-np.inf))
    total: NDArray[Any] = np.zeros_like(summands.sum(axis, keepdims=True))
    lines = np.moveaxis(summands, axis, -1)
    for place in np.ndindex(lines.shape[:-1]):
        np.moveaxis(total, axis, -1)[place] = _fsum(lines[place])
    if row.spelled == "norm":
        total = np.sqrt(total)
    if row.spelled == "mean":
        total /= summands.shape[axis]
    return total


def _fsum(values: NDArray[Any]) -> float:
    return math.fsum(values.tolist()) if np.isfinite(values).all() else float(values.sum())


def _array(address: int, size: int, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    if size == 0:
        return np.empty(0, dtype)
    element = ctypes.c_float if dtype is np.float32 else ctypes.c_double
    return np.ctypeslib.as_array((element * size).from_address(address))


BACKEND: Backend = Reference()
