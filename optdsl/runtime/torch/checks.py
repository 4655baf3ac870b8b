"""What a tensor must be so that a kernel may write to its memory; refusals name the tensor and the fix.

In: tensors and the words for them. Out: nothing, or `TypeError` (a kind of tensor), `ValueError` (a
shape) or `RuntimeError` (memory), each one sentence. Only looks, never writes.

Kernels take float32 and float64. What else there is is shown to them as one of these: complex numbers as
pairs (`as_real`), float16 and bfloat16 as float32 copies; the state of the latter is float32 (`kept_in`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from optdsl.runtime.memory import Memory

DTYPES = (torch.float32, torch.float64)

DEVICES = ("cpu", "cuda")

COMPUTED_IN = {
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}
"""Dtypes of parameters, and what their elements are to a kernel."""


def as_real(x: Tensor) -> Tensor:
    """The tensor, or the pairs of numbers that it consists of: its own memory, unless it is conjugated."""
    return torch.view_as_real(x.detach().resolve_conj()) if x.is_complex() else x


def kept_in(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the state of a parameter."""
    return dtype if dtype.is_complex else COMPUTED_IN.get(dtype, dtype)


def words(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """How each parameter is called, by its name if it was given one."""
    return [
        f"parameter {group['param_names'][position]!r}"
        if group.get("param_names")
        else f"parameter {position} of group {number}"
        for number, group in enumerate(groups)
        for position in range(len(group["params"]))
    ]


def check_parameter(p: Tensor, what: str, *, by_rows: str = "") -> None:
    """`by_rows`: an optimizer that goes through rows and columns, or has a rule for each rank."""
    if p.device.type not in DEVICES:
        raise TypeError(
            f"{what} is on {p.device}, and these kernels run on the CPU and on NVIDIA's GPUs; "
            "move the model with .cpu()"
        )
    _check_kind(p, what)
    if p.dtype not in COMPUTED_IN:
        raise TypeError(
            f"{what} is {_name(p.dtype)}, and only floating-point and complex parameters can be updated; "
            "keep the parameters in float32, for example with model.float(), and use torch.autocast"
        )
    if p.is_complex() and by_rows:
        raise RuntimeError(
            f"{by_rows} does not support complex parameters, and {what} is one; "
            "optimize torch.view_as_real of it"
        )
    if p.is_conj():
        raise TypeError(f"{what} is complex and conjugated; call resolve_conj() on it")
    if memory_of(p).overlaps_itself:
        raise RuntimeError(f"{what} has elements that share memory (is it expanded?); clone() it")


def check_gradient(g: Tensor, p: Tensor, what: str) -> None:
    if g.layout != torch.strided:
        raise RuntimeError(f"the gradient of {what} is sparse, which is not supported; use .to_dense()")
    _check_kind(g, f"the gradient of {what}", p)
    if g.dtype != p.dtype:
        raise TypeError(
            f"the gradient of {what} is {_name(g.dtype)} and the parameter {_name(p.dtype)}; "
            "convert the gradient"
        )
    if g.shape != p.shape:
        raise ValueError(
            f"the gradient of {what} has shape {tuple(g.shape)} and the parameter {tuple(p.shape)}; "
            "clear it with zero_grad()"
        )


def check_input(x: object, p: Tensor, what: str) -> Tensor:
    """What is given for a parameter at one step, as a tensor that is like it."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{what} is a {type(x).__name__}, not a tensor")
    if x.layout != torch.strided:
        raise TypeError(f"{what} is sparse, which is not supported; use .to_dense()")
    _check_kind(x, what, p)
    if x.dtype != p.dtype:
        raise TypeError(f"{what} is {_name(x.dtype)} and the parameter {_name(p.dtype)}; convert it")
    if x.shape != p.shape:
        raise ValueError(f"{what} has shape {tuple(x.shape)} and the parameter {tuple(p.shape)}")
    return x.detach()


def check_state(s: object, p: Tensor, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> Tensor:
    """The state as a tensor of that shape and dtype that is otherwise like its parameter."""
    if not isinstance(s, Tensor):
        raise TypeError(f"{what} is a {type(s).__name__}, not a tensor; clear the state")
    if s.layout != torch.strided:
        raise TypeError(f"{what} is sparse; convert it with .to_dense()")
    _check_kind(s, what, p)
    if s.dtype != dtype:
        of = f"and the parameter {_name(p.dtype)}" if dtype == kept_in(p.dtype) else "and kept otherwise here"
        raise TypeError(f"{what} is {_name(s.dtype)} {of}; convert the state to {_name(dtype)}")
    if s.shape != shape:
        wanted = f"the parameter {shape}" if shape == p.shape else f"should have {shape}"
        raise ValueError(f"{what} has shape {tuple(s.shape)} and {wanted}; clear the state")
    if memory_of(s).overlaps_itself:
        raise RuntimeError(f"{what} has elements that share memory (is it expanded?); clone() it")
    return s


def _check_kind(x: Tensor, what: str, p: Tensor | None = None) -> None:
    """`p`: the parameter that it is for."""
    if p is not None and x.device != p.device:
        raise TypeError(f"{what} is on {x.device} and the parameter on {p.device}; move it with .to()")
    if x.layout != torch.strided:
        raise TypeError(f"{what} is {_name(x.layout)}, not an ordinary tensor; convert it with .to_dense()")
    if type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        raise TypeError(f"{what} is a {type(x).__name__}, not an ordinary tensor; pass plain tensors")


def _name(thing: object) -> str:
    return str(thing).removeprefix("torch.")


def memory_of(x: Tensor, what: str = "") -> Memory:
    size = x.element_size()
    return Memory(x.data_ptr(), tuple(x.shape), tuple(size * stride for stride in x.stride()), size, what)


def fits(x: Tensor, model: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether `x` lies in memory as the dense `model` of the same shape does, and is aligned; in its dtype or
    in the one that is given.
    """
    if x.dtype != (dtype or model.dtype) or x.is_neg() or x.data_ptr() % x.element_size():
        return False
    return x.stride() == model.stride() or (x.is_contiguous() and model.is_contiguous())
