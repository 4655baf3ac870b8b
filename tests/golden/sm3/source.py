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
        skipped = start // (height * width) * width
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            r_at = addresses[tensor, 3] + f32_bytes(line)
            c_at = addresses[tensor, 4] + f32_bytes(column)
            columns1 = columns[0] + f64_bytes(first_column + column - skipped)
            r_old = f64(read_f32(r_at, 0, 3))
            sum0 = -math.inf
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    c_old = f64(read_f32(c_at, i, 4))
                    g = direction * f64(read_f32(g_at, i, 1))
                    # v = min(r[t-1], c[t-1]) + g[t]^2
                    v = minimum(r_old, c_old) + g * g
                    write_f64(scratch, j, v, 31)
                    write_f64(columns1, i, maximum(read_f64(columns1, i, 30), v), 30)
                sum0 = maximum(sum0, block_max0(scratch, count))
            write_f64(addresses[tensor, 5] + f64_bytes(line), 0, sum0, 5)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        momentum = hypers[row, 1]
        eps = hypers[row, 2]
        k0 = 1.0 - momentum
        scalars[row, 0] = lr
        scalars[row, 1] = momentum
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        lr = scalars[row, 0]
        momentum = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        for line in range(start // width, (start + size) // width):
            column = line // height * width
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            r_at = addresses[tensor, 3] + f32_bytes(line)
            c_at = addresses[tensor, 4] + f32_bytes(column)
            r_old = f64(read_f32(r_at, 0, 3))
            for i in range(width):
                c_old = f64(read_f32(c_at, i, 4))
                g = direction * f64(read_f32(g_at, i, 1))
                m_old = f64(read_f32(m_at, i, 2))
                theta_old = f64(read_f32(theta_at, i, 0))
                # v = min(r[t-1], c[t-1]) + g[t]^2
                v = minimum(r_old, c_old) + g * g
                # m[t] = momentum*m[t-1] + (1 - momentum)*g[t] / sqrt(v + eps)
                m = momentum * m_old + k0 * g / math.sqrt(v + eps)
                # theta[t] = theta[t-1] - lr*m[t]
                theta = theta_old - lr * m
                write_f32(theta_at, i, f32(theta), 0)
                write_f32(m_at, i, f32(m), 2)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        pass


@kernel
def update_rows(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        r_at = addresses[tensor, 3] + offset
        max_cols0_at = addresses[tensor, 5] + f64_bytes(start)
        for i in range(size):
            max_cols0_sum = read_f64(max_cols0_at, i, 5)
            write_f32(r_at, i, f32(max_cols0_sum), 3)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        pass


@kernel
def update_cols(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        c_at = addresses[tensor, 4] + offset
        max_rows1_at = addresses[tensor, 6] + f64_bytes(start)
        for i in range(size):
            max_rows1_sum = read_f64(max_rows1_at, i, 6)
            write_f32(c_at, i, f32(max_rows1_sum), 4)
