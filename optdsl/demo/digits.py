"""The handwritten digits that come with scikit-learn, split and dealt out the same way every time.

Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BATCH = 64
LAYERS = (64, 128, 64, 10)
"""Values per layer of the network: 8 x 8 pixels in, ten digits out."""

_SEED = 0
_TEST = 360


@dataclass(frozen=True)
class Digits:
    """Images are rows of 64 grey values in [0, 1], float32; labels the digits 0 to 9, int64."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def load_digits() -> Digits:
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(_SEED).permutation(len(images))
    images, labels = (images[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    return Digits(images[_TEST:], labels[_TEST:], images[:_TEST], labels[:_TEST])


def batches(count: int, epochs: int) -> Iterator[NDArray[np.int64]]:
    """Indices of each batch; every epoch deals all `count` images in a new order."""
    generator = np.random.default_rng(_SEED + 1)
    for _ in range(epochs):
        order = generator.permutation(count)
        for start in range(0, count, BATCH):
            yield order[start : start + BATCH]


def initial_parameters() -> list[NDArray[np.float32]]:
    """Weights (inputs, outputs) and biases, layer by layer: He's initialization, for rectifiers."""
    generator = np.random.default_rng(_SEED + 2)
    parameters: list[NDArray[np.float32]] = []
    for inputs, outputs in pairwise(LAYERS):
        weights = generator.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
        parameters += [weights.astype(np.float32), np.zeros(outputs, np.float32)]
    return parameters
