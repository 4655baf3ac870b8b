@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        kappa = hypers[row, 1]
        xi = hypers[row, 2]
        constant = hypers[row, 3]
        weight_decay = hypers[row, 4]
        # beta = xi*constant^2 / kappa
        beta = xi * (constant * constant) / kappa
        # zeta = constant / (constant + beta)
        zeta = constant / (constant + beta)
        k0 = 1.0 - beta
        k1 = lr * kappa / constant
        k2 = 1.0 - zeta
        scalars[row, 0] = lr
        scalars[row, 1] = weight_decay
        scalars[row, 2] = direction[row]
        scalars[row, 3] = beta
        scalars[row, 4] = zeta
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k2


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        w_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        weight_decay = scalars[row, 1]
        direction = scalars[row, 2]
        beta = scalars[row, 3]
        zeta = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k2 = scalars[row, 7]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            w_old = f64(read_f32(w_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # w[t] = (1 - beta)*w[t-1] + beta*(theta[t-1] - lr*kappa/constant*d)
            w = k0 * w_old + beta * (theta_old - k1 * d)
            # theta[t] = zeta*(theta[t-1] - lr*d) + (1 - zeta)*w[t]
            theta = zeta * (theta_old - lr * d) + k2 * w
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(w_at, i, f32(w), 2)
