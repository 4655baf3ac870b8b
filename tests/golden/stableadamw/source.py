@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        s1 = power(beta2, t[row])
        # b2 = (beta2 - beta2^t) / (1 - beta2^t)
        b2 = (beta2 - s1) / (1.0 - s1)
        k1 = 1.0 - b2
        k2 = eps * eps
        scalars[row, 0] = direction[row]
        scalars[row, 1] = b2
        scalars[row, 2] = k1
        scalars[row, 3] = k2


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        v_at = addresses[tensor, 3] + offset
        direction = scalars[row, 0]
        b2 = scalars[row, 1]
        k1 = scalars[row, 2]
        k2 = scalars[row, 3]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                v_old = f64(read_f32(v_at, i, 3))
                s2 = g * g
                # v[t] = b2*v[t-1] + (1 - b2)*g[t]^2
                v = b2 * v_old + k1 * s2
                write_f64(scratch, j, s2 / maximum(v, k2), 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        elements = hypers[row, 5]
        mean0 = hypers[row, 7]
        s0 = power(beta1, t[row])
        # b1 = (beta1 - beta1^t) / (1 - beta1^t)
        b1 = (beta1 - s0) / (1.0 - s0)
        s1 = power(beta2, t[row])
        # b2 = (beta2 - beta2^t) / (1 - beta2^t)
        b2 = (beta2 - s1) / (1.0 - s1)
        # rms = sqrt(mean(g[t]^2 / max(v[t], eps^2)))
        rms_0 = mean0 / elements
        # rms = sqrt(mean(g[t]^2 / max(v[t], eps^2)))
        rms = math.sqrt(rms_0)
        # rate = lr / max(1, rms)
        rate = lr / maximum(1.0, rms)
        k0 = 1.0 - b1
        k1 = 1.0 - b2
        k2 = 1.0 - rate * weight_decay
        scalars[row, 0] = eps
        scalars[row, 1] = direction[row]
        scalars[row, 2] = b1
        scalars[row, 3] = b2
        scalars[row, 4] = rate
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k2


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
        eps = scalars[row, 0]
        direction = scalars[row, 1]
        b1 = scalars[row, 2]
        b2 = scalars[row, 3]
        rate = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k2 = scalars[row, 7]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = b1*m[t-1] + (1 - b1)*g[t]
            m = b1 * m_old + k0 * g
            # v[t] = b2*v[t-1] + (1 - b2)*g[t]^2
            v = b2 * v_old + k1 * (g * g)
            # theta[t] = (1 - rate*weight_decay)*theta[t-1] - rate*m[t] / (sqrt(v[t]) + eps)
            theta = k2 * theta_old - rate * m / (math.sqrt(v) + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
