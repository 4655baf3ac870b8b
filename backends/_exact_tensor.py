"""One step of one tensor whose matrices are multiplied or factored, in 200-bit arithmetic.

The same walk as the reference's, on arrays of mpmath's numbers. For small tensors: a product of two 10 x 10
matrices takes a millisecond.
"""

from collections.abc import Mapping
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from optdsl.language.history import is_sweep, lengths
from optdsl.language.operators import OPERATORS, REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Optimizer
from optdsl.language.reductions import reductions_in
from optdsl.language.stages import Total

from ._past import PAST, run_loop
from .reference import EXACT, PRECISION, Arithmetic, Values

ARRAYS = Arithmetic(
    EXACT.number,
    {name: np.frompyfunc(row.exact, row.arity, 1) for name, row in OPERATORS.items()},
)


def exact_tensor_step(
    optimizer: Optimizer, hypers: Mapping[str, Any], t: int, given: Mapping[str, Any]
) -> dict[str, Any]:
    """The new `theta` and states, by name, as arrays of mpmath's numbers.

    given: `theta`, `g` and states with a value per element or pair of rows or columns, as arrays of shape
    (matrices, rows, columns), and numbers; of what is remembered as many as are kept, one behind
    the other. The optimizer's flags are chosen.
    """
    with mpmath.workprec(PRECISION):
        values: dict[Any, Any] = {(name, Age.NOW): mpmath.mpf(x) for name, x in hypers.items()}
        values["t", Age.NOW] = mpmath.mpf(t)
        for name, x in given.items():
            values[name, Age.OLD] = _exactly(x)
        values["g", Age.NOW] = values["g", Age.OLD]
        past = lengths(optimizer)
        for name in past:
            values[name, PAST] = _older(values[name, Age.OLD], t)
            values["rounded", PAST] = _rounded(given[name].dtype)
        for line in optimizer.lines:
            if is_sweep(line.value):
                run_loop(line, [values], ARRAYS.evaluate, lambda x, ts: [_reduced(x, ts[0])], _key)
                continue
            for part in (line.value, line.first):
                for reduction in reductions_in(part) if part is not None else ():
                    values[_key(reduction)] = _reduced(reduction, values)
            ARRAYS.run((line,), values)
        names = ("theta", *(state.name for state in optimizer.states))
        for name in past:
            slots = values[name, Age.OLD].copy()
            slots[t % len(slots)] = values[name, Age.NEW]
            values[name, Age.NEW] = slots
        return {name: values[name, Age.NEW] for name in names}


def _key(reduction: Apply) -> tuple[str, Age]:
    return Total(reduction, 0).key, Age.NOW


def _older(slots: Any, t: int) -> list[Any]:
    """What is remembered of the steps before, the newest first."""
    return [slots[(t - k) % len(slots)] for k in range(1, len(slots))]


def _rounded(dtype: Any) -> Any:
    return np.frompyfunc(lambda value: mpmath.mpf(float(dtype.type(float(value)))), 1, 1)


def _exactly(x: Any) -> Any:
    if not isinstance(x, np.ndarray):
        return mpmath.mpf(x)
    found: NDArray[Any] = np.frompyfunc(lambda value: mpmath.mpf(float(value)), 1, 1)(x)
    return found


def _reduced(reduction: Apply, values: Values) -> Any:
    """Of one tensor alone, over all of its elements."""
    row = REDUCTIONS[reduction.op]
    shape = values["g", Age.NOW].shape
    args = [np.broadcast_to(ARRAYS.evaluate(arg, values), shape) for arg in reduction.args]
    summands = args[0] * args[-1] if row.spelled in ("norm", "dot") else args[0]
    total = mpmath.fsum(summands.ravel().tolist())
    if row.spelled == "norm":
        return mpmath.sqrt(total)
    return total / summands.size if row.spelled == "mean" else total
