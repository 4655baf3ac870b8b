@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        k0 = 1.0 - beta1
        k1 = 1.0 - power(beta1, t[row])
        k2 = 1.0 - lr * weight_decay
        k1_inverse = 1.0 / k1
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k2
        scalars[row, 7] = k1_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        u_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        eps = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k2 = scalars[row, 6]
        k1_inverse = scalars[row, 7]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            u_old = f64(read_f32(u_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # u[t] = max(beta2*u[t-1], abs(g[t]) + eps)
            u = maximum(beta2 * u_old, abs(g) + eps)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k1_inverse
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*mhat / u[t]
            theta = k2 * theta_old - lr * mhat / u
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(u_at, i, f32(u), 3)
