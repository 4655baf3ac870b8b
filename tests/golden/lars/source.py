@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        weight_decay = hypers[row, 2]
        scalars[row, 0] = weight_decay
        scalars[row, 1] = direction[row]


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
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
                # d = g[t] + weight_decay*theta[t-1]
                d = g + weight_decay * theta_old
                write_f64(scratch, j, theta_old * theta_old, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, d * d, 30)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        mu = hypers[row, 1]
        weight_decay = hypers[row, 2]
        eta = hypers[row, 3]
        eps = hypers[row, 4]
        norm0 = hypers[row, 7]
        norm1 = hypers[row, 8]
        # p = norm(theta[t-1])
        p_0 = math.sqrt(norm0)
        # q = norm(d)
        q_0 = math.sqrt(norm1)
        # ratio = if p > 0 and q > 0 then eta*p / (q + eps) else 1
        ratio = where(p_0 > 0.0 and q_0 > 0.0, eta * p_0 / (q_0 + eps), 1.0)
        k0 = lr * ratio
        scalars[row, 0] = mu
        scalars[row, 1] = weight_decay
        scalars[row, 2] = direction[row]
        scalars[row, 3] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        b_at = addresses[tensor, 2] + offset
        mu = scalars[row, 0]
        weight_decay = scalars[row, 1]
        direction = scalars[row, 2]
        k0 = scalars[row, 3]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            b_old = f64(read_f32(b_at, i, 2))
            # d = g[t] + weight_decay*theta[t-1]
            d = g + weight_decay * theta_old
            # u = lr*ratio*d
            u = k0 * d
            # b[t] = mu*b[t-1] + u
            b = mu * b_old + u
            # theta[t] = theta[t-1] - (if nesterov then u + mu*b[t] else b[t])
            theta = theta_old - b
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(b_at, i, f32(b), 2)
