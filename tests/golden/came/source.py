@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        eps1 = hypers[row, 4]
        scalars[row, 0] = eps1
        scalars[row, 1] = direction[row]


@matrix_reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        eps1 = scalars[row, 0]
        direction = scalars[row, 1]
        skipped = start // (height * width) * width
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            columns1 = columns[0] + f64_bytes(first_column + column - skipped)
            sum0 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    g = direction * f64(read_f32(g_at, i, 1))
                    s0 = g * g + eps1
                    write_f64(scratch, j, s0, 31)
                    write_f64(columns1, i, read_f64(columns1, i, 30) + s0, 30)
                sum0 = sum0 + block_sum0(scratch, count)
            write_f64(addresses[tensor, 7] + f64_bytes(line), 0, sum0, 7)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 2]
        column_count = hypers[row, 11]
        k0 = 1.0 - beta2
        column_count_inverse = 1.0 / column_count
        scalars[row, 0] = beta2
        scalars[row, 1] = k0
        scalars[row, 2] = column_count_inverse


@matrix_reduction
def reduce1(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta2 = scalars[row, 0]
        k0 = scalars[row, 1]
        column_count_inverse = scalars[row, 2]
        skipped = start // (height * width) * width
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            r_at = addresses[tensor, 3] + f32_bytes(line)
            mean_cols0_at = addresses[tensor, 7] + f64_bytes(line)
            columns0 = columns[0] + f64_bytes(first_column + column - skipped)
            r_old = f64(read_f32(r_at, 0, 3))
            mean_cols0_sum = read_f64(mean_cols0_at, 0, 7)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r = beta2 * r_old + k0 * r_0
            for i in range(width):
                write_f64(columns0, i, read_f64(columns0, i, 31) + r, 31)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 2]
        row_count = hypers[row, 10]
        column_count = hypers[row, 11]
        k0 = 1.0 - beta2
        column_count_inverse = 1.0 / column_count
        row_count_inverse = 1.0 / row_count
        scalars[row, 0] = beta2
        scalars[row, 1] = direction[row]
        scalars[row, 2] = k0
        scalars[row, 3] = column_count_inverse
        scalars[row, 4] = row_count_inverse


