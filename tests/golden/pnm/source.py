@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta0 = hypers[row, 2]
        weight_decay = hypers[row, 3]
        # length = sqrt((1 + beta0)^2 + beta0^2)
        length_0 = 1.0 + beta0
        # length = sqrt((1 + beta0)^2 + beta0^2)
        length = math.sqrt(length_0 * length_0 + beta0 * beta0)
        k0 = beta1 * beta1
        k1 = 1.0 - k0
        k2 = 1.0 - lr * weight_decay
        length_inverse = 1.0 / length
        scalars[row, 0] = lr
        scalars[row, 1] = beta0
        scalars[row, 2] = direction[row]
        scalars[row, 3] = length_0
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        scalars[row, 6] = k2
        scalars[row, 7] = length_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        a_at = addresses[tensor, 2] + offset
        b_at = addresses[tensor, 3] + offset
        lr = scalars[row, 0]
        beta0 = scalars[row, 1]
        direction = scalars[row, 2]
        length_0 = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5]
        k2 = scalars[row, 6]
        length_inverse = scalars[row, 7]
        for i in range(size):
            b_old = f64(read_f32(b_at, i, 3))
            g = direction * f64(read_f32(g_at, i, 1))
            a_old = f64(read_f32(a_at, i, 2))
            theta_old = f64(read_f32(theta_at, i, 0))
            # a[t] = beta1^2*b[t-1] + (1 - beta1^2)*g[t]
            a = k0 * b_old + k1 * g
            # u = ((1 + beta0)*a[t] - beta0*b[t]) / length
            u = (length_0 * a - beta0 * a_old) * length_inverse
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*u
            theta = k2 * theta_old - lr * u
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(a_at, i, f32(a), 2)
            write_f32(b_at, i, f32(a_old), 3)
