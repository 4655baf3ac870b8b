"""What is tested on several processes: each function runs on all of them at the same time.

A single process is what they are compared with: the same optimizer over the same tensors, whole, in each of
the processes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import optdsl
from optdsl.runtime.torch_shards import local

CASES: dict[str, Callable[["Context"], None]] = {}
SHAPES = ((7, 13), (13,), (1, 5), (3, 4, 2), (1,), (2, 0))  # uneven and empty parts on 2 and 3 processes
STEPS = 3
F32, F64 = torch.float32, torch.float64


@dataclass(frozen=True)
class Context:
    rank: int
    world: int
    folder: Path

    def mesh(self, *shape: int) -> DeviceMesh:
        names = ("replicate", "shard")[-len(shape) or 1 :]
        return init_device_mesh("cpu", shape or (self.world,), mesh_dim_names=names)

    def shapes(self) -> list[tuple[int, int]]:
        """Of all meshes of two dimensions."""
        return [(n, self.world // n) for n in range(1, self.world + 1) if self.world % n == 0]


def case(function: Callable[[Context], None]) -> Callable[[Context], None]:
    CASES[function.__name__] = function
    return function


def whole(x: Any) -> Tensor:
    found: Tensor = x.full_tensor() if isinstance(x, DTensor) else x
    return found.detach()


def tensors(seed: int, dtype: torch.dtype, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in shapes]


def parameters(values: list[Tensor]) -> list[Any]:
    return [torch.nn.Parameter(x.clone()) for x in values]


def spread(values: list[Tensor], mesh: DeviceMesh, placements: list[Any]) -> list[Any]:
    return [torch.nn.Parameter(distribute_tensor(x.clone(), mesh, placements)) for x in values]


def steps(
    optimizer: Any, params: list[Any], dtype: torch.dtype, shapes: tuple[tuple[int, ...], ...] = SHAPES
) -> None:
    for step in range(STEPS):
        for p, g in zip(params, tensors(100 + step, dtype, shapes), strict=True):
            sharded = isinstance(p, DTensor)
            p.grad = distribute_tensor(g, p.device_mesh, p.placements) if sharded else g
        optimizer.step()


@cache
def load(target: str) -> Any:
    return optdsl.torch.load(target)


def compare(
    target: str,
    mesh: DeviceMesh,
    placements: list[Any],
    *dtypes: torch.dtype,
    shapes: tuple[tuple[int, ...], ...] = SHAPES,
    exact: bool = False,
) -> None:
    """Sharded and whole: parameters and every state."""
    for dtype in dtypes:
        start = tensors(1, dtype, shapes)
        ours, single = spread(start, mesh, placements), parameters(start)
        optimizer, peer = load(target)(ours, lr=0.1), load(target)(single, lr=0.1)
        steps(optimizer, ours, dtype, shapes)
        steps(peer, single, dtype, shapes)
        for p, q, old in zip(ours, single, start, strict=True):
            assert old.numel() == 0 or not torch.equal(q, old)
            same(whole(p), whole(q), exact)
            assert optimizer.state[p].keys() == peer.state[q].keys()
            for key, value in optimizer.state[p].items():
                like_p = isinstance(value, DTensor) and value.placements == p.placements
                assert like_p is (key.startswith("exp_avg") and peer.state[q][key].shape == q.shape)
                same(whole(value), whole(peer.state[q][key]), exact)


def same(x: Tensor, y: Tensor, exact: bool = False) -> None:
    if exact:
        assert torch.equal(x, y)
    # sums of at most 91 numbers in another order: some last places of float64, of which float32 sees nothing
    tolerance = 1e-13 if x.dtype is torch.float64 else 1e-7
    torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def model() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(7, 13), torch.nn.Tanh(), torch.nn.Linear(13, 3), torch.nn.Linear(3, 1)
    )


def sharded(mesh: DeviceMesh) -> torch.nn.Sequential:
    found = model()
    for layer in found:
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(found, mesh=mesh)
    return found


def train(network: torch.nn.Module, optimizer: Any, count: int, seed: int = 3, closure: bool = False) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randn(12, 7, generator=random)

        def evaluate(x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = ((network(x) - x[:, :1]) ** 2).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        if closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            optimizer.step()


def refused(words: str, action: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError), match=re.escape(words)):
        action()


# --- what is computed ----------------------------------------------------------------------------------


@case
def elementwise_specs_run_on_parts(context: Context) -> None:
    compare("adamw", context.mesh(), [Shard(0)], F32, F64, torch.bfloat16, torch.complex64, exact=True)


@case
def sums_are_those_of_whole_tensors(context: Context) -> None:
    """By tensor, over all, and in states of one number; however they are sharded."""
    mesh = context.mesh()
    compare("lamb", mesh, [Shard(0)], F32, F64, torch.complex64)
    compare("novograd", mesh, [Shard(0)], F32)
    compare("clip_by_global_norm(0.1) | adamw", mesh, [Shard(0)], F64)
    compare("lamb", mesh, [Shard(1)], F64, shapes=((7, 13), (1, 4), (3, 2, 2)))
    compare("lamb", mesh, [Replicate()], F64, exact=True)
    for shape in context.shapes():
        flat = context.mesh(*shape)
        compare("lamb", flat, [Replicate(), Shard(0)], F64, exact=shape[1] == 1)
        compare("lamb", flat, [Shard(0), Shard(1)], F64, shapes=((7, 13), (2, 5)))


@case
def parts_that_end_between_blocks_change_no_bit(context: Context) -> None:
    """12 x 4096 in halves or thirds: between two blocks of 1,024 numbers, within a chunk of 16,384."""
    compare("lamb", context.mesh(), [Shard(0)], F64, shapes=((12, 4096), (6, 16384)), exact=True)


@case
def fsdp2_and_hsdp_train_as_one_process(context: Context) -> None:
    meshes = [context.mesh(), *(context.mesh(*shape) for shape in context.shapes())]
    for target in ("adamw", "lamb"):
        single = model()
        train(single, load(target)(single.parameters(), lr=0.01), STEPS)
        for mesh in meshes:
            network = sharded(mesh)
            train(network, load(target)(network.parameters(), lr=0.01), STEPS)
            for p, q in zip(network.parameters(), single.parameters(), strict=True):
                # torch divides sums of gradients by the number of processes: a third of three is rounded
                torch.testing.assert_close(whole(p), q.detach(), rtol=1e-5, atol=1e-6)


@case
def rules_of_whole_matrices_put_them_together(context: Context) -> None:
    """Every process takes the step of all of it, and keeps its part; or draws the numbers of all of it."""
    for target, *dtypes in (("adafactor", F32, torch.bfloat16), ("sm3", F32), ("noisy_sgd", F32)):
        for dtype in dtypes:
            start = tensors(1, dtype)
            ours, single = spread(start, context.mesh(), [Shard(0)]), parameters(start)
            optimizer, peer = load(target)(ours, lr=0.1), load(target)(single, lr=0.1)
            steps(optimizer, ours, dtype)
            steps(peer, single, dtype)
            for p, q, old in zip(ours, single, start, strict=True):
                assert old.numel() == 0 or not torch.equal(q, old)
                same(whole(p), whole(q), exact=p.dim() > 1)
                for key, value in peer.state[q].items():
                    mine = optimizer.state[p][key]
                    same(whole(mine), whole(value), exact=p.dim() > 1)
            again = load(target)(ours)
            again.load_state_dict(optimizer.state_dict())
    network, other = sharded(context.mesh()), sharded(context.mesh())
    optimizer, resumed = (load("adafactor")(x.parameters(), lr=0.01) for x in (network, other))
    train(network, optimizer, STEPS)
    own, state = get_state_dict(network, optimizer)
    set_state_dict(other, resumed, model_state_dict=own, optim_state_dict=state)
    train(network, optimizer, 1, seed=4)
    train(other, resumed, 1, seed=4)
    for p, q in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(local(p), local(q))


@case
def gradients_elsewhere_and_views(context: Context) -> None:
    """SAM moves by the norm over all; the averaged weights of schedule-free are shown and taken away."""
    results = []
    for network in (model(), sharded(context.mesh())):
        optimizer = load("sgd(lr = 0.1) | sam(0.05)")(network.parameters())
        train(network, optimizer, STEPS, closure=True)
        free = load("schedule_free_sgd")(network.parameters(), lr=0.1)
        train(network, free, STEPS)
        before = [local(p).clone() for p in network.parameters()]
        with free.view(free.layout.views[0]):
            shown = [whole(p).clone() for p in network.parameters()]
        assert all(torch.equal(local(p), x) for p, x in zip(network.parameters(), before, strict=True))
        results.append([*shown, *(whole(p) for p in network.parameters())])
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


@case
def whole_parameters_ask_nobody(context: Context) -> None:
    """DistributedDataParallel and ZeroRedundancyOptimizer: processes have the same tensors, or others."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # which warns of a part of torch itself

    for target in ("lamb", "adamw"):
        single = model()
        train(single, load(target)(single.parameters(), lr=0.01), STEPS)
        for zero in (None, False, True):
            network = DistributedDataParallel(model())
            optimizer = (
                load(target)(network.parameters(), lr=0.01)
                if zero is None
                else ZeroRedundancyOptimizer(
                    network.parameters(), load(target), parameters_as_bucket_view=zero, lr=0.01
                )
            )
            train(network, optimizer, STEPS)
            for p, q in zip(network.parameters(), single.parameters(), strict=True):
                torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-5, atol=1e-6)
    for target in ("clip_by_global_norm(0.1) | adamw", "sgd(lr = 0.1) | sam(0.05)"):
        refused("sums over all", partial(ZeroRedundancyOptimizer, model().parameters(), load(target)))


