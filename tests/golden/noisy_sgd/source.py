@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        eta = hypers[row, 1]
        gamma = hypers[row, 2]
        k0 = math.sqrt(eta / power(t[row], gamma))
        scalars[row, 0] = lr
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        normal_draw0_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        direction = scalars[row, 1]
        k0 = scalars[row, 2]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            normal_draw0 = f64(read_f32(normal_draw0_at, i, 2))
            theta_old = f64(read_f32(theta_at, i, 0))
            # noisy = g[t] + sqrt(eta/t^gamma)*normal()
            noisy = g + k0 * normal_draw0
            # theta[t] = theta[t-1] - lr*noisy
            theta = theta_old - lr * noisy
            write_f32(theta_at, i, f32(theta), 0)
