@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta = hypers[row, 1]
        lambda_1 = hypers[row, 2]
        lambda_2 = hypers[row, 3]
        k0 = -lambda_1
        lr_inverse = 1.0 / lr
        scalars[row, 0] = beta
        scalars[row, 1] = lambda_1
        scalars[row, 2] = lambda_2
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = lr_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        z_at = addresses[tensor, 2] + offset
        n_at = addresses[tensor, 3] + offset
        beta = scalars[row, 0]
        lambda_1 = scalars[row, 1]
        lambda_2 = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        lr_inverse = scalars[row, 5]
        for i in range(size):
            n_old = f64(read_f32(n_at, i, 3))
            g = direction * f64(read_f32(g_at, i, 1))
            z_old = f64(read_f32(z_at, i, 2))
            theta_old = f64(read_f32(theta_at, i, 0))
            # n[t] = n[t-1] + g[t]^2
            n = n_old + g * g
            s0 = math.sqrt(n)
            # sigma = (sqrt(n[t]) - sqrt(n[t-1])) / lr
            sigma = (s0 - math.sqrt(n_old)) * lr_inverse
            # z[t] = z[t-1] + g[t] - sigma*theta[t-1]
            z = z_old + g - sigma * theta_old
            # rate = 1 / ((beta + sqrt(n[t]))/lr + lambda_2)
            rate = 1.0 / ((beta + s0) * lr_inverse + lambda_2)
            # theta[t] = (clip(z[t], -lambda_1, lambda_1) - z[t]) * rate
            theta = (minimum(maximum(z, k0), lambda_1) - z) * rate
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(z_at, i, f32(z), 2)
            write_f32(n_at, i, f32(n), 3)
