"""Optimizers of parameters on GPUs, through torch, driver and PTX, as far as can be had without a GPU.

torch's tensors are on `cuda:0`, the driver is a fake, and the kernels' text is interpreted. Every step is
held against that of the CPU's kernels.
"""

import gc
from collections import Counter
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from click.testing import CliRunner

import optdsl.torch
from optdsl.cli import cli
from optdsl.files import library_names
from optdsl.kernel.storing import PARAMETERS
from optdsl.runtime.cuda import driver
from optdsl.runtime.cuda.driver import CudaError
from optdsl.runtime.launch import CHUNK
from tests.ptx.fake_torch import FakeGpus
from tests.support.gpus import NOT_CAPTURABLE, SHAPES, WITHOUT_A_GPU, Captured, Pair

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None, reason="this torch has operators for GPUs, which are not to be replaced"
)


COMPOSED = "clip_by_global_norm(1) | adamw"


@pytest.mark.parametrize("spec", [*sorted(set(library_names()) - set(WITHOUT_A_GPU)), COMPOSED])
def test_a_gpu_has_the_bits_of_the_cpu(gpus: FakeGpus, spec: str) -> None:
    """Every rule that has kernels there, also of sums, which are folded in the same order; and replayed from
    a CUDA graph, though powers of `t` are not the C library's then.
    """
    tensors = [torch.randn(shape) for shape in ((7,), (33, 5), (), (0,))]
    pair = Pair(gpus, spec, tensors=tensors)
    layout = pair.other.layout
    if any(variant.query for variant in layout.variants.values()):
        return  # takes a closure: test_another_point_and_another_view
    for _ in range(2):
        pair.gradients()
        hvp = [torch.randn_like(p) for p in pair.here]
        there = [pair.to(x, place) for x, place in zip(hvp, pair.places, strict=True)]
        for optimizer, estimate in ((pair.one, hvp), (pair.other, there)):
            given = {"loss": 0.7, "hvp": estimate}
            optimizer.step(**{each.name: given[each.name] for each in layout.inputs})
    pair.check()
    if spec == COMPOSED or spec in " ".join(NOT_CAPTURABLE.values()).split():
        return
    recorded = Captured(gpus, spec, tensors=tensors, capturable=True)
    recorded.step()
    recorded.replay(recorded.capture())
    recorded.check()


def test_one_launch_for_a_dtype_a_phase_and_a_device(gpus: FakeGpus) -> None:
    tensors = [torch.randn(50, dtype=dtype) for dtype in (torch.float32, torch.float64) for _ in range(4)]
    pair = Pair(gpus, "lamb", tensors=tensors, places=(0, 1))
    for _ in range(3):
        pair.step()
    pair.check()
    launches = Counter(gpus.driver.launches)
    names = ("prepare_reduce0", "reduce0", "totals_reduce0", "prepare_update", "update")
    expected = {f"{name}_{kind}": 3 * 2 for name in names for kind in ("f32", "f64")}
    assert launches == expected | {"write": 3 * 4, "begin": 3 * 4}
    assert gpus.driver.calls.count("cuStreamSynchronize") == 0  # no sum comes back


