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
        skipped = start // (height * width) * width
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            columns1 = columns[0] + f64_bytes(first_column + column - skipped)
            sum0 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    g = direction * f64(read_f32(g_at, i, 1))
                    theta_old = f64(read_f32(theta_at, i, 0))
                    s0 = g * g
                    write_f64(scratch, j, s0, 31)
                    write_f64(columns1, i, read_f64(columns1, i, 30) + s0, 30)
                    write_f64(scratch + f64_bytes(2 * BLOCK), j, theta_old * theta_old, 29)
                sum0 = sum0 + block_sum0(scratch, count)
                partials[chunk, 0] = partials[chunk, 0] + block_sum2(scratch + f64_bytes(2 * BLOCK), count)
            write_f64(addresses[tensor, 4] + f64_bytes(line), 0, sum0, 4)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2_decay = hypers[row, 1]
        column_count = hypers[row, 9]
        # beta2 = 1 - t^beta2_decay
        beta2 = 1.0 - power(t[row], beta2_decay)
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
            r_at = addresses[tensor, 2] + f32_bytes(line)
            mean_cols0_at = addresses[tensor, 4] + f64_bytes(line)
            columns0 = columns[0] + f64_bytes(first_column + column - skipped)
            r_old = f64(read_f32(r_at, 0, 2))
            mean_cols0_sum = read_f64(mean_cols0_at, 0, 4)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r = beta2 * r_old + k0 * r_0
            for i in range(width):
                write_f64(columns0, i, read_f64(columns0, i, 31) + r, 31)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2_decay = hypers[row, 1]
        eps1 = hypers[row, 2]
        row_count = hypers[row, 8]
        column_count = hypers[row, 9]
        # beta2 = 1 - t^beta2_decay
        beta2 = 1.0 - power(t[row], beta2_decay)
        k0 = 1.0 - beta2
        k1 = eps1 * eps1
        column_count_inverse = 1.0 / column_count
        row_count_inverse = 1.0 / row_count
        scalars[row, 0] = eps1
        scalars[row, 1] = direction[row]
        scalars[row, 2] = beta2
        scalars[row, 3] = k0
        scalars[row, 4] = k1
        scalars[row, 5] = column_count_inverse
        scalars[row, 6] = row_count_inverse


