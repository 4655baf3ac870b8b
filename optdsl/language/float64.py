"""Expressions in NumPy's float64: one number, or whole arrays, by IEEE's rules. Nothing raises.

The table `NUMPY` has a row for every operator of `operators.OPERATORS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optdsl.language.optimizer import Age, Apply, Expr, Number, Ref, Truth


def _power(x: Any, y: Any) -> Any:
    return np.power(np.asarray(x, np.float64), y)


NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": _power,
    "mod": np.mod, "neg": np.negative, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "abs": np.abs,
    "sign": np.sign, "cbrt": np.cbrt, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh,
    "cos": np.cos, "sin": np.sin,
    "floor": np.floor, "min": np.minimum, "max": np.maximum,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high), "where": np.where,
    "eq": np.equal, "le": np.less_equal, "ge": np.greater_equal, "lt": np.less, "gt": np.greater,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
}  # fmt: skip


def evaluate(expr: Expr, values: Mapping[tuple[str, Age], Any]) -> Any:
    match expr:
        case Number(value=value):
            return np.float64(value)
        case Truth(value=truth):
            return truth
        case Ref(name=name, age=age):
            return values[name, age]
        case Apply(op=op, args=args):
            return NUMPY[op](*(evaluate(arg, values) for arg in args))
