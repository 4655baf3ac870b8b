@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta = hypers[row, 1]
        weight_decay = hypers[row, 2]
        k0 = 1.0 - beta
        k1 = 1.0 - lr * weight_decay
        scalars[row, 0] = lr
        scalars[row, 1] = beta
        scalars[row, 2] = direction[row]
        scalars[row, 3] = k0
        scalars[row, 4] = k1


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
        beta = scalars[row, 1]
        direction = scalars[row, 2]
        k0 = scalars[row, 3]
        k1 = scalars[row, 4]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta*m[t-1] + (1 - beta)*g[t]
            m = beta * m_old + k0 * g
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*sign(m[t])
            theta = k1 * theta_old - lr * sign(m)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
