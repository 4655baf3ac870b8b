# LAMB, compiled by optdsl for a test, mode fma
"""Kernels for NVIDIA's GPUs, fma: computes in f32, stores f32. `docs/gpu.md` says how to use them."""

from optdsl.runtime.cuda.numba_kernel import kernel
from optdsl.runtime.cuda.numba_words import (
    BLOCK, HALVINGS, THREADS, aligned, barrier, f32, f32_bytes, f64, fma, power, read4_f32, read4_i64,
    read_address, read_f32, read_f64, read_i64, read_summand, sqrt, this_block, this_thread, where,
    write4_f32, write_f32, write_f64, write_summand,
)


@kernel
def prepare_reduce0(hypers_at, t_at, direction_at, states_at, scalars_at, count):
    """Step scalars, in float64: a thread for each row of hyperparameters."""
    row = this_block() * THREADS + this_thread()
    if row < count:
        beta1 = read_f64(hypers_at, 9 * row + 1)
        beta2 = read_f64(hypers_at, 9 * row + 2)
        eps = read_f64(hypers_at, 9 * row + 3)
        weight_decay = read_f64(hypers_at, 9 * row + 4)
        t = read_f64(t_at, row)
        direction = read_f64(direction_at, row)
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta1, t)
        k3 = 1.0 - power(beta2, t)
        k2_inverse = 1.0 / k2
        k3_inverse = 1.0 / k3
        write_f32(scalars_at, 9 * row + 0, f32(beta1))
        write_f32(scalars_at, 9 * row + 1, f32(beta2))
        write_f32(scalars_at, 9 * row + 2, f32(eps))
        write_f32(scalars_at, 9 * row + 3, f32(weight_decay))
        write_f32(scalars_at, 9 * row + 4, f32(direction))
        write_f32(scalars_at, 9 * row + 5, f32(k0))
        write_f32(scalars_at, 9 * row + 6, f32(k1))
        write_f32(scalars_at, 9 * row + 7, f32(k2_inverse))
        write_f32(scalars_at, 9 * row + 8, f32(k3_inverse))


