@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        beta3 = hypers[row, 3]
        weight_decay = hypers[row, 4]
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = beta3
        scalars[row, 4] = weight_decay
        scalars[row, 5] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        b1_at = addresses[tensor, 2] + offset
        b2_at = addresses[tensor, 3] + offset
        b3_at = addresses[tensor, 4] + offset
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        beta3 = scalars[row, 3]
        weight_decay = scalars[row, 4]
        direction = scalars[row, 5]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            b1_old = f64(read_f32(b1_at, i, 2))
            b2_old = f64(read_f32(b2_at, i, 3))
            b3_old = f64(read_f32(b3_at, i, 4))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # b1[t] = beta1*b1[t-1] + d
            b1 = beta1 * b1_old + d
            # b2[t] = beta2*b2[t-1] + d
            b2 = beta2 * b2_old + d
            # b3[t] = beta3*b3[t-1] + d
            b3 = beta3 * b3_old + d
            # theta[t] = theta[t-1] - lr*(b1[t] + b2[t] + b3[t])/3
            theta = theta_old - lr * (b1 + b2 + b3) / 3.0
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(b1_at, i, f32(b1), 2)
            write_f32(b2_at, i, f32(b2), 3)
            write_f32(b3_at, i, f32(b3), 4)
