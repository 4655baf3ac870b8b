# Adamax, compiled by optdsl for a test, mode accurate
"""Kernels for NVIDIA's GPUs, accurate: computes in f64, stores f32. `docs/gpu.md` says how to use them."""

from optdsl.runtime.cuda.numba_kernel import kernel
from optdsl.runtime.cuda.numba_words import (
    THREADS, aligned, f32, f32_bytes, f64, maximum, power, read4_f32, read4_i64, read_address, read_f32,
    read_f64, this_block, this_thread, write4_f32, write_f32, write_f64,
)


@kernel
def prepare_update(hypers_at, t_at, direction_at, states_at, scalars_at, count):
    """Step scalars, in float64: a thread for each row of hyperparameters."""
    row = this_block() * THREADS + this_thread()
    if row < count:
        lr = read_f64(hypers_at, 5 * row + 0)
        beta1 = read_f64(hypers_at, 5 * row + 1)
        beta2 = read_f64(hypers_at, 5 * row + 2)
        eps = read_f64(hypers_at, 5 * row + 3)
        weight_decay = read_f64(hypers_at, 5 * row + 4)
        t = read_f64(t_at, row)
        direction = read_f64(direction_at, row)
        k0 = 1.0 - beta1
        k1 = 1.0 - power(beta1, t)
        k1_inverse = 1.0 / k1
        write_f64(scalars_at, 8 * row + 0, lr)
        write_f64(scalars_at, 8 * row + 1, beta1)
        write_f64(scalars_at, 8 * row + 2, beta2)
        write_f64(scalars_at, 8 * row + 3, eps)
        write_f64(scalars_at, 8 * row + 4, weight_decay)
        write_f64(scalars_at, 8 * row + 5, direction)
        write_f64(scalars_at, 8 * row + 6, k0)
        write_f64(scalars_at, 8 * row + 7, k1_inverse)


@kernel
def update(addresses_at, chunks_at, scalars_at):
    """A block of threads for each chunk, in place: computes in f64, stores f32."""
    chunk, thread = this_block(), this_thread()
    tensor, start, size, row = read4_i64(chunks_at, 4 * chunk)
    offset = f32_bytes(start)
    theta_at = read_address(addresses_at, 4 * tensor + 0) + offset
    g_at = read_address(addresses_at, 4 * tensor + 1) + offset
    m_at = read_address(addresses_at, 4 * tensor + 2) + offset
    u_at = read_address(addresses_at, 4 * tensor + 3) + offset
    lr = read_f64(scalars_at, 8 * row + 0)
    beta1 = read_f64(scalars_at, 8 * row + 1)
    beta2 = read_f64(scalars_at, 8 * row + 2)
    eps = read_f64(scalars_at, 8 * row + 3)
    weight_decay = read_f64(scalars_at, 8 * row + 4)
    direction = read_f64(scalars_at, 8 * row + 5)
    k0 = read_f64(scalars_at, 8 * row + 6)
    k1_inverse = read_f64(scalars_at, 8 * row + 7)
    aligns = aligned(theta_at | g_at | m_at | u_at)

    def element(theta_read, g_read, m_read, u_read):
        """What one element stores as theta, m, u."""
        g = direction * f64(g_read)
        theta_old = f64(theta_read)
        m_old = f64(m_read)
        u_old = f64(u_read)
        # d = g[t] + weight_decay*theta[t-1]
        d = g + weight_decay * theta_old
        # m[t] = beta1*m[t-1] + (1 - beta1)*d
        m = beta1 * m_old + k0 * d
        # u[t] = max(beta2*u[t-1], abs(d) + eps)
        u = maximum(beta2 * u_old, abs(d) + eps)
        # mhat = m[t] / (1 - beta1^t)
        mhat = m * k1_inverse
        # theta[t] = theta[t-1] - lr*mhat / u[t]
        theta = theta_old - lr * mhat / u
        return f32(theta), f32(m), f32(u)

    in_vectors = size // 4 * 4 if aligns else 0
    for i in range(4 * thread, in_vectors, 4 * THREADS):
        theta_all = read4_f32(theta_at, i)
        g_all = read4_f32(g_at, i)
        m_all = read4_f32(m_at, i)
        u_all = read4_f32(u_at, i)
        new0 = element(theta_all[0], g_all[0], m_all[0], u_all[0])
        new1 = element(theta_all[1], g_all[1], m_all[1], u_all[1])
        new2 = element(theta_all[2], g_all[2], m_all[2], u_all[2])
        new3 = element(theta_all[3], g_all[3], m_all[3], u_all[3])
        write4_f32(theta_at, i, new0[0], new1[0], new2[0], new3[0])
        write4_f32(m_at, i, new0[1], new1[1], new2[1], new3[1])
        write4_f32(u_at, i, new0[2], new1[2], new2[2], new3[2])
    for i in range(in_vectors + thread, size, THREADS):
        new = element(
            read_f32(theta_at, i), read_f32(g_at, i), read_f32(m_at, i), read_f32(u_at, i),
        )
        write_f32(theta_at, i, new[0])
        write_f32(m_at, i, new[1])
        write_f32(u_at, i, new[2])
