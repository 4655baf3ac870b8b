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
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            sum0 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    g = direction * f64(read_f32(g_at, i, 1))
                    theta_old = f64(read_f32(theta_at, i, 0))
                    write_f64(scratch, j, g * theta_old, 31)
                sum0 = sum0 + block_sum0(scratch, count)
            write_f64(addresses[tensor, 4] + f64_bytes(line), 0, sum0, 4)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        scalars[row, 0] = direction[row]


@matrix_reduction
def reduce1(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        direction = scalars[row, 0]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            sum_cols0_at = addresses[tensor, 4] + f64_bytes(line)
            sum_cols0_sum = read_f64(sum_cols0_at, 0, 4)
            sum0 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    g = direction * f64(read_f32(g_at, i, 1))
                    theta_old = f64(read_f32(theta_at, i, 0))
                    # h = g[t] - sum(g[t]*theta[t-1] over cols)*theta[t-1]
                    h = g - sum_cols0_sum * theta_old
                    write_f64(scratch, j, h * h, 31)
                sum0 = sum0 + block_sum0(scratch, count)
            write_f64(addresses[tensor, 5] + f64_bytes(line), 0, sum0, 5)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 2]
        beta2 = hypers[row, 3]
        eps = hypers[row, 4]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = lr / (1.0 - power(beta1, t[row]))
        k3 = 1.0 - power(beta2, t[row])
        k3_inverse = 1.0 / k3
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        scalars[row, 6] = k2
        scalars[row, 7] = k3_inverse


@matrix_reduction
def reduce2(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5]
        k2 = scalars[row, 6]
        k3_inverse = scalars[row, 7]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            r_at = addresses[tensor, 3] + f32_bytes(line)
            sum_cols0_at = addresses[tensor, 4] + f64_bytes(line)
            sum_cols1_at = addresses[tensor, 5] + f64_bytes(line)
            sum_cols0_sum = read_f64(sum_cols0_at, 0, 4)
            r_old = f64(read_f32(r_at, 0, 3))
            sum_cols1_sum = read_f64(sum_cols1_at, 0, 5)
            # r[t] = beta2*r[t-1] + (1 - beta2)*sum(h^2 over cols)
            r = beta2 * r_old + k1 * sum_cols1_sum
            sum0 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    g = direction * f64(read_f32(g_at, i, 1))
                    theta_old = f64(read_f32(theta_at, i, 0))
                    m_old = f64(read_f32(m_at, i, 2))
                    # h = g[t] - sum(g[t]*theta[t-1] over cols)*theta[t-1]
                    h = g - sum_cols0_sum * theta_old
                    # m[t] = beta1*m[t-1] + (1 - beta1)*h
                    m = beta1 * m_old + k0 * h
                    # w = theta[t-1] - lr/(1 - beta1^t)*m[t] / (sqrt(r[t]/(1 - beta2^t)) + eps)
                    w = theta_old - k2 * m / (math.sqrt(r * k3_inverse) + eps)
                    write_f64(scratch, j, w * w, 31)
                sum0 = sum0 + block_sum0(scratch, count)
            write_f64(addresses[tensor, 6] + f64_bytes(line), 0, sum0, 6)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 2]
        beta2 = hypers[row, 3]
        eps = hypers[row, 4]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = lr / (1.0 - power(beta1, t[row]))
        k3 = 1.0 - power(beta2, t[row])
        k3_inverse = 1.0 / k3
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        scalars[row, 6] = k2
        scalars[row, 7] = k3_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5]
        k2 = scalars[row, 6]
        k3_inverse = scalars[row, 7]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            r_at = addresses[tensor, 3] + f32_bytes(line)
            sum_cols0_at = addresses[tensor, 4] + f64_bytes(line)
            sum_cols1_at = addresses[tensor, 5] + f64_bytes(line)
            norm_cols2_at = addresses[tensor, 6] + f64_bytes(line)
            sum_cols0_sum = read_f64(sum_cols0_at, 0, 4)
            r_old = f64(read_f32(r_at, 0, 3))
            sum_cols1_sum = read_f64(sum_cols1_at, 0, 5)
            norm_cols2_sum = read_f64(norm_cols2_at, 0, 6)
            # r[t] = beta2*r[t-1] + (1 - beta2)*sum(h^2 over cols)
            r = beta2 * r_old + k1 * sum_cols1_sum
            # n = norm(w over cols)
            n_0 = math.sqrt(norm_cols2_sum)
            for i in range(width):
                g = direction * f64(read_f32(g_at, i, 1))
                theta_old = f64(read_f32(theta_at, i, 0))
                m_old = f64(read_f32(m_at, i, 2))
                # h = g[t] - sum(g[t]*theta[t-1] over cols)*theta[t-1]
                h = g - sum_cols0_sum * theta_old
                # m[t] = beta1*m[t-1] + (1 - beta1)*h
                m = beta1 * m_old + k0 * h
                # w = theta[t-1] - lr/(1 - beta1^t)*m[t] / (sqrt(r[t]/(1 - beta2^t)) + eps)
                w = theta_old - k2 * m / (math.sqrt(r * k3_inverse) + eps)
                # theta[t] = w*(if n > 0 then 1/n else 1)
                theta = w * where(n_0 > 0.0, 1.0 / n_0, 1.0)
                write_f32(theta_at, i, f32(theta), 0)
                write_f32(m_at, i, f32(m), 2)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 3]
        k0 = 1.0 - beta2
        scalars[row, 0] = beta2
        scalars[row, 1] = k0


@kernel
def update_rows(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        r_at = addresses[tensor, 3] + offset
        sum_cols1_at = addresses[tensor, 5] + f64_bytes(start)
        beta2 = scalars[row, 0]
        k0 = scalars[row, 1]
        for i in range(size):
            r_old = f64(read_f32(r_at, i, 3))
            sum_cols1_sum = read_f64(sum_cols1_at, i, 5)
            # r[t] = beta2*r[t-1] + (1 - beta2)*sum(h^2 over cols)
            r = beta2 * r_old + k0 * sum_cols1_sum
            write_f32(r_at, i, f32(r), 3)
