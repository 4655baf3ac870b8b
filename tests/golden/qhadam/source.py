@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        nu1 = hypers[row, 3]
        nu2 = hypers[row, 4]
        weight_decay = hypers[row, 5]
        eps = hypers[row, 6]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - nu1
        k3 = 1.0 - power(beta1, t[row])
        k4 = 1.0 - nu2
        k5 = 1.0 - power(beta2, t[row])
        k3_inverse = 1.0 / k3
        k5_inverse = 1.0 / k5
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = nu1
        scalars[row, 4] = nu2
        scalars[row, 5] = weight_decay
        scalars[row, 6] = eps
        scalars[row, 7] = direction[row]
        scalars[row, 8] = k0
        scalars[row, 9] = k1
        scalars[row, 10] = k2
        scalars[row, 11] = k4
        scalars[row, 12] = k3_inverse
        scalars[row, 13] = k5_inverse


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
        nu1 = scalars[row, 3]
        nu2 = scalars[row, 4]
        weight_decay = scalars[row, 5]
        eps = scalars[row, 6]
        direction = scalars[row, 7]
        k0 = scalars[row, 8]
        k1 = scalars[row, 9]
        k2 = scalars[row, 10]
        k4 = scalars[row, 11]
        k3_inverse = scalars[row, 12]
        k5_inverse = scalars[row, 13]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            m_old = f64(read_f32(m_at, i, 2))
            v_old = f64(read_f32(v_at, i, 3))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # m[t] = beta1*m[t-1] + (1 - beta1)*d
            m = beta1 * m_old + k0 * d
            s0 = d * d
            # v[t] = beta2*v[t-1] + (1 - beta2)*d^2
            v = beta2 * v_old + k1 * s0
            # mhat = (1 - nu1)*d + nu1*m[t] / (1 - beta1^t)
            mhat = k2 * d + nu1 * m * k3_inverse
            # vhat = (1 - nu2)*d^2 + nu2*v[t] / (1 - beta2^t)
            vhat = k4 * s0 + nu2 * v * k5_inverse
            # theta[t] = theta[t-1] - lr*mhat / (sqrt(vhat) + eps)
            theta = theta_old - lr * mhat / (math.sqrt(vhat) + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
