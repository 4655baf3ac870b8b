@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        p = hypers[row, 3]
        weight_decay = hypers[row, 4]
        eps = hypers[row, 5]
        # rate = lr*sqrt(1 - beta2^t) / (1 - beta1^t)
        rate = lr * math.sqrt(1.0 - power(beta2, t[row])) / (1.0 - power(beta1, t[row]))
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 2.0 * p
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = weight_decay
        scalars[row, 3] = eps
        scalars[row, 4] = direction[row]
        scalars[row, 5] = rate
        scalars[row, 6] = k0
        scalars[row, 7] = k1
        scalars[row, 8] = k2


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
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        weight_decay = scalars[row, 2]
        eps = scalars[row, 3]
        direction = scalars[row, 4]
        rate = scalars[row, 5]
        k0 = scalars[row, 6]
        k1 = scalars[row, 7]
        k2 = scalars[row, 8]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            m_old = f64(read_f32(m_at, i, 2))
            v_old = f64(read_f32(v_at, i, 3))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # m[t] = beta1*m[t-1] + (1 - beta1)*d
            m = beta1 * m_old + k0 * d
            # v[t] = beta2*v[t-1] + (1 - beta2)*d^2
            v = beta2 * v_old + k1 * (d * d)
            # theta[t] = theta[t-1] - rate*m[t] / (sqrt(v[t]) + eps)^(2*p)
            theta = theta_old - rate * m / vector_short_power(math.sqrt(v) + eps, k2)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
