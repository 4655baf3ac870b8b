@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        lr_decay = hypers[row, 1]
        weight_decay = hypers[row, 2]
        eps = hypers[row, 4]
        # rate = lr / (1 + (t - 1)*lr_decay)
        rate = lr / (1.0 + (t[row] - 1.0) * lr_decay)
        scalars[row, 0] = weight_decay
        scalars[row, 1] = eps
        scalars[row, 2] = direction[row]
        scalars[row, 3] = rate


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        s_at = addresses[tensor, 2] + offset
        weight_decay = scalars[row, 0]
        eps = scalars[row, 1]
        direction = scalars[row, 2]
        rate = scalars[row, 3]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            s_old = f64(read_f32(s_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # s[t] = s[t-1] + d^2
            s = s_old + d * d
            # scale = if eps_in_sqrt then sqrt(s[t] + eps) else sqrt(s[t]) + eps
            scale = math.sqrt(s) + eps
            # theta[t] = theta[t-1] - rate*d / scale
            theta = theta_old - rate * d / scale
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(s_at, i, f32(s), 2)
