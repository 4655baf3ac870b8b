@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta = hypers[row, 1]
        memory_length = hypers[row, 2]
        # w = ((t - 1) mod memory_length + 1)^-beta
        w = power(modulo(t[row] - 1.0, memory_length) + 1.0, -beta)
        k0 = 1.0 - w
        scalars[row, 0] = lr
        scalars[row, 1] = direction[row]
        scalars[row, 2] = w
        scalars[row, 3] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        a_at = addresses[tensor, 2] + offset
        x_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        direction = scalars[row, 1]
        w = scalars[row, 2]
        k0 = scalars[row, 3]
        for i in range(size):
            a_old = f64(read_f32(a_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            x_old = f64(read_f32(x_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # a[t] = (1 - w)*a[t-1] + w*g[t]
            a = k0 * a_old + w * g
            # x[t] = (1 - w)*x[t-1] + w*theta[t-1] - lr*a[t]
            x = k0 * x_old + w * theta_old - lr * a
            write_f32(theta_at, i, f32(x), 0)
            write_f32(a_at, i, f32(a), 2)
            write_f32(x_at, i, f32(x), 3)
