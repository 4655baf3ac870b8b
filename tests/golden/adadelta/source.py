@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        rho = hypers[row, 1]
        eps = hypers[row, 2]
        weight_decay = hypers[row, 3]
        k0 = 1.0 - rho
        scalars[row, 0] = lr
        scalars[row, 1] = rho
        scalars[row, 2] = eps
        scalars[row, 3] = weight_decay
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        v_at = addresses[tensor, 2] + offset
        u_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        rho = scalars[row, 1]
        eps = scalars[row, 2]
        weight_decay = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            v_old = f64(read_f32(v_at, i, 2))
            u_old = f64(read_f32(u_at, i, 3))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # v[t] = rho*v[t-1] + (1 - rho)*d^2
            v = rho * v_old + k0 * (d * d)
            # delta = sqrt(u[t-1] + eps) / sqrt(v[t] + eps) * d
            delta = math.sqrt(u_old + eps) / math.sqrt(v + eps) * d
            # u[t] = rho*u[t-1] + (1 - rho)*delta^2
            u = rho * u_old + k0 * (delta * delta)
            # theta[t] = theta[t-1] - lr*delta
            theta = theta_old - lr * delta
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(v_at, i, f32(v), 2)
            write_f32(u_at, i, f32(u), 3)
