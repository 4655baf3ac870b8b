@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        fbar_old = states[row, 0]
        dots_old = states[row, 1]
        low_old = states[row, 2]
        s0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta2, t[row])
        k2_inverse = 1.0 / k2
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = s0
        scalars[row, 5] = k1
        scalars[row, 6] = k2_inverse
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
        v_at = addresses[tensor, 3] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        s0 = scalars[row, 4]
        k1 = scalars[row, 5]
        k2_inverse = scalars[row, 6]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        partials[chunk, 2] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                d_old = f64(read_f32(d_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                v_old = f64(read_f32(v_at, i, 3))
                theta_old = f64(read_f32(theta_at, i, 0))
                # d[t] = beta1*d[t-1] + (1 - beta1)*g[t]
                d = beta1 * d_old + s0 * g
                # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
                v = beta2 * v_old + k1 * (g * g)
                # u = d[t] / (sqrt(v[t]/(1 - beta2^t)) + eps)
                u = d / (math.sqrt(v * k2_inverse) + eps)
                write_f64(scratch, j, g * theta_old, 31)
                write_f64(scratch + f64_bytes(BLOCK), j, d * u, 30)
                write_f64(scratch + f64_bytes(2 * BLOCK), j, d * theta_old, 29)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
            partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)
            partials[chunk, 2] = partials[chunk, 2] + block_sum2(scratch + f64_bytes(2 * BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 5]
        loss_given = hypers[row, 6]
        dot_all0 = hypers[row, 9]
        dot_all1 = hypers[row, 10]
        dot_all2 = hypers[row, 11]
        fbar_old = states[row, 0]
        dots_old = states[row, 1]
        low_old = states[row, 2]
        loss = direction[row] * loss_given
        s0 = 1.0 - beta1
        # fbar[t] = beta1*fbar[t-1] + (1 - beta1)*loss
        fbar = beta1 * fbar_old + s0 * loss
        # dots[t] = beta1*dots[t-1] + (1 - beta1)*dot(g[t], theta[t-1] over all)
        dots = beta1 * dots_old + s0 * dot_all0
        # rho = 1 - beta1^t
        rho = 1.0 - power(beta1, t[row])
        # shrink = 1 + lr*weight_decay
        shrink = 1.0 + lr * weight_decay
        # cap = shrink*(fbar[t] - dots[t]) + ahead
        cap = shrink * (fbar - dots) + dot_all2
        # tau = if size > 0 then min(lr/rho, max(cap - shrink*rho*bound, 0)/size) else 0
        tau = where(dot_all1 > 0.0, minimum(lr / rho, maximum(cap - shrink * rho * low_old, 0.0) / dot_all1), 0.0)
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta2, t[row])
        k2_inverse = 1.0 / k2
        shrink_inverse = 1.0 / shrink
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = s0
        scalars[row, 5] = tau
        scalars[row, 6] = k1
        scalars[row, 7] = k2_inverse
        scalars[row, 8] = shrink_inverse
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
        v_at = addresses[tensor, 3] + offset
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        s0 = scalars[row, 4]
        tau = scalars[row, 5]
        k1 = scalars[row, 6]
        k2_inverse = scalars[row, 7]
        shrink_inverse = scalars[row, 8]
        for i in range(size):
            d_old = f64(read_f32(d_at, i, 2))
            g = direction * f64(read_f32(g_at, i, 1))
            v_old = f64(read_f32(v_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # d[t] = beta1*d[t-1] + (1 - beta1)*g[t]
            d = beta1 * d_old + s0 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k1 * (g * g)
            # u = d[t] / (sqrt(v[t]/(1 - beta2^t)) + eps)
            u = d / (math.sqrt(v * k2_inverse) + eps)
            # theta[t] = (theta[t-1] - tau*u) / shrink
            theta = (theta_old - tau * u) * shrink_inverse
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(d_at, i, f32(d), 2)
            write_f32(v_at, i, f32(v), 3)
