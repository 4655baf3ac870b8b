"""What the stages of generated modules call: operators on whole matrices, by NumPy's BLAS and LAPACK.

In and out: float64 arrays of shape (..., rows, columns), a batch of matrices, and numbers. IEEE meaning:
nothing raises for what is not finite, and NaN goes through. Products and factors are as exact as the BLAS and
LAPACK that NumPy came with; their last bits may differ from machine to machine, and with the number of
threads that *they* use ($OPENBLAS_NUM_THREADS and the like), which is not ours to choose.
`np_...` are the operators of specs element by element, under names that kernels do not use.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrices = NDArray[np.float64]

np_sqrt, np_exp, np_log, np_tanh, np_cos, np_sin = np.sqrt, np.exp, np.log, np.tanh, np.cos, np.sin
np_floor, np_cbrt, np_sign, np_abs, np_where = np.floor, np.cbrt, np.sign, np.abs, np.where
np_maximum, np_minimum, np_modulo = np.maximum, np.minimum, np.mod
np_both, np_either, np_neither = np.logical_and, np.logical_or, np.logical_not


def np_power(x: Any, y: Any) -> Any:
    return np.power(np.asarray(x, np.float64), y)


def np_sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def rounds(count: float) -> int:
    """How often a loop goes around: the whole part of a number; never for what is no number."""
    return int(count) if count >= 1.0 and np.isfinite(count) else 0


def transpose(x: Matrices) -> Matrices:
    return np.swapaxes(x, -1, -2)


def identity(x: Matrices) -> Matrices:
    """The identity of the size of the square `x`."""
    return np.eye(x.shape[-1])


def norm(x: Matrices) -> np.float64:
    """The root of the sum of squares of a whole tensor."""
    return np.float64(np.sqrt(np.sum(x * x)))


def dot(x: Matrices, y: Matrices) -> np.float64:
    return np.float64(np.sum(x * y))


def total(x: Matrices) -> np.float64:
    return np.float64(np.sum(x))


def mean(x: Matrices) -> np.float64:
    return np.float64(np.sum(x) / x.size)


def inverse_root(x: Matrices, p: float) -> Matrices:
    """|x|^(-1/p) of a symmetric `x`, by its eigenvalues: of these the absolute value, since rounding leaves
    small negative ones where there should be zeros. Only the lower triangle is read.
    """
    values, vectors = _finite(np.linalg.eigh, x, (x.shape[:-1], x.shape))
    return np.asarray((vectors * (np.abs(values) ** (-1.0 / p))[..., None, :]) @ transpose(vectors))


def eigenvectors(x: Matrices) -> Matrices:
    """Of a symmetric `x`, as columns, those of the largest eigenvalues first. Their signs are LAPACK's."""
    _, vectors = _finite(np.linalg.eigh, x, (x.shape[:-1], x.shape))
    return np.asarray(vectors[..., ::-1])


def orthonormal(x: Matrices) -> Matrices:
    """Q of x = QR, where R has no negative diagonal element: the columns made orthonormal, in their order."""
    rank = min(x.shape[-2:])
    q, r = _finite(np.linalg.qr, x, ((*x.shape[:-1], rank), (*x.shape[:-2], rank, x.shape[-1])))
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0.0, -1.0, 1.0)
    return np.asarray(q * signs[..., None, :])


def polar(x: Matrices) -> Matrices:
    """U V^T of x = U S V^T: the nearest matrix with orthonormal rows or columns."""
    rank = min(x.shape[-2:])
    shapes = ((*x.shape[:-1], rank), (*x.shape[:-2], rank), (*x.shape[:-2], rank, x.shape[-1]))
    u, _, vt = _finite(lambda a: np.linalg.svd(a, full_matrices=False), x, shapes)
    return np.asarray(u @ vt)


def spectral_norm(x: Matrices) -> np.float64:
    """The largest singular value of any matrix of the tensor."""
    values: Matrices = _finite(lambda a: (np.linalg.svd(a, compute_uv=False),), x, (x.shape[:-1],))[0]
    return np.float64(np.max(values, initial=0.0))


def _finite(
    factor: Callable[[Matrices], Any], x: Matrices, shapes: tuple[tuple[int, ...], ...]
) -> tuple[Any, ...]:
    """What LAPACK makes of finite numbers; of others, NaN in the shapes of its results."""
    if x.size == 0 or not np.isfinite(x).all():
        return tuple(np.full(shape, np.nan) for shape in shapes)
    return tuple(factor(x))
