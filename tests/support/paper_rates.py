"""Update rules that find their rate themselves, as their papers print them: plain NumPy float64, one tensor.

As in `support/paper.py`: the starting point and the gradients of all steps in, the parameters after every
step out; written from the papers and independent of optdsl.
"""

from collections.abc import Sequence

import numpy as np

from tests.support.paper import Array


def avagrad(
    x: Array, gradients: Sequence[Array], lr: float, beta1: float, beta2: float, eps: float
) -> list[Array]:
    """Savarese et al. 2021, Algorithm 2: the rates' 2-norm is divided by the root of their number."""
    m, v, path = np.zeros_like(x), np.zeros_like(x), []
    for g in gradients:
        m = beta1 * m + (1 - beta1) * g
        eta = 1 / (np.sqrt(v) + eps)
        x = x - lr * eta / np.linalg.norm(eta / np.sqrt(eta.size)) * m
        v = beta2 * v + (1 - beta2) * g * g
        path.append(x)
    return path


def swats(
    x: Array, gradients: Sequence[Array], lr: float, beta1: float, beta2: float, eps: float
) -> tuple[list[Array], int]:
    """Keskar & Socher 2017, Algorithm 1, line by line; and the step of the switch (0: there was none)."""
    m, a, average, phase, switched = np.zeros_like(x), np.zeros_like(x), 0.0, "Adam", 0
    velocity, rate, path = np.zeros_like(x), 0.0, []
    for k, g in enumerate(gradients, 1):
        if phase == "SGD":
            velocity = beta1 * velocity + g
            x = x - (1 - beta1) * rate * velocity
            path.append(x)
            continue
        m = beta1 * m + (1 - beta1) * g
        a = beta2 * a + (1 - beta2) * g * g
        p = -lr * np.sqrt(1 - beta2**k) / (1 - beta1**k) * m / (np.sqrt(a) + eps)
        x = x + p
        if (along := float((p * g).sum())) != 0:
            gamma = float((p * p).sum()) / -along
            average = beta2 * average + (1 - beta2) * gamma
            if k > 1 and abs(average / (1 - beta2**k) - gamma) < eps:
                phase, switched, rate = "SGD", k, average / (1 - beta2**k)
        path.append(x)
    return path, switched


def adgd(x: Array, gradients: Sequence[Array], lr: float) -> list[Array]:
    """Malitsky & Mishchenko 2020, Algorithm 1, with an infinite first ratio."""
    before, g_before, rate, ratio = x, gradients[0], lr, np.inf
    x = x - rate * gradients[0]
    path = [x]
    for g in gradients[1:]:
        new = min(np.sqrt(1 + ratio) * rate, np.linalg.norm(x - before) / (2 * np.linalg.norm(g - g_before)))
        ratio, rate, before, g_before = new / rate, new, x, g
        x = x - rate * g
        path.append(x)
    return path


def barzilai_borwein(x: Array, gradients: Sequence[Array], lr: float, short: bool) -> list[Array]:
    """Barzilai & Borwein 1988, equations (5) (`short`) and (6); lr where s and y point apart."""
    before, g_before, path = x, np.zeros_like(x), []
    for g in gradients:
        s, y = x - before, g - g_before
        sy = float((s * y).sum())
        rate = lr
        if sy > 0:
            rate = sy / float((y * y).sum()) if short else float((s * s).sum()) / sy
        before, g_before = x, g
        x = x - rate * g
        path.append(x)
    return path


def adam_hd(
    x: Array, gradients: Sequence[Array], lr: float, hypergrad_lr: float, beta1: float, beta2: float,
    eps: float,
) -> list[Array]:  # fmt: skip
    """Baydin et al. 2018, Adam-HD: the derivative of the last update by the rate is minus its direction."""
    m, v, derivative, path = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), []
    for t, g in enumerate(gradients, 1):
        h = float((g * derivative).sum())
        lr = lr - hypergrad_lr * h
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        derivative = -m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        x = x + lr * derivative
        path.append(x)
    return path


def nd_adam(
    x: Array, gradients: Sequence[Array], lr: float, beta1: float, beta2: float, eps: float
) -> list[Array]:
    """Zhang et al. 2017, Algorithm 1: unit by unit, each a row."""
    w, m, v, path = x.copy(), np.zeros_like(x), np.zeros(len(x)), []
    for t, gradient in enumerate(gradients, 1):
        for i, g in enumerate(gradient):
            g = g - (g @ w[i]) * w[i]
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * (g @ g)
            moved = w[i] - lr * (m[i] / (1 - beta1**t)) / (np.sqrt(v[i] / (1 - beta2**t)) + eps)
            w[i] = moved / np.linalg.norm(moved)
        path.append(w.copy())
    return path
