"""In which dtypes parameters are worked on and states are kept, and what a state is when it is made.

In: a parameter, and what a layout says of a state. Out: dtypes and new tensors. Nothing is checked here
(`checks`), but that states in fewer bits are for ordinary parameters.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from optdsl.runtime.layout import THETA_0, Layout, State, Variant
from optdsl.runtime.torch.checks import COMPUTED_IN, as_real, fits, kept_in

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "s8": torch.uint8,
    "u8": torch.uint8,
}
_LARGEST = {"s8": (127, 255), "u8": (255, 0)}
"""The code of the largest number of 8 bits, and that of the one furthest below 0."""


def worked_on_in(dtype: torch.dtype, variant: Variant) -> torch.dtype:
    """What kernels take a parameter as: what it is, or a copy in another dtype."""
    own = dtype is torch.bfloat16 and variant.bfloat16 is not None
    return dtype if own else COMPUTED_IN[dtype]


def states_of(variant: Variant, p: Tensor) -> list[State]:
    """Those that this parameter has."""
    return [spec for spec in variant.states if not spec.of or p.dtype is _DTYPES[spec.of]]


def dtype_of(spec: State, p: Tensor) -> torch.dtype:
    return _DTYPES[spec.dtype] if spec.dtype else kept_in(p.dtype)


def check_kept(states: Sequence[State], p: Tensor, what: str) -> None:
    """Raises `TypeError` for a parameter whose states cannot be kept as `states` say."""
    if p.is_complex() and any(spec.dtype for spec in states):
        raise TypeError(
            f"{what} is complex, and its states would be kept in fewer bits, which real ones can be; "
            "optimize torch.view_as_real of it"
        )


def check_order(spec: State, state: Tensor, p: Tensor, what: str) -> None:
    """Raises `ValueError` for codes that do not lie in memory as the parameter does: scales go by that."""
    if spec.dtype in _LARGEST and not fits(state, torch.empty_like(p, device="meta"), torch.uint8):
        raise ValueError(
            f"{what} lies in memory in another order than its parameter, and has a scale for 256 numbers in "
            "that order; give the parameter the memory format that it had, or clear the state"
        )


def initial_value(layout: Layout, spec: State, hypers: tuple[float, ...]) -> float:
    if isinstance(spec.initial, str):
        return hypers[[hyper.name for hyper in layout.hypers].index(spec.initial)]
    return spec.initial


def initial(layout: Layout, spec: State, p: Tensor, hypers: tuple[float, ...]) -> Tensor:
    """A new state; of 8 bits, codes, and with `per="blocks"` their scales."""
    dtype = dtype_of(spec, p)
    if spec.initial == THETA_0:
        return p.detach().to(dtype, copy=True, memory_format=torch.preserve_format)
    value = initial_value(layout, spec, hypers)
    if spec.dtype in _LARGEST:
        high, low = _LARGEST[spec.dtype]
        value = 0 if value == 0 else high if value > 0 else low
    if spec.per:
        value = _scale(value) if spec.per == "blocks" else value
        return torch.full(spec.shape(tuple(p.shape), hypers), value, dtype=dtype, device=p.device)
    made = torch.zeros_like(p.detach(), dtype=dtype, memory_format=torch.preserve_format)
    if value != 0.0:
        as_real(made).fill_(value)  # of complex numbers both parts, as torch does
    return made


def _scale(value: float) -> float:
    """Of a block of which all are that number."""
    from optdsl.portable.formats import MOST

    return abs(value) / MOST