@matrix_reduction
def reduce2(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta2 = scalars[row, 0]
        direction = scalars[row, 1]
        k0 = scalars[row, 2]
        column_count_inverse = scalars[row, 3]
        row_count_inverse = scalars[row, 4]
        partials[chunk, 0] = 0.0
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            r_at = addresses[tensor, 3] + f32_bytes(line)
            c_at = addresses[tensor, 4] + f32_bytes(column)
            mean_cols0_at = addresses[tensor, 7] + f64_bytes(line)
            mean_rows1_at = addresses[tensor, 8] + f64_bytes(column)
            mean_rows2_at = addresses[tensor, 9] + f64_bytes(column)
            r_old = f64(read_f32(r_at, 0, 3))
            mean_cols0_sum = read_f64(mean_cols0_at, 0, 7)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r = beta2 * r_old + k0 * r_0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    c_old = f64(read_f32(c_at, i, 4))
                    mean_rows1_sum = read_f64(mean_rows1_at, i, 8)
                    mean_rows2_sum = read_f64(mean_rows2_at, i, 9)
                    g = direction * f64(read_f32(g_at, i, 1))
                    # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
                    c_0 = mean_rows1_sum * row_count_inverse
                    # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
                    c = beta2 * c_old + k0 * c_0
                    # v = r[t]/mean(r[t] over rows)*c[t]
                    v_0 = mean_rows2_sum * row_count_inverse
                    # v = r[t]/mean(r[t] over rows)*c[t]
                    v = r / v_0 * c
                    # w = g[t] / sqrt(v)
                    w = g / math.sqrt(v)
                    write_f64(scratch, j, w * w, 31)
                partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps2 = hypers[row, 5]
        clip_threshold = hypers[row, 6]
        elements = hypers[row, 8]
        row_count = hypers[row, 10]
        column_count = hypers[row, 11]
        mean3 = hypers[row, 12]
        # u = w / max(1, sqrt(mean(w^2))/clip_threshold)
        u_0 = mean3 / elements
        k0 = 1.0 - beta2
        k1 = maximum(1.0, math.sqrt(u_0) / clip_threshold)
        k2 = 1.0 - beta1
        column_count_inverse = 1.0 / column_count
        row_count_inverse = 1.0 / row_count
        k1_inverse = 1.0 / k1
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps2
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = k2
        scalars[row, 6] = column_count_inverse
        scalars[row, 7] = row_count_inverse
        scalars[row, 8] = k1_inverse


@matrix_reduction
def reduce3(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps2 = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        k2 = scalars[row, 5]
        column_count_inverse = scalars[row, 6]
        row_count_inverse = scalars[row, 7]
        k1_inverse = scalars[row, 8]
        skipped = start // (height * width) * width
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            r_at = addresses[tensor, 3] + f32_bytes(line)
            c_at = addresses[tensor, 4] + f32_bytes(column)
            mean_cols0_at = addresses[tensor, 7] + f64_bytes(line)
            mean_rows1_at = addresses[tensor, 8] + f64_bytes(column)
            mean_rows2_at = addresses[tensor, 9] + f64_bytes(column)
            columns1 = columns[0] + f64_bytes(first_column + column - skipped)
            r_old = f64(read_f32(r_at, 0, 3))
            mean_cols0_sum = read_f64(mean_cols0_at, 0, 7)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r = beta2 * r_old + k0 * r_0
            sum0 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    c_old = f64(read_f32(c_at, i, 4))
                    mean_rows1_sum = read_f64(mean_rows1_at, i, 8)
                    mean_rows2_sum = read_f64(mean_rows2_at, i, 9)
                    g = direction * f64(read_f32(g_at, i, 1))
                    m_old = f64(read_f32(m_at, i, 2))
                    # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
                    c_0 = mean_rows1_sum * row_count_inverse
                    # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
                    c = beta2 * c_old + k0 * c_0
                    # v = r[t]/mean(r[t] over rows)*c[t]
                    v_0 = mean_rows2_sum * row_count_inverse
                    # v = r[t]/mean(r[t] over rows)*c[t]
                    v = r / v_0 * c
                    # w = g[t] / sqrt(v)
                    w = g / math.sqrt(v)
                    # u = w / max(1, sqrt(mean(w^2))/clip_threshold)
                    u = w * k1_inverse
                    # m[t] = beta1*m[t-1] + (1 - beta1)*u
                    m = beta1 * m_old + k2 * u
                    # a[t] = beta3*a[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over cols)
                    mean_cols4_0 = u - m
                    write_f64(scratch, j, mean_cols4_0 * mean_cols4_0 + eps2, 31)
                    write_f64(columns1, i, read_f64(columns1, i, 30) + mean_cols4_0 * mean_cols4_0 + eps2, 30)
                sum0 = sum0 + block_sum0(scratch, count)
            write_f64(addresses[tensor, 10] + f64_bytes(line), 0, sum0, 10)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta3 = hypers[row, 3]
        column_count = hypers[row, 11]
        k3 = 1.0 - beta3
        column_count_inverse = 1.0 / column_count
        scalars[row, 0] = beta3
        scalars[row, 1] = k3
        scalars[row, 2] = column_count_inverse


@matrix_reduction
def reduce4(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta3 = scalars[row, 0]
        k3 = scalars[row, 1]
        column_count_inverse = scalars[row, 2]
        skipped = start // (height * width) * width
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            a_at = addresses[tensor, 5] + f32_bytes(line)
            mean_cols4_at = addresses[tensor, 10] + f64_bytes(line)
            columns0 = columns[0] + f64_bytes(first_column + column - skipped)
            a_old = f64(read_f32(a_at, 0, 5))
            mean_cols4_sum = read_f64(mean_cols4_at, 0, 10)
            # a[t] = beta3*a[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over cols)
            a_0 = mean_cols4_sum * column_count_inverse
            # a[t] = beta3*a[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over cols)
            a = beta3 * a_old + k3 * a_0
            for i in range(width):
                write_f64(columns0, i, read_f64(columns0, i, 31) + a, 31)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        beta3 = hypers[row, 3]
        clip_threshold = hypers[row, 6]
        weight_decay = hypers[row, 7]
        elements = hypers[row, 8]
        row_count = hypers[row, 10]
        column_count = hypers[row, 11]
        mean3 = hypers[row, 12]
        # u = w / max(1, sqrt(mean(w^2))/clip_threshold)
        u_0 = mean3 / elements
        k0 = 1.0 - beta2
        k1 = maximum(1.0, math.sqrt(u_0) / clip_threshold)
        k2 = 1.0 - beta1
        k3 = 1.0 - beta3
        k4 = 1.0 - lr * weight_decay
        column_count_inverse = 1.0 / column_count
        row_count_inverse = 1.0 / row_count
        k1_inverse = 1.0 / k1
        scalars[row, 0] = lr
        scalars[row, 1] = beta1
        scalars[row, 2] = beta2
        scalars[row, 3] = beta3
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k2
        scalars[row, 7] = k3
        scalars[row, 8] = k4
        scalars[row, 9] = column_count_inverse
        scalars[row, 10] = row_count_inverse
        scalars[row, 11] = k1_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        lr = scalars[row, 0]
        beta1 = scalars[row, 1]
        beta2 = scalars[row, 2]
        beta3 = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k2 = scalars[row, 6]
        k3 = scalars[row, 7]
        k4 = scalars[row, 8]
        column_count_inverse = scalars[row, 9]
        row_count_inverse = scalars[row, 10]
        k1_inverse = scalars[row, 11]
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            r_at = addresses[tensor, 3] + f32_bytes(line)
            c_at = addresses[tensor, 4] + f32_bytes(column)
            a_at = addresses[tensor, 5] + f32_bytes(line)
            b_at = addresses[tensor, 6] + f32_bytes(column)
            mean_cols0_at = addresses[tensor, 7] + f64_bytes(line)
            mean_rows1_at = addresses[tensor, 8] + f64_bytes(column)
            mean_rows2_at = addresses[tensor, 9] + f64_bytes(column)
            mean_cols4_at = addresses[tensor, 10] + f64_bytes(line)
            mean_rows5_at = addresses[tensor, 11] + f64_bytes(column)
            mean_rows6_at = addresses[tensor, 12] + f64_bytes(column)
            r_old = f64(read_f32(r_at, 0, 3))
            mean_cols0_sum = read_f64(mean_cols0_at, 0, 7)
            a_old = f64(read_f32(a_at, 0, 5))
            mean_cols4_sum = read_f64(mean_cols4_at, 0, 10)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r = beta2 * r_old + k0 * r_0
            # a[t] = beta3*a[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over cols)
            a_0 = mean_cols4_sum * column_count_inverse
            # a[t] = beta3*a[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over cols)
            a = beta3 * a_old + k3 * a_0
            for i in range(width):
                c_old = f64(read_f32(c_at, i, 4))
                mean_rows1_sum = read_f64(mean_rows1_at, i, 8)
                mean_rows2_sum = read_f64(mean_rows2_at, i, 9)
                g = direction * f64(read_f32(g_at, i, 1))
                m_old = f64(read_f32(m_at, i, 2))
                b_old = f64(read_f32(b_at, i, 6))
                mean_rows5_sum = read_f64(mean_rows5_at, i, 11)
                mean_rows6_sum = read_f64(mean_rows6_at, i, 12)
                theta_old = f64(read_f32(theta_at, i, 0))
                # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
                c_0 = mean_rows1_sum * row_count_inverse
                # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
                c = beta2 * c_old + k0 * c_0
                # v = r[t]/mean(r[t] over rows)*c[t]
                v_0 = mean_rows2_sum * row_count_inverse
                # v = r[t]/mean(r[t] over rows)*c[t]
                v = r / v_0 * c
                # w = g[t] / sqrt(v)
                w = g / math.sqrt(v)
                # u = w / max(1, sqrt(mean(w^2))/clip_threshold)
                u = w * k1_inverse
                # m[t] = beta1*m[t-1] + (1 - beta1)*u
                m = beta1 * m_old + k2 * u
                # b[t] = beta3*b[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over rows)
                b_0 = mean_rows5_sum * row_count_inverse
                # b[t] = beta3*b[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over rows)
                b = beta3 * b_old + k3 * b_0
                # step = m[t] / sqrt(a[t]/mean(a[t] over rows)*b[t])
                step_0 = mean_rows6_sum * row_count_inverse
                # step = m[t] / sqrt(a[t]/mean(a[t] over rows)*b[t])
                step = m / math.sqrt(a / step_0 * b)
                # theta[t] = (1 - lr*weight_decay)*theta[t-1] - lr*step
                theta = k4 * theta_old - lr * step
                write_f32(theta_at, i, f32(theta), 0)
                write_f32(m_at, i, f32(m), 2)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 2]
        beta3 = hypers[row, 3]
        column_count = hypers[row, 11]
        k0 = 1.0 - beta2
        k1 = 1.0 - beta3
        column_count_inverse = 1.0 / column_count
        scalars[row, 0] = beta2
        scalars[row, 1] = beta3
        scalars[row, 2] = k0
        scalars[row, 3] = k1
        scalars[row, 4] = column_count_inverse


@kernel
def update_rows(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        r_at = addresses[tensor, 3] + offset
        a_at = addresses[tensor, 5] + offset
        mean_cols0_at = addresses[tensor, 7] + f64_bytes(start)
        mean_cols4_at = addresses[tensor, 10] + f64_bytes(start)
        beta2 = scalars[row, 0]
        beta3 = scalars[row, 1]
        k0 = scalars[row, 2]
        k1 = scalars[row, 3]
        column_count_inverse = scalars[row, 4]
        for i in range(size):
            r_old = f64(read_f32(r_at, i, 3))
            mean_cols0_sum = read_f64(mean_cols0_at, i, 7)
            a_old = f64(read_f32(a_at, i, 5))
            mean_cols4_sum = read_f64(mean_cols4_at, i, 10)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over cols)
            r = beta2 * r_old + k0 * r_0
            # a[t] = beta3*a[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over cols)
            a_0 = mean_cols4_sum * column_count_inverse
            # a[t] = beta3*a[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over cols)
            a = beta3 * a_old + k1 * a_0
            write_f32(r_at, i, f32(r), 3)
            write_f32(a_at, i, f32(a), 5)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2 = hypers[row, 2]
        beta3 = hypers[row, 3]
        row_count = hypers[row, 10]
        k0 = 1.0 - beta2
        k1 = 1.0 - beta3
        row_count_inverse = 1.0 / row_count
        scalars[row, 0] = beta2
        scalars[row, 1] = beta3
        scalars[row, 2] = k0
        scalars[row, 3] = k1
        scalars[row, 4] = row_count_inverse


@kernel
def update_cols(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        c_at = addresses[tensor, 4] + offset
        b_at = addresses[tensor, 6] + offset
        mean_rows1_at = addresses[tensor, 8] + f64_bytes(start)
        mean_rows5_at = addresses[tensor, 11] + f64_bytes(start)
        beta2 = scalars[row, 0]
        beta3 = scalars[row, 1]
        k0 = scalars[row, 2]
        k1 = scalars[row, 3]
        row_count_inverse = scalars[row, 4]
        for i in range(size):
            c_old = f64(read_f32(c_at, i, 4))
            mean_rows1_sum = read_f64(mean_rows1_at, i, 8)
            b_old = f64(read_f32(b_at, i, 6))
            mean_rows5_sum = read_f64(mean_rows5_at, i, 11)
            # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
            c_0 = mean_rows1_sum * row_count_inverse
            # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 + eps1 over rows)
            c = beta2 * c_old + k0 * c_0
            # b[t] = beta3*b[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over rows)
            b_0 = mean_rows5_sum * row_count_inverse
            # b[t] = beta3*b[t-1] + (1 - beta3)*mean((u - m[t])^2 + eps2 over rows)
            b = beta3 * b_old + k1 * b_0
            write_f32(c_at, i, f32(c), 4)
            write_f32(b_at, i, f32(b), 6)
