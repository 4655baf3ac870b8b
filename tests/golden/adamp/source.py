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
        partials[chunk, 1] = 0.0
        partials[chunk, 2] = 0.0
        partials[chunk, 3] = 0.0
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            sum0 = 0.0
            sum1 = 0.0
            sum2 = 0.0
            sum3 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    g = direction * f64(read_f32(g_at, i, 1))
                    theta_old = f64(read_f32(theta_at, i, 0))
                    write_f64(scratch, j, 1.0, 31)
                    write_f64(scratch + f64_bytes(BLOCK), j, theta_old * theta_old, 30)
                    write_f64(scratch + f64_bytes(2 * BLOCK), j, g * g, 29)
                    s0 = g * theta_old
                    write_f64(scratch + f64_bytes(3 * BLOCK), j, s0, 28)
                    write_f64(scratch + f64_bytes(4 * BLOCK), j, theta_old * theta_old, 27)
                    write_f64(scratch + f64_bytes(5 * BLOCK), j, s0, 26)
                    write_f64(scratch + f64_bytes(6 * BLOCK), j, g * g, 25)
                    write_f64(scratch + f64_bytes(7 * BLOCK), j, 1.0, 24)
                sum0 = sum0 + block_sum0(scratch, count)
                sum1 = sum1 + block_sum1(scratch + f64_bytes(BLOCK), count)
                sum2 = sum2 + block_sum2(scratch + f64_bytes(2 * BLOCK), count)
                sum3 = sum3 + block_sum3(scratch + f64_bytes(3 * BLOCK), count)
                partials[chunk, 0] = partials[chunk, 0] + block_sum4(scratch + f64_bytes(4 * BLOCK), count)
                partials[chunk, 1] = partials[chunk, 1] + block_sum5(scratch + f64_bytes(5 * BLOCK), count)
                partials[chunk, 2] = partials[chunk, 2] + block_sum6(scratch + f64_bytes(6 * BLOCK), count)
                partials[chunk, 3] = partials[chunk, 3] + block_sum7(scratch + f64_bytes(7 * BLOCK), count)
            write_f64(addresses[tensor, 4] + f64_bytes(line), 0, sum0, 4)
            write_f64(addresses[tensor, 5] + f64_bytes(line), 0, sum1, 5)
            write_f64(addresses[tensor, 6] + f64_bytes(line), 0, sum2, 6)
            write_f64(addresses[tensor, 7] + f64_bytes(line), 0, sum3, 7)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        delta = hypers[row, 5]
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta2, t[row])
        k2_inverse = 1.0 / k2
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = delta
        scalars[row, 4] = direction[row]
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k2_inverse


