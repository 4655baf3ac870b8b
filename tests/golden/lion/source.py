@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        weight_decay = hypers[row, 3]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
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
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        weight_decay = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # c = beta1*m[t-1] + (1 - beta1)*g[t]
            c = beta1 * m_old + k0 * g
            # theta[t] = theta[t-1] - lr*(sign(c) + weight_decay*theta[t-1])
            theta = theta_old - lr * (sign(c) + weight_decay * theta_old)
            # m[t] = beta2*m[t-1] + (1 - beta2)*g[t]
            m = beta2 * m_old + k1 * g
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
