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
        x_at = addresses[tensor, 2] + offset
        d_at = addresses[tensor, 3] + offset
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                theta_old = f64(read_f32(theta_at, i, 0))
                x_old = f64(read_f32(x_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                d_old = f64(read_f32(d_at, i, 3))
                # s = theta[t-1] - x[t-1]
                s = theta_old - x_old
                # y = g[t] - d[t-1]
                y = g - d_old
                write_f64(scratch, j, s * y, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, s * s, 30)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        dot_all0 = hypers[row, 3]
        dot_all1 = hypers[row, 4]
        # rate = if not (sy > 0) then lr else if short then sy/dot(y, y over all) else dot(s, s over all)/sy
        rate = where(not dot_all0 > 0.0, lr, dot_all1 / dot_all0)
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
        x_at = addresses[tensor, 2] + offset
        d_at = addresses[tensor, 3] + offset
        direction = scalars[row, 0]
        rate = scalars[row, 1]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            # theta[t] = theta[t-1] - rate*g[t]
            theta = theta_old - rate * g
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(x_at, i, f32(theta_old), 2)
            write_f32(d_at, i, f32(g), 3)
