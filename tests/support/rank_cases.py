"""What several processes compute together: each function runs on all of them at the same time."""

from functools import partial
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    get_state_dict,
    set_state_dict,
)
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import optdsl.torch
from optdsl.runtime.torch.shards import local
from tests.support.rank_tools import (
    F32,
    F64,
    STEPS,
    Context,
    case,
    compare,
    load,
    model,
    parameters,
    refused,
    same,
    sharded,
    spread,
    steps,
    tensors,
    train,
    whole,
)


@case
def elementwise_specs_run_on_parts(context: Context) -> None:
    compare("adamw", context.mesh(), [Shard(0)], F32, F64, torch.bfloat16, torch.complex64, exact=True)


@case
def what_is_kept_in_fewer_bits_is_cut_as_its_parameter_is(context: Context) -> None:
    """`extra16` has the bits of float32, whole or not; blocks of 256 would be cut, and are refused."""
    ours = spread(tensors(1, torch.bfloat16), context.mesh(), [Shard(0)])
    single = parameters([x.float() for x in tensors(1, torch.bfloat16)])
    make: Any = optdsl.torch.load
    low = make("adamw", state={"v": "bf16"}, param_store="extra16")(ours)
    again = spread(tensors(1, torch.bfloat16), context.mesh(), [Shard(0)])
    exact = make("adamw", param_store="extra16")(again)
    steps(low, ours, torch.bfloat16)
    steps(exact, again, torch.bfloat16)
    peer = load("adamw")(single)
    for step in range(STEPS):
        for p, g in zip(single, tensors(100 + step, torch.bfloat16), strict=True):
            p.grad = g.float()
        peer.step()
    for p, q, kept in zip(again, single, ours, strict=True):
        low_half = exact.state[p]["param_low"]
        assert isinstance(low_half, DTensor)
        assert low_half.placements == p.placements
        bits = (whole(p).view(torch.int16).int() << 16) + whole(low_half).view(torch.int16).int()
        assert torch.equal(bits.view(torch.float32), q)
        assert low.state[kept]["exp_avg_sq"].to_local().dtype is torch.bfloat16
        torch.testing.assert_close(whole(kept), whole(p), rtol=1e-2, atol=1e-3)
    blocks = make("adamw", state={"v": "8bit"})(ours)
    refused("its states of 8 bits are in blocks of the whole; keep it whole", blocks.step)


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
