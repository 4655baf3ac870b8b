"""Matrices for the reference: NumPy's float64, and mpmath on arrays of its numbers, one walk for both.

In: an expression of a stage and what its names stand for, arrays of shape (matrices, rows, columns). Out: its
value. Plain on purpose, and apart from `runtime.matrix_math`, which is tested against it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from optdsl.language.matrices import COUNTS, MATRIX, REPEAT, loop_parts
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Expr

Values = dict[tuple[str, Age], Any]
Evaluate = Callable[[Expr, Values], Any]
Array = NDArray[Any]


def evaluate_matrix(expr: Apply, values: Values, evaluate: Evaluate) -> Any:
    """An operator that `operators.OPERATORS` has not got."""
    if expr.op in COUNTS:
        g = values["g", Age.NOW]
        return float(g.shape[-2 if expr.op == "rows" else -1]) if isinstance(g, np.ndarray) else mpmath.mpf(1)
    if expr.op == REPEAT:
        return _loop(expr, values, evaluate)
    args = [evaluate(arg, values) for arg in expr.args]
    if not any(isinstance(arg, np.ndarray) for arg in args):  # of a tensor with one element
        return (MATRIX[expr.op] if expr.op in MATRIX else REDUCTIONS[expr.op]).of_one(*args)
    if expr.op in REDUCTIONS:
        return _reduced(expr.op, [np.asarray(arg) for arg in args])
    first = np.asarray(args[0])
    table = EXACT if first.dtype == object else NUMPY
    return table[expr.op](first, *args[1:])


def _loop(expr: Apply, values: Values, evaluate: Evaluate) -> Any:
    count, ((around, start), *inner), new = loop_parts(expr)
    inside = dict(values)
    inside[around.name, Age.NOW] = evaluate(start, values)
    times = float(evaluate(count, values))
    for _ in range(int(times) if 1 <= times < math.inf else 0):
        for ref, value in inner:
            inside[ref.name, Age.NOW] = evaluate(value, inside)
        inside[around.name, Age.NOW] = evaluate(new, inside)
    return inside[around.name, Age.NOW]


def _reduced(op: str, args: list[Array]) -> Any:
    summands = (args[0] * args[-1] if op in ("norm", "dot") else args[0]).ravel().tolist()
    exact = args[0].dtype == object
    finite = exact or all(map(math.isfinite, summands))
    total: Any = mpmath.fsum(summands) if exact else math.fsum(summands) if finite else sum(summands)
    if op == "norm":
        return mpmath.sqrt(total) if exact else np.sqrt(np.float64(total))
    return total / len(summands) if op == "mean" else total


# --- NumPy ---------------------------------------------------------------------------------------


def _transpose(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Of a batch, each matrix on its own; NaN where a number is not finite."""

    def of_batch(x: Array, *rest: Any) -> Array:
        results = [function(each, *rest) if np.isfinite(each).all() else each * np.nan for each in x]
        return np.stack(results) if results else x

    return of_batch


def _inverse_root(x: Array, p: float) -> Array:
    values, vectors = np.linalg.eigh(x)
    return np.asarray(vectors @ np.diag(np.abs(values) ** (-1 / p)) @ vectors.T)


def _orthonormal(x: Array) -> Array:
    q, r = np.linalg.qr(x)
    return np.asarray(q @ np.diag(np.where(np.diag(r) < 0, -1.0, 1.0)))


def _polar(x: Array) -> Array:
    u, _, vt = np.linalg.svd(x, full_matrices=False)
    return np.asarray(u @ vt)


def _spectral_norm(x: Array) -> float:
    if not np.isfinite(x).all():
        return math.nan
    return max((float(np.linalg.norm(each, 2)) for each in x if each.size), default=0.0)


NUMPY: Mapping[str, Callable[..., Any]] = {
    "matmul": np.matmul,
    "transpose": _transpose,
    "identity": lambda x: np.eye(x.shape[-1]),
    "inverse_root": _each(_inverse_root),
    "eigenvectors": _each(lambda x: np.linalg.eigh(x)[1][:, ::-1]),
    "orthonormal": _each(_orthonormal),
    "polar": _each(_polar),
    "spectral_norm": _spectral_norm,
}

# --- mpmath --------------------------------------------------------------------------------------


def _exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    def of_batch(x: Array, *rest: Any) -> Array:
        return np.stack([_array(function(mpmath.matrix(each.tolist()), *rest)) for each in x])

    return of_batch


def _array(x: Any) -> Array:
    found = np.empty((x.rows, x.cols), object)
    for i in range(x.rows):
        for j in range(x.cols):
            found[i, j] = x[i, j]
    return found


def _exact_inverse_root(x: Any, p: Any) -> Any:
    values, vectors = mpmath.eigsy(x)
    roots = mpmath.diag([abs(value) ** (-1 / mpmath.mpf(p)) for value in values])
    return vectors * roots * vectors.T


def _exact_eigenvectors(x: Any) -> Any:
    _, vectors = mpmath.eigsy(x)
    return mpmath.matrix([[vectors[i, j] for j in reversed(range(x.cols))] for i in range(x.rows)])


def _exact_orthonormal(x: Any) -> Any:
    q, r = mpmath.qr(x, mode="skinny")
    return q * mpmath.diag([-1 if r[i, i] < 0 else 1 for i in range(r.rows)])


def _exact_polar(x: Any) -> Any:
    u, _, vt = mpmath.svd_r(x)
    return u * vt


def _exact_identity(x: Array) -> Array:
    return np.stack([_array(mpmath.eye(each.shape[-1])) for each in x])


EXACT: Mapping[str, Callable[..., Any]] = {
    "matmul": np.matmul,
    "transpose": _transpose,
    "identity": _exact_identity,
    "inverse_root": _exactly(_exact_inverse_root),
    "eigenvectors": _exactly(_exact_eigenvectors),
    "orthonormal": _exactly(_exact_orthonormal),
    "polar": _exactly(_exact_polar),
    "spectral_norm": lambda x: max(mpmath.svd_r(mpmath.matrix(each.tolist()))[1][0] for each in x),
}
"""On arrays of objects, of which NumPy adds and multiplies what it is given."""
