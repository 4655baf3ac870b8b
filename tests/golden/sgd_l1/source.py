@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        l1 = hypers[row, 1]
        l2 = hypers[row, 2]
        scalars[row, 0] = lr
        scalars[row, 1] = l1
        scalars[row, 2] = l2
        scalars[row, 3] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        lr = scalars[row, 0]
        l1 = scalars[row, 1]
        l2 = scalars[row, 2]
        direction = scalars[row, 3]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # d = g[t] + l1*sign(theta[t-1]) + l2*theta[t-1]
            d = g + l1 * sign(theta_old) + l2 * theta_old
            # theta[t] = theta[t-1] - lr*d
            theta = theta_old - lr * d
            write_f32(theta_at, i, f32(theta), 0)
