@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        mu = hypers[row, 1]
        dampening = hypers[row, 2]
        derivative = hypers[row, 3]
        integral = hypers[row, 4]
        weight_decay = hypers[row, 5]
        # fresh = if t == 1 then 0 else 1 - mu
        fresh = where(t[row] == 1.0, 0.0, 1.0 - mu)
        k0 = 1.0 - dampening
        scalars[row, 0] = lr
        scalars[row, 1] = mu
        scalars[row, 2] = derivative
        scalars[row, 3] = integral
        scalars[row, 4] = weight_decay
        scalars[row, 5] = direction[row]
        scalars[row, 6] = fresh
        scalars[row, 7] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        old_at = addresses[tensor, 2] + offset
        i_at = addresses[tensor, 3] + offset
        c_at = addresses[tensor, 4] + offset
        lr = scalars[row, 0]
        mu = scalars[row, 1]
        derivative = scalars[row, 2]
        integral = scalars[row, 3]
        weight_decay = scalars[row, 4]
        direction = scalars[row, 5]
        fresh = scalars[row, 6]
        k0 = scalars[row, 7]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            i_old = f64(read_f32(i_at, i, 3))
            c_old = f64(read_f32(c_at, i, 4))
            old_old = f64(read_f32(old_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # i[t] = mu*i[t-1] + (1 - dampening)*d
            i_ = mu * i_old + k0 * d
            # c[t] = mu*c[t-1] + fresh*(d - old[t-1])
            c = mu * c_old + fresh * (d - old_old)
            # theta[t] = theta[t-1] - lr*(d + integral*i[t] + derivative*c[t])
            theta = theta_old - lr * (d + integral * i_ + derivative * c)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(old_at, i, f32(d), 2)
            write_f32(i_at, i, f32(i_), 3)
            write_f32(c_at, i, f32(c), 4)
