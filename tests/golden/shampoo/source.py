@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        weight_decay = hypers[row, 1]
        scalars[row, 0] = weight_decay
        scalars[row, 1] = direction[row]


@kernel
def reduce0(addresses, chunks, first, last, scalars):
    """Chunks first..last, only reads: computes in f64, lays out in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        weight_decay = scalars[row, 0]
        direction = scalars[row, 1]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            h_operand_at = addresses[tensor, 6] + f64_bytes(line * width)
            for i in range(width):
                g = direction * f64(read_f32(g_at, i, 1))
                theta_old = f64(read_f32(theta_at, i, 0))
                # h = g[t] + weight_decay*theta[t-1]
                h = g + weight_decay * theta_old
                write_f64(h_operand_at, i, h, 6)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        every = hypers[row, 2]
        eps = hypers[row, 3]
        k0 = t[row] == 1.0 or modulo(t[row], every) == 0.0
        scalars[row, 0] = eps
        scalars[row, 1] = k0


def matrices0(arrays, scalars):
    """The matrices of one tensor, whole, in float64: BLAS and LAPACK."""
    l_at = arrays[0]
    r_at = arrays[1]
    p_at = arrays[2]
    q_at = arrays[3]
    h_operand_at = arrays[4]
    eps = scalars[0]
    k0 = scalars[1] != 0.0
    l_old = l_at
    h_ = h_operand_at
    r_old = r_at
    p_old = p_at
    q_old = q_at
    # l[t] = l[t-1] + h @ transpose(h)
    l = l_old + h_ @ transpose(h_)
    # r[t] = r[t-1] + transpose(h) @ h
    r = r_old + transpose(h_) @ h_
    # p[t] = if t == 1 or t mod every == 0 then inverse_root(l[t] + eps*identity(l[t]), 4) else p[t-1]
    if k0:
        p = inverse_root(l + eps * identity(l), 4.0)
    else:
        p = p_old
    # q[t] = if t == 1 or t mod every == 0 then inverse_root(r[t] + eps*identity(r[t]), 4) else q[t-1]
    if k0:
        q = inverse_root(r + eps * identity(r), 4.0)
    else:
        q = q_old
    # u = p[t] @ h @ q[t]
    u = p @ h_ @ q
    return (l, r, p, q, u)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        scalars[row, 0] = lr


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        lr = scalars[row, 0]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            u_result_at = addresses[tensor, 11] + f64_bytes(line * width)
            for i in range(width):
                theta_old = f64(read_f32(theta_at, i, 0))
                # u = p[t] @ h @ q[t]
                u = read_f64(u_result_at, i, 11)
                # theta[t] = theta[t-1] - lr*u
                theta = theta_old - lr * u
                write_f32(theta_at, i, f32(theta), 0)
