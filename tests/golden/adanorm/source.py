@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        e_old = states[row, 0]
        scalars[row, 0] = direction[row]
        states[row, 0] = e_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                write_f64(scratch, j, g * g, 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        gamma = hypers[row, 3]
        eps = hypers[row, 4]
        weight_decay = hypers[row, 5]
        norm0 = hypers[row, 8]
        e_old = states[row, 0]
        # n = norm(g[t])
        n_0 = math.sqrt(norm0)
        # e[t] = gamma*e[t-1] + (1 - gamma)*n
        e = gamma * e_old + (1.0 - gamma) * n_0
        # longer = if n > 0 then max(1, e[t]/n) else 1
        longer = where(n_0 > 0.0, maximum(1.0, e / n_0), 1.0)
        k0 = (1.0 - beta1) * longer
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta1, t[row])
        k3 = 1.0 - power(beta2, t[row])
        k4 = 1.0 - lr * weight_decay
        k2_inverse = 1.0 / k2
        k3_inverse = 1.0 / k3
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k4
        scalars[row, 8] = k2_inverse
        scalars[row, 9] = k3_inverse
        states[row, 0] = e


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
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        eps = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k4 = scalars[row, 7]
        k2_inverse = scalars[row, 8]
        k3_inverse = scalars[row, 9]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*longer*g[t]
            m = beta1 * m_old + k0 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k1 * (g * g)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k2_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k3_inverse
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*mhat / (sqrt(vhat) + eps)
            theta = k4 * theta_old - lr * mhat / (math.sqrt(vhat) + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
