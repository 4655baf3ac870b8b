@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        alpha = hypers[row, 1]
        eps = hypers[row, 2]
        weight_decay = hypers[row, 3]
        mu = hypers[row, 4]
        k0 = 1.0 - alpha
        scalars[row, 0] = lr
        scalars[row, 1] = alpha
        scalars[row, 2] = eps
        scalars[row, 3] = weight_decay
        scalars[row, 4] = mu
        scalars[row, 5] = direction[row]
        scalars[row, 6] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        v_at = addresses[tensor, 2] + offset
        b_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        alpha = scalars[row, 1]
        eps = scalars[row, 2]
        weight_decay = scalars[row, 3]
        mu = scalars[row, 4]
        direction = scalars[row, 5]
        k0 = scalars[row, 6]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            v_old = f64(read_f32(v_at, i, 2))
            b_old = f64(read_f32(b_at, i, 3))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # v[t] = alpha*v[t-1] + (1 - alpha)*d^2
            v = alpha * v_old + k0 * (d * d)
            # scale = if eps_in_sqrt then sqrt(variance + eps) else sqrt(variance) + eps
            scale = math.sqrt(v) + eps
            # b[t] = mu*b[t-1] + d / scale
            b = mu * b_old + d / scale
            # theta[t] = theta[t-1] - lr*b[t]
            theta = theta_old - lr * b
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(v_at, i, f32(v), 2)
            write_f32(b_at, i, f32(b), 3)
