@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        scalars[row, 0] = direction[row]


@matrix_reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        partials[chunk, 2] = 0.0
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            x_at = addresses[tensor, 2] + f32_bytes(line * width)
            d_at = addresses[tensor, 3] + f32_bytes(line * width)
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    theta_old = f64(read_f32(theta_at, i, 0))
                    x_old = f64(read_f32(x_at, i, 2))
                    g = direction * f64(read_f32(g_at, i, 1))
                    d_old = f64(read_f32(d_at, i, 3))
                    # dx = theta[t-1] - x[t-1]
                    dx = theta_old - x_old
                    # dg = g[t] - d[t-1]
                    dg = g - d_old
                    write_f64(scratch, j, dx * dg, 31)
                    write_f64(scratch + f64_bytes(BLOCK), j, g * g, 30)
                    write_f64(scratch + f64_bytes(2 * BLOCK), j, dg * dg, 29)
                partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
                partials[chunk, 1] = partials[chunk, 1] + block_sum1(scratch + f64_bytes(BLOCK), count)
                partials[chunk, 2] = partials[chunk, 2] + block_sum2(scratch + f64_bytes(2 * BLOCK), count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        dot_all0 = hypers[row, 6]
        s0 = dot_all0 > 0.0
        # scale = if sy > 0 then 1/sqrt(sy) else 0
        scale = where(s0, 1.0 / math.sqrt(dot_all0), 0.0)
        scalars[row, 0] = direction[row]
        scalars[row, 1] = scale


@kernel
def reduce1(addresses, chunks, first, last, scalars):
    """Chunks first..last, only reads: computes in f64, lays out in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        direction = scalars[row, 0]
        scale = scalars[row, 1]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            x_at = addresses[tensor, 2] + f32_bytes(line * width)
            d_at = addresses[tensor, 3] + f32_bytes(line * width)
            g_operand_at = addresses[tensor, 6] + f64_bytes(line * width)
            s_operand_at = addresses[tensor, 7] + f64_bytes(line * width)
            y_operand_at = addresses[tensor, 8] + f64_bytes(line * width)
            for i in range(width):
                theta_old = f64(read_f32(theta_at, i, 0))
                x_old = f64(read_f32(x_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                d_old = f64(read_f32(d_at, i, 3))
                # dx = theta[t-1] - x[t-1]
                dx = theta_old - x_old
                # dg = g[t] - d[t-1]
                dg = g - d_old
                # s[t] = scale*dx
                s = scale * dx
                # y[t] = scale*dg
                y = scale * dg
                write_f64(g_operand_at, i, g, 6)
                write_f64(s_operand_at, i, f64(f32(s)), 7)
                write_f64(y_operand_at, i, f64(f32(y)), 8)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        memory_size = hypers[row, 1]
        dot_all0 = hypers[row, 6]
        norm_all1 = hypers[row, 7]
        norm_all2 = hypers[row, 8]
        # size = if first_step_by_1_norm then sum(abs(g[t]) over all) else norm(g[t] over all)
        size__0 = math.sqrt(norm_all1)
        # scaled = if t == 1 then 1/max(1, size) else if sy > 0 then sy/norm(dg over all)^2 else 1
        scaled_0 = math.sqrt(norm_all2)
        # scaled = if t == 1 then 1/max(1, size) else if sy > 0 then sy/norm(dg over all)^2 else 1
        scaled = where(t[row] == 1.0, 1.0 / maximum(1.0, size__0), where(dot_all0 > 0.0, dot_all0 / (scaled_0 * scaled_0), 1.0))
        k0 = memory_size - 1.0
        scalars[row, 0] = scaled
        scalars[row, 1] = k0


def past1(past, scalars):
    """On coefficients: every vector is a sum of what is remembered and given."""
    s_at = past_state(past, 0)
    y_at = past_state(past, 1)
    g_operand_at = past_given(past, 0)
    scaled = scalars[0]
    k0 = scalars[1]
    g_ = g_operand_at
    # back = repeat(k = 0 to memory_size - 1, q = g[t], a[k] = dot(s[t-k], q over all), q - a[k]*y[t-k])
    q = g_
    a = {}
    for k in past_rounds(0.0, k0):
        a[k] = past_dot_all(past, s_at[k], q)
        q = q - a[k] * y_at[k]
    back = q
    # step = repeat(k = memory_size - 1 to 0, r = gamma*back, r + (a[k] - dot(y[t-k], r over all))*s[t-k])
    r = scaled * back
    for k in past_rounds(k0, 0.0):
        r = r + (a[k] - past_dot_all(past, y_at[k], r)) * s_at[k]
    step = r
    return (step,)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        scalars[row, 0] = lr
        scalars[row, 1] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        lr = scalars[row, 0]
        direction = scalars[row, 1]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            x_at = addresses[tensor, 2] + f32_bytes(line * width)
            d_at = addresses[tensor, 3] + f32_bytes(line * width)
            step_result_at = addresses[tensor, 9] + f64_bytes(line * width)
            for i in range(width):
                theta_old = f64(read_f32(theta_at, i, 0))
                g = direction * f64(read_f32(g_at, i, 1))
                # step = repeat(k = memory_size - 1 to 0, r = gamma*back, r + (a[k] - dot(y[t-k], r over all))*s[t-k])
                step = read_f64(step_result_at, i, 9)
                # theta[t] = theta[t-1] - lr*step
                theta = theta_old - lr * step
                write_f32(theta_at, i, f32(theta), 0)
                write_f32(x_at, i, f32(theta_old), 2)
                write_f32(d_at, i, f32(g), 3)
