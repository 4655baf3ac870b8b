@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        # bound = (t - 1)^0.25
        bound = power(t[row] - 1.0, 0.25)
        k0 = -bound
        k1 = t[row] == 1.0
        k2 = 1.0 - beta1
        k3 = 1.0 - beta2
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = direction[row]
        scalars[row, 5] = bound
        scalars[row, 6] = k0
        scalars[row, 7] = k1
        scalars[row, 8] = k2
        scalars[row, 9] = k3


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
        direction = scalars[row, 4]
        bound = scalars[row, 5]
        k0 = scalars[row, 6]
        k1 = scalars[row, 7] != 0.0
        k2 = scalars[row, 8]
        k3 = scalars[row, 9]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            m_old = f64(read_f32(m_at, i, 2))
            theta_old = f64(read_f32(theta_at, i, 0))
            # raw = g[t] / max(sqrt(v[t-1]), eps)
            raw = g / maximum(math.sqrt(v_old), eps)
            # n = if clipping then clip(raw, -bound, bound) else raw
            n = minimum(maximum(raw, k0), bound)
            # m[t] = beta1*m[t-1] + (1 - beta1)*n
            m = where(k1, 0.0, beta1 * m_old + k2 * n)
            s0 = g * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = where(k1, s0, beta2 * v_old + k3 * s0)
            # theta[t] = theta[t-1] - lr*(if nesterov then led else m[t])
            theta = theta_old - lr * m
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
