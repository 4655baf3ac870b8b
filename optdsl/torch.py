"""Every spec as a `torch.optim.Optimizer` with fused kernels.

from optdsl.torch import Adam, load
opt = Adam(model.parameters(), lr=3e-4)
Mine = load("mine.opt")

Parameters are on the CPU, or on NVIDIA's GPUs where the rule has kernels for them.
"""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from optdsl.library import library_classes, load_class
from optdsl.runtime.torch.optimizer import FusedOptimizer

__all__ = ["FusedOptimizer", "load"]


def load(
    target: str | PathLike[str],
    *,
    mode: str = "accurate",
    state: Mapping[str, str] | None = None,
    param_store: str = "",
) -> type[FusedOptimizer]:
    """The optimizer class of a library spec ("adam"), of an `.opt` file, or of a composition
    ("clip_by_global_norm(1) | adamw").

    `mode` is "accurate" (computes in float64, stores in the parameter's type) or "fast" (computes in
    the parameter's type). In "fma" and "strict", which LLVM compiles, the type is the parameter's and bits
    are the same on every processor, NVIDIA's GPUs among them; "fma" does not round a product before something
    is added to it.

    `state` says which states are kept in fewer bits, by their names or torch's keys: `{"m": "bf16", "v":
    "8bit"}`; "f32", "bf16", "f16", or "8bit", which has a scale for every 256 numbers. They are rounded at
    random. `param_store` says how parameters in bfloat16 are rounded: "nearest", at random ("sr"), with what
    is left over kept in another bfloat16 ("kahan"), or with the 16 bits that make a float32 of it kept
    ("extra16"). See docs/precision.md.

    Raises `optdsl.OptdslError` when the spec is wrong or cannot be found, or cannot be kept so.
    """
    return load_class(target, "torch", mode, state, param_store)


def __getattr__(name: str) -> Any:
    classes = library_classes()
    if name in classes:
        return load(classes[name])
    raise AttributeError(
        f"module 'optdsl.torch' has no optimizer {name!r}; there are {', '.join(sorted(classes))}"
    )


def __dir__() -> list[str]:
    return sorted({*__all__, *library_classes()})
