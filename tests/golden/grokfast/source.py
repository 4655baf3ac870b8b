@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        alpha = hypers[row, 3]
        lamb = hypers[row, 4]
        weight_decay = hypers[row, 5]
        eps = hypers[row, 6]
        # rate = if normalize_lr then lr/(1 + lamb) else lr
        rate = lr / (1.0 + lamb)
        k0 = t[row] == 1.0
        k1 = 1.0 - alpha
        k2 = 1.0 - beta1
        k3 = 1.0 - beta2
        k4 = 1.0 - power(beta1, t[row])
        k5 = 1.0 - power(beta2, t[row])
        k6 = 1.0 - rate * weight_decay
        k4_inverse = 1.0 / k4
        k5_inverse = 1.0 / k5
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = alpha
        scalars[row, 3] = lamb
        scalars[row, 4] = eps
        scalars[row, 5] = direction[row]
        scalars[row, 6] = rate
        scalars[row, 7] = k0
        scalars[row, 8] = k1
        scalars[row, 9] = k2
        scalars[row, 10] = k3
        scalars[row, 11] = k6
        scalars[row, 12] = k4_inverse
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
        h_at = addresses[tensor, 4] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        alpha = scalars[row, 2]
        lamb = scalars[row, 3]
        eps = scalars[row, 4]
        direction = scalars[row, 5]
        rate = scalars[row, 6]
        k0 = scalars[row, 7] != 0.0
        k1 = scalars[row, 8]
        k2 = scalars[row, 9]
        k3 = scalars[row, 10]
        k6 = scalars[row, 11]
        k4_inverse = scalars[row, 12]
        k5_inverse = scalars[row, 13]
        for i in range(size):
            h_old = f64(read_f32(h_at, i, 4))
            g = direction * f64(read_f32(g_at, i, 1))
            m_old = f64(read_f32(m_at, i, 2))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # h[t] = alpha*h[t-1] + (1 - alpha)*g[t]
            h = where(k0, g, alpha * h_old + k1 * g)
            # d = g[t] + lamb*h[t]
            d = g + lamb * h
            # m[t] = beta1*m[t-1] + (1 - beta1)*d
            m = beta1 * m_old + k2 * d
            # v[t] = beta2*v[t-1] + (1 - beta2)*d^2
            v = beta2 * v_old + k3 * (d * d)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k4_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k5_inverse
            # theta[t] = (1 - rate*weight_decay)*theta[t-1] - rate*mhat / max(sqrt(vhat), eps)
            theta = k6 * theta_old - rate * mhat / maximum(math.sqrt(vhat), eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(h_at, i, f32(h), 4)
