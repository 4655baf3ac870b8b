@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        eps_root = hypers[row, 4]
        weight_decay = hypers[row, 5]
        # known = 1 - beta2^(t - 1)
        known = 1.0 - power(beta2, t[row] - 1.0)
        s0 = known > 0.0
        k0 = where(s0, known, 1.0)
        k1 = where(s0, 0.0, 1.0)
        k2 = 1.0 - beta1
        k3 = 1.0 - beta2
        k4 = 1.0 - lr * weight_decay
        k0_inverse = 1.0 / k0
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = eps_root
        scalars[row, 5] = direction[row]
        scalars[row, 6] = k1
        scalars[row, 7] = k2
        scalars[row, 8] = k3
        scalars[row, 9] = k4
        scalars[row, 10] = k0_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        s_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        eps = scalars[row, 3]
        eps_root = scalars[row, 4]
        direction = scalars[row, 5]
        k1 = scalars[row, 6]
        k2 = scalars[row, 7]
        k3 = scalars[row, 8]
        k4 = scalars[row, 9]
        k0_inverse = scalars[row, 10]
        for i in range(size):
            s_old = f64(read_f32(s_at, i, 3))
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # shat = s[t-1] / (if known > 0 then known else 1) + (if known > 0 then 0 else 1)
            shat = s_old * k0_inverse + k1
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k2 * g
            # s[t] = beta2*s[t-1] + (1 - beta2)*(g[t] - m[t])^2 + eps_root
            s_0 = g - m
            # s[t] = beta2*s[t-1] + (1 - beta2)*(g[t] - m[t])^2 + eps_root
            s = beta2 * s_old + k3 * (s_0 * s_0) + eps_root
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*g[t] / (sqrt(shat) + eps)
            theta = k4 * theta_old - lr * g / (math.sqrt(shat) + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(s_at, i, f32(s), 3)
