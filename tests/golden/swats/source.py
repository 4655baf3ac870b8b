@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        r_old = states[row, 0]
        rate_old = states[row, 1]
        phase_old = states[row, 2]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = -lr * math.sqrt(1.0 - power(beta2, t[row])) / (1.0 - power(beta1, t[row]))
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        scalars[row, 6] = k2
        states[row, 0] = r_old
        states[row, 1] = rate_old
        states[row, 2] = phase_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5]
        k2 = scalars[row, 6]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                m_old = f64(read_f32(m_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                v_old = f64(read_f32(v_at, i, 3))
                # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
                m = beta1 * m_old + k0 * g
                # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
                v = beta2 * v_old + k1 * (g * g)
                # p = -lr*sqrt(1 - beta2^t)/(1 - beta1^t)*m[t] / (sqrt(v[t]) + eps)
                p = k2 * m / (math.sqrt(v) + eps)
                write_f64(scratch, j, p * g, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, p * p, 30)
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
        dot_all0 = hypers[row, 6]
        dot_all1 = hypers[row, 7]
        r_old = states[row, 0]
        rate_old = states[row, 1]
        phase_old = states[row, 2]
        s0 = dot_all0 == 0.0
        # projected = if along == 0 then 0 else -dot(p, p over all)/along
        projected = where(s0, 0.0, -dot_all1 / dot_all0)
        s1 = 1.0 - beta2
        # r[t] = if along == 0 then r[t-1] else beta2*r[t-1] + (1 - beta2)*projected
        r = where(s0, r_old, beta2 * r_old + s1 * projected)
        s2 = 1.0 - power(beta2, t[row])
        # rhat = r[t] / (1 - beta2^t)
        rhat = r / s2
        # settled = if phase[t-1] == 0 and t > 1 and not (along == 0) and abs(rhat - projected) < eps then 1 else 0
        settled = where(phase_old == 0.0 and t[row] > 1.0 and not s0 and abs(rhat - projected) < eps, 1.0, 0.0)
        # phase[t] = max(phase[t-1], settled)
        phase = maximum(phase_old, settled)
        # rate[t] = if settled == 1 then rhat else rate[t-1]
        rate = where(settled == 1.0, rhat, rate_old)
        k0 = 1.0 - beta1
        k2 = -lr * math.sqrt(s2) / (1.0 - power(beta1, t[row]))
        k3 = phase_old == 1.0
        k4 = -k0 * rate_old
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = s1
        scalars[row, 5] = k0
        scalars[row, 6] = k2
        scalars[row, 7] = k3
        scalars[row, 8] = k4
        states[row, 0] = r
        states[row, 1] = rate
        states[row, 2] = phase


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
        b_at = addresses[tensor, 4] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        s1 = scalars[row, 4]
        k0 = scalars[row, 5]
        k2 = scalars[row, 6]
        k3 = scalars[row, 7] != 0.0
        k4 = scalars[row, 8]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            b_old = f64(read_f32(b_at, i, 4))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + s1 * (g * g)
            # p = -lr*sqrt(1 - beta2^t)/(1 - beta1^t)*m[t] / (sqrt(v[t]) + eps)
            p = k2 * m / (math.sqrt(v) + eps)
            # b[t] = if phase[t-1] == 1 then beta1*b[t-1] + g[t] else 0
            b = where(k3, beta1 * b_old + g, 0.0)
            # theta[t] = theta[t-1] + (if phase[t-1] == 1 then -(1 - beta1)*rate[t-1]*b[t] else p)
            theta = theta_old + where(k3, k4 * b, p)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(b_at, i, f32(b), 4)
