@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        k0 = 1.0 - beta2
        k1 = beta2 - beta1
        scalars[row, 0] = lr
        scalars[row, 1] = eps
        scalars[row, 2] = direction[row]
        scalars[row, 3] = k0
        scalars[row, 4] = k1


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        old_at = addresses[tensor, 2] + offset
        s_at = addresses[tensor, 3] + offset
        n_at = addresses[tensor, 4] + offset
        v_at = addresses[tensor, 5] + offset
        lr = scalars[row, 0]
        eps = scalars[row, 1]
        direction = scalars[row, 2]
        k0 = scalars[row, 3]
        k1 = scalars[row, 4]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            old_old = f64(read_f32(old_at, i, 2))
            s_old = f64(read_f32(s_at, i, 3))
            n_old = f64(read_f32(n_at, i, 4))
            v_old = f64(read_f32(v_at, i, 5))
            g = direction * f64(read_f32(g_at, i, 1))
            # moved = theta[t-1] - old[t-1]
            moved = theta_old - old_old
            # s[t] = s[t-1] + moved
            s = s_old + moved
            # n[t] = n[t-1] + abs(moved)
            n = n_old + abs(moved)
            # ratio = abs(s[t]) / (n[t] + eps)
            ratio = abs(s) / (n + eps)
            # c = 1 - beta2 + (beta2 - beta1)*ratio
            c = k0 + k1 * ratio
            s0 = c * c
            # v[t] = (1 - c^2)*v[t-1] + c^2*g[t]^2
            v = (1.0 - s0) * v_old + s0 * (g * g)
            # theta[t] = theta[t-1] - lr*g[t] / sqrt(v[t] + eps)
            theta = theta_old - lr * g / math.sqrt(v + eps)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(old_at, i, f32(theta_old), 2)
            write_f32(s_at, i, f32(s), 3)
            write_f32(n_at, i, f32(n), 4)
            write_f32(v_at, i, f32(v), 5)
