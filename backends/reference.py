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
from optdsl.language.operators import INFIX, OPERATORS, REDUCTIONS
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
from optdsl.language.reductions import Total, reductions_in
from optdsl.runtime.batch import Batch

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
            case Apply(op=op) if op in REDUCTIONS:
                return values[_key(expr)]
            case Apply(op=op, args=args):
                return self.operators[op](*(self.evaluate(arg, values) for arg in args))

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
    optimizer: Optimizer, hypers: Mapping[str, Any], t: int, elements: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The same for all elements of one tensor, each given by its `theta`, `g` and states."""
    with mpmath.workprec(PRECISION):
        given = _inputs(optimizer, {name: mpmath.mpf(x) for name, x in hypers.items()}, mpmath.mpf(t))
        tensor: Tensors = []
        for element in elements:
            old = {(name, Age.OLD): mpmath.mpf(value) for name, value in element.items()}
            tensor.append({**given, **old, ("g", Age.NOW): mpmath.mpf(element["g"])})
        for line in optimizer.lines:
            for reduction in _reductions(line):
                value = _exactly_reduced(reduction, tensor)
                for values in tensor:
                    values[_key(reduction)] = value
            for values in tensor:
                EXACT.run((line,), values)
        names = ("theta", *(state.name for state in optimizer.states))
        return [{name: values[name, Age.NEW] for name in names} for values in tensor]


def _reductions(line: Assign) -> list[Apply]:
    return [each for part in (line.value, line.first) if part for each in reductions_in(part)]


def _exactly_reduced(reduction: Apply, tensor: Tensors) -> Any:
    row = REDUCTIONS[reduction.op]
    args = [[EXACT.evaluate(arg, values) for values in tensor] for arg in reduction.args]
    summands = args[0]
    if row.spelled in ("norm", "dot"):
        summands = [x * y for x, y in zip(args[0], args[-1], strict=True)]
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
                    values["g", Age.NOW] = values["direction", Age.NOW] * values["g", Age.OLD]
                    tensors.append(values)
                if phase == "query":
                    _query(optimizer, tensors, arrays)
                else:
                    _update(optimizer, batch, tensors, arrays)

        return step


def _row(optimizer: Optimizer, batch: Batch, row: int) -> Values:
    """What every tensor of a row begins with."""
    hypers = {hyper.name: batch.hypers[row, i] for i, hyper in enumerate(optimizer.hypers)}
    values = _inputs(optimizer, hypers, batch.t[row])
    values["direction", Age.NOW] = batch.direction[row]
    for i, state in enumerate(_numbers(optimizer)):
        values[state.name, Age.OLD] = batch.scalar_states[row, i]
    return values


def _numbers(optimizer: Optimizer) -> list[State]:
    """States with one value per tensor, or per step."""
    return [state for state in optimizer.states if state.shape is not Shape.ELEMENT]


def _arrays(
    optimizer: Optimizer, batch: Batch, tensor: int, dtype: type[np.floating[Any]]
) -> dict[str, NDArray[Any]]:
    size = int(batch.sizes[tensor])
    elements = (state.name for state in optimizer.states if state.shape is Shape.ELEMENT)
    names = ("theta", "g", *elements)
    return {
        name: _array(int(batch.addresses[tensor, column]), size, dtype) for column, name in enumerate(names)
    }


def _query(optimizer: Optimizer, tensors: Tensors, arrays: list[dict[str, NDArray[Any]]]) -> None:
    assert optimizer.query is not None
    for values, own in zip(tensors, arrays, strict=True):
        NUMPY.run(optimizer.query_lines, values)
        own["theta"][:] = NUMPY.evaluate(optimizer.query, values)


def _update(
    optimizer: Optimizer, batch: Batch, tensors: Tensors, arrays: list[dict[str, NDArray[Any]]]
) -> None:
    """Line by line, each for all tensors: what is reduced over all of them is there when it is read."""
    for line in optimizer.lines:
        for reduction in _reductions(line):
            for values, total in zip(tensors, _reduced(reduction, tensors), strict=True):
                values[_key(reduction)] = total
        for values in tensors:
            NUMPY.run((line,), values)
    for tensor, (values, own) in enumerate(zip(tensors, arrays, strict=True)):
        for name, array in own.items():
            if name != "g":
                array[:] = np.broadcast_to(values[name, Age.NEW], array.shape)
        for i, state in enumerate(_numbers(optimizer)):
            batch.scalar_states[batch.rows[tensor], i] = values[state.name, Age.NEW]


def _key(reduction: Apply) -> tuple[str, Age]:
    """Where the value of a reduction is kept: under a name that no spec can spell."""
    return f"{Total(reduction, 0).key}", Age.NOW


def _reduced(reduction: Apply, tensors: Tensors) -> list[Any]:
    """Its value for each tensor: an exact sum of float64 summands, rounded once."""
    row = REDUCTIONS[reduction.op]
    sums: list[float] = []
    for values in tensors:
        args = [np.broadcast_to(NUMPY.evaluate(arg, values), values["g", Age.NOW].shape).ravel()
                for arg in reduction.args]  # fmt: skip
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


def _array(address: int, size: int, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    if size == 0:
        return np.empty(0, dtype)
    element = ctypes.c_float if dtype is np.float32 else ctypes.c_double
    return np.ctypeslib.as_array((element * size).from_address(address))


# --- as text -------------------------------------------------------------------------------------


def describe(optimizer: Optimizer, phase: str) -> str:
    """One line per declaration and assignment, every operand in brackets: nothing is left to precedence."""
    lines = [f"optimizer {optimizer.name}"]
    for hyper in optimizer.hypers:
        alias = f" as {hyper.alias.name}" if hyper.alias else ""
        index = f"[{hyper.alias.index}]" if hyper.alias and hyper.alias.index is not None else ""
        lines.append(f"hyper {hyper.name} = {_number(hyper.default)} in {hyper.domain}{alias}{index}")
    for flag in optimizer.flags:
        lines.append(f"flag {flag.name} = {str(flag.default).lower()}")
    for state in optimizer.states:
        alias = f" as {state.alias}" if state.alias else ""
        lines.append(
            f"state {state.name}: {state.shape.name.lower()} = {print_meaning(state.initial)}{alias}"
        )
    shown = optimizer.query_lines if phase == "query" else optimizer.lines
    for line in shown:
        target = f"{line.target.name}{line.target.age.value}: {line.target.shape.name.lower()}"
        if line.first is not None:
            lines.append(f"{target} = {print_meaning(line.first)} at t = 1")
        lines.append(f"{target} = {print_meaning(line.value)}")
    if optimizer.query is not None:
        lines.append(f"gradient at {print_meaning(optimizer.query)}")
    return "\n".join(lines)


def print_meaning(expr: Expr) -> str:
    match expr:
        case Number(value=value):
            return _number(value)
        case Truth(value=value):
            return str(value).lower()
        case Ref(name=name, age=age):
            return f"{name}{age.value}"
        case Apply(op=op, args=args) if op in REDUCTIONS:
            scope = " over all" if REDUCTIONS[op].over_all else ""
            return f"{REDUCTIONS[op].spelled}({', '.join(map(print_meaning, args))}{scope})"
        case Apply(op=op, args=args):
            row = OPERATORS[op]
            texts = [print_meaning(arg) for arg in args]
            if row.infix in INFIX:
                return f"({texts[0]} {row.infix} {texts[1]})"
            return f"{op}({', '.join(texts)})"


def _number(value: Fraction) -> str:
    return str(value)


BACKEND: Backend = Reference()
