@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        rate_old = states[row, 0]
        growth_old = states[row, 1]
        scalars[row, 0] = direction[row]
        states[row, 0] = rate_old
        states[row, 1] = growth_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        x_at = addresses[tensor, 2] + offset
        y_at = addresses[tensor, 3] + offset
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
                y_old = f64(read_f32(y_at, i, 3))
                # dx = norm(theta[t-1] - x[t-1] over all)
                norm_all0_0 = theta_old - x_old
                # dy = norm(g[t] - y[t-1] over all)
                norm_all1_0 = g - y_old
                write_f64(scratch, j, norm_all0_0 * norm_all0_0, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, norm_all1_0 * norm_all1_0, 30)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        norm_all0 = hypers[row, 3]
        norm_all1 = hypers[row, 4]
        rate_old = states[row, 0]
        growth_old = states[row, 1]
        # dx = norm(theta[t-1] - x[t-1] over all)
        dx_0 = math.sqrt(norm_all0)
        # dy = norm(g[t] - y[t-1] over all)
        dy_0 = math.sqrt(norm_all1)
        # limit_of_growth = sqrt(1 + growth[t-1])*rate[t-1]
        limit_of_growth = math.sqrt(1.0 + growth_old) * rate_old
        s0 = t[row] == 1.0
        # rate[t] = if dy > 0 then min(limit_of_growth, dx/(2*dy)) else limit_of_growth
        rate = where(s0, lr, where(dy_0 > 0.0, minimum(limit_of_growth, dx_0 / (2.0 * dy_0)), limit_of_growth))
        # growth[t] = if rate[t-1] > 0 then rate[t]/rate[t-1] else 1
        growth = where(s0, 1e+30, where(rate_old > 0.0, rate / rate_old, 1.0))
        scalars[row, 0] = direction[row]
        scalars[row, 1] = rate
        states[row, 0] = rate
        states[row, 1] = growth


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        x_at = addresses[tensor, 2] + offset
        y_at = addresses[tensor, 3] + offset
        direction = scalars[row, 0]
        rate = scalars[row, 1]
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            # theta[t] = theta[t-1] - rate[t]*g[t]
            theta = theta_old - rate * g
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(x_at, i, f32(theta_old), 2)
            write_f32(y_at, i, f32(g), 3)
