@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        weight_decay = hypers[row, 3]
        eps = hypers[row, 4]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta1, t[row])
        k3 = lr * math.sqrt(1.0 - power(beta2, t[row]))
        k4 = 1.0 - lr * weight_decay
        k2_inverse = 1.0 / k2
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        scalars[row, 6] = k3
        scalars[row, 7] = k4
        scalars[row, 8] = k2_inverse


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
        old_at = addresses[tensor, 4] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5]
        k3 = scalars[row, 6]
        k4 = scalars[row, 7]
        k2_inverse = scalars[row, 8]
        for i in range(size):
            m_old = f64(read_f32(m_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            old_old = f64(read_f32(old_at, i, 4))
            theta_old = f64(read_f32(theta_at, i, 0))
            # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
            m = beta1 * m_old + k0 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k1 * (g * g)
            # friction = sigmoid(abs(old[t-1] - g[t]))
            friction = vector_sigmoid(abs(old_old - g))
            # mhat = m[t] / (1 - beta1^t)
            mhat = m * k2_inverse
            # rate = lr*sqrt(1 - beta2^t) / (sqrt(v[t]) + eps)
            rate = k3 / (math.sqrt(v) + eps)
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - rate*friction*mhat
            theta = k4 * theta_old - rate * friction * mhat
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(m_at, i, f32(m), 2)
            write_f32(v_at, i, f32(v), 3)
            write_f32(old_at, i, f32(g), 4)