@matrix_reduction
def reduce1(addresses, chunks, first, last, scalars, scratch, partials, columns):
    """Chunks first..last, only reads: computes in f64, sums in f64."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        delta = scalars[row, 3]
        direction = scalars[row, 4]
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k2_inverse = scalars[row, 7]
        partials[chunk, 0] = 0.0
        partials[chunk, 1] = 0.0
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            v_at = addresses[tensor, 3] + f32_bytes(line * width)
            sum_fan_in0_at = addresses[tensor, 4] + f64_bytes(line)
            norm_fan_in1_at = addresses[tensor, 5] + f64_bytes(line)
            norm_fan_in2_at = addresses[tensor, 6] + f64_bytes(line)
            dot_fan_in3_at = addresses[tensor, 7] + f64_bytes(line)
            sum_fan_in0_sum = read_f64(sum_fan_in0_at, 0, 4)
            norm_fan_in1_sum = read_f64(norm_fan_in1_at, 0, 5)
            norm_fan_in2_sum = read_f64(norm_fan_in2_at, 0, 6)
            dot_fan_in3_sum = read_f64(dot_fan_in3_at, 0, 7)
            # length = norm(p over fan_in)
            length_0 = math.sqrt(norm_fan_in1_sum)
            # size = norm(g[t] over fan_in)
            size__0 = math.sqrt(norm_fan_in2_sum)
            # cosine = abs(dot(g[t], p over fan_in))/(max(size, eps)*max(length, eps))
            cosine = abs(dot_fan_in3_sum) / (maximum(size__0, eps) * maximum(length_0, eps))
            sum1 = 0.0
            for block in range(0, width, BLOCK):
                count = min(BLOCK, width - block)
                for j in range(count):
                    i = block + j
                    m_old = f64(read_f32(m_at, i, 2))
                    g = direction * f64(read_f32(g_at, i, 1))
                    v_old = f64(read_f32(v_at, i, 3))
                    theta_old = f64(read_f32(theta_at, i, 0))
                    # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
                    m = beta1 * m_old + k0 * g
                    # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
                    v = beta2 * v_old + k1 * (g * g)
                    # step = ahead/(sqrt(v[t]/(1 - beta2^t)) + eps)
                    step = m / (math.sqrt(v * k2_inverse) + eps)
                    write_f64(scratch, j, where(cosine < delta / math.sqrt(sum_fan_in0_sum), 0.0, 1.0), 31)
                    s0 = theta_old * step
                    write_f64(scratch + f64_bytes(BLOCK), j, s0, 30)
                    write_f64(scratch + f64_bytes(2 * BLOCK), j, s0, 29)
                partials[chunk, 0] = partials[chunk, 0] + block_sum0(scratch, count)
                sum1 = sum1 + block_sum1(scratch + f64_bytes(BLOCK), count)
                partials[chunk, 1] = partials[chunk, 1] + block_sum2(scratch + f64_bytes(2 * BLOCK), count)
            write_f64(addresses[tensor, 8] + f64_bytes(line), 0, sum1, 8)


@prologue
def prepare(hypers, t, direction, states, scalars):
    """Step scalars, in float64: once a step for each row of hyperparameters."""
    for row in range(t.size):
        lr = hypers[row, 0]
        beta1 = hypers[row, 1]
        beta2 = hypers[row, 2]
        eps = hypers[row, 3]
        weight_decay = hypers[row, 4]
        delta = hypers[row, 5]
        wd_ratio = hypers[row, 6]
        elements = hypers[row, 7]
        mean4 = hypers[row, 11]
        norm5 = hypers[row, 12]
        dot6 = hypers[row, 13]
        norm7 = hypers[row, 14]
        sum8 = hypers[row, 15]
        dot10 = hypers[row, 16]
        # wide = mean(if cosine < delta/sqrt(n) then 0 else 1)
        wide_0 = mean4 / elements
        # all = norm(p)
        all__0 = math.sqrt(norm5)
        # whole = abs(dot(g[t], p))/(max(norm(g[t]), eps)*max(all, eps))
        whole_1 = math.sqrt(norm7)
        # whole = abs(dot(g[t], p))/(max(norm(g[t]), eps)*max(all, eps))
        whole = abs(dot6) / (maximum(whole_1, eps) * maximum(all__0, eps))
        # flat = if whole < delta/sqrt(sum(p^0)) then 1 else 0
        flat = where(whole < delta / math.sqrt(sum8), 1.0, 0.0)
        s0 = wide_0 == 0.0
        s1 = flat > 0.0
        # ratio = if wide == 0 or flat > 0 then wd_ratio else 1
        ratio = where(s0 or s1, wd_ratio, 1.0)
        k0 = 1.0 - beta1
        k1 = 1.0 - beta2
        k2 = 1.0 - power(beta2, t[row])
        k3 = all__0 + eps
        k5 = where(s1, dot10 / (k3 * k3), 0.0)
        k6 = 1.0 - lr * weight_decay * ratio
        k7 = lr / (1.0 - power(beta1, t[row]))
        k2_inverse = 1.0 / k2
        scalars[row, 0] = beta1
        scalars[row, 1] = beta2
        scalars[row, 2] = eps
        scalars[row, 3] = direction[row]
        scalars[row, 4] = s0
        scalars[row, 5] = k0
        scalars[row, 6] = k1
        scalars[row, 7] = k5
        scalars[row, 8] = k6
        scalars[row, 9] = k7
        scalars[row, 10] = k2_inverse


@kernel
def update(addresses, chunks, first, last, scalars):
    """Chunks first..last, in place: computes in f64, stores f32."""
    for chunk in range(first, last):
        tensor, start, size, row, height, width, first_column = chunks[chunk]
        beta1 = scalars[row, 0]
        beta2 = scalars[row, 1]
        eps = scalars[row, 2]
        direction = scalars[row, 3]
        s0 = scalars[row, 4] != 0.0
        k0 = scalars[row, 5]
        k1 = scalars[row, 6]
        k5 = scalars[row, 7]
        k6 = scalars[row, 8]
        k7 = scalars[row, 9]
        k2_inverse = scalars[row, 10]
        for line in range(start // width, (start + size) // width):
            theta_at = addresses[tensor, 0] + f32_bytes(line * width)
            g_at = addresses[tensor, 1] + f32_bytes(line * width)
            m_at = addresses[tensor, 2] + f32_bytes(line * width)
            v_at = addresses[tensor, 3] + f32_bytes(line * width)
            norm_fan_in1_at = addresses[tensor, 5] + f64_bytes(line)
            dot_fan_in9_at = addresses[tensor, 8] + f64_bytes(line)
            norm_fan_in1_sum = read_f64(norm_fan_in1_at, 0, 5)
            dot_fan_in9_sum = read_f64(dot_fan_in9_at, 0, 8)
            # length = norm(p over fan_in)
            length_0 = math.sqrt(norm_fan_in1_sum)
            # along = dot(p, step over fan_in)/(length + eps)^2
            along_1 = length_0 + eps
            # along = dot(p, step over fan_in)/(length + eps)^2
            along = dot_fan_in9_sum / (along_1 * along_1)
            # radial = if wide == 0 then along else if flat > 0 then dot(p, step)/(all + eps)^2 else 0
            radial = where(s0, along, k5)
            for i in range(width):
                m_old = f64(read_f32(m_at, i, 2))
                g = direction * f64(read_f32(g_at, i, 1))
                v_old = f64(read_f32(v_at, i, 3))
                theta_old = f64(read_f32(theta_at, i, 0))
                # m[t] = beta1*m[t-1] + (1 - beta1)*g[t]
                m = beta1 * m_old + k0 * g
                # v[t] = beta2*v[t-1] + (1 - beta2)*g[t]^2
                v = beta2 * v_old + k1 * (g * g)
                # step = ahead/(sqrt(v[t]/(1 - beta2^t)) + eps)
                step = m / (math.sqrt(v * k2_inverse) + eps)
                # moved = step - p*radial
                moved = step - theta_old * radial
                # theta[t] = theta[t-1]*(1 - lr*weight_decay*ratio) - lr/(1 - beta1^t)*moved
                theta = theta_old * k6 - k7 * moved
                write_f32(theta_at, i, f32(theta), 0)
                write_f32(m_at, i, f32(m), 2)
                write_f32(v_at, i, f32(v), 3)
