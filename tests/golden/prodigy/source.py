@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        d0 = hypers[row, 4]
        d_old = states[row, 0]
        r_old = states[row, 1]
        # beta3 = sqrt(beta2)
        beta3 = math.sqrt(beta2)
        # rate = d[t-1]*lr*sqrt(1 - beta2^t) / (1 - beta1^t)
        rate = d_old * lr * math.sqrt(1.0 - power(beta2, t[row])) / (1.0 - power(beta1, t[row]))
        d0_inverse = 1.0 / d0
        scalars[row, 0] = d_old
        scalars[row, 1] = direction[row]
        scalars[row, 2] = beta3
        scalars[row, 3] = rate
        scalars[row, 4] = d0_inverse
        states[row, 0] = d_old
        states[row, 1] = r_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        s_at = addresses[tensor, 4] + offset
        x0_at = addresses[tensor, 5] + offset
        d_old = scalars[row, 0]
        direction = scalars[row, 1]
        beta3 = scalars[row, 2]
        rate = scalars[row, 3]
        d0_inverse = scalars[row, 4]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                s_old = f64(read_f32(s_at, i, 4))
                x0_old = f64(read_f32(x0_at, i, 5))
                theta_old = f64(read_f32(theta_at, i, 0))
                # dg = d[t-1]*g[t]
                dg = d_old * g
                # s[t] = beta3*s[t-1] + (if safeguard_warmup then d[t-1] else rate)*dg / d0
                s = beta3 * s_old + rate * dg * d0_inverse
                write_f64(scratch, j, g * (x0_old - theta_old), 31)
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
        d0 = hypers[row, 4]
        d_coef = hypers[row, 5]
        weight_decay = hypers[row, 6]
        dot_all0 = hypers[row, 9]
        sum_all1 = hypers[row, 10]
        d_old = states[row, 0]
        r_old = states[row, 1]
        # beta3 = sqrt(beta2)
        beta3 = math.sqrt(beta2)
        # rate = d[t-1]*lr*sqrt(1 - beta2^t) / (1 - beta1^t)
        rate = d_old * lr * math.sqrt(1.0 - power(beta2, t[row])) / (1.0 - power(beta1, t[row]))
        # r[t] = beta3*r[t-1] + d[t-1]/d0*rate*dot(g[t], x0[t-1] - theta[t-1] over all)
        r = beta3 * r_old + d_old / d0 * rate * dot_all0
        # d[t] = if length > 0 then max(d[t-1], d_coef*r[t]/length) else d[t-1]
        d = where(sum_all1 > 0.0, maximum(d_old, d_coef * r / sum_all1), d_old)
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = weight_decay * rate
        k3 = d * eps
        d0_inverse = 1.0 / d0
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = d_old
        scalars[row, 3] = direction[row]
        scalars[row, 4] = beta3
        scalars[row, 5] = rate
        scalars[row, 6] = k0
        scalars[row, 7] = k1
        scalars[row, 8] = k2
        scalars[row, 9] = k3
        scalars[row, 10] = d0_inverse
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
        d_old = scalars[row, 2]
        direction = scalars[row, 3]
        beta3 = scalars[row, 4]
        rate = scalars[row, 5]
        k0 = scalars[row, 6]
        k1 = scalars[row, 7]
        k2 = scalars[row, 8]
        k3 = scalars[row, 9]
        d0_inverse = scalars[row, 10]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            m_old = f64(read_f32(m_at, i, 2))
            v_old = f64(read_f32(v_at, i, 3))
            s_old = f64(read_f32(s_at, i, 4))
            theta_old = f64(read_f32(theta_at, i, 0))
            # dg = d[t-1]*g[t]
            dg = d_old * g
            # m[t] = beta1*m[t-1] + (1 - beta1)*dg
            m = beta1 * m_old + k0 * dg
            # v[t] = beta2*v[t-1] + (1 - beta2)*dg^2
            v = beta2 * v_old + k1 * (dg * dg)
            # s[t] = beta3*s[t-1] + (if safeguard_warmup then d[t-1] else rate)*dg / d0
            s = beta3 * s_old + rate * dg * d0_inverse
            # theta[t] = theta[t-1] - weight_decay*rate*theta[t-1] - rate*m[t] / (sqrt(v[t]) + d[t]*eps)
            theta = theta_old - k2 * theta_old - rate * m / (math.sqrt(v) + k3)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(s_at, i, f32(s), 4)
