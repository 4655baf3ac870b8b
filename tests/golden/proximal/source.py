@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        l1 = hypers[row, 1]
        l2 = hypers[row, 2]
        k0 = lr * l1
        k1 = 1.0 + lr * l2
        k1_inverse = 1.0 / k1
        scalars[row, 0] = lr
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0
        scalars[row, 3] = k1_inverse


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
        k0 = scalars[row, 2]
        k1_inverse = scalars[row, 3]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            # x = theta[t-1] - lr*g[t]
            x = theta_old - lr * g
            # theta[t] = sign(x)*max(0, abs(x) - lr*l1) / (1 + lr*l2)
            theta = sign(x) * maximum(0.0, abs(x) - k0) * k1_inverse
            write_f32(theta_at, i, f32(theta), 0)
