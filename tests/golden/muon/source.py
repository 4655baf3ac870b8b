@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        mu = hypers[row, 2]
        # ahead = if bias_correction then (1 - mu^t)/(1 - mu^(t + 1)) else 1
        ahead = 1.0
        k0 = 1.0 - mu
        k1 = ahead * mu
        scalars[row, 0] = mu
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0
        scalars[row, 3] = k1


@matrix_reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums and lays out in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        mu = scalars[row, 0]
        direction = scalars[row, 1]
        k0 = scalars[row, 2]
        k1 = scalars[row, 3]
        partials[chunk, 0] = 0.0
        for line in range(start // width, (start + size) // width):
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            u_operand_at = addresses[tensor, 3] + f64_bytes(line * width)
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    m_old = f64(read_f32(m_at, i, 2))
                    g = direction * f64(read_f32(g_at, i, 1))
                    s0 = k0 * g
                    # m[t] = mu*m[t-1] + (1 - mu)*g[t]
                    m = mu * m_old + s0
                    # u = if nesterov then ahead*mu*m[t] + (1 - mu)*g[t] else m[t]
                    u = k1 * m + s0
                    write_f64(scratch, j, u * u, 31)
                    write_f64(u_operand_at, i, u, 3)
                partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        a = hypers[row, 3]
        b = hypers[row, 4]
        c = hypers[row, 5]
        eps = hypers[row, 6]
        ns_steps = hypers[row, 7]
        row_count = hypers[row, 10]
        column_count = hypers[row, 11]
        norm0 = hypers[row, 12]
        # u0 = u/max(norm(u), eps)
        o_0 = math.sqrt(norm0)
        k0 = maximum(o_0, eps)
        k1 = row_count <= column_count
        k0_inverse = 1.0 / k0
        scalars[row, 0] = a
        scalars[row, 1] = b
        scalars[row, 2] = c
        scalars[row, 3] = ns_steps
        scalars[row, 4] = k1
        scalars[row, 5] = k0_inverse


def matrices0(arrays, scalars):
    """The matrices of one tensor, whole, in float64: BLAS and LAPACK."""
    u_operand_at = arrays[0]
    a = scalars[0]
    b = scalars[1]
    c = scalars[2]
    ns_steps = scalars[3]
    k1 = scalars[4] != 0.0
    k0_inverse = scalars[5]
    u_ = u_operand_at
    u0 = u_ * k0_inverse
    # o = if rows(theta) <= cols(theta) then wide else tall
    if k1:
        x = u0
        for turn in range(rounds(ns_steps)):
            p = x @ transpose(x)
            x = a * x + (b * p + c * p @ p) @ x
        o = x
    else:
        x = u0
        for turn in range(rounds(ns_steps)):
            p = transpose(x) @ x
            x = a * x + x @ (b * p + c * p @ p)
        o = x
    return (o,)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        weight_decay = hypers[row, 1]
        mu = hypers[row, 2]
        row_count = hypers[row, 10]
        column_count = hypers[row, 11]
        # longer = if match_rms_adamw then 0.04*max(rows(theta), cols(theta)) else max(1, rows(theta)/cols(theta))
        longer = maximum(1.0, row_count / column_count)
        k0 = 1.0 - mu
        k3 = 1.0 - lr * weight_decay
        k4 = lr * math.sqrt(longer)
        scalars[row, 0] = mu
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0
        scalars[row, 3] = k3
        scalars[row, 4] = k4


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        mu = scalars[row, 0]
        direction = scalars[row, 1]
        k0 = scalars[row, 2]
        k3 = scalars[row, 3]
        k4 = scalars[row, 4]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            o_result_at = addresses[tensor, 4] + f64_bytes(line * width)
            for i in range(width):
                m_old = f64(read_f32(m_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                theta_old = f64(read_f32(theta_at, i, 0))
                s0 = k0 * g
                # m[t] = mu*m[t-1] + (1 - mu)*g[t]
                m = mu * m_old + s0
                # o = if rows(theta) <= cols(theta) then wide else tall
                o = read_f64(o_result_at, i, 4)
                # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*sqrt(longer)*o
                theta = k3 * theta_old - k4 * o
                write_f32(theta_at, i, f32(theta), 0)
                write_f32(m_at, i, f32(m), 2)