@kernel
def reduce0(addresses_at, chunks_at, scalars_at, partials_at):
    """A block of threads for each chunk, only reads: computes in f32, sums in f64."""
    chunk, thread = this_block(), this_thread()
    tensor, start, size, row = read4_i64(chunks_at, 4 * chunk)
    offset = f32_bytes(start)
    theta_at = read_address(addresses_at, 4 * tensor + 0) + offset
    g_at = read_address(addresses_at, 4 * tensor + 1) + offset
    m_at = read_address(addresses_at, 4 * tensor + 2) + offset
    v_at = read_address(addresses_at, 4 * tensor + 3) + offset
    beta1 = read_f32(scalars_at, 9 * row + 0)
    beta2 = read_f32(scalars_at, 9 * row + 1)
    eps = read_f32(scalars_at, 9 * row + 2)
    weight_decay = read_f32(scalars_at, 9 * row + 3)
    direction = read_f32(scalars_at, 9 * row + 4)
    k0 = read_f32(scalars_at, 9 * row + 5)
    k1 = read_f32(scalars_at, 9 * row + 6)
    k2_inverse = read_f32(scalars_at, 9 * row + 7)
    k3_inverse = read_f32(scalars_at, 9 * row + 8)
    aligns = aligned(theta_at | g_at | m_at | v_at)

    def element(theta_old, g_read, m_old, v_old):
        """What one element adds to norm0, norm1."""
        g = direction * g_read
        # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
        m = fma(k0, g, beta1 * m_old)
        # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
        v = fma(k1, g * g, beta2 * v_old)
        # mhat = m[t] / (1 - beta1^t)
        mhat = m * k2_inverse
        # vhat = v[t] / (1 - beta2^t)
        vhat = v * k3_inverse
        # u = mhat / (sqrt(vhat) + eps) + weight_decay*theta[t-1]
        u = fma(weight_decay, theta_old, mhat / (sqrt(vhat) + eps))
        return f64(theta_old) * f64(theta_old), f64(u) * f64(u)

    if thread == 0:
        write_f64(partials_at, 2 * chunk + 0, 0.0)
        write_f64(partials_at, 2 * chunk + 1, 0.0)
    for first in range(0, size, BLOCK):
        count = size - first if size - first < BLOCK else BLOCK
        in_vectors = count // 4 * 4 if aligns else 0
        for j in range(4 * thread, in_vectors, 4 * THREADS):
            i = first + j
            theta_all = read4_f32(theta_at, i)
            g_all = read4_f32(g_at, i)
            m_all = read4_f32(m_at, i)
            v_all = read4_f32(v_at, i)
            new0 = element(theta_all[0], g_all[0], m_all[0], v_all[0])
            new1 = element(theta_all[1], g_all[1], m_all[1], v_all[1])
            new2 = element(theta_all[2], g_all[2], m_all[2], v_all[2])
            new3 = element(theta_all[3], g_all[3], m_all[3], v_all[3])
            write_summand(0, j, new0[0])
            write_summand(0, j + 1, new1[0])
            write_summand(0, j + 2, new2[0])
            write_summand(0, j + 3, new3[0])
            write_summand(1, j, new0[1])
            write_summand(1, j + 1, new1[1])
            write_summand(1, j + 2, new2[1])
            write_summand(1, j + 3, new3[1])
        for j in range(in_vectors + thread, count, THREADS):
            i = first + j
            new = element(
                read_f32(theta_at, i), read_f32(g_at, i), read_f32(m_at, i), read_f32(v_at, i),
            )
            write_summand(0, j, new[0])
            write_summand(1, j, new[1])
        for j in range(count + thread, BLOCK, THREADS):
            write_summand(0, j, 0.0)
            write_summand(1, j, 0.0)
        width = BLOCK
        for halving in range(HALVINGS):
            width = width // 2
            barrier()
            for j in range(thread, width, THREADS):
                write_summand(0, j, read_summand(0, j) + read_summand(0, j + width))
                write_summand(1, j, read_summand(1, j) + read_summand(1, j + width))
        barrier()
        if thread == 0:
            write_f64(partials_at, 2 * chunk + 0, read_f64(partials_at, 2 * chunk + 0) + read_summand(0, 0))
            write_f64(partials_at, 2 * chunk + 1, read_f64(partials_at, 2 * chunk + 1) + read_summand(1, 0))
        barrier()


@kernel
def totals_reduce0(partials_at, first_at, count, hypers_at):
    """The sums of all chunks of a tensor: a thread for each."""
    tensor = this_block() * THREADS + this_thread()
    if tensor < count:
        sum0 = 0.0
        sum1 = 0.0
        for chunk in range(read_i64(first_at, tensor), read_i64(first_at, tensor + 1)):
            sum0 = sum0 + read_f64(partials_at, 2 * chunk + 0)
            sum1 = sum1 + read_f64(partials_at, 2 * chunk + 1)
        write_f64(hypers_at, 9 * tensor + 7, sum0)
        write_f64(hypers_at, 9 * tensor + 8, sum1)


@kernel
def prepare_update(hypers_at, t_at, direction_at, states_at, scalars_at, count):
    """Step scalars, in float64: a thread for each row of hyperparameters."""
    row = this_block() * THREADS + this_thread()
    if row < count:
        lr = read_f64(hypers_at, 9 * row + 0)
        beta1 = read_f64(hypers_at, 9 * row + 1)
        beta2 = read_f64(hypers_at, 9 * row + 2)
        eps = read_f64(hypers_at, 9 * row + 3)
        weight_decay = read_f64(hypers_at, 9 * row + 4)
        norm0 = read_f64(hypers_at, 9 * row + 7)
        norm1 = read_f64(hypers_at, 9 * row + 8)
        t = read_f64(t_at, row)
        direction = read_f64(direction_at, row)
        # p = norm(theta[t-1])
        p_0 = sqrt(norm0)
        # q = norm(u)
        q_0 = sqrt(norm1)
        # ratio = if p > 0 and q > 0 then p/q else 1
        ratio = where(p_0 > 0.0 and q_0 > 0.0, p_0 / q_0, 1.0)
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta1, t)
        k3 = 1.0 - power(beta2, t)
        k4 = lr * ratio
        k2_inverse = 1.0 / k2
        k3_inverse = 1.0 / k3
        write_f32(scalars_at, 10 * row + 0, f32(beta1))
        write_f32(scalars_at, 10 * row + 1, f32(beta2))
        write_f32(scalars_at, 10 * row + 2, f32(eps))
        write_f32(scalars_at, 10 * row + 3, f32(weight_decay))
        write_f32(scalars_at, 10 * row + 4, f32(direction))
        write_f32(scalars_at, 10 * row + 5, f32(k0))
        write_f32(scalars_at, 10 * row + 6, f32(k1))
        write_f32(scalars_at, 10 * row + 7, f32(k4))
        write_f32(scalars_at, 10 * row + 8, f32(k2_inverse))
        write_f32(scalars_at, 10 * row + 9, f32(k3_inverse))


