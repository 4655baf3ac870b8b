@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta = hypers[row, 1]
        fbar_old = states[row, 0]
        dots_old = states[row, 1]
        low_old = states[row, 2]
        s0 = t[row] == 1.0
        s1 = 1.0 - beta
        scalars[row, 0] = beta
        scalars[row, 1] = direction[row]
        scalars[row, 2] = s0
        scalars[row, 3] = s1
        states[row, 0] = fbar_old
        states[row, 1] = dots_old
        states[row, 2] = low_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        d_at = addresses[tensor, 2] + offset
        beta = scalars[row, 0]
        direction = scalars[row, 1]
        s0 = scalars[row, 2] != 0.0
        s1 = scalars[row, 3]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        partials[chunk, 2] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                d_old = f64(read_f32(d_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                theta_old = f64(read_f32(theta_at, i, 0))
                # d[t] = beta*d[t-1] + (1 - beta)*g[t]
                d = where(s0, g, beta * d_old + s1 * g)
                write_f64(scratch, j, g * theta_old, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, d * d, 30)
                write_f64(scratch + f64_bytes(2 * BLOCK), j, d * theta_old, 29)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)
            partials[chunk, 2] = partials[chunk, 2] + block_sum2(scratch + f64_bytes(2 * BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta = hypers[row, 1]
        weight_decay = hypers[row, 3]
        loss_given = hypers[row, 4]
        dot_all0 = hypers[row, 7]
        norm_all1 = hypers[row, 8]
        dot_all2 = hypers[row, 9]
        fbar_old = states[row, 0]
        dots_old = states[row, 1]
        low_old = states[row, 2]
        loss = direction[row] * loss_given
        s0 = t[row] == 1.0
        s1 = 1.0 - beta
        # fbar[t] = beta*fbar[t-1] + (1 - beta)*loss
        fbar = where(s0, loss, beta * fbar_old + s1 * loss)
        # dots[t] = beta*dots[t-1] + (1 - beta)*dot(g[t], theta[t-1] over all)
        dots = where(s0, dot_all0, beta * dots_old + s1 * dot_all0)
        # size = norm(d[t] over all)^2
        size__0 = math.sqrt(norm_all1)
        # size = norm(d[t] over all)^2
        size_ = size__0 * size__0
        # shrink = 1 + lr*weight_decay
        shrink = 1.0 + lr * weight_decay
        # cap = shrink*(fbar[t] - dots[t]) + ahead
        cap = shrink * (fbar - dots) + dot_all2
        # tau = if size > 0 then min(lr, max(cap - shrink*bound, 0)/size) else 0
        tau = where(size_ > 0.0, minimum(lr, maximum(cap - shrink * low_old, 0.0) / size_), 0.0)
        shrink_inverse = 1.0 / shrink
        scalars[row, 0] = beta
        scalars[row, 1] = direction[row]
        scalars[row, 2] = s0
        scalars[row, 3] = s1
        scalars[row, 4] = tau
        scalars[row, 5] = shrink_inverse
        states[row, 0] = fbar
        states[row, 1] = dots
        states[row, 2] = low_old


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        d_at = addresses[tensor, 2] + offset
        beta = scalars[row, 0]
        direction = scalars[row, 1]
        s0 = scalars[row, 2] != 0.0
        s1 = scalars[row, 3]
        tau = scalars[row, 4]
        shrink_inverse = scalars[row, 5]
        for i in range(size):
            d_old = f64(read_f32(d_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            # d[t] = beta*d[t-1] + (1 - beta)*g[t]
            d = where(s0, g, beta * d_old + s1 * g)
            # theta[t] = (theta[t-1] - tau*d[t]) / shrink
            theta = (theta_old - tau * d) * shrink_inverse
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(d_at, i, f32(d), 2)
