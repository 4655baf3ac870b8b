"""Parameters of which every process holds a part: DTensors, as FSDP2, HSDP and tensor parallelism have them.

In: parameters, gradients and states as users see them. Out: the ordinary tensors in them, which kernels work
on; which part of the whole they are, or the whole, where a rule needs it; new states wrapped as their
parameters are, which is what distributed checkpoints need to save each part once. Refusals say in one
sentence what to do.
Assumed: every process has the same parameters in the same order, as the modules of torch have.
NOT done: sums and agreements (`torch_team`).
"""

import math
import sys
from collections.abc import Iterable, Mapping
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor

from optdsl.runtime.layout import THETA_0, Variant
from optdsl.runtime.sharded_sums import Share
from optdsl.runtime.torch.checks import COMPUTED_IN


def is_sharded(x: object) -> bool:
    """Whether it is a DTensor, also one that is whole everywhere. Imports nothing to find out."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def any_sharded(*several: Iterable[object]) -> bool:
    """Whether one of them is; by their types, of which there are few: hundreds are asked at every step."""
    module = sys.modules.get("torch.distributed.tensor")
    if module is None:
        return False
    kinds = set(map(type, chain(*several)))
    return any(issubclass(kind, module.DTensor) for kind in kinds)


def local(x: Any) -> Any:
    """The tensor in a DTensor, the same object each time; anything else as it is."""
    return x._local_tensor if is_sharded(x) else x


def is_gathered(p: Any, variant: Variant) -> bool:
    """Whether all processes put `p` together and take one step: rules of whole matrices, drawn numbers."""
    own = [each for each in (variant, variant.query) if each is not None]
    needed = any(each.reduced or each.draws or any(state.per for state in each.states) for each in own)
    return needed and is_sharded(p) and bool(_cut(p))


def _cut(p: Any) -> list[tuple[int, Any]]:
    """(dimension of the mesh, placement) of those that cut `p`."""
    return [
        (dim, placement)
        for dim, placement in enumerate(p.placements)
        if not placement.is_replicate() and p.device_mesh.size(dim) > 1
    ]


def check_shards(p: Any, variant: Variant, what: str) -> Share | None:
    """Which part of `p` is here; None for a whole one, or one that is put together (`is_gathered`).

    Raises `TypeError` where the rules of `variant` cannot be followed on parts.
    """
    if not is_sharded(p):
        return None
    mesh, here = p.device_mesh, p.device_mesh.get_coordinate()
    if here is None:
        raise TypeError(f"{what} is on {mesh}, and this process is not; leave the parameter out here")
    if any(placement.is_partial() for placement in p.placements):
        raise TypeError(f"{what} is {p.placements}: its values are sums; redistribute() it")
    cut = _cut(p)
    if any(state.per == "blocks" for state in variant.states) and cut:
        raise TypeError(
            f"{what} is sharded, and its states of 8 bits are in blocks of the whole; keep it whole"
        )
    if is_gathered(p, variant):
        if variant.bfloat16 is not None:
            raise TypeError(f"{what} is sharded, and {_DRAWN}, or keep its parameters in float32")
        if any(state.initial == THETA_0 for state in variant.states):
            raise TypeError(f"{what} is sharded, and its rule keeps a copy of the whole; keep it whole")
        return None
    if not cut:
        return None
    index, count = 0, 1
    for dim, _ in cut:
        index, count = index * mesh.size(dim) + here[dim], count * mesh.size(dim)
    dims = [dim for dim, _ in cut]
    speaks = all(place == 0 for dim, place in enumerate(here) if dim not in dims)
    of_each = 2 if p.is_complex() else 1  # numbers
    stretches = _stretches((*p.shape, of_each), cut[0][1], count) if len(cut) == 1 else ()
    if stretches and stretches[index][1] != of_each * local(p).numel():
        raise TypeError(
            f"{what} is sharded unevenly, {tuple(local(p).shape)} of {tuple(p.shape)} here, which is not how "
            "torch.chunk cuts; shard it with fully_shard or distribute_tensor"
        )
    return Share(mesh, of_each * p.numel(), index, count, speaks, stretches)


def _stretches(shape: tuple[int, ...], placement: Any, count: int) -> tuple[tuple[int, int], ...]:
    """(first, elements) of each part where parts are stretches of the whole, as torch.chunk cuts; else ()."""
    dim = placement.dim if placement.is_shard() else None
    if dim is None or math.prod(shape[:dim]) != 1:
        return ()
    length, inner = shape[dim], math.prod(shape[dim + 1 :])
    each = -(-length // count)
    edges = [min(part * each, length) * inner for part in range(count + 1)]
    return tuple((first, end - first) for first, end in pairwise(edges))


_DRAWN = "its random numbers depend on where an element is in its parameter; use DistributedDataParallel"


def check_flattened(p: Any, variant: Variant, what: str) -> None:
    """Raises `TypeError` for a stretch of several parameters whose rules need each of them."""
    if not (getattr(p, "_fsdp_flattened", False) or getattr(p, "_is_flat_param", False)):
        return
    if variant.draws:
        raise TypeError(f"{what} was flattened by FullyShardedDataParallel, and {_DRAWN}")
    by_rank = variant.below is not None or variant.rank > 0
    own = (each for each in (variant, variant.query) if each is not None)
    if by_rank or any(each.reductions_float32 or each.reduced for each in own):
        need = "the rank of each parameter" if by_rank else "sums over each parameter"
        raise TypeError(
            f"{what} was flattened by FullyShardedDataParallel, and its rule needs {need}, of which a "
            "stretch is here; use torch.distributed.fsdp.fully_shard, which leaves parameters as they are"
        )


def model_of(p: Any, variant: Variant) -> Any:
    """What the state of `p` is made for: the part that is here, or memory for the whole."""
    if not is_gathered(p, variant):
        return local(p)
    return torch.empty(p.shape, dtype=COMPUTED_IN.get(p.dtype, p.dtype))


def gather(part: Tensor, p: Any) -> Tensor:
    """The whole of what is here a part of, cut as `p` is; all processes of its mesh ask for it together."""
    mesh, stride = p.device_mesh, p.stride()
    found: Tensor = (
        type(p)
        .from_local(part, mesh, p.placements, run_check=False, shape=p.shape, stride=stride)
        .full_tensor()
    )
    return found


def part_of(whole: Tensor, p: Any) -> Tensor:
    """What of a whole tensor lies here, cut as `p` is."""
    replicate = sys.modules["torch.distributed.tensor"].Replicate()
    everywhere = type(p).from_local(whole, p.device_mesh, [replicate] * p.device_mesh.ndim, run_check=False)
    found: Tensor = local(everywhere.redistribute(p.device_mesh, p.placements))
    return found


def local_gradient(g: Any, p: Any) -> Tensor | None:
    """What lies beside the part of `p` that is here.

    Where summands of it still lie on other processes, as with sequence parallelism, all of them exchange
    them here, as torch's own optimizers do. Raises `TypeError` for one that is sharded otherwise.
    """
    if not is_sharded(g) and (g is None or not is_sharded(p)):
        return g  # type: ignore[no-any-return]
    if not (is_sharded(g) and is_sharded(p)):
        kinds = "a DTensor", "an ordinary tensor"
        of_g, of_p = kinds if is_sharded(g) else reversed(kinds)
        raise TypeError(f"a gradient is {of_g} and its parameter {of_p}; clear it with zero_grad()")
    if g.device_mesh != p.device_mesh:
        raise TypeError("a gradient is on another device mesh than its parameter; redistribute() it")
    if g.placements != p.placements:
        g = g.redistribute(p.device_mesh, p.placements)
    found: Tensor = local(g)
    return found.wait() if hasattr(found, "wait") else found  # one that is still on its way


def local_like(x: Any, p: Any, what: str) -> Any:
    """The part of `x` that lies beside the part of `p` that is here. Raises `TypeError` if it is another."""
    if not is_sharded(p):
        if is_sharded(x):
            raise TypeError(f"{what} is a DTensor and the parameter is not; use .full_tensor()")
        return x
    if is_sharded(x):
        whole = all(placement.is_replicate() for placement in x.placements)  # of the right shape?
        if x.device_mesh != p.device_mesh or not (whole or x.placements == p.placements):
            raise TypeError(
                f"{what} is sharded as {x.placements} and the parameter as {p.placements}; redistribute() it"
            )
        return local(x)
    if isinstance(x, Tensor) and x.dim() > 0:
        raise TypeError(
            f"{what} is an ordinary tensor and the parameter a DTensor; load it with "
            "torch.distributed.checkpoint.state_dict.set_optimizer_state_dict, or use distribute_tensor"
        )
    return x


def local_states(states: Mapping[str, Any], p: Any, what: str) -> Mapping[str, Any]:
    """The state of `p` as kernels see it. Raises what `local_like` raises."""
    if not is_sharded(p) and not any(map(is_sharded, states.values())):
        return states
    return {
        key: local(value)
        if isinstance(value, Tensor) and value.dim() == 0
        else local_like(value, p, f"state {key} of {what}")
        for key, value in states.items()
    }


def wrapped(new: Mapping[str, Any], p: Any, variant: Variant) -> dict[str, Any]:
    """New entries of the state of `p`: what lies beside it becomes a DTensor, cut as it is, or whole."""
    entries = dict(new)
    if is_sharded(p):
        gathered = is_gathered(p, variant)
        replicate = [sys.modules["torch.distributed.tensor"].Replicate()] * p.device_mesh.ndim
        for key in {state.key for state in variant.states} & set(entries):
            x = entries[key]
            like = p if not gathered and x.shape == local(p).shape else x
            placements = replicate if gathered else p.placements
            entries[key] = type(p).from_local(
                x, p.device_mesh, placements, run_check=False, shape=like.shape, stride=like.stride()
            )
    return entries


def watched(tensors: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each DTensor with what is in it now, for `hold`."""
    return [(x, local(x)) for x in tensors if is_sharded(x)]


def hold(pairs: list[tuple[Any, Tensor]]) -> bool:
    """Whether the same tensors are still in them: FSDP2 replaces them, when it loads, say."""
    return all(x._local_tensor is part for x, part in pairs)


def bump(pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Tells autograd that they were written to."""
    if pairs:
        torch.autograd.graph.increment_version(tuple(x for x, _ in pairs if not x.is_inference()))
