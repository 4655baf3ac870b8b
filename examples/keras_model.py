"""A Keras 3 model on handwritten digits, trained by an optimizer of optdsl.

On torch by its torch class, on JAX as an optax transformation; $KERAS_BACKEND says which, as always in Keras.

    KERAS_BACKEND=jax python examples/keras_model.py
"""

from typing import Any

import keras

import optdsl
from optdsl.demo.digits import load_digits

SPEC = "clip_by_global_norm(1) | adamw(lr = 1e-2)"


def model() -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10)]
    return keras.Sequential(layers)


def by_torch(net: Any, x: Any, y: Any, steps: int) -> list[float]:
    import torch

    opt: Any = optdsl.torch.load(SPEC)(net.parameters())
    inputs, labels, losses = torch.tensor(x), torch.tensor(y), []
    for _ in range(steps):
        opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        opt.step()
        losses.append(loss.item())
    return losses


def by_jax(net: Any, x: Any, y: Any, steps: int) -> list[float]:
    import jax
    import optax

    tx = optdsl.optax.load(SPEC)()
    params = [v.value for v in net.trainable_variables]
    others = [v.value for v in net.non_trainable_variables]

    def loss_of(params: Any) -> Any:
        logits, _ = net.stateless_call(params, others, x, training=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        loss, g = jax.value_and_grad(loss_of)(params)
        return *tx.step(params, state, g), loss

    state, losses = tx.init(params), []
    for _ in range(steps):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    for variable, value in zip(net.trainable_variables, params, strict=True):
        variable.assign(value)
    return losses


def main(steps: int = 60) -> float:
    """The share of new digits that are read right."""
    digits = load_digits()
    net, x, y = model(), digits.train, digits.train_labels
    train = {"torch": by_torch, "jax": by_jax}[keras.backend.backend()]
    losses = train(net, x, y, steps)
    assert losses[-1] < losses[0]
    return float((net.predict(digits.test, verbose=0).argmax(1) == digits.test_labels).mean())


if __name__ == "__main__":
    print(f"{keras.backend.backend()}: {main():.3f} of the digits are read right")
