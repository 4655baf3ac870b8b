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
        g_at = addresses[tensor, 1] + offset
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                write_f64(scratch, j, g * g, 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        c = hypers[row, 0]
        bound = hypers[row, 1]
        f_min = hypers[row, 2]
        loss_given = hypers[row, 3]
        norm_all0 = hypers[row, 6]
        loss = direction[row] * loss_given
        # n = norm(g[t] over all)
        n_0 = math.sqrt(norm_all0)
        # rate = if n > 0 then min((loss - f_min) / (c*n^2), bound) else 0
        rate = where(n_0 > 0.0, minimum((loss - f_min) / (c * (n_0 * n_0)), bound), 0.0)
        scalars[row, 0] = direction[row]
        scalars[row, 1] = rate


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        direction = scalars[row, 0]
        rate = scalars[row, 1]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            # theta[t] = theta[t-1] - rate*g[t]
            theta = theta_old - rate * g
            write_f32(theta_at, i, f32(theta), 0)
