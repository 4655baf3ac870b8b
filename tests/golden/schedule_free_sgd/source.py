@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta = hypers[row, 1]
        weight_decay = hypers[row, 2]
        warmup_steps = hypers[row, 3]
        r = hypers[row, 4]
        lr_max_old = states[row, 0]
        total_old = states[row, 1]
        # rate = lr*min(t/max(warmup_steps, 1), 1)
        rate = lr * minimum(t[row] / maximum(warmup_steps, 1.0), 1.0)
        # lr_max[t] = max(lr_max[t-1], rate)
        lr_max = maximum(lr_max_old, rate)
        # weight = t^r*lr_max[t]^2
        weight = power(t[row], r) * (lr_max * lr_max)
        # total[t] = total[t-1] + weight
        total_ = total_old + weight
        # c = if total[t] > 0 then weight/total[t] else 0
        c = where(total_ > 0.0, weight / total_, 0.0)
        k0 = 1.0 - c
        k1 = rate * (1.0 - beta * k0)
        scalars[row, 0] = weight_decay
        scalars[row, 1] = direction[row]
        scalars[row, 2] = rate
        scalars[row, 3] = c
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        states[row, 0] = lr_max
        states[row, 1] = total_


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        z_at = addresses[tensor, 2] + offset
        weight_decay = scalars[row, 0]
        direction = scalars[row, 1]
        rate = scalars[row, 2]
        c = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            z_old = f64(read_f32(z_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # theta[t] = (1 - c)*theta[t-1] + c*z[t-1] - rate*(1 - beta*(1 - c))*d
            theta = k0 * theta_old + c * z_old - k1 * d
            # z[t] = z[t-1] - rate*d
            z = z_old - rate * d
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(z_at, i, f32(z), 2)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta = hypers[row, 1]
        lr_max_old = states[row, 0]
        total_old = states[row, 1]
        k0 = 1.0 - beta
        beta_inverse = 1.0 / beta
        scalars[row, 0] = k0
        scalars[row, 1] = beta_inverse
        states[row, 0] = lr_max_old
        states[row, 1] = total_old


@kernel
def view_x(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        z_at = addresses[tensor, 2] + offset
        k0 = scalars[row, 0]
        beta_inverse = scalars[row, 1]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            z_old = f64(read_f32(z_at, i, 2))
            # output x = (theta[t] - (1 - beta)*z[t]) / beta
            theta = (theta_old - k0 * z_old) * beta_inverse
            write_f32(theta_at, i, f32(theta), 0)
