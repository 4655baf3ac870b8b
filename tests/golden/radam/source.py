@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        s0 = 1.0 - beta2
        # rho_inf = 2/(1 - beta2) - 1
        rho_inf = 2.0 / s0 - 1.0
        s1 = power(beta2, t[row])
        s2 = 1.0 - s1
        # rho = rho_inf - 2*t*beta2^t/(1 - beta2^t)
        rho = rho_inf - 2.0 * t[row] * s1 / s2
        s3 = rho > 5.0
        # r = if rho > 5 then sqrt((rho - 4)*(rho - 2)*rho_inf / ((rho_inf - 4)*(rho_inf - 2)*rho)) else 1
        r = where(s3, math.sqrt((rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)), 1.0)
        k0 = 1.0 - beta1
        k2 = 1.0 - power(beta1, t[row])
        k4 = math.sqrt(s2)
        k2_inverse = 1.0 / k2
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = weight_decay
        scalars[row, 5] = direction[row]
        scalars[row, 6] = s0
        scalars[row, 7] = s3
        scalars[row, 8] = r
        scalars[row, 9] = k0
        scalars[row, 10] = k4
        scalars[row, 11] = k2_inverse


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
        s0 = scalars[row, 6]
        s3 = scalars[row, 7] != 0.0
        r = scalars[row, 8]
        k0 = scalars[row, 9]
        k4 = scalars[row, 10]
        k2_inverse = scalars[row, 11]
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
            v = beta2 * v_old + s0 * (d * d)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k2_inverse
            # l = if rho > 5 then sqrt(1 - beta2^t) / (sqrt(v[t]) + eps) else 1
            l = where(s3, k4 / (math.sqrt(v) + eps), 1.0)
            # theta[t] = kept - lr*mhat*l*r
            theta = theta_old - lr * mhat * l * r
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
