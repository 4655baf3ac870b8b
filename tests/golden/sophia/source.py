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
        k = hypers[row, 6]
        k0 = 1.0 - beta1
        k1 = modulo(t[row] - 1.0, k) == 0.0
        k2 = 1.0 - beta2
        k3 = 1.0 - lr * weight_decay
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = gamma
        scalars[row, 4] = eps
        scalars[row, 5] = direction[row]
        scalars[row, 6] = k0
        scalars[row, 7] = k1
        scalars[row, 8] = k2
        scalars[row, 9] = k3


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        h_at = addresses[tensor, 3] + offset
        hvp_at = addresses[tensor, 4] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        gamma = scalars[row, 3]
        eps = scalars[row, 4]
        direction = scalars[row, 5]
        k0 = scalars[row, 6]
        k1 = scalars[row, 7] != 0.0
        k2 = scalars[row, 8]
        k3 = scalars[row, 9]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            h_old = f64(read_f32(h_at, i, 3))
            hvp = direction * f64(read_f32(hvp_at, i, 4))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # h[t] = if (t - 1) mod k == 0 then beta2*h[t-1] + (1 - beta2)*hvp else h[t-1]
            h = where(k1, beta2 * h_old + k2 * hvp, h_old)
            # u = clip(mhat / max(gamma*(if late then h[t-1] else h[t]), eps), -1, 1)
            u = minimum(maximum(m / maximum(gamma * h, eps), -1.0), 1.0)
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*u
            theta = k3 * theta_old - lr * u
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(h_at, i, f32(h), 3)
