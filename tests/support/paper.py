"""Update rules as their papers print them, in plain NumPy float64, a few lines each.

Every function takes the starting point and either the gradients of all steps, in order, or (where the
rule chooses its point) the gradient as a function; it gives the parameters after every step.
Written from the papers and independent of optdsl: nothing here imports it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def gradient_descent(x: Array, gradients: Sequence[Array], lr: float) -> list[Array]:
    """Cauchy 1847."""
    path = []
    for g in gradients:
        x = x - lr * g
        path.append(x)
    return path


def heavy_ball(x: Array, gradients: Sequence[Array], lr: float, mu: float) -> list[Array]:
    """Polyak 1964, in displacements: x+ = x - lr*g + mu*(x - x-). No velocity is stored."""
    before, path = x, []
    for g in gradients:
        before, x = x, x - lr * g + mu * (x - before)
        path.append(x)
    return path


def nesterov(x: Array, gradient: Callable[[Array], Array], steps: int, lr: float, mu: float) -> list[Array]:
    """Nesterov 1983 in two sequences, without a velocity: y is extrapolated, x is a gradient step from y."""
    before, path = x, []
    for _ in range(steps):
        y = x + mu * (x - before)
        before, x = x, y - lr * gradient(y)
        path.append(x)
    return path


def amsgrad(
    x: Array, gradients: Sequence[Array], lr: float, beta1: float, beta2: float, eps: float
) -> list[Array]:
    """Reddi, Kale & Kumar 2018, Algorithm 2, with constant rates, without projection; eps is ours."""
    m, v, v_hat = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    path = []
    for g in gradients:
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        v_hat = np.maximum(v_hat, v)
        x = x - lr * m / (np.sqrt(v_hat) + eps)
        path.append(x)
    return path


def adabound(
    x: Array,
    gradients: Sequence[Array],
    lr: float,
    beta1: float,
    beta2: float,
    final_lr: float,
    gamma: float,
    eps: float,
    weight_decay: float,
    amsbound: bool,
) -> list[Array]:
    """Luo et al. 2019, Algorithm 2, with the bias corrections, eps and gamma of the authors' code.

    The moments are written out as sums over all past gradients: m_t = (1 - beta1) sum_i beta1^(t-i) g_i.
    """
    seen: list[Array] = []
    largest = np.zeros_like(x)
    path = []
    for t, g in enumerate(gradients, start=1):
        seen.append(g + weight_decay * x)
        ages = np.arange(t - 1, -1, -1.0)
        m = (1 - beta1) * np.tensordot(beta1**ages, np.array(seen), axes=1)
        v = (1 - beta2) * np.tensordot(beta2**ages, np.array(seen) ** 2, axes=1)
        largest = np.maximum(largest, v)
        rate = lr / (1 - beta1**t) / ((np.sqrt(largest if amsbound else v) + eps) / np.sqrt(1 - beta2**t))
        low, high = final_lr - final_lr / (gamma * t + 1), final_lr + final_lr / (gamma * t)
        x = x - np.minimum(high, np.maximum(low, rate)) * m
        path.append(x)
    return path


def kate(x: Array, gradients: Sequence[Array], lr: float, delta: float, eps: float) -> list[Array]:
    """Choudhury et al. 2024, Algorithm 1, with b^2 and m^2 as there; eps is ours."""
    b2, m2, path = np.zeros_like(x), np.zeros_like(x), []
    for g in gradients:
        b2 = b2 + g**2
        m2 = m2 + delta * g**2 + g**2 / (b2 + eps)
        x = x - lr * np.sqrt(m2) / (b2 + eps) * g
        path.append(x)
    return path


def adasgd(
    x: Array, gradients: Sequence[Array], lr: float, beta1: float, beta2: float, eps: float
) -> list[Array]:
    """Wang & Wiens 2020, Algorithm 1: v is the average of |g|^2, divided by the dimension; eps is ours."""
    m, v, path = np.zeros_like(x), 0.0, []
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + g
        v = beta2 * v + (1 - beta2) * float(np.linalg.norm(g)) ** 2
        x = x - lr * m / (np.sqrt(v / x.size / (1 - beta2**t)) + eps)
        path.append(x)
    return path


def adanorm(
    x: Array, gradients: Sequence[Array], lr: float, beta1: float, beta2: float, r: float, eps: float
) -> list[Array]:
    """Dubey et al. 2023, Algorithm 2 (AdamNorm)."""
    m, v, e, path = np.zeros_like(x), np.zeros_like(x), 0.0, []
    for t, g in enumerate(gradients, start=1):
        length = float(np.linalg.norm(g))
        e = r * e + (1 - r) * length
        s = e / length * g if e > length else g
        m = beta1 * m + (1 - beta1) * s
        v = beta2 * v + (1 - beta2) * g**2
        x = x - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        path.append(x)
    return path
