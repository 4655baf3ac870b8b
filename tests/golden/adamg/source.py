@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        beta3 = hypers[row, 3]
        p = hypers[row, 4]
        q = hypers[row, 5]
        weight_decay = hypers[row, 6]
        eps = hypers[row, 7]
        k0 = 1.0 - beta2
        k1 = (1.0 - beta3) * p
        k2 = 1.0 - beta1
        k3 = 1.0 - power(beta1, t[row])
        k4 = 1.0 - power(beta2, t[row])
        k5 = minimum(lr, 1.0 / math.sqrt(t[row]))
        k3_inverse = 1.0 / k3
        k4_inverse = 1.0 / k4
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = beta3
        scalars[row, 3] = q
        scalars[row, 4] = weight_decay
        scalars[row, 5] = eps
        scalars[row, 6] = direction[row]
        scalars[row, 7] = k0
        scalars[row, 8] = k1
        scalars[row, 9] = k2
        scalars[row, 10] = k5
        scalars[row, 11] = k3_inverse
        scalars[row, 12] = k4_inverse


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
        r_at = addresses[tensor, 4] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        beta3 = scalars[row, 2]
        q = scalars[row, 3]
        weight_decay = scalars[row, 4]
        eps = scalars[row, 5]
        direction = scalars[row, 6]
        k0 = scalars[row, 7]
        k1 = scalars[row, 8]
        k2 = scalars[row, 9]
        k5 = scalars[row, 10]
        k3_inverse = scalars[row, 11]
        k4_inverse = scalars[row, 12]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            v_old = f64(read_f32(v_at, i, 3))
            r_old = f64(read_f32(r_at, i, 4))
            m_old = f64(read_f32(m_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # v[t] = beta2*v[t-1] + (1 - beta2)*d^2
            v = beta2 * v_old + k0 * (d * d)
            # r[t] = beta3*r[t-1] + (1 - beta3)*p*v[t]^q
            r = beta3 * r_old + k1 * vector_short_power(v, q)
            # m[t] = beta1*m[t-1] + (1 - beta1)*r[t]*d
            m = beta1 * m_old + k2 * r * d
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k3_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k4_inverse
            # theta[t] = theta[t-1] - min(lr, 1/sqrt(t))*mhat / (sqrt(vhat) + eps)
            theta = theta_old - k5 * mhat / (math.sqrt(vhat) + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(r_at, i, f32(r), 4)
