@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        v_old = states[row, 0]
        b_old = states[row, 1]
        scalars[row, 0] = direction[row]
        states[row, 0] = v_old
        states[row, 1] = b_old


@reduction
def reduce0(addresses, chunks, first, last, scalars, scratch, partials):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        g_at = addresses[tensor, 1] + offset
        direction = scalars[row, 0]
        partials[chunk, 0] = 0.0
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for j in range(count):
                i = block + j
                g = direction * f64(read_f32(g_at, i, 1))
                write_f64(scratch, j, g * g, 31)
            partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        scale = hypers[row, 1]
        beta = hypers[row, 2]
        momentum = hypers[row, 3]
        eps = hypers[row, 4]
        elements = hypers[row, 5]
        mean0 = hypers[row, 7]
        v_old = states[row, 0]
        b_old = states[row, 1]
        # square = mean(g[t]^2)
        square_0 = mean0 / elements
        # v[t] = beta*v[t-1] + (1 - beta)*square
        v = beta * v_old + (1.0 - beta) * square_0
        # r = (1 - beta^t) / (v[t] + eps)
        r = (1.0 - power(beta, t[row])) / (v + eps)
        # gamma = lr^2*r*square / sqrt(1 + sqrt(lr)*b[t-1]/4)
        gamma = lr * lr * r * square_0 / math.sqrt(1.0 + math.sqrt(lr) * b_old / 4.0)
        s0 = lr * scale
        # d = 1 / (1 + sqrt(lr*scale)*b[t-1]/4)
        d = 1.0 / (1.0 + math.sqrt(s0) * b_old / 4.0)
        # b[t] = b[t-1] + gamma*(1 + b[t-1])
        b = b_old + gamma * (1.0 + b_old)
        k0 = s0 * math.sqrt(r)
        k1 = gamma / 2.0
        k2 = 1.0 - momentum
        scalars[row, 0] = momentum
        scalars[row, 1] = direction[row]
        scalars[row, 2] = d
        scalars[row, 3] = k0
        scalars[row, 4] = k1
        scalars[row, 5] = k2
        states[row, 0] = v
        states[row, 1] = b


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        u_at = addresses[tensor, 2] + offset
        momentum = scalars[row, 0]
        direction = scalars[row, 1]
        d = scalars[row, 2]
        k0 = scalars[row, 3]
        k1 = scalars[row, 4]
        k2 = scalars[row, 5]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            u_old = f64(read_f32(u_at, i, 2))
            # step_taken = d*(lr*scale*sqrt(r)*g[t] + gamma/2*theta[t-1])
            step_taken = d * (k0 * g + k1 * theta_old)
            # u[t] = momentum*u[t-1] + (1 - momentum)*step_taken
            u = momentum * u_old + k2 * step_taken
            # theta[t] = theta[t-1] - u[t]
            theta = theta_old - u
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(u_at, i, f32(u), 2)
