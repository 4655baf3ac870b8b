@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        mu = hypers[row, 1]
        nu = hypers[row, 2]
        weight_decay = hypers[row, 3]
        k0 = 1.0 - mu
        k1 = 1.0 - nu
        scalars[row, 0] = lr
        scalars[row, 1] = mu
        scalars[row, 2] = nu
        scalars[row, 3] = weight_decay
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k1


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        mu = scalars[row, 1]
        nu = scalars[row, 2]
        weight_decay = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            m_old = f64(read_f32(m_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # m[t] = mu*m[t-1] + (1 - mu)*d
            m = mu * m_old + k0 * d
            # theta[t] = theta[t-1] - lr*((1 - nu)*d + nu*m[t])
            theta = theta_old - lr * (k1 * d + nu * m)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
