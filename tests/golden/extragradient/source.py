@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        scalars[row, 0] = lr
        scalars[row, 1] = direction[row]


@kernel
def query(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        first_g_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        direction = scalars[row, 1]
        for i in range(size):
            first_g = direction * f64(read_f32(first_g_at, i, 2))
            theta_old = f64(read_f32(theta_at, i, 0))
            # g[t] = grad(theta[t-1] - lr*h)
            theta = theta_old - lr * first_g
            write_f32(theta_at, i, f32(theta), 0)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        scalars[row, 0] = lr
        scalars[row, 1] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        lr = scalars[row, 0]
        direction = scalars[row, 1]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            # theta[t] = theta[t-1] - lr*g[t]
            theta = theta_old - lr * g
            write_f32(theta_at, i, f32(theta), 0)
