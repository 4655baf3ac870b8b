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
        lr = hypers[row, 0]
        max_lr = hypers[row, 1]
        f_min = hypers[row, 2]
        loss_given = hypers[row, 3]
        norm_all0 = hypers[row, 6]
        loss = direction[row] * loss_given
        # gap = if plus then max(loss - f_min, 0) else loss - f_min
        gap = loss - f_min
        # size = norm(g[t] over all)^2
        size__0 = math.sqrt(norm_all0)
        # size = norm(g[t] over all)^2
        size_ = size__0 * size__0
        # gamma = if size > 0 then min(gap/size, max_lr) else 0
        gamma = where(size_ > 0.0, minimum(gap / size_, max_lr), 0.0)
        k0 = lr * gamma
        scalars[row, 0] = direction[row]
        scalars[row, 1] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        direction = scalars[row, 0]
        k0 = scalars[row, 1]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            # theta[t] = theta[t-1] - lr*gamma*g[t]
            theta = theta_old - k0 * g
            write_f32(theta_at, i, f32(theta), 0)
