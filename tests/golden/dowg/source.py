@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        weight_decay = hypers[row, 2]
        r_old = states[row, 0]
        s_old = states[row, 1]
        scalars[row, 0] = weight_decay
        scalars[row, 1] = direction[row]
        states[row, 0] = r_old
        states[row, 1] = s_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        x0_at = addresses[tensor, 2] + offset
        weight_decay = scalars[row, 0]
        direction = scalars[row, 1]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                theta_old = f64(read_f32(theta_at, i, 0))
                x0_old = f64(read_f32(x0_at, i, 2))
                # d = g[t] + weight_decay*theta[t-1]
                d = g + weight_decay * theta_old
                # r[t] = max(r[t-1], norm(theta[t-1] - x0[t-1] over all)^2)
                norm_all0_0 = theta_old - x0_old
                write_f64(scratch, j, norm_all0_0 * norm_all0_0, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, d * d, 30)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        eps = hypers[row, 1]
        weight_decay = hypers[row, 2]
        norm_all0 = hypers[row, 5]
        norm_all1 = hypers[row, 6]
        r_old = states[row, 0]
        s_old = states[row, 1]
        # r[t] = max(r[t-1], norm(theta[t-1] - x0[t-1] over all)^2)
        r_0 = math.sqrt(norm_all0)
        # r[t] = max(r[t-1], norm(theta[t-1] - x0[t-1] over all)^2)
        r = maximum(r_old, r_0 * r_0)
        # s[t] = s[t-1] + r[t]*norm(d over all)^2
        s_0 = math.sqrt(norm_all1)
        # s[t] = s[t-1] + r[t]*norm(d over all)^2
        s = s_old + r * (s_0 * s_0)
        k0 = lr * r / (math.sqrt(s) + eps)
        scalars[row, 0] = weight_decay
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0
        states[row, 0] = r
        states[row, 1] = s


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        weight_decay = scalars[row, 0]
        direction = scalars[row, 1]
        k0 = scalars[row, 2]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # theta[t] = theta[t-1] - lr*r[t]/(sqrt(s[t]) + eps)*d
            theta = theta_old - k0 * d
            write_f32(theta_at, i, f32(theta), 0)
