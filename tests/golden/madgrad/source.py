@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        momentum = hypers[row, 1]
        weight_decay = hypers[row, 2]
        eps = hypers[row, 3]
        # weight = (lr + eps)*sqrt(t)
        weight = (lr + eps) * math.sqrt(t[row])
        k0 = 1.0 - momentum
        scalars[row, 0] = momentum
        scalars[row, 1] = weight_decay
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = weight
        scalars[row, 5] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        first_at = addresses[tensor, 2] + offset
        s_at = addresses[tensor, 3] + offset
        v_at = addresses[tensor, 4] + offset
        momentum = scalars[row, 0]
        weight_decay = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        weight = scalars[row, 4]
        k0 = scalars[row, 5]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            first_old = f64(read_f32(first_at, i, 2))
            s_old = f64(read_f32(s_at, i, 3))
            v_old = f64(read_f32(v_at, i, 4))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # s[t] = s[t-1] + weight*d
            s = s_old + weight * d
            # v[t] = v[t-1] + weight*d^2
            v = v_old + weight * (d * d)
            # z = first[t] - s[t] / (cbrt(v[t]) + eps)
            z = first_old - s / (vector_short_cbrt(v) + eps)
            # theta[t] = momentum*theta[t-1] + (1 - momentum)*z
            theta = momentum * theta_old + k0 * z
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(s_at, i, f32(s), 3)
            write_f32(v_at, i, f32(v), 4)
