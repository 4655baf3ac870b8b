@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        alpha = hypers[row, 3]
        eps = hypers[row, 4]
        weight_decay = hypers[row, 5]
        k0 = 1.0 - beta2
        k1 = 1.0 - power(beta2, t[row])
        k1_inverse = 1.0 / k1
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = alpha
        scalars[row, 4] = eps
        scalars[row, 5] = weight_decay
        scalars[row, 6] = direction[row]
        scalars[row, 7] = k0
        scalars[row, 8] = k1_inverse


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
        alpha = scalars[row, 3]
        eps = scalars[row, 4]
        weight_decay = scalars[row, 5]
        direction = scalars[row, 6]
        k0 = scalars[row, 7]
        k1_inverse = scalars[row, 8]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + g[t]
            m = beta1 * m_old + g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k0 * (g * g)
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k1_inverse
            # u = (alpha*g[t] + m[t]) / (sqrt(vhat) + eps)
            u = (alpha * g + m) / (math.sqrt(vhat) + eps)
            # theta[t] = theta[t-1] - lr*(u + weight_decay*theta[t-1])
            theta = theta_old - lr * (u + weight_decay * theta_old)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
