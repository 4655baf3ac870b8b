"""What cases on several processes are made of: tensors, networks, and the comparison with one process.

A single process is the same optimizer over the same tensors, whole, in each of the processes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

import optdsl

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
