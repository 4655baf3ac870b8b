"""The network in torch, and what trains it: the compiled Adam or torch's own."""

from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import optdsl.torch
from optdsl.demo.digits import LAYERS, initial_parameters


class TorchLearner:
    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer):
        self.network, self.optimizer = network, optimizer

    def learn(self, images: NDArray[np.float32], digits: NDArray[np.int64]) -> tuple[float, float]:
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.network(torch.from_numpy(images)), torch.from_numpy(digits))
        loss.backward()  # type: ignore[no-untyped-call]
        started = perf_counter()
        self.optimizer.step()
        return loss.item(), perf_counter() - started

    @torch.no_grad()
    def accuracy(self, images: NDArray[np.float32], digits: NDArray[np.int64]) -> float:
        answers = self.network(torch.from_numpy(images)).argmax(1)
        return float((answers == torch.from_numpy(digits)).double().mean())


def network() -> nn.Sequential:
    """Two hidden layers of rectifiers; always from the same start."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(LAYERS):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter, start in zip(model.parameters(), initial_parameters(), strict=True):
            parameter.copy_(torch.from_numpy(start.T))
    return model


def compiled(lr: float) -> TorchLearner:
    """Trained with the Adam that is compiled from the library's spec."""
    model = network()
    adam: Any = optdsl.torch.load("adam")
    return TorchLearner(model, adam(model.parameters(), lr=lr))


def usual(lr: float) -> TorchLearner:
    model = network()
    return TorchLearner(model, torch.optim.Adam(model.parameters(), lr=lr))