@case
def inputs_of_a_step_are_sharded_too(context: Context) -> None:
    """An estimate of the Hessian for each parameter, and a loss on which the processes have to agree."""
    start, hessian = tensors(1, F32), [x.abs() for x in tensors(2, F32)]
    ours, single = spread(start, context.mesh(), [Shard(0)]), parameters(start)
    optimizer, peer = load("sophia")(ours), load("sophia")(single)
    for p, q, g in zip(ours, single, tensors(3, F32), strict=True):
        p.grad, q.grad = distribute_tensor(g, p.device_mesh, p.placements), g
    optimizer.step(hvp=[distribute_tensor(x, context.mesh(), [Shard(0)]) for x in hessian])
    peer.step(hvp=hessian)
    for p, q in zip(ours, single, strict=True):
        same(whole(p), whole(q), exact=True)
    refused("the loss that step() was given", partial(load("polyak_sgd")(ours).step, loss=context.rank))


@case
def summands_of_gradients_are_exchanged(context: Context) -> None:
    """As sequence parallelism leaves them: every process has a summand of the whole gradient."""
    mesh, [start, g] = context.mesh(), tensors(1, F32, ((4, 3), (4, 3)))
    p = torch.nn.Parameter(distribute_tensor(start.clone(), mesh, [Replicate()]))
    q = torch.nn.Parameter(start.clone())
    p.grad = DTensor.from_local(g * (context.rank == 0), mesh, [Partial()], run_check=False)
    q.grad = g
    load("adamw")([p]).step()
    load("adamw")([q]).step()
    same(whole(p), whole(q), exact=True)


