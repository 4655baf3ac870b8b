"""Steps that a CUDA graph records, through torch, driver and PTX: each replay is a step of the CPU's.

The fake driver records what the real one would, and refuses what that refuses while it records. That every
rule can be replayed is in `test_cuda_torch`.
"""

import contextlib
import ctypes
import gc
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import optdsl.torch
from optdsl.runtime.cuda.driver import CudaError
from tests.ptx.fake_torch import FakeGpus
from tests.support.gpus import NOT_CAPTURABLE, Captured, Pair

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None, reason="this torch has operators for GPUs, which are not to be replaced"
)


MANY = ["adamw", "sgd", "nadam", "asgd", "lamb", "schedule_free_adamw"]
"""With a counter, without one, with numbers for each tensor, with sums, with another view."""


@pytest.mark.parametrize("spec", MANY)
def test_graphs_and_ordinary_steps_take_turns(gpus: FakeGpus, spec: str) -> None:
    """Graphs that read gradients elsewhere and were recorded with other options, none of which is stale."""
    options: Any = {"momentum": 0.9, "lr": 0.1} if spec == "sgd" else {}
    pair = Captured(gpus, spec, capturable=True, **options)
    pair.step()
    first = pair.capture()
    pair.replay(first)
    for optimizer in (pair.one, pair.other):
        optimizer.param_groups[0]["lr"] *= 3.0
    second = pair.capture()
    pair.replay(second)
    pair.step()
    pair.replay(second)
    pair.check()
    for optimizer in (pair.one, pair.other):
        optimizer.param_groups[0]["lr"] /= 3.0  # what the first has been recorded with
    pair.replay(first)
    pair.step()
    pair.check()
    shown = pair.one.layout.views
    if shown:
        for optimizer in (pair.one, pair.other):
            optimizer.eval()
        for p, q in zip(pair.here, pair.there, strict=True):
            torch.testing.assert_close(gpus.host(q.detach()), p.detach(), rtol=0, atol=0)
    numbers = [x for q in pair.there for x in pair.other.state[q].values() if not x.dim() and q.dim()]
    assert all(x.device.type == "cuda" for x in numbers)
    assert numbers or spec == "sgd"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(gpus: FakeGpus, dtype: torch.dtype) -> None:
    """In float64 powers of `t` may be a unit in the last place away; 16 bits are copied within the graph."""
    pair = Captured(gpus, "adamw", tensors=[torch.randn(9, 5, dtype=dtype)], capturable=True)
    pair.step()
    graph = pair.capture()
    pair.replay(graph)
    pair.replay(graph)
    pair.check(*((1e-14, 1e-15) if dtype == torch.float64 else (0, 0)))


def test_groups_on_two_gpus(gpus: FakeGpus) -> None:
    """An ordinary step; a graph of torch's records one GPU's stream."""
    pair = Captured(gpus, "lamb", places=(0, 1), capturable=True)
    pair.step()
    pair.step()
    pair.check()


@pytest.mark.parametrize("recorded", [False, True])
def test_many_groups_need_several_launches_for_their_options(gpus: FakeGpus, recorded: bool) -> None:
    """More numbers than one launch has arguments for; each group has its own."""
    pair = Captured(gpus, "adamw", tensors=[torch.randn(3) for _ in range(90)], capturable=recorded)
    for optimizer, ps in ((pair.one, pair.here), (pair.other, pair.there)):
        optimizer.param_groups[0]["params"] = ps[:1]
        for number, p in enumerate(ps[1:], 1):
            optimizer.add_param_group({"params": [p], "lr": number / 100, "capturable": recorded})
    for _ in range(2):
        pair.step()
    assert (gpus.driver.launches.count("write") > 2) == recorded
    if recorded:
        pair.replay(pair.capture())
    pair.check()


