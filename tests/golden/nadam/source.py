@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        psi = hypers[row, 5]
        mp_old = states[row, 0]
        # mu      = beta1*(1 - 0.5*0.96^(t*psi))
        mu = beta1 * (1.0 - 0.5 * power(0.96, t[row] * psi))
        # mu_next = beta1*(1 - 0.5*0.96^((t + 1)*psi))
        mu_next = beta1 * (1.0 - 0.5 * power(0.96, (t[row] + 1.0) * psi))
        # mp[t] = mp[t-1]*mu
        mp = mp_old * mu
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - mp
        k3 = 1.0 - mp * mu_next
        k4 = 1.0 - power(beta2, t[row])
        k5 = 1.0 - mu
        k2_inverse = 1.0 / k2
        k3_inverse = 1.0 / k3
        k4_inverse = 1.0 / k4
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = weight_decay
        scalars[row, 5] = direction[row]
        scalars[row, 6] = mu_next
        scalars[row, 7] = k0
        scalars[row, 8] = k1
        scalars[row, 9] = k5
        scalars[row, 10] = k2_inverse
        scalars[row, 11] = k3_inverse
        scalars[row, 12] = k4_inverse
        states[row, 0] = mp


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
        eps = scalars[row, 3]
        weight_decay = scalars[row, 4]
        direction = scalars[row, 5]
        mu_next = scalars[row, 6]
        k0 = scalars[row, 7]
        k1 = scalars[row, 8]
        k5 = scalars[row, 9]
        k2_inverse = scalars[row, 10]
        k3_inverse = scalars[row, 11]
        k4_inverse = scalars[row, 12]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            m_old = f64(read_f32(m_at, i, 2))
            v_old = f64(read_f32(v_at, i, 3))
            # d    = if decoupled_weight_decay then g[t] else g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # m[t] = beta1*m[t-1] + (1 - beta1)*d
            m = beta1 * m_old + k0 * d
            # v[t] = beta2*v[t-1] + (1 - beta2)*d^2
            v = beta2 * v_old + k1 * (d * d)
            # ghat = d / (1 - mp[t])
            ghat = d * k2_inverse
            # mhat = m[t] / (1 - mp[t]*mu_next)
            mhat = m * k3_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k4_inverse
            # theta[t] = kept - lr*((1 - mu)*ghat + mu_next*mhat) / (sqrt(vhat) + eps)
            theta = theta_old - lr * (k5 * ghat + mu_next * mhat) / (math.sqrt(vhat) + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
