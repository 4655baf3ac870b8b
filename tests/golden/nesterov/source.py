@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        mu = hypers[row, 1]
        scalars[row, 0] = mu


@kernel
def query(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        v_at = addresses[tensor, 2] + offset
        mu = scalars[row, 0]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            v_old = f64(read_f32(v_at, i, 2))
            # g[t] = grad(theta[t-1] + mu*v[t-1])
            theta = theta_old + mu * v_old
            write_f32(theta_at, i, f32(theta), 0)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        mu = hypers[row, 1]
        scalars[row, 0] = lr
        scalars[row, 1] = mu
        scalars[row, 2] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        v_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        mu = scalars[row, 1]
        direction = scalars[row, 2]
        for i in range(size):
            v_old = f64(read_f32(v_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # v[t] = mu*v[t-1] - lr*g[t]
            v = mu * v_old - lr * g
            # theta[t] = theta[t-1] + v[t]
            theta = theta_old + v
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(v_at, i, f32(v), 2)