@kernel
def update(addresses_at, chunks_at, scalars_at):
    """A block of threads for each chunk, in place: computes in f32, stores f32."""
    chunk, thread = this_block(), this_thread()
    tensor, start, size, row = read4_i64(chunks_at, 4 * chunk)
    offset = f32_bytes(start)
    theta_at = read_address(addresses_at, 4 * tensor + 0) + offset
    g_at = read_address(addresses_at, 4 * tensor + 1) + offset
    m_at = read_address(addresses_at, 4 * tensor + 2) + offset
    v_at = read_address(addresses_at, 4 * tensor + 3) + offset
    beta1 = read_f32(scalars_at, 10 * row + 0)
    beta2 = read_f32(scalars_at, 10 * row + 1)
    eps = read_f32(scalars_at, 10 * row + 2)
    weight_decay = read_f32(scalars_at, 10 * row + 3)
    direction = read_f32(scalars_at, 10 * row + 4)
    k0 = read_f32(scalars_at, 10 * row + 5)
    k1 = read_f32(scalars_at, 10 * row + 6)
    k4 = read_f32(scalars_at, 10 * row + 7)
    k2_inverse = read_f32(scalars_at, 10 * row + 8)
    k3_inverse = read_f32(scalars_at, 10 * row + 9)
    aligns = aligned(theta_at | g_at | m_at | v_at)

    def element(theta_old, g_read, m_old, v_old):
        """What one element stores as theta, m, v."""
        g = direction * g_read
        # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
        m = fma(k0, g, beta1 * m_old)
        # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
        v = fma(k1, g * g, beta2 * v_old)
        # mhat = m[t] / (1 - beta1^t)
        mhat = m * k2_inverse
        # vhat = v[t] / (1 - beta2^t)
        vhat = v * k3_inverse
        # u = mhat / (sqrt(vhat) + eps) + weight_decay*theta[t-1]
        u = fma(weight_decay, theta_old, mhat / (sqrt(vhat) + eps))
        # theta[t] = theta[t-1] - lr*ratio*u
        theta = fma(-k4, u, theta_old)
        return theta, m, v

    in_vectors = size // 4 * 4 if aligns else 0
    for i in range(4 * thread, in_vectors, 4 * THREADS):
        theta_all = read4_f32(theta_at, i)
        g_all = read4_f32(g_at, i)
        m_all = read4_f32(m_at, i)
        v_all = read4_f32(v_at, i)
        new0 = element(theta_all[0], g_all[0], m_all[0], v_all[0])
        new1 = element(theta_all[1], g_all[1], m_all[1], v_all[1])
        new2 = element(theta_all[2], g_all[2], m_all[2], v_all[2])
        new3 = element(theta_all[3], g_all[3], m_all[3], v_all[3])
        write4_f32(theta_at, i, new0[0], new1[0], new2[0], new3[0])
        write4_f32(m_at, i, new0[1], new1[1], new2[1], new3[1])
        write4_f32(v_at, i, new0[2], new1[2], new2[2], new3[2])
    for i in range(in_vectors + thread, size, THREADS):
        new = element(
            read_f32(theta_at, i), read_f32(g_at, i), read_f32(m_at, i), read_f32(v_at, i),
        )
        write_f32(theta_at, i, new[0])
        write_f32(m_at, i, new[1])
        write_f32(v_at, i, new[2])
