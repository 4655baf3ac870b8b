@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        eta = hypers[row, 1]
        eps = hypers[row, 2]
        scalars[row, 0] = lr
        scalars[row, 1] = eta
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        b_at = addresses[tensor, 2] + offset
        m_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        eta = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        for i in range(size):
            b_old = f64(read_f32(b_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            m_old = f64(read_f32(m_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            s0 = g * g
            # b[t] = b[t-1] + g[t]^2
            b = b_old + s0
            s1 = b + eps
            # m[t] = m[t-1] + eta*g[t]^2 + g[t]^2/(b[t] + eps)
            m = m_old + eta * s0 + s0 / s1
            # theta[t] = theta[t-1] - lr*sqrt(m[t])/(b[t] + eps)*g[t]
            theta = theta_old - lr * math.sqrt(m) / s1 * g
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(b_at, i, f32(b), 2)
            write_f32(m_at, i, f32(m), 3)
