"""A step makes nothing large: what it works with was made by the first one, as state or in its tables.

What NumPy takes is seen by tracemalloc, what torch takes by whoever is told of each of its operators. Sums
over rows and columns are kept, too. Products of matrices are made by NumPy, and are left out here.
"""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import optdsl.numpy
import optdsl.torch

LIMIT = 1 << 20  # bytes
SHAPE = (1024, 1024)  # four times as many


class Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest tensor that an operator made; views of others are none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {
            x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in known:
                self.largest = max(self.largest, x.untyped_storage().nbytes())
        return out


def taken(step: Any) -> int:
    """The most that NumPy and torch take in a step beyond what they had."""
    for _ in range(2):  # what is imported or compiled on the way is no part of a step
        with Made():
            step()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with Made() as made:
            step()
        return max(int(made.largest), tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()


def test_what_is_made_is_seen() -> None:
    x = torch.ones(SHAPE)
    assert taken(lambda: x + x) == 4 * LIMIT
    assert taken(lambda: np.ones(SHAPE)) >= 8 * LIMIT
    assert taken(lambda: x.add_(1)) < LIMIT
    assert taken(lambda: x.detach()) < LIMIT


# Kernels take no memory; what might is the way through the runtime, so here is a spec for each of these.
PATHS = {
    "adam": "one pass",
    "sgd": "flags",
    "lamb": "sums by tensor",
    "prodigy": "sums over all",
    "adafactor": "sums by row and column, and the mean of all",
    "sm3": "maxima by row and column",
    "amos": "numbers for each tensor",
    "ademamix": "schedules",
    "sgld": "random numbers",
    "schedule_free_adamw": "a second view",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_step_makes_nothing_large(name: str) -> None:
    p = torch.nn.Parameter(torch.linspace(-1, 1, SHAPE[0] * SHAPE[1]).reshape(SHAPE))
    p.grad = torch.linspace(1, 2, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    theta, g = (x.detach().numpy().copy() for x in (p, p.grad))
    make: Any = optdsl.torch.load(name)
    opt = make([p])
    assert taken(opt.step) < LIMIT
    make = optdsl.numpy.load(name)
    array = make([theta])
    assert taken(lambda: array.step([g])) < LIMIT


def test_only_parameters_that_come_back_are_copied() -> None:
    """The gradient is taken elsewhere, and the parameters are put back bit for bit: one copy, for a while."""
    p = torch.nn.Parameter(torch.ones(SHAPE))
    p.grad = torch.ones(SHAPE)
    make: Any = optdsl.torch.load("nesterov")
    opt = make([p])
    assert taken(lambda: opt.step(lambda: 1.0)) == 4 * LIMIT
