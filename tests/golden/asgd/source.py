@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        lambd = hypers[row, 1]
        alpha = hypers[row, 2]
        t0 = hypers[row, 3]
        weight_decay = hypers[row, 4]
        eta_old = states[row, 0]
        mu_old = states[row, 1]
        # eta[t] = lr / (1 + lambd*lr*t)^alpha
        eta = lr / power(1.0 + lambd * lr * t[row], alpha)
        # mu[t] = 1 / max(1, t - t0)
        mu = 1.0 / maximum(1.0, t[row] - t0)
        k0 = 1.0 - lambd * eta_old
        k1 = mu_old == 1.0
        scalars[row, 0] = weight_decay
        scalars[row, 1] = eta_old
        scalars[row, 2] = mu_old
        scalars[row, 3] = direction[row]
        scalars[row, 4] = k0
        scalars[row, 5] = k1
        states[row, 0] = eta
        states[row, 1] = mu


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        ax_at = addresses[tensor, 2] + offset
        weight_decay = scalars[row, 0]
        eta_old = scalars[row, 1]
        mu_old = scalars[row, 2]
        direction = scalars[row, 3]
        k0 = scalars[row, 4]
        k1 = scalars[row, 5] != 0.0
        for i in range(size):
            theta_old = f64(read_f32(theta_at, i, 0))
            g = direction * f64(read_f32(g_at, i, 1))
            ax_old = f64(read_f32(ax_at, i, 2))
            # theta[t] = (1 - lambd*eta[t-1])*theta[t-1] - eta[t-1]*(g[t] + weight_decay*theta[t-1])
            theta = k0 * theta_old - eta_old * (g + weight_decay * theta_old)
            # ax[t] = if mu[t-1] == 1 then theta[t] else ax[t-1] + mu[t-1]*(theta[t] - ax[t-1])
            ax = where(k1, theta, ax_old + mu_old * (theta - ax_old))
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(ax_at, i, f32(ax), 2)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        eta_old = states[row, 0]
        mu_old = states[row, 1]
        states[row, 0] = eta_old
        states[row, 1] = mu_old


@kernel
def view_ax(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        ax_at = addresses[tensor, 2] + offset
        for i in range(size):
            ax_old = f64(read_f32(ax_at, i, 2))
            write_f32(theta_at, i, f32(ax_old), 0)
