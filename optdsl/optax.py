"""Every spec as a pure `optax.GradientTransformationExtraArgs`, in jax.numpy.

tx = optdsl.optax.load("lion")(1e-4)
tx = optax.chain(optax.clip(1.0), optdsl.optax.Adam(lr=optax.cosine_decay_schedule(1e-3, 1000)))

What a spec reads besides the gradient is handed to `update`: `value=loss`, `hvp=tree`. A spec that takes its
gradient elsewhere says where, `point = tx.query(state, params)`, and wants to hear that it was taken there,
`update(gradient, state, params, at=point)`. Second views of the parameters: `tx.view(state, params)`.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any

from optdsl.library import library_classes, load_class

__all__ = ["load"]


def load(target: str | PathLike[str]) -> Callable[..., Any]:
    """The function of a library spec ("adam") or of an `.opt` file: options in, a transformation out.

    Options are numbers, traced arrays or schedules. Raises `optdsl.OptdslError` when the spec is wrong or
    cannot be found.
    """
    return load_class(target, "optax", "fast")


def __getattr__(name: str) -> Any:
    classes = library_classes()
    if name in classes:
        return load(classes[name])
    raise AttributeError(
        f"module 'optdsl.optax' has no optimizer {name!r}; there are {', '.join(sorted(classes))}"
    )


def __dir__() -> list[str]:
    return sorted({*__all__, *library_classes()})
