@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        eta_minus = hypers[row, 1]
        eta_plus = hypers[row, 2]
        step_min = hypers[row, 3]
        step_max = hypers[row, 4]
        scalars[row, 0] = eta_minus
        scalars[row, 1] = eta_plus
        scalars[row, 2] = step_min
        scalars[row, 3] = step_max
        scalars[row, 4] = direction[row]


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        p_at = addresses[tensor, 2] + offset
        s_at = addresses[tensor, 3] + offset
        eta_minus = scalars[row, 0]
        eta_plus = scalars[row, 1]
        step_min = scalars[row, 2]
        step_max = scalars[row, 3]
        direction = scalars[row, 4]
        for i in range(size):
            g = direction * f64(read_f32(g_at, i, 1))
            p_old = f64(read_f32(p_at, i, 2))
            s_old = f64(read_f32(s_at, i, 3))
            theta_old = f64(read_f32(theta_at, i, 0))
            # agree = g[t]*p[t-1]
            agree = g * p_old
            s0 = agree < 0.0
            # factor = if agree > 0 then eta_plus else if agree < 0 then eta_minus else 1
            factor = where(agree > 0.0, eta_plus, where(s0, eta_minus, 1.0))
            # s[t] = clip(factor*s[t-1], step_min, step_max)
            s = minimum(maximum(factor * s_old, step_min), step_max)
            # p[t] = if agree < 0 then 0 else g[t]
            p = where(s0, 0.0, g)
            # theta[t] = theta[t-1] - sign(p[t])*s[t]
            theta = theta_old - sign(p) * s
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(p_at, i, f32(p), 2)
            write_f32(s_at, i, f32(s), 3)
