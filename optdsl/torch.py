"""Every spec as a `torch.optim.Optimizer` with fused kernels.

from optdsl.torch import Adam, load
opt = Adam(model.parameters(), lr=3e-4)
Mine = load("mine.opt")

Parameters are on the CPU, or on NVIDIA's GPUs where the rule has kernels for them.
"""

from os import PathLike
from typing import Any

from optdsl.library import library_classes, load_class
from optdsl.runtime.torch.optimizer import FusedOptimizer

__all__ = ["FusedOptimizer", "load"]


def load(target: str | PathLike[str], *, mode: str = "accurate") -> type[FusedOptimizer]:
    """The optimizer class of a library spec ("adam"), of an `.opt` file, or of a composition
    ("clip_by_global_norm(1) | adamw").

    `mode` is "accurate" (computes in float64, stores in the parameter's type) or "fast" (computes in
    the parameter's type). Raises `optdsl.OptdslError` when the spec is wrong or cannot be found.
    """
    return load_class(target, "torch", mode)


def __getattr__(name: str) -> Any:
    classes = library_classes()
    if name in classes:
        return load(classes[name])
    raise AttributeError(
        f"module 'optdsl.torch' has no optimizer {name!r}; there are {', '.join(sorted(classes))}"
    )


def __dir__() -> list[str]:
    return sorted({*__all__, *library_classes()})
