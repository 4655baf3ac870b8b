"""Steps with stages of whole matrices: all or nothing, batches, threads, and one number on every way."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

import optdsl

SHAPES = ((5, 3), (3, 5), (2, 4, 3), (7,))


def parameters(shapes: tuple[tuple[int, ...], ...], seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=random, dtype=torch.float64).requires_grad_() for s in shapes]


def give(found: list[torch.Tensor], seed: int) -> None:
    for p, g in zip(found, parameters(tuple(tuple(p.shape) for p in found), seed), strict=True):
        p.grad = g.detach()


@pytest.mark.parametrize("name", ["shampoo", "soap"])
def test_a_step_that_lapack_gives_up_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = parameters(SHAPES)
    optimizer = optdsl.torch.load(name)(found, **({"precondition_frequency": 1} if name == "soap" else {}))
    for seed in (1, 2):
        give(found, seed)
        optimizer.step()
    before = [p.detach().clone() for p in found], copy.deepcopy(optimizer.state_dict())

    def give_up(*args: Any, **kwargs: Any) -> Any:
        raise np.linalg.LinAlgError("did not converge")

    for factor in ("eigh", "qr"):
        monkeypatch.setattr(np.linalg, factor, give_up)
    give(found, 3)
    with pytest.raises(np.linalg.LinAlgError):
        optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(found, before[0], strict=True))
    for number, states in before[1]["state"].items():
        for key, value in states.items():
            assert torch.equal(optimizer.state_dict()["state"][number][key], value), key


@pytest.mark.parametrize("name", ["shampoo", "soap"])
def test_more_dimensions_are_a_batch(name: str) -> None:
    """And each matrix of it is stepped as it would be by itself."""
    (whole,) = parameters(((2, 4, 3),))
    parts = [whole.detach()[i].clone().requires_grad_() for i in range(2)]
    optimizers = [optdsl.torch.load(name)(group, lr=0.1) for group in ([whole], parts)]
    for seed in range(1, 5):
        give([whole], seed)
        assert whole.grad is not None
        for i, part in enumerate(parts):
            part.grad = whole.grad[i].clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(whole.detach(), torch.stack([p.detach() for p in parts]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["muon", "shampoo", "soap"])
def test_numpy_and_torch_and_any_number_of_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = ((5, 3), (300, 301)) if name == "muon" else ((5, 3), (40, 41))
    found = parameters(shapes)
    arrays = [p.detach().numpy().copy() for p in found]
    ours, numpy = optdsl.torch.load(name)(found), optdsl.numpy.load(name)(arrays)
    for seed, threads in ((1, "1"), (2, "2"), (3, "4")):
        give(found, seed)
        gradients = [p.grad.numpy() for p in found if p.grad is not None]
        monkeypatch.setenv("OPTDSL_NUM_THREADS", "1")
        numpy.step(gradients)
        monkeypatch.setenv("OPTDSL_NUM_THREADS", threads)
        ours.step()
    for p, array in zip(found, arrays, strict=True):
        assert p.detach().numpy().tobytes() == array.tobytes()
