"""Generated modules by hand, one for each way a variant can differ from Adam's.

SGD: no counter, a first-step case, a flag. NAdam: a scalar state. Lookaround: the gradient taken
elsewhere. Descent: no state at all.
"""

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
from optdsl.runtime.scalar_math import power
from optdsl.runtime.torch.optimizer import FusedOptimizer

LR = Hyper("lr", 1e-3, 0.0, math.inf, True, False, option="lr")
MOMENTUM = Hyper("mu", 0.9, 0.0, math.inf, True, False, option="momentum")
BETAS = (
    Hyper("beta1", 0.9, 0.0, 1.0, True, False, option="betas", index=0),
    Hyper("beta2", 0.999, 0.0, 1.0, True, False, option="betas", index=1),
)
EPS = Hyper("eps", 1e-8, 0.0, math.inf, True, False, option="eps")


# --- SGD with momentum: the buffer begins as the first gradient ----------------------------------


@prologue
def sgd_prepare(hypers, t, direction, states, scalars):  # type: ignore[no-untyped-def]
    for row in range(t.size):
        scalars[row, 0] = hypers[row, 0]
        scalars[row, 1] = hypers[row, 1] if t[row] > 1.0 else 0.0
        scalars[row, 2] = hypers[row, 1]
        scalars[row, 3] = direction[row]


