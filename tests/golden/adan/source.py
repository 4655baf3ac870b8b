@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        beta3 = hypers[row, 3]
        eps = hypers[row, 4]
        weight_decay = hypers[row, 5]
        eps_root = hypers[row, 6]
        # decay = lr*weight_decay
        decay = lr * weight_decay
        k0 = where(t[row] > 1.0, 1.0, 0.0)
        k1 = 1.0 - beta1
        k2 = 1.0 - beta2
        k3 = 1.0 - beta3
        k4 = 1.0 - power(beta1, t[row])
        k5 = 1.0 - power(beta2, t[row])
        k6 = 1.0 - power(beta3, t[row])
        k7 = 1.0 + decay
        k4_inverse = 1.0 / k4
        k5_inverse = 1.0 / k5
        k6_inverse = 1.0 / k6
        k7_inverse = 1.0 / k7
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = beta3
        scalars[row, 4] = eps
        scalars[row, 5] = eps_root
        scalars[row, 6] = direction[row]
        scalars[row, 7] = k0
        scalars[row, 8] = k1
        scalars[row, 9] = k2
        scalars[row, 10] = k3
        scalars[row, 11] = k4_inverse
        scalars[row, 12] = k5_inverse
        scalars[row, 13] = k6_inverse
        scalars[row, 14] = k7_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        r_at = addresses[tensor, 3] + offset
        n_at = addresses[tensor, 4] + offset
        last_at = addresses[tensor, 5] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        beta3 = scalars[row, 3]
        eps = scalars[row, 4]
        eps_root = scalars[row, 5]
        direction = scalars[row, 6]
        k0 = scalars[row, 7]
        k1 = scalars[row, 8]
        k2 = scalars[row, 9]
        k3 = scalars[row, 10]
        k4_inverse = scalars[row, 11]
        k5_inverse = scalars[row, 12]
        k6_inverse = scalars[row, 13]
        k7_inverse = scalars[row, 14]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            last_old = f64(read_f32(last_at, i, 5))
            m_old = f64(read_f32(m_at, i, 2))
            r_old = f64(read_f32(r_at, i, 3))
            n_old = f64(read_f32(n_at, i, 4))
            theta_old = f64(read_f32(theta_at, i, 0))
            # diff = (if t > 1 then 1 else 0)*(g[t] - last[t-1])
            diff = k0 * (g - last_old)
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k1 * g
            # r[t] = beta2*r[t-1] + (1 - beta2)*diff
            r = beta2 * r_old + k2 * diff
            # n[t] = beta3*n[t-1] + (1 - beta3)*(g[t] + beta2*diff)^2
            n_0 = g + beta2 * diff
            # n[t] = beta3*n[t-1] + (1 - beta3)*(g[t] + beta2*diff)^2
            n = beta3 * n_old + k3 * (n_0 * n_0)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k4_inverse
            # rhat = r[t] / (1 - beta2^t)
            rhat = r * k5_inverse
            # nhat = n[t] / (1 - beta3^t)
            nhat = n * k6_inverse
            # u = (mhat + beta2*rhat) / (sqrt(nhat + eps_root) + eps)
            u = (mhat + beta2 * rhat) / (math.sqrt(nhat + eps_root) + eps)
            # theta[t] = if no_prox then (1 - decay)*theta[t-1] - lr*u else (theta[t-1] - lr*u) / (1 + decay)
            theta = (theta_old - lr * u) * k7_inverse
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(r_at, i, f32(r), 3)
            write_f32(n_at, i, f32(n), 4)
            write_f32(last_at, i, f32(g), 5)
