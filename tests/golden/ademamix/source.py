@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        beta3 = hypers[row, 3]
        alpha = hypers[row, 4]
        beta3_warmup = hypers[row, 5]
        alpha_warmup = hypers[row, 6]
        eps = hypers[row, 7]
        weight_decay = hypers[row, 8]
        # mix = alpha*min(t/max(alpha_warmup, 1), 1)
        mix = alpha * minimum(t[row] / maximum(alpha_warmup, 1.0), 1.0)
        # part = min(t/max(beta3_warmup, 1), 1)
        part = minimum(t[row] / maximum(beta3_warmup, 1.0), 1.0)
        # b3 = if part < 1 then exp(1/((1 - part)/log(beta1) + part/log(beta3))) else beta3
        b3 = where(part < 1.0, math.exp(1.0 / ((1.0 - part) / math.log(beta1) + part / math.log(beta3))), beta3)
        k0 = 1.0 - beta1
        k1 = 1.0 - b3
        k2 = 1.0 - beta2
        k3 = 1.0 - power(beta1, t[row])
        k4 = 1.0 - power(beta2, t[row])
        k3_inverse = 1.0 / k3
        k4_inverse = 1.0 / k4
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = weight_decay
        scalars[row, 5] = direction[row]
        scalars[row, 6] = mix
        scalars[row, 7] = b3
        scalars[row, 8] = k0
        scalars[row, 9] = k1
        scalars[row, 10] = k2
        scalars[row, 11] = k3_inverse
        scalars[row, 12] = k4_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        slow_at = addresses[tensor, 3] + offset
        v_at = addresses[tensor, 4] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        eps = scalars[row, 3]
        weight_decay = scalars[row, 4]
        direction = scalars[row, 5]
        mix = scalars[row, 6]
        b3 = scalars[row, 7]
        k0 = scalars[row, 8]
        k1 = scalars[row, 9]
        k2 = scalars[row, 10]
        k3_inverse = scalars[row, 11]
        k4_inverse = scalars[row, 12]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            slow_old = f64(read_f32(slow_at, i, 3))
            v_old = f64(read_f32(v_at, i, 4))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # slow[t] = b3*slow[t-1] + (1 - b3)*g[t]
            slow = b3 * slow_old + k1 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k2 * (g * g)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k3_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k4_inverse
            # theta[t] = theta[t-1] - lr*((mhat + mix*slow[t]) / (sqrt(vhat) + eps) + weight_decay*theta[t-1])
            theta = theta_old - lr * ((mhat + mix * slow) / (math.sqrt(vhat) + eps) + weight_decay * theta_old)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(slow_at, i, f32(slow), 3)
            write_f32(v_at, i, f32(v), 4)
