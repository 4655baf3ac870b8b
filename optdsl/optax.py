"""Every spec as a pure `optax.GradientTransformationExtraArgs`, in jax.numpy.

tx = optdsl.optax.load("lion")(1e-4)
tx = optax.chain(optax.clip(1.0), optdsl.optax.Adam(lr=optax.cosine_decay_schedule(1e-3, 1000)))

What a spec reads besides the gradient is handed to `update`: `value=loss`, `hvp=tree`. A spec that takes its
gradient elsewhere says where, `point = tx.query(state, params)`, and wants to hear that it was taken there,
`update(gradient, state, params, at=point)`. Second views of the parameters: `tx.view(state, params)`.
"""

import warnings
from collections.abc import Callable
from os import PathLike
from typing import Any

from optdsl.library import library_classes, load_class

__all__ = ["load"]


BACKENDS = ("jnp", "numba_cpu")


def load(target: str | PathLike[str], *, backend: str = "jnp") -> Callable[..., Any]:
    """The function of a library spec ("adam") or of an `.opt` file: options in, a transformation out.

    Options are numbers, traced arrays or schedules. With `backend="numba_cpu"`, steps are the kernels of
    `optdsl.numpy`, to the bit, called by XLA on the CPU; where they cannot be called, a RuntimeWarning says
    why, and steps are in jax.numpy. Raises `optdsl.OptdslError` when the spec is wrong or cannot be found,
    and `ValueError` for another backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    make: Callable[..., Any] = load_class(target, "optax", "fast")
    if backend == "jnp":
        return make
    if (reason := _why_not()) is not None:
        warnings.warn(f"no compiled kernels in JAX: {reason}; XLA's own code runs", RuntimeWarning, 2)
        return make
    from optdsl.runtime.jax.kernels import with_kernels

    kernels: Any = load_class(target, "numpy", "accurate")
    return with_kernels(make, kernels.layout, kernels.__module__)


def _why_not() -> str | None:
    """Why kernels cannot be called; None if they can."""
    try:
        from optdsl.runtime.jax.xla_call import why_not
    except ImportError as error:
        return f"{error}"
    return why_not()


def __getattr__(name: str) -> Any:
    classes = library_classes()
    if name in classes:
        return load(classes[name])
    raise AttributeError(
        f"module 'optdsl.optax' has no optimizer {name!r}; there are {', '.join(sorted(classes))}"
    )


def __dir__() -> list[str]:
    return sorted({*__all__, *library_classes()})
