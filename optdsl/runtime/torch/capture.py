"""Steps that a CUDA graph records: what has to hold, and hypers that are numbers on a GPU.

In: an optimizer, or a group of one. Out: whether a graph is being recorded, and where on a GPU the options of
a group are that are tensors there. Raises `RuntimeError` for a step that cannot be recorded, in torch's words
where torch has some. NOT done: the launches (`runtime.cuda.step`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optdsl.runtime.cuda.step import Source
from optdsl.runtime.layout import Layout

if TYPE_CHECKING:
    from optdsl.runtime.torch.optimizer import FusedOptimizer

WIDTHS = {torch.float32: 4, torch.float64: 8}


def recording(optimizer: "FusedOptimizer") -> bool:
    """Whether torch's current stream is recorded. Raises `RuntimeError` where the step cannot be."""
    if not (torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()):  # type: ignore[no-untyped-call]
        return False
    name = type(optimizer).__name__
    if not all(group["capturable"] for group in optimizer.param_groups):
        raise RuntimeError(
            f"Attempting CUDA graph capture of step() for an instance of {name} but param_groups' capturable "
            "is False."
        )
    if any(getattr(optimizer, each, None) is not None for each in ("found_inf", "grad_scale")):
        raise RuntimeError(
            f"{name} asks on the host whether gradients have overflowed, which a CUDA graph cannot record; "
            "unscale and step outside of it"
        )
    if any(not p.is_cuda for group in optimizer.param_groups for p in group["params"]):
        raise RuntimeError(
            f"a CUDA graph cannot record a step of {name} for parameters on the CPU; give these an optimizer "
            "of their own"
        )
    return True


def no_warm_up(optimizer: "FusedOptimizer") -> RuntimeError:
    return RuntimeError(
        f"a CUDA graph can record a step of {type(optimizer).__name__} only after one like it: take some "
        "outside of it first, as torch asks for, with gradients for the same parameters, which make its "
        "state and tables"
    )


def not_capturable(layout: Layout, reason: str) -> RuntimeError:
    return RuntimeError(f"{layout.name} is not capturable: {reason}; use capturable=False")


def refuse_query(layout: Layout, groups: Sequence[Mapping[str, Any]]) -> None:
    """Raises `RuntimeError` for rules that take two evaluations a step, if any of it may be on a GPU."""
    if any(group.get("capturable") and any(p.is_cuda for p in group["params"]) for group in groups):
        raise not_capturable(layout, "it takes its gradient at another point than the parameters")


def stays_on_gpu(group: Mapping[str, Any], raw: object) -> bool:
    """Whether an option is read on the GPU, at each step that runs there, rather than here."""
    if not (isinstance(raw, Tensor) and raw.is_cuda and group.get("capturable")):
        return False
    return all(p.is_cuda for p in group["params"])


def sources(layout: Layout, groups: Sequence[Mapping[str, Any]]) -> list[Source]:
    """Of all groups. Raises `TypeError`, `ValueError` for a tensor that no kernel can read."""
    found = []
    for number, group in enumerate(groups):
        for place, hyper in enumerate(layout.hypers):
            raw = group[hyper.option]
            if hyper.index is not None and not isinstance(raw, Tensor):
                raw = raw[hyper.index]
            if isinstance(raw, Tensor) and stays_on_gpu(group, raw):
                found.append(Source(number, place, _address(raw, hyper.option, group), WIDTHS[raw.dtype]))
    return found


def _address(x: Tensor, name: str, group: Mapping[str, Any]) -> int:
    if x.dtype not in WIDTHS:
        raise TypeError(f"{name} is {x.dtype} on a GPU; make it float32 or float64")
    if x.numel() != 1:
        raise ValueError(f"Tensor {name} must be 1-element")
    other = next((p.device for p in group["params"] if p.device != x.device), x.device)
    if other != x.device:
        raise TypeError(f"{name} is on {x.device} and a parameter of its group on {other}; move it there")
    return x.data_ptr()
