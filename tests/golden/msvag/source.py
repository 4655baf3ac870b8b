@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta = hypers[row, 1]
        s0 = 1.0 - beta
        s1 = power(beta, t[row])
        s2 = 1.0 - s1
        # rho = if t == 1 then 0 else min(0.9999, (1 - beta)*(1 + beta^t) / ((1 + beta)*(1 - beta^t)))
        rho = where(t[row] == 1.0, 0.0, minimum(0.9999, s0 * (1.0 + s1) / ((1.0 + beta) * s2)))
        k2 = 1.0 - rho
        k1_inverse = 1.0 / s2
        k2_inverse = 1.0 / k2
        scalars[row, 0] = lr
        scalars[row, 1] = beta
        scalars[row, 2] = direction[row]
        scalars[row, 3] = s0
        scalars[row, 4] = rho
        scalars[row, 5] = k1_inverse
        scalars[row, 6] = k2_inverse


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
        beta = scalars[row, 1]
        direction = scalars[row, 2]
        s0 = scalars[row, 3]
        rho = scalars[row, 4]
        k1_inverse = scalars[row, 5]
        k2_inverse = scalars[row, 6]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta*m[t-1] + (1 - beta)*g[t]
            m = beta * m_old + s0 * g
            # v[t] = beta*v[t-1] + (1 - beta)*g[t]^2
            v = beta * v_old + s0 * (g * g)
            # mhat = m[t] / (1 - beta^t)
            mhat = m * k1_inverse
            # vhat = v[t] / (1 - beta^t)
            vhat = v * k1_inverse
            s3 = mhat * mhat
            # s = (vhat - mhat^2) / (1 - rho)
            s = (vhat - s3) * k2_inverse
            # power = mhat^2 + rho*s
            power_ = s3 + rho * s
            # factor = if power > 0 then mhat^2 / power else 0
            factor = where(power_ > 0.0, s3 / power_, 0.0)
            # theta[t] = theta[t-1] - lr*factor*mhat
            theta = theta_old - lr * factor * mhat
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
