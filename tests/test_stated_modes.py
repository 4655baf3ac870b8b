"""Classes in the modes `fma` and `strict`: bits that can be worked out, for torch, NumPy and on a GPU."""

from typing import Any

import numpy as np
import pytest
import torch

import optdsl
import optdsl.numpy
import optdsl.torch
from tests.ptx.arithmetic import fma
from tests.ptx.fake_torch import FakeGpus
from tests.support.gpus import Captured, Pair

MODES = ("fma", "strict")
TRAINED = ("sgd", "adamw", "nadam", "radam", "lion", "lamb", "padam", "clip_by_global_norm(1) | adamw")
OPTIONS: dict[str, dict[str, Any]] = {"sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}}

f32 = np.float32


@pytest.mark.parametrize("mode", MODES)
def test_bits_are_what_the_mode_says(mode: str) -> None:
    """Two steps of SGD with momentum, operation by operation: d = g + wd*theta; b = d, then momentum*b + 1*d;
    theta - lr*b. In `fma` a product is not rounded before something is added to it; of two products that are
    added it is the second, here 1*d, so that the first one is.
    """
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(1000).astype(f32)
    lr, momentum, decay = f32(0.1), f32(0.9), f32(0.01)

    def plus(x: Any, y: Any, z: Any) -> Any:
        """x*y + z"""
        return fma(np.broadcast_to(x, z.shape), y, z) if mode == "fma" else x * y + z

    p = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    cls: Any = optdsl.torch.load("sgd", mode=mode)
    optimizer = cls([p], **OPTIONS["sgd"])
    buffer = None
    for _ in range(2):
        g = rng.standard_normal(1000).astype(f32)
        p.grad = torch.from_numpy(g)
        optimizer.step()
        d = plus(decay, theta, g)
        buffer = d if buffer is None else plus(f32(1), d, momentum * buffer)
        theta = plus(-lr, buffer, theta)
    np.testing.assert_array_equal(p.detach().numpy(), theta)


def test_modes_are_not_the_same() -> None:
    found = {}
    for mode in (*MODES, "fast", "accurate"):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 5000))
        cls: Any = optdsl.torch.load("adamw", mode=mode)
        optimizer = cls([p], lr=0.01)
        for number in range(3):
            p.grad = torch.cos(torch.arange(5000.0) + number)
            optimizer.step()
        found[mode] = p.detach()
    assert not torch.equal(found["fma"], found["strict"])
    for mode in MODES:
        torch.testing.assert_close(found[mode], found["accurate"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spec", TRAINED)
def test_a_gpu_trains_as_the_cpu_does(gpus: FakeGpus, spec: str, mode: str) -> None:
    tensors = [torch.randn(shape) for shape in ((7,), (33, 5), (), (0,))]
    pair = Pair(gpus, spec, tensors=tensors, mode=mode, **OPTIONS.get(spec, {}))
    for _ in range(3):
        pair.step()
    pair.check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_graph_trains_as_the_cpu_does(gpus: FakeGpus, dtype: torch.dtype) -> None:
    """Powers of `t` are the same function here, so that float64 has the same bits, too."""
    pair = Captured(gpus, "adamw", tensors=[torch.randn(40, dtype=dtype)], mode="fma", capturable=True)
    for _ in range(3):
        pair.step()
    graph = pair.capture()
    pair.replay(graph)
    pair.check()


@pytest.mark.parametrize("spec", ["adamw", "lamb"])
def test_arrays_and_threads_have_the_same_bits(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    given, gradients = torch.randn(150_000), [torch.randn(150_000) for _ in range(2)]
    array = given.numpy().copy()
    for_arrays: Any = optdsl.numpy.load(spec, mode="fma")
    for_torch: Any = optdsl.torch.load(spec, mode="fma")
    one = for_arrays([array])
    p = torch.nn.Parameter(given.clone())
    other = for_torch([p])
    for g in gradients:
        monkeypatch.setenv("OPTDSL_NUM_THREADS", "1")
        one.step([g.numpy()])
        monkeypatch.setenv("OPTDSL_NUM_THREADS", "2")
        p.grad = g
        other.step()
    np.testing.assert_array_equal(array, p.detach().numpy())


@pytest.mark.parametrize("spec", ["muon", "adafactor"])
def test_rules_without_kernels_are_refused_when_they_are_loaded(spec: str) -> None:
    with pytest.raises(optdsl.OptdslError, match="cannot be compiled for llvm"):
        optdsl.torch.load(spec, mode="fma")
