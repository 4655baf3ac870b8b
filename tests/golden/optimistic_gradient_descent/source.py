@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        alpha = hypers[row, 1]
        beta = hypers[row, 2]
        k0 = t[row] > 1.0
        k1 = alpha + beta
        scalars[row, 0] = lr
        scalars[row, 1] = beta
        scalars[row, 2] = direction[row]
        scalars[row, 3] = k0
        scalars[row, 4] = k1


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        last_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        beta = scalars[row, 1]
        direction = scalars[row, 2]
        k0 = scalars[row, 3] != 0.0
        k1 = scalars[row, 4]
        for i in range(size):
            last_old = f64(read_f32(last_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # before = if t > 1 then last[t-1] else g[t]
            before = where(k0, last_old, g)
            # theta[t] = theta[t-1] - lr*((alpha + beta)*g[t] - beta*before)
            theta = theta_old - lr * (k1 * g - beta * before)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(last_at, i, f32(g), 2)
