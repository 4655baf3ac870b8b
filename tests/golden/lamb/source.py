@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta1, t[row])
        k3 = 1.0 - power(beta2, t[row])
        k2_inverse = 1.0 / k2
        k3_inverse = 1.0 / k3
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = weight_decay
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k2_inverse
        scalars[row, 8] = k3_inverse


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        m_at = addresses[tensor, 2] + offset
        v_at = addresses[tensor, 3] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        weight_decay = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k2_inverse = scalars[row, 7]
        k3_inverse = scalars[row, 8]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                m_old = f64(read_f32(m_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                v_old = f64(read_f32(v_at, i, 3))
                theta_old = f64(read_f32(theta_at, i, 0))
                # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
                m = beta1 * m_old + k0 * g
                # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
                v = beta2 * v_old + k1 * (g * g)
                # mhat = m[t] / (1 - beta1^t)
                mhat = m * k2_inverse
                # vhat = v[t] / (1 - beta2^t)
                vhat = v * k3_inverse
                # u = mhat / (sqrt(vhat) + eps) + weight_decay*theta[t-1]
                u = mhat / (math.sqrt(vhat) + eps) + weight_decay * theta_old
                write_f64(scratch, j, theta_old * theta_old, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, u * u, 30)
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
        weight_decay = hypers[row, 4]
        norm0 = hypers[row, 7]
        norm1 = hypers[row, 8]
        # p = norm(theta[t-1])
        p_0 = math.sqrt(norm0)
        # q = norm(u)
        q_0 = math.sqrt(norm1)
        # ratio = if p > 0 and q > 0 then p/q else 1
        ratio = where(p_0 > 0.0 and q_0 > 0.0, p_0 / q_0, 1.0)
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta1, t[row])
        k3 = 1.0 - power(beta2, t[row])
        k4 = lr * ratio
        k2_inverse = 1.0 / k2
        k3_inverse = 1.0 / k3
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = weight_decay
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k4
        scalars[row, 8] = k2_inverse
        scalars[row, 9] = k3_inverse


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
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        weight_decay = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k4 = scalars[row, 7]
        k2_inverse = scalars[row, 8]
        k3_inverse = scalars[row, 9]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k1 * (g * g)
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k2_inverse
            # vhat = v[t] / (1 - beta2^t)
            vhat = v * k3_inverse
            # u = mhat / (sqrt(vhat) + eps) + weight_decay*theta[t-1]
            u = mhat / (math.sqrt(vhat) + eps) + weight_decay * theta_old
            # theta[t] = theta[t-1] - lr*ratio*u
            theta = theta_old - k4 * u
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
