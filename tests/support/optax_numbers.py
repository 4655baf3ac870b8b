"""What the specs are run on when they are compared with optax: parameters, gradients, losses, estimates."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tensors = tuple[Array, ...]

SHAPES = ((), (7,), (5, 3), (2, 3, 4), (2, 3, 2, 3))
STEPS = 200


@cache
def start() -> Tensors:
    """Away from zero: a decaying weight that reaches it moves by its sign alone. All are float32 numbers."""
    random = np.random.default_rng(0)
    drawn = (random.standard_normal(shape) for shape in SHAPES)
    return tuple(np.asarray(x + 2 * np.sign(x), np.float32) for x in drawn)


@cache
def gradients() -> Tensors:
    """Of all steps, first axis first. Sizes over four decades; a tenth is exactly zero, at step 1 too."""
    random = np.random.default_rng(1)

    def draw(shape: tuple[int, ...]) -> Array:
        value = random.standard_normal(shape) * 10 ** random.uniform(-3, 1, shape)
        value[random.uniform(size=shape) < 0.1] = 0
        return value.astype(np.float32)

    return tuple(draw((STEPS, *shape)) for shape in SHAPES)


@cache
def inputs() -> dict[str, Array]:
    """Of all steps: a loss that falls and once is below zero, and estimates of the Hessian's diagonal."""
    random = np.random.default_rng(2)
    loss = (30 * 0.98 ** np.arange(STEPS) + random.standard_normal(STEPS)).astype(np.float32)
    hvp = np.concatenate([g.reshape(STEPS, -1) for g in gradients()], axis=1) * random.choice([-1, 1, 5])
    return {"loss": loss, "hvp": hvp + 0.5}


def in_tensors(flat: Array) -> list[Array]:
    """One vector as tensors of the shapes of the test."""
    ends = np.cumsum([x.size for x in start()])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), SHAPES, strict=True)]
