"""The network in NumPy with its gradient written out, and Adam as in the paper's box: no framework needed."""

from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import optdsl.numpy
from optdsl.demo.digits import initial_parameters

Arrays = list[NDArray[np.float32]]


class Steps(Protocol):
    def step(self, grads: Arrays) -> object: ...


class PlainAdam:
    """Kingma & Ba, Algorithm 1, one NumPy operation after another."""

    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def __init__(self, params: Arrays, lr: float):
        self.params, self.lr = params, lr
        self.m = [np.zeros_like(param) for param in params]
        self.v = [np.zeros_like(param) for param in params]
        self.t = 0

    def step(self, grads: Arrays) -> None:
        self.t += 1
        for theta, g, m, v in zip(self.params, grads, self.m, self.v, strict=True):
            m[...] = self.beta1 * m + (1 - self.beta1) * g
            v[...] = self.beta2 * v + (1 - self.beta2) * g**2
            mhat = m / (1 - self.beta1**self.t)
            vhat = v / (1 - self.beta2**self.t)
            theta -= self.lr * mhat / (np.sqrt(vhat) + self.eps)


class NumpyLearner:
    def __init__(self, params: Arrays, optimizer: Steps):
        self.params, self.optimizer = params, optimizer

    def learn(self, images: NDArray[np.float32], digits: NDArray[np.int64]) -> tuple[float, float]:
        loss, grads = loss_and_gradient(self.params, images, digits)
        started = perf_counter()
        self.optimizer.step(grads)
        return loss, perf_counter() - started

    def accuracy(self, images: NDArray[np.float32], digits: NDArray[np.int64]) -> float:
        return float(np.mean(_layers(self.params, images)[-1].argmax(1) == digits))


def _layers(params: Arrays, images: NDArray[np.float32]) -> Arrays:
    """What goes into every layer, and last the scores of the ten digits."""
    values = [images]
    for weights, biases in zip(params[::2], params[1::2], strict=True):
        scores = values[-1] @ weights + biases
        values.append(np.maximum(scores, 0))
    values[-1] = scores
    return values


def loss_and_gradient(
    params: Arrays, images: NDArray[np.float32], digits: NDArray[np.int64]
) -> tuple[float, Arrays]:
    """The mean cross-entropy of a batch, and its derivative by every parameter."""
    *inputs, scores = _layers(params, images)
    rows = np.arange(len(digits))
    log_probabilities = scores - scores.max(1, keepdims=True)
    log_probabilities -= np.log(np.exp(log_probabilities).sum(1, keepdims=True))
    upstream = np.exp(log_probabilities)
    upstream[rows, digits] -= 1
    upstream /= len(digits)
    grads: Arrays = []
    for values, weights in zip(reversed(inputs), reversed(params[::2]), strict=True):
        grads = [values.T @ upstream, upstream.sum(0), *grads]
        upstream = upstream @ weights.T * (values > 0)
    return float(-log_probabilities[rows, digits].mean()), grads


def compiled(lr: float) -> NumpyLearner:
    """Trained with the Adam that is compiled from the library's spec."""
    params = initial_parameters()
    adam: Any = optdsl.numpy.load("adam")
    return NumpyLearner(params, adam(params, lr=lr))


def usual(lr: float) -> NumpyLearner:
    params = initial_parameters()
    return NumpyLearner(params, PlainAdam(params, lr))
