@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        gamma = hypers[row, 3]
        weight_decay = hypers[row, 4]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = t[row] == 1.0
        k3 = 1.0 - power(beta2, t[row])
        k4 = lr * weight_decay
        k3_inverse = 1.0 / k3
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = gamma
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k2
        scalars[row, 8] = k4
        scalars[row, 9] = k3_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        pbar_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        gamma = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k2 = scalars[row, 7] != 0.0
        k4 = scalars[row, 8]
        k3_inverse = scalars[row, 9]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            pbar_old = f64(read_f32(pbar_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # pbar[t] = beta2*pbar[t-1] + (1 - beta2)*theta[t-1]
            pbar = beta2 * pbar_old + k1 * theta_old
            # phat = if t == 1 then theta[t-1] else pbar[t] / (1 - beta2^t)
            phat = where(k2, theta_old, pbar * k3_inverse)
            # decayed = theta[t-1] - lr*weight_decay*phat
            decayed = theta_old - k4 * phat
            # theta[t] = decayed - lr*(sign(m[t]) + gamma*sign(decayed - phat))
            theta = decayed - lr * (sign(m) + gamma * sign(decayed - phat))
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(pbar_at, i, f32(pbar), 3)