@case
def an_overflow_of_one_part_leaves_out_the_step_of_all(context: Context) -> None:
    ours = spread(tensors(1, F32), context.mesh(), [Shard(0)])
    optimizer = load("lamb")(ours, fused=True)
    steps(optimizer, ours, F32)
    before = [whole(p).clone() for p in ours]
    optimizer.found_inf = torch.tensor(float(context.rank == 1))  # as GradScaler leaves it
    optimizer.step()
    assert all(torch.equal(whole(p), x) for p, x in zip(ours, before, strict=True))
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert not torch.equal(whole(ours[0]), before[0])


# --- what is refused -----------------------------------------------------------------------------------


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


# --- distributed checkpoints ---------------------------------------------------------------------------


def saved(folder: Path, world: int) -> Path:
    return folder / f"checkpoint-{world}"


@case
def checkpoints_move_between_numbers_of_processes(context: Context) -> None:
    """Saved by 2 processes, loaded by 2, by 3 and by one without a process group."""
    network = sharded(context.mesh())
    optimizer = load("lamb")(network.parameters(), lr=0.01)
    if context.world == 2:
        train(network, optimizer, STEPS)
        own, state = get_state_dict(network, optimizer)
        checkpoint.save(  # type: ignore[attr-defined]
            {"model": own, "optimizer": state}, checkpoint_id=saved(context.folder, 2)
        )
    resumed = sharded(context.mesh())
    again = load("lamb")(resumed.parameters(), lr=0.5)
    resume(resumed, again, saved(context.folder, 2))
    train(resumed, again, 2, seed=4)
    if context.world == 2:
        train(network, optimizer, 2, seed=4)
        for p, q in zip(network.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(whole(p), whole(q))
        torch.save([whole(p) for p in network.parameters()], context.folder / "trained.pt")
    for p, q in zip(resumed.parameters(), torch.load(context.folder / "trained.pt"), strict=True):
        torch.testing.assert_close(whole(p), q, rtol=1e-5, atol=1e-6)


@case
def the_state_of_one_process_is_cut(context: Context) -> None:
    single, network = model(), sharded(context.mesh())
    peer, optimizer = load("lamb")(single.parameters(), lr=0.01), load("lamb")(network.parameters())
    train(single, peer, STEPS)
    content = get_optimizer_state_dict(single, peer)
    set_optimizer_state_dict(network, optimizer, content, options=StateDictOptions(full_state_dict=True))
    for p, q in zip(network.parameters(), single.parameters(), strict=True):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            same(whole(optimizer.state[p][key]), peer.state[q][key], exact=True)


def resume(network: torch.nn.Module, optimizer: Any, folder: Path) -> None:
    before = [whole(p).clone() for p in network.parameters()]
    own, state = get_state_dict(network, optimizer)
    assert all(torch.equal(whole(p), x) for p, x in zip(network.parameters(), before, strict=True))
    content: dict[str, Any] = {"model": own, "optimizer": state}
    checkpoint.load(  # type: ignore[attr-defined]
        content, checkpoint_id=folder
    )
    set_state_dict(network, optimizer, model_state_dict=own, optim_state_dict=content["optimizer"])
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert {float(state["step"]) for state in optimizer.state.values()} == {float(STEPS)}
