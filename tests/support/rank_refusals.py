"""What several processes do not do together, or what one of them cannot, and none does."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import Shard

from optdsl.runtime.torch.shards import local
from tests.support.rank_tools import F32, Context, case, load, model, refused, spread, steps, tensors, train


@case
def what_fails_on_one_process_changes_nothing_on_any(context: Context) -> None:
    mesh = context.mesh()
    for target in ("adamw", "lamb"):
        ours = spread(tensors(1, F32), mesh, [Shard(0)])
        optimizer = load(target)(ours)
        steps(optimizer, ours, F32)
        before = [x.clone() for p in ours for x in (p.to_local(), *map(local, optimizer.state[p].values()))]
        last = context.rank == context.world - 1
        kept = optimizer.state[ours[0]]["exp_avg"]

        def unchanged(
            ours: list[Any] = ours, optimizer: Any = optimizer, before: list[Tensor] = before
        ) -> None:
            now = [x for p in ours for x in (p.to_local(), *map(local, optimizer.state[p].values()))]
            assert all(map(torch.equal, now, before))

        if last:
            optimizer.state[ours[0]]["exp_avg"] = "lost"
        refused("is a str" if last else f"process {context.world - 1} could not", optimizer.step)
        optimizer.state[ours[0]]["exp_avg"] = kept
        unchanged()
        gradient = ours[1].grad
        if last:
            ours[1].grad = None
        refused("which of them have gradients, differ", optimizer.step)
        ours[1].grad = gradient
        unchanged()
        optimizer.param_groups[0]["lr"] *= 1 + last
        refused("the options of groups", optimizer.step)
        optimizer.param_groups[0]["lr"] /= 1 + last
        unchanged()
        optimizer.state[ours[1]]["step"] += int(last)
        refused("the step counters differ", optimizer.step)
        optimizer.state[ours[1]]["step"] -= int(last)
        unchanged()
        optimizer.step()


@case
def what_parts_do_not_tell_is_refused(context: Context) -> None:
    mesh = context.mesh()
    for original in (False, True):
        flat = FullyShardedDataParallel(model(), device_id=torch.device("cpu"), use_orig_params=original)
        train(flat, load("adamw")(flat.parameters()), 1)
        refused("was flattened by FullyShardedDataParallel", load("lamb")(flat.parameters()).step)
    [p] = spread(tensors(1, F32, ((4, 3),)), mesh, [Shard(0)])
    single = torch.nn.Parameter(torch.ones(4, 3))
    single.grad = torch.ones(4, 3)
    peer = load("adamw")([single])
    peer.step()
    refused("set_optimizer_state_dict", lambda: load("adamw")([p]).load_state_dict(peer.state_dict()))
    if context.world == 3:
        halves = [DeviceMesh("cpu", [0, 1]), DeviceMesh("cpu", [1, 2])]
        if context.rank == 1:
            both = [spread(tensors(1, F32, ((4, 3),)), half, [Shard(0)])[0] for half in halves]
            for p in both:
                p.grad = torch.ones_like(p)
            refused("neither has all processes of the other", load("adamw")(both).step)
        else:
            spread(tensors(1, F32, ((4, 3),)), halves[context.rank // 2], [Shard(0)])
