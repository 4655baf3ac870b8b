"""A generated module as the compiler is to write it, by hand: Adam with weight decay and AMSGrad."""

import math
from collections.abc import Iterable
from typing import Any

from optdsl.runtime.layout import Flag, Hyper, Layout, State, Variant
from optdsl.runtime.numba_kernel import (
    f32,
    f32_bytes,
    f64,
    f64_bytes,
    kernel,
    prologue,
    read_f32,
    read_f64,
    write_f32,
    write_f64,
)
from optdsl.runtime.numpy.optimizer import ArrayOptimizer
from optdsl.runtime.scalar_math import maximum, power
from optdsl.runtime.torch.optimizer import FusedOptimizer


@prologue
def prepare(hypers, t, direction, states, scalars):  # type: ignore[no-untyped-def]
    for row in range(t.size):
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        scalars[row, 0] = hypers[row, 0]
        scalars[row, 1] = direction[row]
        scalars[row, 2] = beta1
        scalars[row, 3] = 1.0 - beta1
        scalars[row, 4] = beta2
        scalars[row, 5] = 1.0 - beta2
        scalars[row, 6] = 1.0 - power(beta1, t[row])
        scalars[row, 7] = 1.0 - power(beta2, t[row])
        scalars[row, 8] = hypers[row, 3]
        scalars[row, 9] = hypers[row, 4]


@kernel
def update_f32(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        lr, direction = scalars[row, 0], scalars[row, 1]
        beta1, k0, beta2, k1 = scalars[row, 2], scalars[row, 3], scalars[row, 4], scalars[row, 5]
        r0, r1 = 1.0 / scalars[row, 6], 1.0 / scalars[row, 7]
        eps, weight_decay = scalars[row, 8], scalars[row, 9]
        for i in range(size):
            theta = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1)) + weight_decay * theta
            m = beta1 * f64(read_f32(m_at, i, 2)) + k0 * g
            v = beta2 * f64(read_f32(v_at, i, 3)) + k1 * (g * g)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(theta_at, i, f32(theta - lr * (m * r0) / (math.sqrt(v * r1) + eps)), 0)


@kernel
def update_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f64_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        lr, direction = scalars[row, 0], scalars[row, 1]
        beta1, k0, beta2, k1 = scalars[row, 2], scalars[row, 3], scalars[row, 4], scalars[row, 5]
        c1, c2 = scalars[row, 6], scalars[row, 7]
        eps, weight_decay = scalars[row, 8], scalars[row, 9]
        for i in range(size):
            theta = read_f64(theta_at, i, 0)
            g = direction * read_f64(g_at, i, 1) + weight_decay * theta
            m = beta1 * read_f64(m_at, i, 2) + k0 * g
            v = beta2 * read_f64(v_at, i, 3) + k1 * (g * g)
            write_f64(m_at, i, m, 2)
            write_f64(v_at, i, v, 3)
            write_f64(theta_at, i, theta - lr * (m / c1) / (math.sqrt(v / c2) + eps), 0)


@kernel
def amsgrad_f32(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        x_at = addresses[tensor, 4] + offset
        lr, direction = scalars[row, 0], scalars[row, 1]
        beta1, k0, beta2, k1 = scalars[row, 2], scalars[row, 3], scalars[row, 4], scalars[row, 5]
        r0, r1 = 1.0 / scalars[row, 6], 1.0 / scalars[row, 7]
        eps, weight_decay = scalars[row, 8], scalars[row, 9]
        for i in range(size):
            theta = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1)) + weight_decay * theta
            m = beta1 * f64(read_f32(m_at, i, 2)) + k0 * g
            v = beta2 * f64(read_f32(v_at, i, 3)) + k1 * (g * g)
            x = maximum(f64(read_f32(x_at, i, 4)), v)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(x_at, i, f32(x), 4)
            write_f32(theta_at, i, f32(theta - lr * (m * r0) / (math.sqrt(x * r1) + eps)), 0)


@kernel
def amsgrad_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f64_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        x_at = addresses[tensor, 4] + offset
        lr, direction = scalars[row, 0], scalars[row, 1]
        beta1, k0, beta2, k1 = scalars[row, 2], scalars[row, 3], scalars[row, 4], scalars[row, 5]
        c1, c2 = scalars[row, 6], scalars[row, 7]
        eps, weight_decay = scalars[row, 8], scalars[row, 9]
        for i in range(size):
            theta = read_f64(theta_at, i, 0)
            g = direction * read_f64(g_at, i, 1) + weight_decay * theta
            m = beta1 * read_f64(m_at, i, 2) + k0 * g
            v = beta2 * read_f64(v_at, i, 3) + k1 * (g * g)
            x = maximum(read_f64(x_at, i, 4), v)
            write_f64(m_at, i, m, 2)
            write_f64(v_at, i, v, 3)
            write_f64(x_at, i, x, 4)
            write_f64(theta_at, i, theta - lr * (m / c1) / (math.sqrt(x / c2) + eps), 0)


M = State("m", key="exp_avg", initial=0.0)
V = State("v", key="exp_avg_sq", initial=0.0)
X = State("x", key="max_exp_avg_sq", initial=0.0)

LAYOUT = Layout(
    name="Adam",
    hypers=(
        Hyper("lr", 1e-3, 0.0, math.inf, True, False, option="lr", index=None),
        Hyper("beta1", 0.9, 0.0, 1.0, True, False, option="betas", index=0),
        Hyper("beta2", 0.999, 0.0, 1.0, True, False, option="betas", index=1),
        Hyper("eps", 1e-8, 0.0, math.inf, True, False, option="eps", index=None),
        Hyper("weight_decay", 0.0, 0.0, math.inf, True, False, option="weight_decay", index=None),
    ),
    flags=(Flag("amsgrad", False, option="amsgrad"),),
    variants={
        (False,): Variant(
            buffers=("theta", "g", "m", "v"),
            states=(M, V),
            scalar_states=(),
            scalar_count=10,
            first_step_only=False,
            uses_time=True,
            float32=(prepare, update_f32),
            float64=(prepare, update_f64),
        ),
        (True,): Variant(
            buffers=("theta", "g", "m", "v", "x"),
            states=(M, V, X),
            scalar_states=(),
            scalar_count=10,
            first_step_only=False,
            uses_time=True,
            float32=(prepare, amsgrad_f32),
            float64=(prepare, amsgrad_f64),
        ),
    },
)


class Adam(FusedOptimizer):
    layout = LAYOUT

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, options | {"maximize": maximize})


class ArrayAdam(ArrayOptimizer):
    layout = LAYOUT

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, options | {"maximize": maximize})
