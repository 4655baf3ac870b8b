@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        warmup_steps = hypers[row, 5]
        r = hypers[row, 6]
        lr_max_old = states[row, 0]
        total_old = states[row, 1]
        # bias = 1 - beta2^t
        bias = 1.0 - power(beta2, t[row])
        # rate = lr*min(t/max(warmup_steps, 1), 1)*(if corrected then 1 else sqrt(bias))
        rate = lr * minimum(t[row] / maximum(warmup_steps, 1.0), 1.0) * math.sqrt(bias)
        # lr_max[t] = max(lr_max[t-1], rate)
        lr_max = maximum(lr_max_old, rate)
        # weight = t^r*lr_max[t]^2
        weight = power(t[row], r) * (lr_max * lr_max)
        # total[t] = total[t-1] + weight
        total_ = total_old + weight
        # c = if total[t] > 0 then weight/total[t] else 0
        c = where(total_ > 0.0, weight / total_, 0.0)
        k0 = 1.0 - beta2
        k1 = 1.0 - c
        k2 = rate * (1.0 - beta1 * k1)
        scalars[row, 0] = beta2
        scalars[row, 1] = eps
        scalars[row, 2] = weight_decay
        scalars[row, 3] = direction[row]
        scalars[row, 4] = rate
        scalars[row, 5] = c
        scalars[row, 6] = k0
        scalars[row, 7] = k1
        scalars[row, 8] = k2
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
        v_at = addresses[tensor, 3] + offset
        beta2 = scalars[row, 0]
        eps = scalars[row, 1]
        weight_decay = scalars[row, 2]
        direction = scalars[row, 3]
        rate = scalars[row, 4]
        c = scalars[row, 5]
        k0 = scalars[row, 6]
        k1 = scalars[row, 7]
        k2 = scalars[row, 8]
        for i in range(size):
            v_old = f64(read_f32(v_at, i, 3))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            z_old = f64(read_f32(z_at, i, 2))
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k0 * (g * g)
            # d = g[t] / (sqrt(if corrected then v[t]/bias else v[t]) + eps) + weight_decay*theta[t-1]
            d = g / (math.sqrt(v) + eps) + weight_decay * theta_old
            # theta[t] = (1 - c)*theta[t-1] + c*z[t-1] - rate*(1 - beta1*(1 - c))*d
            theta = k1 * theta_old + c * z_old - k2 * d
            # z[t] = z[t-1] - rate*d
            z = z_old - rate * d
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(z_at, i, f32(z), 2)
            write_f32(v_at, i, f32(v), 3)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta1 = hypers[row, 1]
        lr_max_old = states[row, 0]
        total_old = states[row, 1]
        k0 = 1.0 - beta1
        beta1_inverse = 1.0 / beta1
        scalars[row, 0] = k0
        scalars[row, 1] = beta1_inverse
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
        beta1_inverse = scalars[row, 1]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            z_old = f64(read_f32(z_at, i, 2))
            # output x = (theta[t] - (1 - beta1)*z[t]) / beta1
            theta = (theta_old - k0 * z_old) * beta1_inverse
            write_f32(theta_at, i, f32(theta), 0)