@matrix_reduction
def reduce2(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        eps1 = scalars[row, 0]
        direction = scalars[row, 1]
        beta2 = scalars[row, 2]
        k0 = scalars[row, 3]
        k1 = scalars[row, 4]
        column_count_inverse = scalars[row, 5]
        row_count_inverse = scalars[row, 6]
        partials[chunk, 0] = 0.0
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            r_at = addresses[tensor, 2] + f32_bytes(line)
            c_at = addresses[tensor, 3] + f32_bytes(column)
            mean_cols0_at = addresses[tensor, 4] + f64_bytes(line)
            mean_rows1_at = addresses[tensor, 5] + f64_bytes(column)
            mean_rows2_at = addresses[tensor, 6] + f64_bytes(column)
            r_old = f64(read_f32(r_at, 0, 2))
            mean_cols0_sum = read_f64(mean_cols0_at, 0, 4)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r = beta2 * r_old + k0 * r_0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    c_old = f64(read_f32(c_at, i, 3))
                    mean_rows1_sum = read_f64(mean_rows1_at, i, 5)
                    mean_rows2_sum = read_f64(mean_rows2_at, i, 6)
                    g = direction * f64(read_f32(g_at, i, 1))
                    # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 over rows)
                    c_0 = mean_rows1_sum * row_count_inverse
                    # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 over rows)
                    c = beta2 * c_old + k0 * c_0
                    # v = r[t]*c[t] / max(mean(r[t] over rows), eps1)
                    v_0 = mean_rows2_sum * row_count_inverse
                    # v = r[t]*c[t] / max(mean(r[t] over rows), eps1)
                    v = r * c / maximum(v_0, eps1)
                    # u = g[t] / sqrt(max(v, eps1^2))
                    u = g / math.sqrt(maximum(v, k1))
                    write_f64(scratch, j, u * u, 31)
                partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta2_decay = hypers[row, 1]
        eps1 = hypers[row, 2]
        eps2 = hypers[row, 3]
        d = hypers[row, 4]
        weight_decay = hypers[row, 5]
        elements = hypers[row, 6]
        row_count = hypers[row, 8]
        column_count = hypers[row, 9]
        mean3 = hypers[row, 10]
        mean4 = hypers[row, 11]
        # beta2 = 1 - t^beta2_decay
        beta2 = 1.0 - power(t[row], beta2_decay)
        # rms = sqrt(mean(u^2))
        rms_0 = mean3 / elements
        # rms = sqrt(mean(u^2))
        rms = math.sqrt(rms_0)
        # size = max(eps2, sqrt(mean(theta[t-1]^2)))
        size__0 = mean4 / elements
        # size = max(eps2, sqrt(mean(theta[t-1]^2)))
        size_ = maximum(eps2, math.sqrt(size__0))
        # rate = min(lr, 1/sqrt(t)) * size
        rate = minimum(lr, 1.0 / math.sqrt(t[row])) * size_
        k0 = 1.0 - beta2
        k1 = eps1 * eps1
        k2 = 1.0 - lr * weight_decay
        k3 = maximum(1.0, rms / d)
        column_count_inverse = 1.0 / column_count
        row_count_inverse = 1.0 / row_count
        k3_inverse = 1.0 / k3
        scalars[row, 0] = eps1
        scalars[row, 1] = direction[row]
        scalars[row, 2] = beta2
        scalars[row, 3] = rate
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        scalars[row, 6] = k2
        scalars[row, 7] = column_count_inverse
        scalars[row, 8] = row_count_inverse
        scalars[row, 9] = k3_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        eps1 = scalars[row, 0]
        direction = scalars[row, 1]
        beta2 = scalars[row, 2]
        rate = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5]
        k2 = scalars[row, 6]
        column_count_inverse = scalars[row, 7]
        row_count_inverse = scalars[row, 8]
        k3_inverse = scalars[row, 9]
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            r_at = addresses[tensor, 2] + f32_bytes(line)
            c_at = addresses[tensor, 3] + f32_bytes(column)
            mean_cols0_at = addresses[tensor, 4] + f64_bytes(line)
            mean_rows1_at = addresses[tensor, 5] + f64_bytes(column)
            mean_rows2_at = addresses[tensor, 6] + f64_bytes(column)
            r_old = f64(read_f32(r_at, 0, 2))
            mean_cols0_sum = read_f64(mean_cols0_at, 0, 4)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r = beta2 * r_old + k0 * r_0
            for i in range(width):
                c_old = f64(read_f32(c_at, i, 3))
                mean_rows1_sum = read_f64(mean_rows1_at, i, 5)
                mean_rows2_sum = read_f64(mean_rows2_at, i, 6)
                g = direction * f64(read_f32(g_at, i, 1))
                theta_old = f64(read_f32(theta_at, i, 0))
                # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 over rows)
                c_0 = mean_rows1_sum * row_count_inverse
                # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 over rows)
                c = beta2 * c_old + k0 * c_0
                # v = r[t]*c[t] / max(mean(r[t] over rows), eps1)
                v_0 = mean_rows2_sum * row_count_inverse
                # v = r[t]*c[t] / max(mean(r[t] over rows), eps1)
                v = r * c / maximum(v_0, eps1)
                # u = g[t] / sqrt(max(v, eps1^2))
                u = g / math.sqrt(maximum(v, k1))
                # theta[t] = (1 - lr*weight_decay)*theta[t-1] - rate*u / max(1, rms/d)
                theta = k2 * theta_old - rate * u * k3_inverse
                write_f32(theta_at, i, f32(theta), 0)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2_decay = hypers[row, 1]
        column_count = hypers[row, 9]
        # beta2 = 1 - t^beta2_decay
        beta2 = 1.0 - power(t[row], beta2_decay)
        k0 = 1.0 - beta2
        column_count_inverse = 1.0 / column_count
        scalars[row, 0] = beta2
        scalars[row, 1] = k0
        scalars[row, 2] = column_count_inverse


@kernel
def update_rows(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        r_at = addresses[tensor, 2] + offset
        mean_cols0_at = addresses[tensor, 4] + f64_bytes(start)
        beta2 = scalars[row, 0]
        k0 = scalars[row, 1]
        column_count_inverse = scalars[row, 2]
        for i in range(size):
            r_old = f64(read_f32(r_at, i, 2))
            mean_cols0_sum = read_f64(mean_cols0_at, i, 4)
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r_0 = mean_cols0_sum * column_count_inverse
            # r[t] = beta2*r[t-1] + (1 - beta2)*mean(g[t]^2 over cols)
            r = beta2 * r_old + k0 * r_0
            write_f32(r_at, i, f32(r), 2)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta2_decay = hypers[row, 1]
        row_count = hypers[row, 8]
        # beta2 = 1 - t^beta2_decay
        beta2 = 1.0 - power(t[row], beta2_decay)
        k0 = 1.0 - beta2
        row_count_inverse = 1.0 / row_count
        scalars[row, 0] = beta2
        scalars[row, 1] = k0
        scalars[row, 2] = row_count_inverse


@kernel
def update_cols(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        c_at = addresses[tensor, 3] + offset
        mean_rows1_at = addresses[tensor, 5] + f64_bytes(start)
        beta2 = scalars[row, 0]
        k0 = scalars[row, 1]
        row_count_inverse = scalars[row, 2]
        for i in range(size):
            c_old = f64(read_f32(c_at, i, 3))
            mean_rows1_sum = read_f64(mean_rows1_at, i, 5)
            # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 over rows)
            c_0 = mean_rows1_sum * row_count_inverse
            # c[t] = beta2*c[t-1] + (1 - beta2)*mean(g[t]^2 over rows)
            c = beta2 * c_old + k0 * c_0
            write_f32(c_at, i, f32(c), 3)
