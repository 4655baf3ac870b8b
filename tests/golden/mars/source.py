@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta1 = hypers[row, 1]
        gamma = hypers[row, 3]
        k0 = gamma * beta1 / (1.0 - beta1)
        scalars[row, 0] = direction[row]
        scalars[row, 1] = k0


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        last_at = addresses[tensor, 4] + offset
        direction = scalars[row, 0]
        k0 = scalars[row, 1]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                last_old = f64(read_f32(last_at, i, 4))
                # c = g[t] + gamma*beta1/(1 - beta1)*(g[t] - last[t-1])
                c = g + k0 * (g - last_old)
                write_f64(scratch, j, c * c, 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        gamma = hypers[row, 3]
        eps = hypers[row, 4]
        weight_decay = hypers[row, 5]
        norm0 = hypers[row, 8]
        # clipped = c / max(1, norm(c))
        clipped_0 = math.sqrt(norm0)
        s0 = 1.0 - beta1
        k0 = gamma * beta1 / s0
        k1 = maximum(1.0, clipped_0)
        k3 = 1.0 - beta2
        k4 = 1.0 - power(beta1, t[row])
        k5 = 1.0 - power(beta2, t[row])
        k1_inverse = 1.0 / k1
        k4_inverse = 1.0 / k4
        k5_inverse = 1.0 / k5
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = eps
        scalars[row, 4] = weight_decay
        scalars[row, 5] = direction[row]
        scalars[row, 6] = s0
        scalars[row, 7] = k0
        scalars[row, 8] = k3
        scalars[row, 9] = k1_inverse
        scalars[row, 10] = k4_inverse
        scalars[row, 11] = k5_inverse


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
        last_at = addresses[tensor, 4] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        eps = scalars[row, 3]
        weight_decay = scalars[row, 4]
        direction = scalars[row, 5]
        s0 = scalars[row, 6]
        k0 = scalars[row, 7]
        k3 = scalars[row, 8]
        k1_inverse = scalars[row, 9]
        k4_inverse = scalars[row, 10]
        k5_inverse = scalars[row, 11]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            last_old = f64(read_f32(last_at, i, 4))
            m_old = f64(read_f32(m_at, i, 2))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # c = g[t] + gamma*beta1/(1 - beta1)*(g[t] - last[t-1])
            c = g + k0 * (g - last_old)
            # clipped = c / max(1, norm(c))
            clipped = c * k1_inverse
            # m[t] = beta1*m[t-1] + (1 - beta1)*clipped
            m = beta1 * m_old + s0 * clipped
            # v[t] = beta2*v[t-1] + (1 - beta2)*clipped^2
            v = beta2 * v_old + k3 * (clipped * clipped)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k4_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k5_inverse
            # theta[t] = theta[t-1] - lr*(weight_decay*theta[t-1] + mhat / (sqrt(vhat) + eps))
            theta = theta_old - lr * (weight_decay * theta_old + mhat / (math.sqrt(vhat) + eps))
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(last_at, i, f32(g), 4)
