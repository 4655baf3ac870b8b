@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        eps = hypers[row, 3]
        scalars[row, 0] = eps


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        v_at = addresses[tensor, 3] + offset
        eps = scalars[row, 0]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                v_old = f64(read_f32(v_at, i, 3))
                # eta = 1 / (sqrt(v[t-1]) + eps)
                eta = 1.0 / (math.sqrt(v_old) + eps)
                write_f64(scratch, j, eta * eta, 31)
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
        # theta[t] = theta[t-1] - lr*eta / sqrt(mean(eta^2 over all))*m[t]
        theta_0 = mean_all0 / all_elements
        k0 = 1.0 - beta1
        k1 = math.sqrt(theta_0)
        k2 = 1.0 - beta2
        k1_inverse = 1.0 / k1
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k2
        scalars[row, 7] = k1_inverse


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
        k0 = scalars[row, 5]
        k2 = scalars[row, 6]
        k1_inverse = scalars[row, 7]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # eta = 1 / (sqrt(v[t-1]) + eps)
            eta = 1.0 / (math.sqrt(v_old) + eps)
            # theta[t] = theta[t-1] - lr*eta / sqrt(mean(eta^2 over all))*m[t]
            theta = theta_old - lr * eta * k1_inverse * m
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k2 * (g * g)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
