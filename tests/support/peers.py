"""Update rules of libraries that are too large to install for a test, in NumPy, read from their source.

Each is `rule(x, g, state, t, **options)`: the new parameters of one tensor; `state` is a dict of its own.
They are independent of optdsl, and say in which library, version and file they were read.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = dict[str, Any]


def keras_ftrl(
    x: Array, g: Array, state: State, t: int, *, lr: float, initial: float = 0.1, l1: float = 0.0,
    l2: float = 0.0, beta: float = 0.0, power: float = -0.5,
) -> Array:  # fmt: skip
    """Keras 3, keras/src/optimizers/ftrl.py, `Ftrl.update_step` (without shrinkage)."""
    accum = state.get("accum", np.full_like(x, initial))
    linear = state.get("linear", np.zeros_like(x))
    l2 = l2 + beta / (2.0 * lr)
    new = accum + g**2
    linear = linear + (g - (new**-power - accum**-power) / lr * x)
    quadratic = new**-power / lr + 2 * l2
    state.update(accum=new, linear=linear)
    return np.asarray((np.clip(linear, -l1, l1) - linear) / quadratic)


def timm_laprop(
    x: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-15, weight_decay: float = 0.0,
) -> Array:  # fmt: skip
    """timm 1.0, timm/optim/laprop.py."""
    beta1, beta2 = betas
    square = state.get("exp_avg_sq", 0.0) * beta2 + (1 - beta2) * g * g
    lr1 = state.get("exp_avg_lr_1", 0.0) * beta1 + (1 - beta1) * lr
    lr2 = state.get("exp_avg_lr_2", 0.0) * beta2 + (1 - beta2)
    step_of_this_grad = g / (np.sqrt(square / lr2) + eps)
    average = state.get("exp_avg", 0.0) * beta1 + lr * (1 - beta1) * step_of_this_grad
    state.update(exp_avg=average, exp_avg_sq=square, exp_avg_lr_1=lr1, exp_avg_lr_2=lr2)
    x = x - average / (lr1 / lr)
    return x - lr * weight_decay * x


def timm_nadamw(
    x: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8, weight_decay: float = 1e-2,
) -> Array:  # fmt: skip
    """timm 1.0, timm/optim/nadamw.py, `_single_tensor_nadamw`."""
    beta1, beta2 = betas
    x = x * (1.0 - lr * weight_decay)
    average = state.get("exp_avg", 0.0) * beta1 + (1 - beta1) * g
    square = state.get("exp_avg_sq", 0.0) * beta2 + (1 - beta2) * g * g
    state.update(exp_avg=average, exp_avg_sq=square)
    ahead = average * beta1 + (1 - beta1) * g
    denom = np.sqrt(square) / np.sqrt(1 - beta2**t) + eps
    return np.asarray(x - lr / (1 - beta1**t) * ahead / denom)


def timm_adamc(
    x: Array, g: Array, state: State, t: int, *, lr: float, max_lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2,
) -> Array:  # fmt: skip
    """timm 1.0, timm/optim/adamw.py, `_single_tensor_adamw` with `corrected_weight_decay`."""
    beta1, beta2 = betas
    x = x * (1.0 - lr**2 / max_lr * weight_decay)
    average = state.get("exp_avg", 0.0) * beta1 + (1 - beta1) * g
    square = state.get("exp_avg_sq", 0.0) * beta2 + (1 - beta2) * g * g
    state.update(exp_avg=average, exp_avg_sq=square)
    denom = np.sqrt(square) / np.sqrt(1 - beta2**t) + eps
    return np.asarray(x - lr / (1 - beta1**t) * average / denom)


def qhoptim_qhadam(
    x: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float] = (0.9, 0.999),
    nus: tuple[float, float] = (1.0, 1.0), weight_decay: float = 0.0, eps: float = 1e-8,
) -> Array:  # fmt: skip
    """facebookresearch/qhoptim, qhoptim/pyt/qhadam.py: the authors' code."""
    g = g + weight_decay * x
    weights = [1.0 + beta * state.get(f"weight{i}", 0.0) for i, beta in enumerate(betas)]
    adjusted = [1.0 - 1.0 / weight for weight in weights]
    average = state.get("exp_avg", 0.0) * adjusted[0] + (1.0 - adjusted[0]) * g
    square = state.get("exp_avg_sq", 0.0) * adjusted[1] + (1.0 - adjusted[1]) * g * g
    state.update(exp_avg=average, exp_avg_sq=square, weight0=weights[0], weight1=weights[1])
    rms = np.sqrt(square * nus[1] + (1.0 - nus[1]) * g * g) + eps
    return np.asarray(x - lr * (average * nus[0] + (1.0 - nus[0]) * g) / rms)


def tensorflow_proximal(
    x: Array, g: Array, state: State, t: int, *, lr: float, l1: float = 0.0, l2: float = 0.0
) -> Array:
    """TensorFlow, core/kernels/training_ops.cc, `ApplyProximalGradientDescent`."""
    x = x - g * lr
    if l1 > 0:
        return np.sign(x) * np.maximum(np.abs(x) - lr * l1, 0.0) / (1.0 + l2 * lr)
    return x / (1.0 + l2 * lr)


def schedule_free_sgd(
    y: Array, g: Array, state: State, t: int, *, lr: float, momentum: float = 0.9, weight_decay: float = 0.0,
    warmup_steps: int = 0, r: float = 0.0,
) -> Array:  # fmt: skip
    """The paper's sequences, with the weights of facebookresearch/schedule_free, sgd_schedulefree.py."""
    rate = lr * (t / warmup_steps if t <= warmup_steps else 1.0)
    return _averaged(y, rate * (g + weight_decay * y), rate, momentum, state, t, r)


def schedule_free_adamw(
    y: Array, g: Array, state: State, t: int, *, lr: float, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8, weight_decay: float = 0.0, warmup_steps: int = 0, r: float = 0.0,
) -> Array:  # fmt: skip
    """As above, adamw_schedulefree.py."""
    state["v"] = betas[1] * state.get("v", 0.0) + (1 - betas[1]) * g * g
    rate = lr * (t / warmup_steps if t <= warmup_steps else 1.0) * np.sqrt(1 - betas[1] ** t)
    moved = rate * (g / (np.sqrt(state["v"]) + eps) + weight_decay * y)
    return _averaged(y, moved, rate, betas[0], state, t, r)


def _averaged(y: Array, moved: Array, rate: float, beta: float, state: State, t: int, r: float) -> Array:
    """x is the weighted average of z, and y lies between the two; `state` holds x for whoever asks."""
    x, z = state.get("x", y), state.get("z", y) - moved
    highest = max(rate, state.get("lr_max", 0.0))
    weight = t**r * highest**2
    total = state.get("total", 0.0) + weight
    x = x + weight / total * (z - x)
    state.update(x=x, z=z, lr_max=highest, total=total)
    return np.asarray(beta * x + (1 - beta) * z)