def test_threads_of_the_host_do_not_divide_a_launch(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTDSL_NUM_THREADS", "2")
    pair = Pair(gpus, "sgd", tensors=[torch.randn(140_000)], lr=0.1)
    pair.step()
    pair.check()
    assert gpus.driver.launches == ["write", "update_f32"]


def test_tables_go_up_only_when_an_address_changes(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw")
    pair.step()
    went = gpus.driver.calls.count("cuMemcpyHtoDAsync_v2")
    assert went == 2  # addresses, chunks
    for _ in range(2):
        pair.one.step()
        pair.other.step()  # with the same gradients
    assert gpus.driver.calls.count("cuMemcpyHtoDAsync_v2") == went
    pair.step()
    assert gpus.driver.calls.count("cuMemcpyHtoDAsync_v2") == went + 1  # gradients are elsewhere
    assert gpus.driver.launches == ["write", "update_f32"] * 4  # scalars, of which t is a part
    pair.check()
    assert gpus.driver.calls.count("cuModuleLoadDataEx") == 2  # the rule's, and what all need
    assert gpus.driver.calls.count("cuStreamSynchronize") == 0


@pytest.mark.parametrize("spec", ["adamw", "lamb", COMPOSED])
def test_the_current_stream_is_used(gpus: FakeGpus, spec: str) -> None:
    """And waits by itself for what the one before has still to do."""
    pair = Pair(gpus, spec)
    pair.step()
    gpus.stream = 5
    pair.one.step()
    pair.other.step()  # with the same gradients: nothing else waits
    gpus.driver.cuStreamSynchronize(5)  # type: ignore[attr-defined]
    pair.check()


def test_sums_over_all_go_over_cpu_and_gpus(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "clip_by_global_norm(0.5) | adamw", places=(None, 0, 1))
    for _ in range(2):
        pair.step()
    pair.check()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(gpus: FakeGpus, dtype: torch.dtype) -> None:
    pair = Pair(gpus, "adamw", tensors=[torch.randn(9, 5, dtype=dtype), torch.randn(3, dtype=dtype)])
    for _ in range(2):
        pair.step()
    pair.check()


def test_tensors_that_do_not_begin_at_16_bytes(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw", tensors=[torch.randn(1000)])
    whole = gpus.to(torch.zeros(1001))
    odd = torch.nn.Parameter(whole.as_strided((1000,), (1,), 1))
    with torch.no_grad():
        odd.copy_(pair.there[0])
    pair.there[0] = odd
    pair.other.param_groups[0]["params"] = [odd]
    assert odd.data_ptr() % 16 == 4
    pair.step()
    pair.check()


def test_tensors_that_are_transposed(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw", tensors=[torch.randn(6, 50).t()])
    assert pair.there[0].stride() == (1, 50)
    for _ in range(2):
        pair.step()
    pair.check()


def test_groups_and_parameters_without_gradient(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw")
    for optimizer, ps in ((pair.one, pair.here), (pair.other, pair.there)):
        optimizer.param_groups[0]["params"] = ps[:2]
        optimizer.add_param_group({"params": ps[2:], "lr": 0.5, "maximize": True})
    pair.gradients()
    pair.here[1].grad = pair.there[1].grad = None
    for _ in range(2):
        pair.one.step()
        pair.other.step()
    pair.check()


def test_state_goes_from_the_cpu_to_a_gpu(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw")
    for _ in range(2):
        pair.gradients()
        pair.one.step()
    with torch.no_grad():
        for p, q in zip(pair.here, pair.there, strict=True):
            q.copy_(p)
    pair.other.load_state_dict(pair.one.state_dict())
    pair.step()
    pair.check()


def test_another_point_and_another_view(gpus: FakeGpus) -> None:
    """Kernels that move the parameters for a while."""
    pair = Pair(gpus, "schedule_free_sgd", lr=0.1)
    for ps, optimizer in ((pair.here, pair.one), (pair.there, pair.other)):
        torch.manual_seed(1)
        given = [torch.randn(shape) for shape in SHAPES]

        def closure(ps: Any = ps, given: Any = given) -> float:
            for p, x in zip(ps, given, strict=True):
                value = x + gpus.host(p.detach())
                p.grad = value if p.device.type == "cpu" else gpus.to(value)
            return 1.0

        for _ in range(3):
            optimizer.step(closure)
    pair.check()
    for optimizer in (pair.one, pair.other):
        optimizer.eval()
    for p, q in zip(pair.here, pair.there, strict=True):
        torch.testing.assert_close(gpus.host(q.detach()), p.detach(), rtol=0, atol=0)
    for optimizer in (pair.one, pair.other):
        optimizer.train()
    pair.check()


def test_the_fast_mode_computes_in_float32(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw", mode="fast")
    pair.step()
    pair.check(rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("spec", ["adamw", "lamb", "clip_by_global_norm(1) | adamw"])
def test_memory_is_given_back(gpus: FakeGpus, spec: str) -> None:
    """What the runtime itself has taken; what torch has is torch's."""
    pair = Pair(gpus, spec)
    pair.step()
    gpus.driver.finish()
    gc.disable()  # nothing goes around in a circle: what is freed late may be freed while a graph is recorded
    pair.other = None
    gc.enable()
    for taken, given in (("cuMemAlloc_v2", "cuMemFree_v2"), ("cuMemHostAlloc", "cuMemFreeHost"),
                         ("cuEventCreate", "cuEventDestroy_v2")):  # fmt: skip
        assert gpus.driver.calls.count(taken) == gpus.driver.calls.count(given) > 0


IN_FEWER = "schedule_free_adamw --state exp_avg_sq=f16 --param-store extra16"


@pytest.mark.parametrize("wanted", ["adam", "lamb", "schedule_free_adamw", IN_FEWER])
def test_a_module_carries_its_code(
    gpus: FakeGpus, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `optdsl compile --ptx` writes takes parameters on a GPU, and compiles nothing for it."""
    spec, *kept = wanted.split()
    path = tmp_path / f"{spec}.py"
    assert CliRunner().invoke(cli, ["compile", spec, "--ptx", *kept, "-o", str(path)]).exit_code == 0
    monkeypatch.setattr("optdsl.emit.device_code.get_gpu_writer", None)
    monkeypatch.setattr("optdsl.runtime.llvm_kernel.assembly", None)
    module: Any = module_from_spec(found := cast(Any, spec_from_file_location(spec, path)))
    found.loader.exec_module(module)
    name = next(name for name, each in vars(module).items() if getattr(each, "layout", None) is module.LAYOUT)
    monkeypatch.setattr(optdsl.torch, "load", lambda *_, **__: getattr(module, name))
    options: Any = {"amsgrad": True} if spec == "adam" else {}
    dtypes = (torch.float32, torch.bfloat16) if kept else (torch.float32,)
    tensors = [torch.randn(shape, dtype=dtype) for dtype in dtypes for shape in SHAPES]
    pair = Pair(gpus, spec, tensors=tensors, **options)
    for _ in range(2):
        pair.step()
    pair.check()
    for optimizer in (pair.one, pair.other):
        optimizer.eval()
    for p, q in zip(pair.here, pair.there, strict=True):
        torch.testing.assert_close(gpus.host(q.detach()), p.detach(), rtol=0, atol=0)
    recorded = Captured(gpus, spec, capturable=True)
    recorded.step()
    recorded.replay(recorded.capture())
    recorded.check()


# --- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", WITHOUT_A_GPU)
def test_rules_without_a_kernel_are_refused(gpus: FakeGpus, spec: str) -> None:
    optimizer: Any = optdsl.torch.load(spec)
    p = torch.nn.Parameter(gpus.to(torch.ones(4, 4)))
    p.grad = gpus.to(torch.ones(4, 4))
    opt = optimizer([p])
    why = "(it reduces over rows and columns|it draws random numbers)"
    with pytest.raises(TypeError, match=rf"is on cuda:0, where \w+ has no kernel: {why}; use \.cpu"):
        opt.step()
    assert not opt.state
    assert not gpus.driver.launches


def test_a_module_without_code_is_refused(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw")
    kind = type(pair.other)
    plain: Any = type("Plain", (kind,), {"layout": replace(kind.layout, device_code=None)})
    opt = plain(pair.there)
    pair.gradients()
    with pytest.raises(TypeError, match="compiled without"):
        opt.step()


@pytest.mark.parametrize(
    "function", ["cuMemAlloc_v2", "cuMemHostAlloc", "cuEventCreate", "cuModuleLoadDataEx"]
)
def test_a_step_is_all_or_nothing(gpus: FakeGpus, function: str) -> None:
    """The second device has no memory left: nothing is written on the first one either."""
    pair = Pair(gpus, "lamb", places=(0, 1))
    pair.gradients()
    before = [gpus.host(q.detach()).clone() for q in pair.there]
    gpus.driver.failing = {function: 2}
    with pytest.raises(CudaError, match="no memory left"):
        pair.other.step()
    gpus.driver.failing = {}
    assert not pair.other.state
    assert not gpus.driver.launches
    for q, old in zip(pair.there, before, strict=True):
        torch.testing.assert_close(gpus.host(q.detach()), old, rtol=0, atol=0)
    pair.one.step()
    pair.other.step()
    pair.check()


def test_no_driver_is_said_in_words(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise CudaError("parameters on a GPU need NVIDIA's driver")

    monkeypatch.setattr(driver, "_open", absent)
    pair = Pair(gpus, "adamw")
    pair.gradients()
    with pytest.raises(CudaError, match="need NVIDIA's driver"):
        pair.other.step()


def test_state_of_another_device_is_refused(gpus: FakeGpus) -> None:
    pair = Pair(gpus, "adamw", tensors=[torch.ones(3)])
    pair.step()
    pair.other.state[pair.there[0]]["exp_avg"] = torch.zeros(3)
    with pytest.raises(TypeError, match=r"exp_avg .* is on cpu and the parameter on cuda:0"):
        pair.other.step()


@pytest.mark.parametrize("fault", ["cuLaunchKernel", "cuMemcpyHtoDAsync_v2"])
def test_what_fails_on_the_gpu_is_heard(gpus: FakeGpus, fault: str) -> None:
    pair = Pair(gpus, "adamw")
    pair.step()
    gpus.driver.failing = {fault: 700}
    pair.gradients()
    with pytest.raises(CudaError, match="has lost the GPU"):
        pair.other.step()


KEPT = {"m": "bf16", "v": "f16"}


@pytest.mark.parametrize("store", PARAMETERS)
@pytest.mark.parametrize(("spec", "mode"), [("adamw", "accurate"), ("adamw", "fma"), ("lamb", "accurate")])
def test_what_is_kept_in_16_bits_has_the_bits_of_the_cpu(
    gpus: FakeGpus, spec: str, mode: str, store: str
) -> None:
    """Both dtypes at once; a vector of odd size, more than a chunk, a number, nothing."""
    tensors = [
        torch.randn(shape, dtype=dtype) for dtype in (torch.bfloat16, torch.float32) for shape in SHAPES
    ]
    tensors.append(torch.randn(CHUNK + 5).bfloat16())
    pair = Pair(gpus, spec, tensors=tensors, mode=mode, state=KEPT, param_store=store, lr=0.01)
    for _ in range(3):
        pair.step()
    pair.check()


@pytest.mark.parametrize("store", ["sr", "kahan"])
def test_codes_that_are_not_aligned(gpus: FakeGpus, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself, where vectors would trap."""

    def empty(shape: Any, strides: Any, dtype: Any, device: int) -> torch.Tensor:
        size = max(torch.empty(shape).numel(), 1) * dtype.itemsize
        address = gpus.driver.memories[device].allocate(size, dtype.itemsize)
        return gpus._view(address, tuple(shape), tuple(strides), dtype, 2, device)

    monkeypatch.setattr(gpus, "empty", empty)
    tensors = [torch.randn(shape).bfloat16() for shape in SHAPES]
    pair = Pair(gpus, "adamw", tensors=tensors, state=KEPT, param_store=store, lr=0.01)
    assert pair.there[1].data_ptr() % 4 == 2
    for _ in range(2):
        pair.step()
    pair.check()


def test_what_is_kept_in_16_bits_is_replayed(gpus: FakeGpus) -> None:
    """With other random bits at each step: the counter that they are a function of is on the GPU."""
    tensors = [
        torch.randn(shape, dtype=dtype) for dtype in (torch.bfloat16, torch.float32) for shape in SHAPES
    ]
    recorded = Captured(
        gpus, "adamw", tensors=tensors, state=KEPT, param_store="sr", capturable=True, lr=0.01
    )
    recorded.step()
    graph = recorded.capture()
    for _ in range(2):
        recorded.replay(graph)
    recorded.check()


def test_states_in_8_bits_have_no_kernel_yet(gpus: FakeGpus) -> None:
    p = torch.nn.Parameter(gpus.to(torch.ones(3), 0))
    p.grad = gpus.to(torch.ones(3), 0)
    optimizer: Any = optdsl.torch.load("adam", state={"v": "8bit"})
    with pytest.raises(TypeError, match=r"where Adam has no kernel: llvm: what is kept in 8 bits"):
        optimizer([p]).step()
