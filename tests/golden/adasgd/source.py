@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        v_old = states[row, 0]
        scalars[row, 0] = direction[row]
        states[row, 0] = v_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                write_f64(scratch, j, g * g, 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        all_elements = hypers[row, 5]
        mean_all0 = hypers[row, 6]
        v_old = states[row, 0]
        # v[t] = beta2*v[t-1] + (1 - beta2)*mean(g[t]^2 over all)
        v_0 = mean_all0 / all_elements
        # v[t] = beta2*v[t-1] + (1 - beta2)*mean(g[t]^2 over all)
        v = beta2 * v_old + (1.0 - beta2) * v_0
        # vhat = v[t] / (1 - beta2^t)
        vhat = v / (1.0 - power(beta2, t[row]))
        k0 = math.sqrt(vhat) + eps
        k0_inverse = 1.0 / k0
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = direction[row]
        scalars[row, 3] = k0_inverse
        states[row, 0] = v


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        direction = scalars[row, 2]
        k0_inverse = scalars[row, 3]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + g[t]
            m = beta1 * m_old + g
            # theta[t] = theta[t-1] - lr*m[t] / (sqrt(vhat) + eps)
            theta = theta_old - lr * m * k0_inverse
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
