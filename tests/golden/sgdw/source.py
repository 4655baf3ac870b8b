@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        mu = hypers[row, 1]
        weight_decay = hypers[row, 2]
        dampening = hypers[row, 3]
        # fresh = if mu > 0 then 1 - dampening else 1
        fresh = where(mu > 0.0, 1.0 - dampening, 1.0)
        k0 = t[row] == 1.0
        k1 = 1.0 - lr * weight_decay
        scalars[row, 0] = lr
        scalars[row, 1] = mu
        scalars[row, 2] = direction[row]
        scalars[row, 3] = fresh
        scalars[row, 4] = k0
        scalars[row, 5] = k1


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        b_at = addresses[tensor, 2] + offset
        lr = scalars[row, 0]
        mu = scalars[row, 1]
        direction = scalars[row, 2]
        fresh = scalars[row, 3]
        k0 = scalars[row, 4] != 0.0
        k1 = scalars[row, 5]
        for i in range(size):
            b_old = f64(read_f32(b_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # b[t] = mu*b[t-1] + fresh*g[t]
            b = where(k0, g, mu * b_old + fresh * g)
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*u
            theta = k1 * theta_old - lr * b
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(b_at, i, f32(b), 2)
