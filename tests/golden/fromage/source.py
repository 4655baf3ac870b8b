@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        scalars[row, 0] = direction[row]


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                theta_old = f64(read_f32(theta_at, i, 0))
                g = direction * f64(read_f32(g_at, i, 1))
                write_f64(scratch, j, theta_old * theta_old, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, g * g, 30)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        norm0 = hypers[row, 3]
        norm1 = hypers[row, 4]
        # p = norm(theta[t-1])
        p_0 = math.sqrt(norm0)
        # q = norm(g[t])
        q_0 = math.sqrt(norm1)
        k0 = p_0 > 0.0 and q_0 > 0.0
        k1 = p_0 / q_0
        k2 = math.sqrt(1.0 + lr * lr)
        k2_inverse = 1.0 / k2
        scalars[row, 0] = lr
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0
        scalars[row, 3] = k1
        scalars[row, 4] = k2_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        lr = scalars[row, 0]
        direction = scalars[row, 1]
        k0 = scalars[row, 2] != 0.0
        k1 = scalars[row, 3]
        k2_inverse = scalars[row, 4]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # u = if p > 0 and q > 0 then g[t]*(p/q) else g[t]
            u = where(k0, g * k1, g)
            # theta[t] = (theta[t-1] - lr*u) / sqrt(1 + lr^2)
            theta = (theta_old - lr * u) * k2_inverse
            write_f32(theta_at, i, f32(theta), 0)
