@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        rate_old = states[row, 0]
        scalars[row, 0] = direction[row]
        states[row, 0] = rate_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        u_at = addresses[tensor, 4] + offset
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                u_old = f64(read_f32(u_at, i, 4))
                write_f64(scratch, j, g * u_old, 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        hypergrad_lr = hypers[row, 1]
        beta1 = hypers[row, 2]
        beta2 = hypers[row, 3]
        eps = hypers[row, 4]
        dot_all0 = hypers[row, 7]
        rate_old = states[row, 0]
        # rate[t] = rate[t-1] + hypergrad_lr*dot(g[t], u[t-1] over all)
        rate = rate_old + hypergrad_lr * dot_all0
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta1, t[row])
        k3 = 1.0 - power(beta2, t[row])
        k2_inverse = 1.0 / k2
        k3_inverse = 1.0 / k3
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = rate
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k2_inverse
        scalars[row, 8] = k3_inverse
        states[row, 0] = rate


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        u_at = addresses[tensor, 4] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        rate = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k2_inverse = scalars[row, 7]
        k3_inverse = scalars[row, 8]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k1 * (g * g)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k2_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k3_inverse
            # u[t] = mhat / (sqrt(vhat) + eps)
            u = mhat / (math.sqrt(vhat) + eps)
            # theta[t] = theta[t-1] - rate[t]*u[t]
            theta = theta_old - rate * u
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(u_at, i, f32(u), 4)
