@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        mu = hypers[row, 1]
        dampening = hypers[row, 2]
        weight_decay = hypers[row, 3]
        # fresh = if mu > 0 then 1 - dampening else 1
        fresh = where(mu > 0.0, 1.0 - dampening, 1.0)
        k0 = t[row] == 1.0
        scalars[row, 0] = lr
        scalars[row, 1] = mu
        scalars[row, 2] = weight_decay
        scalars[row, 3] = direction[row]
        scalars[row, 4] = fresh
        scalars[row, 5] = k0


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
        weight_decay = scalars[row, 2]
        direction = scalars[row, 3]
        fresh = scalars[row, 4]
        k0 = scalars[row, 5] != 0.0
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            b_old = f64(read_f32(b_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # b[t] = mu*b[t-1] + fresh*d
            b = where(k0, d, mu * b_old + fresh * d)
            # theta[t] = theta[t-1] - lr*(if nesterov then d + mu*b[t] else b[t])
            theta = theta_old - lr * b
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(b_at, i, f32(b), 2)
