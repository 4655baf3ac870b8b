@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        alpha = hypers[row, 1]
        weight_decay = hypers[row, 3]
        scalars[row, 0] = lr
        scalars[row, 1] = alpha
        scalars[row, 2] = weight_decay
        scalars[row, 3] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        first_at = addresses[tensor, 2] + offset
        scale_at = addresses[tensor, 3] + offset
        size_at = addresses[tensor, 4] + offset
        net_at = addresses[tensor, 5] + offset
        reward_at = addresses[tensor, 6] + offset
        lr = scalars[row, 0]
        alpha = scalars[row, 1]
        weight_decay = scalars[row, 2]
        direction = scalars[row, 3]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            theta_old = f64(read_f32(theta_at, i, 0))
            first_old = f64(read_f32(first_at, i, 2))
            scale_old = f64(read_f32(scale_at, i, 3))
            size_old = f64(read_f32(size_at, i, 4))
            reward_old = f64(read_f32(reward_at, i, 6))
            net_old = f64(read_f32(net_at, i, 5))
            # c = lr*(g[t] + weight_decay*theta[t-1])
            c = lr * (g + weight_decay * theta_old)
            s0 = abs(c)
            # scale[t] = max(scale[t-1], abs(c))
            scale = maximum(scale_old, s0)
            # size[t] = size[t-1] + abs(c)
            size_ = size_old + s0
            # reward[t] = max(reward[t-1] - c*(theta[t-1] - first[t-1]), 0)
            reward = maximum(reward_old - c * (theta_old - first_old), 0.0)
            # net[t] = net[t-1] - c
            net = net_old - c
            # bet = net[t] / (scale[t]*max(size[t] + scale[t], alpha*scale[t]))
            bet = net / (scale * maximum(size_ + scale, alpha * scale))
            # theta[t] = first[t] + bet*(scale[t] + reward[t])
            theta = first_old + bet * (scale + reward)
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(scale_at, i, f32(scale), 3)
            write_f32(size_at, i, f32(size_), 4)
            write_f32(net_at, i, f32(net), 5)
            write_f32(reward_at, i, f32(reward), 6)
