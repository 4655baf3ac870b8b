@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        beta0 = hypers[row, 3]
        weight_decay = hypers[row, 4]
        eps = hypers[row, 5]
        # length = sqrt((1 + beta0)^2 + beta0^2)
        length_0 = 1.0 + beta0
        # length = sqrt((1 + beta0)^2 + beta0^2)
        length = math.sqrt(length_0 * length_0 + beta0 * beta0)
        k0 = beta1 * beta1
        k1 = 1.0 - k0
        k2 = 1.0 - beta2
        k3 = length * (1.0 - power(beta1, t[row]))
        k4 = lr * math.sqrt(1.0 - power(beta2, t[row]))
        k5 = 1.0 - lr * weight_decay
        k3_inverse = 1.0 / k3
        scalars[row, 0] = beta2
        scalars[row, 1] = beta0
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = length_0
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k2
        scalars[row, 8] = k4
        scalars[row, 9] = k5
        scalars[row, 10] = k3_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row = chunks[chunk]
        offset = f32_bytes(start)
        theta_at = addresses[tensor, 0] + offset
        g_at = addresses[tensor, 1] + offset
        a_at = addresses[tensor, 2] + offset
        b_at = addresses[tensor, 3] + offset
        v_at = addresses[tensor, 4] + offset
        vmax_at = addresses[tensor, 5] + offset
        beta2 = scalars[row, 0]
        beta0 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        length_0 = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k2 = scalars[row, 7]
        k4 = scalars[row, 8]
        k5 = scalars[row, 9]
        k3_inverse = scalars[row, 10]
        for i in range(size):
            b_old = f64(read_f32(b_at, i, 3))
            g = direction * f64(read_f32(g_at, i, 1))
            a_old = f64(read_f32(a_at, i, 2))
            v_old = f64(read_f32(v_at, i, 4))
            vmax_old = f64(read_f32(vmax_at, i, 5))
            theta_old = f64(read_f32(theta_at, i, 0))
            # a[t] = beta1^2*b[t-1] + (1 - beta1^2)*g[t]
            a = k0 * b_old + k1 * g
            # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
            v = beta2 * v_old + k2 * (g * g)
            # vmax[t] = max(vmax[t-1], v[t])
            vmax = maximum(vmax_old, v)
            # mhat = ((1 + beta0)*a[t] - beta0*b[t]) / (length*(1 - beta1^t))
            mhat = (length_0 * a - beta0 * a_old) * k3_inverse
            # rate = lr*sqrt(1 - beta2^t) / (sqrt(V) + eps)
            rate = k4 / (math.sqrt(vmax) + eps)
            # theta[t] = (1 - lr*weight_decay)*theta[t-1] - rate*mhat
            theta = k5 * theta_old - rate * mhat
            write_f32(theta_at, i, f32(theta), 0)
            write_f32(a_at, i, f32(a), 2)
            write_f32(b_at, i, f32(a_old), 3)
            write_f32(v_at, i, f32(v), 4)
            write_f32(vmax_at, i, f32(vmax), 5)