def test_options_may_be_numbers_on_the_gpu(gpus: FakeGpus) -> None:
    """Each replay reads them: a schedule that fills `lr`, as torch's do, needs no other graph."""
    pair = Captured(gpus, "adamw", tensors=[torch.randn(70)], capturable=True)
    lr = gpus.to(torch.tensor(0.25))
    beta = gpus.to(torch.tensor(0.5, dtype=torch.float64))
    group = pair.other.param_groups[0]
    group["lr"], group["betas"] = lr, (beta, 0.999)
    mine = pair.one.param_groups[0]
    mine["lr"], mine["betas"] = 0.25, (0.5, 0.999)
    pair.step()
    graph = pair.capture()
    for value in (0.125, 3.0):
        lr.fill_(value)
        beta.fill_(value / 4)
        mine["lr"], mine["betas"] = value, (value / 4, 0.999)
        pair.replay(graph)
        pair.check()
    pair.step()
    pair.check()


@pytest.mark.parametrize(
    ("lr", "words"),
    [(torch.tensor(1e-3, dtype=torch.bfloat16), "lr is torch.bfloat16 on a GPU; make it float32 or float64"),
     (torch.ones(2), "Tensor lr must be 1-element"), (torch.tensor(1.0), "lr is on cuda:1 and a parameter")],
    ids=["16 bits", "two", "elsewhere"],
)  # fmt: skip
def test_options_that_no_kernel_can_read_are_refused(gpus: FakeGpus, lr: Tensor, words: str) -> None:
    pair = Captured(gpus, "adamw", tensors=[torch.randn(7)], capturable=True)
    pair.gradients()
    pair.other.param_groups[0]["lr"] = gpus.to(lr, int("elsewhere" in words or "cuda:1" in words))
    with pytest.raises((TypeError, ValueError), match=words):
        pair.other.step()
    assert not pair.other.state


def test_a_graph_is_launches_and_nothing_else(gpus: FakeGpus) -> None:
    pair = Captured(gpus, "lamb", capturable=True)
    pair.step()
    before = len(gpus.driver.calls)
    pair.capture()
    assert set(gpus.driver.calls[before:]) == {
        "cuCtxPushCurrent_v2", "cuStreamIsCapturing", "cuLaunchKernel", "cuCtxPopCurrent_v2",
    }  # fmt: skip


def test_what_a_graph_uses_stays(gpus: FakeGpus) -> None:
    """A step of other parameters makes other tables; freed memory traps in the fake."""
    pair = Captured(gpus, "adamw", capturable=True)
    pair.step()
    graph = pair.capture()
    pair.gradients()
    pair.here[1].grad = pair.there[1].grad = None
    pair.one.step()
    pair.other.step()
    gc.collect()
    pair.replay(graph)
    pair.check()
    assert not gpus.driver.traps


# --- checkpoints -------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [False, True])
def test_checkpoints_go_both_ways(gpus: FakeGpus, saved: bool) -> None:
    """What was saved with `capturable` or without is loaded with the other, which the group then says."""
    pair = Captured(gpus, "nadam", capturable=saved)
    pair.step()
    state = pair.other.state_dict()
    for options in state["param_groups"]:
        options["capturable"] = not saved
    pair.other.load_state_dict(state)
    for q in pair.there:
        for key in ("step", "mu_product"):
            assert pair.other.state[q][key].device.type == ("cpu" if saved else "cuda")
    pair.step()
    if not saved:
        pair.replay(pair.capture())
    pair.check()


def test_a_checkpoint_of_the_cpu(gpus: FakeGpus) -> None:
    pair = Captured(gpus, "adamw", capturable=True)
    pair.gradients()
    pair.one.step()
    with torch.no_grad():
        for p, q in zip(pair.here, pair.there, strict=True):
            q.copy_(p)
    pair.other.load_state_dict(pair.one.state_dict())
    pair.step()
    pair.replay(pair.capture())
    pair.check()


# --- refusals ----------------------------------------------------------------------------------------


def refused(gpus: FakeGpus, pair: Pair, words: str) -> None:
    """And nothing was recorded."""
    launches = len(gpus.driver.launches)
    with torch.cuda.graph(torch.cuda.CUDAGraph()), pytest.raises(RuntimeError, match=words):
        pair.other.step()
    assert len(gpus.driver.launches) == launches