@kernel
def sgd_f32(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at, g_at, b_at = (
            addresses[tensor, 0] + offset,
            addresses[tensor, 1] + offset,
            addresses[tensor, 2] + offset,
        )
        lr, mu, direction = scalars[row, 0], scalars[row, 1], scalars[row, 3]
        for i in range(size):
            b = mu * f64(read_f32(b_at, i, 2)) + direction * f64(read_f32(g_at, i, 1))
            write_f32(b_at, i, f32(b), 2)
            write_f32(theta_at, i, f32(f64(read_f32(theta_at, i, 0)) - lr * b), 0)


@kernel
def sgd_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f64_bytes(start)
        theta_at, g_at, b_at = (
            addresses[tensor, 0] + offset,
            addresses[tensor, 1] + offset,
            addresses[tensor, 2] + offset,
        )
        lr, mu, direction = scalars[row, 0], scalars[row, 1], scalars[row, 3]
        for i in range(size):
            b = mu * read_f64(b_at, i, 2) + direction * read_f64(g_at, i, 1)
            write_f64(b_at, i, b, 2)
            write_f64(theta_at, i, read_f64(theta_at, i, 0) - lr * b, 0)


@kernel
def nesterov_f32(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at, g_at, b_at = (
            addresses[tensor, 0] + offset,
            addresses[tensor, 1] + offset,
            addresses[tensor, 2] + offset,
        )
        lr, mu_now, mu, direction = scalars[row, 0], scalars[row, 1], scalars[row, 2], scalars[row, 3]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            b = mu_now * f64(read_f32(b_at, i, 2)) + g
            write_f32(b_at, i, f32(b), 2)
            write_f32(theta_at, i, f32(f64(read_f32(theta_at, i, 0)) - lr * (g + mu * b)), 0)


@kernel
def nesterov_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f64_bytes(start)
        theta_at, g_at, b_at = (
            addresses[tensor, 0] + offset,
            addresses[tensor, 1] + offset,
            addresses[tensor, 2] + offset,
        )
        lr, mu_now, mu, direction = scalars[row, 0], scalars[row, 1], scalars[row, 2], scalars[row, 3]
        for i in range(size):
            g = direction * read_f64(g_at, i, 1)
            b = mu_now * read_f64(b_at, i, 2) + g
            write_f64(b_at, i, b, 2)
            write_f64(theta_at, i, read_f64(theta_at, i, 0) - lr * (g + mu * b), 0)


def _sgd(single: Any, double: Any) -> Variant:
    return Variant(
        buffers=("theta", "g", "b"),
        states=(State("b", key="momentum_buffer", initial=0.0),),
        scalar_states=(),
        scalar_count=4,
        first_step_only=True,
        uses_time=True,
        float32=(sgd_prepare, single),
        float64=(sgd_prepare, double),
    )


SGD_LAYOUT = Layout(
    name="SGD",
    hypers=(LR, MOMENTUM),
    flags=(Flag("nesterov", False, option="nesterov"),),
    variants={(False,): _sgd(sgd_f32, sgd_f64), (True,): _sgd(nesterov_f32, nesterov_f64)},
)


# --- NAdam: the product of the mu is a scalar state ----------------------------------------------


@prologue
def nadam_prepare(hypers, t, direction, states, scalars):  # type: ignore[no-untyped-def]
    for row in range(t.size):
        beta1 = hypers[row, 1]
        decay = hypers[row, 4]
        mu = beta1 * (1.0 - 0.5 * power(0.96, t[row] * decay))
        mu_next = beta1 * (1.0 - 0.5 * power(0.96, (t[row] + 1.0) * decay))
        product = states[row, 0] * mu
        scalars[row, 0] = hypers[row, 0] * (1.0 - mu) / (1.0 - product)
        scalars[row, 1] = hypers[row, 0] * mu_next / (1.0 - product * mu_next)
        scalars[row, 2] = beta1
        scalars[row, 3] = hypers[row, 2]
        scalars[row, 4] = 1.0 - power(hypers[row, 2], t[row])
        scalars[row, 5] = hypers[row, 3]
        scalars[row, 6] = direction[row]
        states[row, 0] = product


@kernel
def nadam_f32(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        k0, k1, beta1, beta2 = scalars[row, 0], scalars[row, 1], scalars[row, 2], scalars[row, 3]
        r, eps, direction = 1.0 / scalars[row, 4], scalars[row, 5], scalars[row, 6]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            m = beta1 * f64(read_f32(m_at, i, 2)) + (1.0 - beta1) * g
            v = beta2 * f64(read_f32(v_at, i, 3)) + (1.0 - beta2) * (g * g)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            theta = f64(read_f32(theta_at, i, 0))
            write_f32(theta_at, i, f32(theta - (k0 * g + k1 * m) / (math.sqrt(v * r) + eps)), 0)


@kernel
def nadam_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f64_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        k0, k1, beta1, beta2 = scalars[row, 0], scalars[row, 1], scalars[row, 2], scalars[row, 3]
        c, eps, direction = scalars[row, 4], scalars[row, 5], scalars[row, 6]
        for i in range(size):
            g = direction * read_f64(g_at, i, 1)
            m = beta1 * read_f64(m_at, i, 2) + (1.0 - beta1) * g
            v = beta2 * read_f64(v_at, i, 3) + (1.0 - beta2) * (g * g)
            write_f64(m_at, i, m, 2)
            write_f64(v_at, i, v, 3)
            theta = read_f64(theta_at, i, 0)
            write_f64(theta_at, i, theta - (k0 * g + k1 * m) / (math.sqrt(v / c) + eps), 0)


NADAM_LAYOUT = Layout(
    name="Nadam",
    hypers=(LR, *BETAS, EPS, Hyper("psi", 4e-3, 0.0, math.inf, True, False, option="momentum_decay")),
    flags=(),
    variants={
        (): Variant(
            buffers=("theta", "g", "m", "v"),
            states=(State("m", key="exp_avg", initial=0.0), State("v", key="exp_avg_sq", initial=0.0)),
            scalar_states=(State("p", key="mu_product", initial=1.0),),
            scalar_count=7,
            first_step_only=False,
            uses_time=True,
            float32=(nadam_prepare, nadam_f32),
            float64=(nadam_prepare, nadam_f64),
        )
    },
)


# --- Nesterov's own: b[t] = mu*b[t-1] - lr*grad(theta[t-1] + mu*b[t-1]); theta[t] = theta[t-1] + b[t]


@prologue
def look_prepare(hypers, t, direction, states, scalars):  # type: ignore[no-untyped-def]
    for row in range(t.size):
        scalars[row, 0] = hypers[row, 0] * direction[row]
        scalars[row, 1] = hypers[row, 1]


@kernel
def look_query_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        theta_at, b_at = addresses[tensor, 0] + f64_bytes(start), addresses[tensor, 2] + f64_bytes(start)
        mu = scalars[row, 1]
        for i in range(size):
            write_f64(theta_at, i, read_f64(theta_at, i, 0) + mu * read_f64(b_at, i, 2), 0)


@kernel
def look_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f64_bytes(start)
        theta_at, g_at, b_at = (
            addresses[tensor, 0] + offset,
            addresses[tensor, 1] + offset,
            addresses[tensor, 2] + offset,
        )
        lr, mu = scalars[row, 0], scalars[row, 1]
        for i in range(size):
            b = mu * read_f64(b_at, i, 2) - lr * read_f64(g_at, i, 1)
            write_f64(b_at, i, b, 2)
            write_f64(theta_at, i, read_f64(theta_at, i, 0) + b, 0)


LOOK_STATES = (State("b", key="velocity", initial=0.0),)
LOOK_LAYOUT = Layout(
    name="Lookaround",
    hypers=(LR, MOMENTUM),
    flags=(),
    variants={
        (): Variant(
            buffers=("theta", "g", "b"),
            states=LOOK_STATES,
            scalar_states=(),
            scalar_count=2,
            first_step_only=False,
            uses_time=False,
            # Tests of it are in float64 alone.
            float32=(look_prepare, look_f64),
            float64=(look_prepare, look_f64),
            query=Variant(
                buffers=("theta", "g", "b"),
                states=LOOK_STATES,
                scalar_states=(),
                scalar_count=2,
                first_step_only=False,
                uses_time=False,
                float32=(look_prepare, look_query_f64),
                float64=(look_prepare, look_query_f64),
            ),
        )
    },
)


# --- gradient descent ----------------------------------------------------------------------------


@kernel
def descent_f32(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        theta_at, g_at = addresses[tensor, 0] + f32_bytes(start), addresses[tensor, 1] + f32_bytes(start)
        lr = scalars[row, 0]
        for i in range(size):
            write_f32(theta_at, i, f32(f64(read_f32(theta_at, i, 0)) - lr * f64(read_f32(g_at, i, 1))), 0)


@kernel
def descent_f64(addresses, chunks, first, last, scalars):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        theta_at, g_at = addresses[tensor, 0] + f64_bytes(start), addresses[tensor, 1] + f64_bytes(start)
        lr = scalars[row, 0]
        for i in range(size):
            write_f64(theta_at, i, read_f64(theta_at, i, 0) - lr * read_f64(g_at, i, 1), 0)


DESCENT_LAYOUT = Layout(
    name="Descent",
    hypers=(LR, MOMENTUM),
    flags=(),
    variants={
        (): Variant(
            buffers=("theta", "g"),
            states=(),
            scalar_states=(),
            scalar_count=2,
            first_step_only=False,
            uses_time=False,
            float32=(look_prepare, descent_f32),
            float64=(look_prepare, descent_f64),
        )
    },
)


class SGD(FusedOptimizer):
    layout = SGD_LAYOUT

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, options)


class Nadam(FusedOptimizer):
    layout = NADAM_LAYOUT

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, options)


class Lookaround(FusedOptimizer):
    layout = LOOK_LAYOUT

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, options)


class Descent(FusedOptimizer):
    layout = DESCENT_LAYOUT

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, options)


class ArrayNadam(ArrayOptimizer):
    layout = NADAM_LAYOUT

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, options)


class ArraySGD(ArrayOptimizer):
    layout = SGD_LAYOUT

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, options)


class ArrayLookaround(ArrayOptimizer):
    layout = LOOK_LAYOUT

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, options)
