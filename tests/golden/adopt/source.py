@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        s0 = t[row] > 1.0
        # b1 = if t > 1 then beta1 else 1
        b1 = where(s0, beta1, 1.0)
        # b2 = if t > 1 then beta2 else 0
        b2 = where(s0, beta2, 0.0)
        # bound = (t - 1)^0.25
        bound = power(t[row] - 1.0, 0.25)
        k0 = -bound
        k1 = 1.0 - b1
        k2 = 1.0 - b2
        scalars[row, 0] = lr
        scalars[row, 1] = eps
        scalars[row, 2] = direction[row]
        scalars[row, 3] = b1
        scalars[row, 4] = b2
        scalars[row, 5] = bound
        scalars[row, 6] = k0
        scalars[row, 7] = k1
        scalars[row, 8] = k2


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
        eps = scalars[row, 1]
        direction = scalars[row, 2]
        b1 = scalars[row, 3]
        b2 = scalars[row, 4]
        bound = scalars[row, 5]
        k0 = scalars[row, 6]
        k1 = scalars[row, 7]
        k2 = scalars[row, 8]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            m_old = f64(read_f32(m_at, i, 2))
            theta_old = f64(read_f32(theta_at, i, 0))
            # raw = g[t] / max(sqrt(v[t-1]), eps)
            raw = g / maximum(math.sqrt(v_old), eps)
            # n = if clipping then clip(raw, -bound, bound) else raw
            n = minimum(maximum(raw, k0), bound)
            # m[t] = b1*m[t-1] + (1 - b1)*n
            m = b1 * m_old + k1 * n
            # v[t] = b2*v[t-1] + (1 - b2)*g[t]^2
            v = b2 * v_old + k2 * (g * g)
            # theta[t] = theta[t-1] - lr*(if nesterov then led else m[t])
            theta = theta_old - lr * m
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
