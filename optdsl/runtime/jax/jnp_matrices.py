"""What stages of generated code for JAX call: operators on whole matrices, loops and choices.

In and out: arrays of shape (..., rows, columns), a batch of matrices, in the dtype of the leaf; numbers are
without dimensions. The same meaning as in `matrix_math`, with NaN for what is not finite; factors are XLA's,
which on the CPU are LAPACK's. Everything can be traced and batched.
NOT done: more precision than that dtype has; on GPUs and TPUs products are as exact as
`jax_default_matmul_precision` says.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def transpose(x: Any) -> Any:
    return jnp.swapaxes(x, -1, -2)


def identity(x: Any) -> Any:
    """The identity of the size of the square `x`."""
    return jnp.eye(x.shape[-1], dtype=x.dtype)


def norm_of(x: Any) -> Any:
    """The root of the sum of squares of a whole tensor."""
    return jnp.sqrt(jnp.sum(x * x))


def dot_of(x: Any, y: Any) -> Any:
    return jnp.sum(x * y)


def sum_of(x: Any) -> Any:
    return jnp.sum(x)


def mean_of(x: Any) -> Any:
    return jnp.sum(x) / x.size


def inverse_root(x: Any, p: Any) -> Any:
    """|x|^(-1/p) of a symmetric `x`, by the absolute values of its eigenvalues; of x the lower triangle."""

    def root(x: Any) -> Any:
        values, vectors = jnp.linalg.eigh(x, UPLO="L", symmetrize_input=False)
        return (vectors * (jnp.abs(values) ** (-1.0 / p))[..., None, :]) @ transpose(vectors)

    return _of_finite(root, x)


def eigenvectors(x: Any) -> Any:
    """Of a symmetric `x`, as columns, those of the largest eigenvalues first. Their signs are LAPACK's."""

    def vectors(x: Any) -> Any:
        return jnp.linalg.eigh(x, UPLO="L", symmetrize_input=False)[1][..., ::-1]

    return _of_finite(vectors, x)


def orthonormal(x: Any) -> Any:
    """Q of x = QR, where R has no negative diagonal element."""

    def columns(x: Any) -> Any:
        q, r = jnp.linalg.qr(x)
        signs = jnp.where(jnp.diagonal(r, axis1=-2, axis2=-1) < 0.0, -1.0, 1.0).astype(x.dtype)
        return q * signs[..., None, :]

    return _of_finite(columns, x)


def polar(x: Any) -> Any:
    """U V^T of x = U S V^T."""

    def nearest(x: Any) -> Any:
        u, _, vt = jnp.linalg.svd(x, full_matrices=False)
        return u @ vt

    return _of_finite(nearest, x)


def spectral_norm(x: Any) -> Any:
    """The largest singular value of any matrix of the tensor."""
    if x.size == 0:
        return jnp.zeros((), x.dtype)
    return _of_finite(lambda x: jnp.max(jnp.linalg.svd(x, compute_uv=False)), x)


def _of_finite(factor: Callable[[Any], Any], x: Any) -> Any:
    """What a factor makes of finite numbers; of others NaN, in the shape of its result."""
    if x.size == 0:
        return jnp.zeros_like(x)
    finite = jnp.all(jnp.isfinite(x))
    return jnp.where(finite, factor(jnp.where(finite, x, jnp.ones_like(x))), jnp.nan)


def repeated(count: Any, turn: Callable[[Any], Any], start: Any) -> Any:
    """`turn` of `start`, as often as the whole part of `count` says; never where that is no number.

    A count that is traced cannot be differentiated in reverse: JAX does not know how far back it goes.
    """
    if isinstance(count, int | float):
        rounds: Any = int(count) if 1 <= count < float("inf") else 0
    else:
        rounds = jnp.where((count >= 1) & jnp.isfinite(count), count, 0).astype(jnp.int32)
    return jax.lax.fori_loop(0, rounds, lambda _, x: turn(x).astype(x.dtype), start)


def chosen(test: Any, this: Callable[[], Any], other: Callable[[], Any]) -> Any:
    """What one of them gives: the other is not computed, unless a test is mapped over."""
    if not isinstance(test, jax.Array):
        return this() if test else other()
    kinds = [jax.eval_shape(each) for each in (this, other)]
    shape = jnp.broadcast_shapes(*(kind.shape for kind in kinds))
    dtype = jnp.result_type(*kinds)

    def spread(function: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: jnp.broadcast_to(function(), shape).astype(dtype)

    return jax.lax.cond(test, spread(this), spread(other))
