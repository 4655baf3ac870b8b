@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta1 = hypers[row, 1]
        s0 = t[row] == 1.0
        k1 = 1.0 - beta1
        scalars[row, 0] = beta1
        scalars[row, 1] = direction[row]
        scalars[row, 2] = s0
        scalars[row, 3] = k1


@kernel
def reduce0(addresses, chunks, first, last, scalars):
    """Chunks first..last, only reads: computes in f64, lays out in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta1 = scalars[row, 0]
        direction = scalars[row, 1]
        s0 = scalars[row, 2] != 0.0
        k1 = scalars[row, 3]
        for line in range(start // width, (start + size) // width):
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            m_operand_at = addresses[tensor, 8] + f64_bytes(line * width)
            for i in range(width):
                m_old = f64(read_f32(m_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                # m[t] = if t == 1 then m[t-1] else beta1*m[t-1] + (1 - beta1)*g[t]
                m = where(s0, m_old, beta1 * m_old + k1 * g)
                write_f64(m_operand_at, i, m, 8)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        shampoo_beta = hypers[row, 3]
        every = hypers[row, 6]
        k0 = 1.0 - shampoo_beta
        k1 = t[row] == 1.0
        k2 = modulo(t[row] - 1.0, every) == 0.0
        scalars[row, 0] = shampoo_beta
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0
        scalars[row, 3] = k1
        scalars[row, 4] = k2


def matrices0(arrays, scalars):
    """The matrices of one tensor, whole, in float64: BLAS and LAPACK."""
    g_at = arrays[0]
    l_at = arrays[1]
    r_at = arrays[2]
    p_at = arrays[3]
    q_at = arrays[4]
    m_operand_at = arrays[5]
    shampoo_beta = scalars[0]
    direction = scalars[1]
    k0 = scalars[2]
    k1 = scalars[3] != 0.0
    k2 = scalars[4] != 0.0
    l_old = l_at
    g = direction * g_at
    r_old = r_at
    p_old = p_at
    q_old = q_at
    m_ = m_operand_at
    # l[t] = shampoo_beta*l[t-1] + (1 - shampoo_beta)*(g[t] @ transpose(g[t]))
    l = shampoo_beta * l_old + k0 * (g @ transpose(g))
    # r[t] = shampoo_beta*r[t-1] + (1 - shampoo_beta)*(transpose(g[t]) @ g[t])
    r = shampoo_beta * r_old + k0 * (transpose(g) @ g)
    # turned = transpose(p[t-1]) @ g[t] @ q[t-1]
    turned = transpose(p_old) @ g @ q_old
    # n = (transpose(p[t-1]) @ m[t] @ q[t-1]) / (sqrt(v[t]) + eps)
    matmul = transpose(p_old) @ m_ @ q_old
    # p[t] = if t == 1 then eigenvectors(l[t]) else next_p
    if k1:
        p = eigenvectors(l)
    else:
        if k2:
            p = orthonormal(l @ p_old)
        else:
            p = p_old
    # q[t] = if t == 1 then eigenvectors(r[t]) else next_q
    if k1:
        q = eigenvectors(r)
    else:
        if k2:
            q = orthonormal(r @ q_old)
        else:
            q = q_old
    return (l, r, turned, matmul, p, q)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 2]
        eps = hypers[row, 4]
        s0 = t[row] == 1.0
        k2 = 1.0 - beta2
        scalars[row, 0] = beta2
        scalars[row, 1] = eps
        scalars[row, 2] = s0
        scalars[row, 3] = k2


@kernel
def reduce1(addresses, chunks, first, last, scalars):
    """Chunks first..last, only reads: computes in f64, lays out in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta2 = scalars[row, 0]
        eps = scalars[row, 1]
        s0 = scalars[row, 2] != 0.0
        k2 = scalars[row, 3]
        for line in range(start // width, (start + size) // width):
            v_at = addresses[tensor, 3] + f32_bytes(line * width)
            n_operand_at = addresses[tensor, 9] + f64_bytes(line * width)
            matmul_result_at = addresses[tensor, 10] + f64_bytes(line * width)
            turned_result_at = addresses[tensor, 13] + f64_bytes(line * width)
            for i in range(width):
                v_old = f64(read_f32(v_at, i, 3))
                matmul = read_f64(matmul_result_at, i, 10)
                # turned = transpose(p[t-1]) @ g[t] @ q[t-1]
                turned = read_f64(turned_result_at, i, 13)
                # v[t] = if t == 1 then v[t-1] else beta2*v[t-1] + (1 - beta2)*turned^2
                v = where(s0, v_old, beta2 * v_old + k2 * (turned * turned))
                # n = (transpose(p[t-1]) @ m[t] @ q[t-1]) / (sqrt(v[t]) + eps)
                n = matmul / (math.sqrt(v) + eps)
                write_f64(n_operand_at, i, n, 9)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        pass


def matrices1(arrays, scalars):
    """The matrices of one tensor, whole, in float64: BLAS and LAPACK."""
    p_at = arrays[0]
    q_at = arrays[1]
    n_operand_at = arrays[2]
    p_old = p_at
    n_ = n_operand_at
    q_old = q_at
    # u = p[t-1] @ n @ transpose(q[t-1])
    u = p_old @ n_ @ transpose(q_old)
    return (u,)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        weight_decay = hypers[row, 5]
        s0 = t[row] == 1.0
        s1 = t[row] - 1.0
        # rate = if t == 1 then 0 else lr*sqrt(1 - beta2^(t - 1)) / (1 - beta1^(t - 1))
        rate = where(s0, 0.0, lr * math.sqrt(1.0 - power(beta2, s1)) / (1.0 - power(beta1, s1)))
        k1 = 1.0 - beta1
        k2 = 1.0 - beta2
        k3 = 1.0 - lr * weight_decay
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = direction[row]
        scalars[row, 3] = s0
        scalars[row, 4] = rate
        scalars[row, 5] = k1
        scalars[row, 6] = k2
        scalars[row, 7] = k3


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        direction = scalars[row, 2]
        s0 = scalars[row, 3] != 0.0
        rate = scalars[row, 4]
        k1 = scalars[row, 5]
        k2 = scalars[row, 6]
        k3 = scalars[row, 7]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            v_at = addresses[tensor, 3] + f32_bytes(line * width)
            turned_result_at = addresses[tensor, 13] + f64_bytes(line * width)
            u_result_at = addresses[tensor, 14] + f64_bytes(line * width)
            for i in range(width):
                m_old = f64(read_f32(m_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                v_old = f64(read_f32(v_at, i, 3))
                theta_old = f64(read_f32(theta_at, i, 0))
                # m[t] = if t == 1 then m[t-1] else beta1*m[t-1] + (1 - beta1)*g[t]
                m = where(s0, m_old, beta1 * m_old + k1 * g)
                # turned = transpose(p[t-1]) @ g[t] @ q[t-1]
                turned = read_f64(turned_result_at, i, 13)
                # v[t] = if t == 1 then v[t-1] else beta2*v[t-1] + (1 - beta2)*turned^2
                v = where(s0, v_old, beta2 * v_old + k2 * (turned * turned))
                # u = p[t-1] @ n @ transpose(q[t-1])
                u = read_f64(u_result_at, i, 14)
                # theta[t] = if t == 1 then theta[t-1] else (1 - lr*weight_decay)*(theta[t-1] - rate*u)
                theta = where(s0, theta_old, k3 * (theta_old - rate * u))
                write_f32(theta_at, i, f32(theta), 0)
                write_f32(m_at, i, f32(m), 2)
                write_f32(v_at, i, f32(v), 3)
