@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        k0 = 1.0 - beta2
        k1 = 1.0 - power(beta2, t[row])
        k2 = (1.0 - beta1) * lr
        k3 = 1.0 - lr * weight_decay
        k4 = 1.0 - power(beta1, t[row])
        k1_inverse = 1.0 / k1
        k4_inverse = 1.0 / k4
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = k2
        scalars[row, 6] = k3
        scalars[row, 7] = k1_inverse
        scalars[row, 8] = k4_inverse


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
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        k2 = scalars[row, 5]
        k3 = scalars[row, 6]
        k1_inverse = scalars[row, 7]
        k4_inverse = scalars[row, 8]
        for i in range(size):
            v_old = f64(read_f32(v_at, i, 3))
            g = direction * f64(read_f32(g_at, i, 1))
            m_old = f64(read_f32(m_at, i, 2))
            theta_old = f64(read_f32(theta_at, i, 0))
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k0 * (g * g)
            # n = g[t] / (sqrt(v[t] / (1 - beta2^t)) + eps)
            n = g / (math.sqrt(v * k1_inverse) + eps)
            # m[t] = beta1*m[t-1] + (1 - beta1)*lr*n
            m = beta1 * m_old + k2 * n
            # theta[t] = (1 - lr*weight_decay)*(theta[t-1] - m[t] / (1 - beta1^t))
            theta = k3 * (theta_old - m * k4_inverse)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
