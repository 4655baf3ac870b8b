"""Every spec as an optimizer of NumPy arrays, in place.

from optdsl.numpy import Adam, load
opt = Adam(params, lr=3e-4); opt.step(grads)
Mine = load("mine.opt")
"""

from os import PathLike
from typing import Any

from optdsl.library import library_classes, load_class
from optdsl.runtime.numpy.optimizer import ArrayOptimizer

__all__ = ["ArrayOptimizer", "load"]


def load(target: str | PathLike[str], *, mode: str = "accurate") -> type[ArrayOptimizer]:
    """The optimizer class of a library spec ("adam"), of an `.opt` file, or of a composition
    ("clip_by_global_norm(1) | adamw").

    `mode` is "accurate" (computes in float64, stores in the parameter's type) or "fast" (computes in
    the parameter's type). In "fma" and "strict", which LLVM compiles, the type is the parameter's and bits
    are the same on every processor; "fma" does not round a product before something
    is added to it.
    Raises `optdsl.OptdslError` when the spec is wrong or cannot be found.
    """
    return load_class(target, "numpy", mode)


def __getattr__(name: str) -> Any:
    classes = library_classes()
    if name in classes:
        return load(classes[name])
    raise AttributeError(
        f"module 'optdsl.numpy' has no optimizer {name!r}; there are {', '.join(sorted(classes))}"
    )


def __dir__() -> list[str]:
    return sorted({*__all__, *library_classes()})