def test_a_graph_needs_capturable(gpus: FakeGpus) -> None:
    """In torch's words: `Optimizer._accelerator_graph_capture_health_check`."""
    pair = Captured(gpus, "adamw")
    pair.step()
    words = "Attempting CUDA graph capture of step.. for an instance of AdamW but param_groups' capturable is"
    refused(gpus, pair, words)


def test_a_graph_needs_a_step_before(gpus: FakeGpus) -> None:
    pair = Captured(gpus, "adamw", capturable=True)
    pair.gradients()
    refused(gpus, pair, "only after one like it")
    assert not pair.other.state
    pair.one.step()
    pair.other.step()
    pair.there[0].grad = None
    refused(gpus, pair, "only after one like it")
    pair.step()
    pair.replay(pair.capture())
    pair.check()


def test_a_graph_records_gpus_alone(gpus: FakeGpus) -> None:
    pair = Captured(gpus, "adamw", places=(0, None), capturable=True)
    pair.step()
    refused(gpus, pair, "for parameters on the CPU")
    pair.check()


def test_a_graph_does_not_unscale(gpus: FakeGpus) -> None:
    pair = Captured(gpus, "adamw", capturable=True, fused=True)
    pair.step()
    pair.other.found_inf = gpus.to(torch.zeros(1))
    refused(gpus, pair, "whether gradients have overflowed")


@pytest.mark.parametrize(
    ("spec", "words"), [(spec, why) for why, specs in NOT_CAPTURABLE.items() for spec in specs.split()]
)
def test_rules_that_are_not_capturable(gpus: FakeGpus, spec: str, words: str) -> None:
    """Are refused at the first step, not when a graph is recorded after many of them."""
    optimizer: Any = optdsl.torch.load(spec)
    p = torch.nn.Parameter(gpus.to(torch.ones(4, 4)))
    p.grad = gpus.to(torch.ones(4, 4))
    opt = optimizer([p], capturable=True)
    given = {"loss": 1.0, "hvp": [gpus.to(torch.ones(4, 4))]}
    needed = {each.name: given[each.name] for each in opt.layout.inputs if each.name in given}
    with pytest.raises(RuntimeError, match=f"is not capturable: .*{words}.*; use capturable=False"):
        opt.step(lambda: 1.0, **needed) if "point" in words else opt.step(**needed)
    assert not opt.state
    assert not gpus.driver.launches


# --- the fake ----------------------------------------------------------------------------------------


def test_a_step_that_is_not_made_for_it_spoils_a_graph(
    gpus: FakeGpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fake driver sees what the tests above are for."""
    pair = Pair(gpus, "adamw")
    pair.step()
    monkeypatch.setattr("optdsl.runtime.torch.optimizer.recording", lambda optimizer: False)
    monkeypatch.setattr("optdsl.runtime.cuda.driver.Device.capturing", lambda self, stream: False)
    with (
        pytest.raises(RuntimeError, match="the capture was invalidated"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
        contextlib.suppress(CudaError),
    ):
        pair.other.step()


@pytest.mark.parametrize("call", [("cuMemAlloc_v2", 0, 8), ("cuStreamSynchronize", 77), ("cuMemFreeHost", 0)])
def test_memory_and_waiting_spoil_a_graph(gpus: FakeGpus, call: tuple[Any, ...]) -> None:
    with (
        pytest.raises(RuntimeError, match="the capture was invalidated"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        assert getattr(gpus.driver, call[0])(*call[1:]) == 900


def test_a_recorded_copy_reads_what_is_there_then(gpus: FakeGpus) -> None:
    """Which is why none is recorded: the host's memory has gone on."""
    fake = gpus.driver
    there = fake.memories[0].put(np.zeros(2))
    buffer = ctypes.create_string_buffer(16)
    fake._host[ctypes.addressof(buffer)] = buffer
    fake._contexts.append(0)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        copy = fake.cuMemcpyHtoDAsync_v2  # type: ignore[attr-defined]
        assert copy(there, ctypes.addressof(buffer), 16, 77) == 0
    ctypes.memmove(buffer, np.ones(2).tobytes(), 16)
    graph.replay()
    fake.finish()
    assert fake.memories[0].read(there, 16).view(float).tolist() == [1.0, 1.0]
