"""The oracle: walks the meaning of a spec, and knows nothing of kernels, passes or Numba.

Two arithmetics over the same walk: mpmath at 200 bits, one element at a time (`exact_step`), against which
everything is measured; and NumPy float64, whole tensors at a time, which takes a `Batch` like every
backend. Slow and plain on purpose.
"""

import ctypes
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from optdsl.backend import Backend, Program, Step
from optdsl.diagnostics import InternalError
from optdsl.kernel.ir import Type
from optdsl.language.operators import INFIX, OPERATORS
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Number, Optimizer, Ref, Role, Shape, Truth
from optdsl.runtime.batch import Batch

PRECISION = 200  # bits

Values = dict[tuple[str, Age], Any]  # what every name stands for, old and new


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
            case Apply(op=op, args=args):
                return self.operators[op](*(self.evaluate(arg, values) for arg in args))

    def run(self, lines: tuple[Assign, ...], values: Values, shape: Shape | None = None) -> None:
        """All lines, or those of one shape, from top to bottom; results go into `values`."""
        for line in lines:
            if shape is not None and line.target.shape is not shape:
                continue
            first = line.first is not None and values["t", Age.NOW] == 1
            expr = line.first if first and line.first is not None else line.value
            values[line.target.name, line.target.age] = self.evaluate(expr, values)


EXACT = Arithmetic(
    lambda value: mpmath.mpf(value.numerator) / value.denominator,
    {name: row.exact for name, row in OPERATORS.items()},
)


def _power(x: Any, y: Any) -> Any:
    return np.power(np.asarray(x, np.float64), y)


NUMPY = Arithmetic(
    lambda value: np.float64(value),
    {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": _power,
        "mod": np.mod, "neg": np.negative, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "abs": np.abs,
        "sign": np.sign, "cbrt": np.cbrt, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh,
        "floor": np.floor, "min": np.minimum, "max": np.maximum,
        "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high), "where": np.where,
        "eq": np.equal, "le": np.less_equal, "ge": np.greater_equal, "lt": np.less, "gt": np.greater,
        "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    },
)  # fmt: skip


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
    with mpmath.workprec(PRECISION):
        values = _inputs(optimizer, {name: mpmath.mpf(x) for name, x in hypers.items()}, mpmath.mpf(t))
        values["g", Age.NOW] = mpmath.mpf(g)
        values["theta", Age.OLD] = mpmath.mpf(theta)
        for name, value in states.items():
            values[name, Age.OLD] = mpmath.mpf(value)
        EXACT.run(optimizer.lines, values)
        return {
            name: values[name, Age.NEW] for name in ("theta", *(state.name for state in optimizer.states))
        }


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
                rows = [_row(optimizer, batch, row, phase) for row in range(batch.t.size)]
                for tensor in range(batch.sizes.size):
                    _tensor(optimizer, batch, tensor, rows[batch.rows[tensor]], phase, dtype)

        return step


def _row(optimizer: Optimizer, batch: Batch, row: int, phase: str) -> Values:
    """The scalars of one row; new scalar states go back into the batch."""
    hypers = {hyper.name: batch.hypers[row, i] for i, hyper in enumerate(optimizer.hypers)}
    values = _inputs(optimizer, hypers, batch.t[row])
    values["direction", Age.NOW] = batch.direction[row]
    scalar_states = [state.name for state in optimizer.states if state.shape is Shape.SCALAR]
    for i, name in enumerate(scalar_states):
        values[name, Age.OLD] = batch.scalar_states[row, i]
    NUMPY.run(optimizer.query_lines if phase == "query" else optimizer.lines, values, Shape.SCALAR)
    if phase == "update":
        for i, name in enumerate(scalar_states):
            batch.scalar_states[row, i] = values[name, Age.NEW]
    return values


def _tensor(
    optimizer: Optimizer,
    batch: Batch,
    tensor: int,
    scalars: Values,
    phase: str,
    dtype: type[np.floating[Any]],
) -> None:
    size = int(batch.sizes[tensor])
    names = ("theta", "g", *(state.name for state in optimizer.states if state.shape is not Shape.SCALAR))
    arrays = {
        name: _array(int(batch.addresses[tensor, column]), size, dtype) for column, name in enumerate(names)
    }
    values = dict(scalars)
    for name, array in arrays.items():
        values[name, Age.OLD] = array.astype(np.float64)
    values["g", Age.NOW] = scalars["direction", Age.NOW] * values["g", Age.OLD]
    if phase == "query":
        assert optimizer.query is not None
        NUMPY.run(optimizer.query_lines, values, Shape.ELEMENT)
        arrays["theta"][:] = NUMPY.evaluate(optimizer.query, values).astype(dtype)
        return
    NUMPY.run(optimizer.lines, values, Shape.ELEMENT)
    for name, array in arrays.items():
        if name != "g":
            array[:] = np.broadcast_to(values[name, Age.NEW], array.shape).astype(dtype)


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
        case Apply(op=op, args=args):
            row = OPERATORS[op]
            texts = [print_meaning(arg) for arg in args]
            if row.infix in INFIX:
                return f"({texts[0]} {row.infix} {texts[1]})"
            return f"{op}({', '.join(texts)})"


def _number(value: Fraction) -> str:
    return str(value)


BACKEND: Backend = Reference()
