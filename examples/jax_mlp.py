"""Handwritten digits with a plain JAX network: no Flax, parameters in a dict, Adafactor from a spec.

    python examples/jax_mlp.py

`optdsl.optax.load(...)` is a pure optax transformation in jax.numpy. It is compiled into the training step by
`jit`, the steps into one loop by `scan`, and it composes with everything that optax has; here with a
schedule, and with a plain gradient descent for the biases.
"""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import optdsl

LAYERS = (64, 128, 64, 10)
TEST = 360
BATCH = 64
Params = list[dict[str, jax.Array]]


def initial(key: jax.Array) -> Params:
    sizes = pairwise(LAYERS)
    return [
        {"w": jax.random.normal(key, size) * jnp.sqrt(2 / size[0]), "b": jnp.zeros(size[1])}
        for key, size in zip(jax.random.split(key, len(LAYERS) - 1), sizes, strict=True)
    ]


def logits(params: Params, images: jax.Array) -> jax.Array:
    x = images
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss(params: Params, images: jax.Array, labels: jax.Array) -> jax.Array:
    found: jax.Array = optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels)
    return found.mean()


def main(steps: int = 300) -> float:
    """Trains, and returns the share of right answers for digits that were never seen."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = jnp.asarray(images[order] / 16, jnp.float32), jnp.asarray(labels[order])

    params = initial(jax.random.key(0))
    tx = optax.partition(
        {
            "w": optdsl.optax.load("adafactor")(lr=optax.cosine_decay_schedule(0.05, steps)),
            "b": optdsl.optax.load("gd")(lr=0.1),
        },
        [{name: name for name in layer} for layer in params],
    )

    def step(carry: Any, batch: jax.Array) -> Any:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, images[batch], labels[batch])
        updates, state = tx.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    drawn = jax.random.randint(jax.random.key(1), (steps, BATCH), TEST, len(labels))
    (params, _), losses = jax.jit(lambda carry: jax.lax.scan(step, carry, drawn))((params, tx.init(params)))
    for done in range(50, steps + 1, 50):
        print(f"step {done}: loss {losses[done - 1]:.4f}")
    right = float((logits(params, images[:TEST]).argmax(1) == labels[:TEST]).mean())
    print(f"{right:.1%} of {TEST} digits never seen are read right")
    return right


if __name__ == "__main__":
    main()
