"""Optimizers of parameters on fake GPUs, beside those of the CPU: what tests of steps on GPUs begin with."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import optdsl.torch
from optdsl.runtime.cuda import driver, kernel
from tests.ptx import fake_torch
from tests.ptx.fake_driver import FakeDriver
from tests.ptx.fake_torch import FakeGpus

SHAPES = ((7,), (33, 5), (), (300, 11), (0,))

WITHOUT_A_GPU = "adafactor adamp came lbfgs nd_adam noisy_sgd sgld shampoo sm3 soap muon".split()
"""Specs without kernels there."""

NOT_CAPTURABLE = {
    "sums over all parameters come back to the host": "adai adam_hd adasgd adgd avagrad barzilai_borwein "
    "dadapt_adamw dog dowg momo momo_adam polyak_sgd prodigy sps_max swats",
    "is given": "adahessian sophia",
    "takes its gradient at another point": "extragradient nesterov",
}
"""Why a graph cannot record the steps of some rules, and of which."""


def fake_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpus]:
    """Two of them, for the fixture `gpus`."""
    fake = FakeDriver(devices=2, size=1 << 23)
    monkeypatch.setattr(driver, "_open", lambda: fake)
    _forget()
    yield fake_torch.install(fake, monkeypatch)
    _forget()


def _forget() -> None:
    driver.driver.cache_clear()
    driver.device.cache_clear()
    kernel._modules.clear()


class Pair:
    """The same parameters on the CPU, `here`, and on GPUs, `there`, and an optimizer for each."""

    def __init__(
        self,
        gpus: FakeGpus,
        spec: str,
        *,
        tensors: list[Tensor] | None = None,
        places: tuple[int | None, ...] = (0,),
        mode: str = "accurate",
        state: dict[str, str] | None = None,
        param_store: str = "",
        **options: Any,
    ) -> None:
        """`places`: the GPU of each parameter in turn, None for the CPU."""
        self.gpus = gpus
        torch.manual_seed(0)
        given = [torch.randn(shape) for shape in SHAPES] if tensors is None else tensors
        self.places = [places[number % len(places)] for number in range(len(given))]
        self.here = [torch.nn.Parameter(x) for x in given]
        self.there = [
            torch.nn.Parameter(self.to(x, place)) for x, place in zip(given, self.places, strict=True)
        ]
        optimizer: Any = optdsl.torch.load(spec, mode=mode, state=state, param_store=param_store)
        self.one: Any = optimizer(self.here, **options)
        self.other: Any = optimizer(self.there, **options)

    def to(self, x: Tensor, place: int | None) -> Tensor:
        return x.detach().clone() if place is None else self.gpus.to(x.detach(), place)

    def gradients(self) -> None:
        for p, q, place in zip(self.here, self.there, self.places, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = self.to(p.grad, place)

    def step(self, **given: Any) -> None:
        self.gradients()
        self.one.step(**given)
        self.other.step(**given)

    def check(self, rtol: float = 0, atol: float = 0) -> None:
        for p, q in zip(self.here, self.there, strict=True):
            torch.testing.assert_close(
                self.gpus.host(q.detach()), p.detach(), rtol=rtol, atol=atol, equal_nan=True
            )
            mine, theirs = self.one.state.get(p, {}), self.other.state.get(q, {})
            assert mine.keys() == theirs.keys()
            for key in mine:
                found = self.gpus.host(theirs[key])
                torch.testing.assert_close(found, mine[key], rtol=rtol, atol=atol, equal_nan=True)
                assert not theirs[key].dim() or theirs[key].device == q.device


class Captured(Pair):
    """`Pair` whose parameters on the GPU are stepped by a graph; it reads gradients that it has itself."""

    def capture(self) -> Any:
        for q in self.there:
            q.grad = None  # as torch's manual does, so that the graph has gradients of its own
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for q, place in zip(self.there, self.places, strict=True):
                q.grad = self.gpus.empty(q.shape, q.stride(), q.dtype, place or 0)
            self.other.step()
        graph.gradients = [q.grad for q in self.there]
        return graph

    def replay(self, graph: Any) -> None:
        """A step on both sides: what a graph's backward pass would leave is written before."""
        for p, mine in zip(self.here, graph.gradients, strict=True):
            p.grad = torch.randn_like(p)
            with torch.no_grad():
                mine.copy_(p.grad)
        self.one.step()
        graph.replay()
