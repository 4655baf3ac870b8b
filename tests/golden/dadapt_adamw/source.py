@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        d_old = states[row, 0]
        r_old = states[row, 1]
        # b = sqrt(beta2)
        b = math.sqrt(beta2)
        # rate = d[t-1]*lr*sqrt(1 - beta2^t) / (1 - beta1^t)
        rate = d_old * lr * math.sqrt(1.0 - power(beta2, t[row])) / (1.0 - power(beta1, t[row]))
        k2 = (1.0 - b) * rate
        scalars[row, 0] = eps
        scalars[row, 1] = direction[row]
        scalars[row, 2] = b
        scalars[row, 3] = k2
        states[row, 0] = d_old
        states[row, 1] = r_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        v_at = addresses[tensor, 3] + offset
        s_at = addresses[tensor, 4] + offset
        eps = scalars[row, 0]
        direction = scalars[row, 1]
        b = scalars[row, 2]
        k2 = scalars[row, 3]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                s_old = f64(read_f32(s_at, i, 4))
                v_old = f64(read_f32(v_at, i, 3))
                # s[t] = b*s[t-1] + (1 - b)*rate*g[t]
                s = b * s_old + k2 * g
                write_f64(scratch, j, g * (s_old / (math.sqrt(v_old) + eps)), 31)
                write_f64(scratch + f64_bytes(BLOCK), j, abs(s), 30)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 5]
        dot_all0 = hypers[row, 8]
        sum_all1 = hypers[row, 9]
        d_old = states[row, 0]
        r_old = states[row, 1]
        # b = sqrt(beta2)
        b = math.sqrt(beta2)
        # rate = d[t-1]*lr*sqrt(1 - beta2^t) / (1 - beta1^t)
        rate = d_old * lr * math.sqrt(1.0 - power(beta2, t[row])) / (1.0 - power(beta1, t[row]))
        s0 = 1.0 - b
        s1 = s0 * rate
        # r[t] = b*r[t-1] + (1 - b)*rate*dot(g[t], s[t-1] / (sqrt(v[t-1]) + eps) over all)
        r = b * r_old + s1 * dot_all0
        # d[t] = if length > 0 then max(d[t-1], r[t] / ((1 - b)*length)) else d[t-1]
        d = where(sum_all1 > 0.0, maximum(d_old, r / (s0 * sum_all1)), d_old)
        k0 = (1.0 - beta1) * rate
        k1 = 1.0 - beta2
        k3 = weight_decay * rate
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = b
        scalars[row, 5] = s1
        scalars[row, 6] = k0
        scalars[row, 7] = k1
        scalars[row, 8] = k3
        states[row, 0] = d
        states[row, 1] = r


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
        s_at = addresses[tensor, 4] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        b = scalars[row, 4]
        s1 = scalars[row, 5]
        k0 = scalars[row, 6]
        k1 = scalars[row, 7]
        k3 = scalars[row, 8]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            s_old = f64(read_f32(s_at, i, 4))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*rate*g[t]
            m = beta1 * m_old + k0 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k1 * (g * g)
            # s[t] = b*s[t-1] + (1 - b)*rate*g[t]
            s = b * s_old + s1 * g
            # theta[t] = theta[t-1] - weight_decay*rate*theta[t-1] - m[t] / (sqrt(v[t]) + eps)
            theta = theta_old - k3 * theta_old - m / (math.sqrt(v) + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(s_at, i, f32(s), 4)
