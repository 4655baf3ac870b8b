@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 2]
        weight_decay = hypers[row, 4]
        k0 = 1.0 - beta2
        k1 = 1.0 - power(beta2, t[row])
        k1_inverse = 1.0 / k1
        scalars[row, 0] = beta2
        scalars[row, 1] = weight_decay
        scalars[row, 2] = direction[row]
        scalars[row, 3] = k0
        scalars[row, 4] = k1_inverse


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        v_at = addresses[tensor, 3] + offset
        beta2 = scalars[row, 0]
        weight_decay = scalars[row, 1]
        direction = scalars[row, 2]
        k0 = scalars[row, 3]
        k1_inverse = scalars[row, 4]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                theta_old = f64(read_f32(theta_at, i, 0))
                v_old = f64(read_f32(v_at, i, 3))
                # d = g[t] + weight_decay*theta[t-1]
                d = g + weight_decay * theta_old
                # v[t] = beta2*v[t-1] + (1 - beta2)*d^2
                v = beta2 * v_old + k0 * (d * d)
                # vhat = v[t] / (1 - beta2^t)
                vhat = v * k1_inverse
                write_f64(scratch, j, vhat, 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta0 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        all_elements = hypers[row, 6]
        mean_all0 = hypers[row, 7]
        # average = max(mean(vhat over all), eps)
        average_0 = mean_all0 / all_elements
        # average = max(mean(vhat over all), eps)
        average = maximum(average_0, eps)
        k0 = 1.0 - beta2
        k1 = 1.0 - power(beta2, t[row])
        k2 = 1.0 - eps
        k1_inverse = 1.0 / k1
        average_inverse = 1.0 / average
        scalars[row, 0] = lr
        scalars[row, 1] = beta0
        scalars[row, 2] = beta2
        scalars[row, 3] = weight_decay
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k2
        scalars[row, 7] = k1_inverse
        scalars[row, 8] = average_inverse


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
        p_at = addresses[tensor, 4] + offset
        lr = scalars[row, 0]
        beta0 = scalars[row, 1]
        beta2 = scalars[row, 2]
        weight_decay = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k2 = scalars[row, 6]
        k1_inverse = scalars[row, 7]
        average_inverse = scalars[row, 8]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            v_old = f64(read_f32(v_at, i, 3))
            p_old = f64(read_f32(p_at, i, 4))
            m_old = f64(read_f32(m_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # v[t] = beta2*v[t-1] + (1 - beta2)*d^2
            v = beta2 * v_old + k0 * (d * d)
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k1_inverse
            # beta1 = clip(1 - vhat/average*beta0, 0, 1 - eps)
            beta1 = minimum(maximum(1.0 - vhat * average_inverse * beta0, 0.0), k2)
            # p[t] = p[t-1]*beta1
            p = p_old * beta1
            # m[t] = beta1*m[t-1] + (1 - beta1)*d
            m = beta1 * m_old + (1.0 - beta1) * d
            # theta[t] = theta[t-1] - lr*m[t] / (1 - p[t])
            theta = theta_old - lr * m / (1.0 - p)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(p_at, i, f32(p), 4)
