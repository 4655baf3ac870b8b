; kernel reduce0  (fma: computes in f32, stores f32)
; hypers   lr, scale, beta, momentum, eps, elements, all_elements, mean0
; buffer   theta: f32, read
; buffer   g: f32, read
; buffer   u: f32, read
;
; prologue (host, f64, once a step)
;   v_old = scalar state, old
;   b_old = scalar state, old
;   scalar state v_old <- v_old
;   scalar state b_old <- b_old
;   hand over direction
;
; phase reduce0 (every element)
;   g: f32 = direction * load g
;   total mean0 += f64(g * g)

define void @prepare(ptr %hypers, ptr %t, ptr %direction, ptr %states, ptr %scalars, i64 %rows) #0 {
entry:
  br label %row.loop
row.loop:
  %row = phi i64 [ 0, %entry ], [ %row.after, %row.next ]
  %more = icmp slt i64 %row, %rows
  br i1 %more, label %row.body, label %row.done
row.body:
  %v = mul i64 %row, 2
  %v.1 = getelementptr inbounds double, ptr %states, i64 %v
  %v_old = load double, ptr %v.1, align 8
  %v.2 = mul i64 %row, 2
  %v.3 = add i64 %v.2, 1
  %v.4 = getelementptr inbounds double, ptr %states, i64 %v.3
  %b_old = load double, ptr %v.4, align 8
  %v.5 = getelementptr inbounds double, ptr %direction, i64 %row
  %direction.1 = load double, ptr %v.5, align 8
  %v.6 = getelementptr inbounds double, ptr %scalars, i64 %row
  store double %direction.1, ptr %v.6, align 8
  %v.7 = mul i64 %row, 2
  %v.8 = getelementptr inbounds double, ptr %states, i64 %v.7
  store double %v_old, ptr %v.8, align 8
  %v.9 = mul i64 %row, 2
  %v.10 = add i64 %v.9, 1
  %v.11 = getelementptr inbounds double, ptr %states, i64 %v.10
  store double %b_old, ptr %v.11, align 8
  br label %row.next
row.next:
  %row.after = add nsw i64 %row, 1
  br label %row.loop
row.done:
  ret void
}

define internal double @block_sum(ptr %scratch, i64 %count) alwaysinline #0 {
entry:
  br label %shrink
shrink:
  %width = phi i64 [ 1024, %entry ], [ %half, %shrink ]
  %half = lshr i64 %width, 1
  %enough = icmp sge i64 %half, %count
  br i1 %enough, label %shrink, label %pad
pad:
  br label %j.loop
j.loop:
  %j = phi i64 [ %count, %pad ], [ %j.after, %j.next ]
  %more = icmp slt i64 %j, %width
  br i1 %more, label %j.body, label %j.done
j.body:
  %v = getelementptr inbounds double, ptr %scratch, i64 %j
  store double 0.0, ptr %v, align 8
  br label %j.next
j.next:
  %j.after = add nsw i64 %j, 1
  br label %j.loop
j.done:
  br label %fold
fold:
  %width.8 = phi i64 [ %width, %j.done ], [ %half.8, %folding.end ]
  %half.8 = lshr i64 %width.8, 1
  %v.1 = icmp sge i64 %width.8, 16
  br i1 %v.1, label %folding, label %folded
folding:
  br label %j.loop.1
j.loop.1:
  %j.1 = phi i64 [ 0, %folding ], [ %j.after.1, %j.next.1 ]
  %more.1 = icmp slt i64 %j.1, %half.8
  br i1 %more.1, label %j.body.1, label %j.done.1
j.body.1:
  %v.2 = getelementptr inbounds double, ptr %scratch, i64 %j.1
  %v.3 = getelementptr inbounds double, ptr %v.2, i64 %half.8
  %v.4 = load <8 x double>, ptr %v.2, align 8
  %v.5 = load <8 x double>, ptr %v.3, align 8
  %v.6 = fadd <8 x double> %v.4, %v.5
  store <8 x double> %v.6, ptr %v.2, align 8
  br label %j.next.1
j.next.1:
  %j.after.1 = add nsw i64 %j.1, 8
  br label %j.loop.1
j.done.1:
  br label %folding.end
folding.end:
  br label %fold
folded:
  br label %fold.1
fold.1:
  %width.1 = phi i64 [ %width.8, %folded ], [ %half.1, %folding.1.end ]
  %half.1 = lshr i64 %width.1, 1
  %v.7 = icmp sge i64 %width.1, 2
  br i1 %v.7, label %folding.1, label %folded.1
folding.1:
  br label %j.loop.2
j.loop.2:
  %j.2 = phi i64 [ 0, %folding.1 ], [ %j.after.2, %j.next.2 ]
  %more.2 = icmp slt i64 %j.2, %half.1
  br i1 %more.2, label %j.body.2, label %j.done.2
j.body.2:
  %v.8 = getelementptr inbounds double, ptr %scratch, i64 %j.2
  %v.9 = getelementptr inbounds double, ptr %v.8, i64 %half.1
  %v.10 = load double, ptr %v.8, align 8
  %v.11 = load double, ptr %v.9, align 8
  %v.12 = fadd double %v.10, %v.11
  store double %v.12, ptr %v.8, align 8
  br label %j.next.2
j.next.2:
  %j.after.2 = add nsw i64 %j.2, 1
  br label %j.loop.2
j.done.2:
  br label %folding.1.end
folding.1.end:
  br label %fold.1
folded.1:
  %v.13 = load double, ptr %scratch, align 8
  ret double %v.13
}

define void @reduce0(ptr %addresses, ptr %chunks, i64 %first, i64 %last, ptr %scalars, ptr %scratch, ptr %partials) #0 {
entry:
  br label %chunk.loop
chunk.loop:
  %chunk = phi i64 [ %first, %entry ], [ %chunk.after, %chunk.next ]
  %more = icmp slt i64 %chunk, %last
  br i1 %more, label %chunk.body, label %chunk.done
chunk.body:
  %v = getelementptr inbounds [4 x i64], ptr %chunks, i64 %chunk
  %tensor = load i64, ptr %v, align 8
  %v.1 = getelementptr inbounds i64, ptr %v, i64 1
  %start = load i64, ptr %v.1, align 8
  %v.2 = getelementptr inbounds i64, ptr %v, i64 2
  %size = load i64, ptr %v.2, align 8
  %v.3 = getelementptr inbounds i64, ptr %v, i64 3
  %row = load i64, ptr %v.3, align 8
  %v.4 = getelementptr inbounds [3 x i64], ptr %addresses, i64 %tensor, i64 1
  %v.5 = load i64, ptr %v.4, align 8
  %v.6 = inttoptr i64 %v.5 to ptr
  %g.at = getelementptr inbounds float, ptr %v.6, i64 %start
  %v.7 = getelementptr inbounds [1 x double], ptr %scalars, i64 %row, i64 0
  %direction = load double, ptr %v.7, align 8
  %v.8 = fptrunc double %direction to float
  %v.9 = insertelement <16 x float> poison, float %v.8, i64 0
  %v.10 = shufflevector <16 x float> %v.9, <16 x float> poison, <16 x i32> zeroinitializer
  %v.11 = getelementptr inbounds [1 x double], ptr %partials, i64 %chunk, i64 0
  store double 0.0, ptr %v.11, align 8
  br label %block.loop
block.loop:
  %block = phi i64 [ 0, %chunk.body ], [ %block.after, %block.next ]
  %more.1 = icmp slt i64 %block, %size
  br i1 %more.1, label %block.body, label %block.done
block.body:
  %v.12 = sub i64 %size, %block
  %v.13 = icmp slt i64 %v.12, 1024
  %count = select i1 %v.13, i64 %v.12, i64 1024
  %whole = and i64 %count, -16
  br label %j.loop
j.loop:
  %j = phi i64 [ 0, %block.body ], [ %j.after, %j.next ]
  %more.2 = icmp slt i64 %j, %whole
  br i1 %more.2, label %j.body, label %j.done
j.body:
  %v.14 = add i64 %block, %j
  %v.15 = getelementptr inbounds float, ptr %g.at, i64 %v.14
  %g.old = load <16 x float>, ptr %v.15, align 4, !alias.scope !35, !noalias !36
  %v.16 = fmul <16 x float> %v.10, %g.old
  %v.17 = fmul <16 x float> %v.16, %v.16
  %v.18 = fpext <16 x float> %v.17 to <16 x double>
  %v.19 = getelementptr inbounds double, ptr %scratch, i64 %j
  store <16 x double> %v.18, ptr %v.19, align 8
  br label %j.next
j.next:
  %j.after = add nsw i64 %j, 16
  br label %j.loop
j.done:
  br label %rest.loop
rest.loop:
  %rest = phi i64 [ %whole, %j.done ], [ %rest.after, %rest.next ]
  %more.3 = icmp slt i64 %rest, %count
  br i1 %more.3, label %rest.body, label %rest.done
rest.body:
  %v.20 = add i64 %block, %rest
  %v.21 = getelementptr inbounds float, ptr %g.at, i64 %v.20
  %g.old.1 = load float, ptr %v.21, align 4, !alias.scope !35, !noalias !36
  %v.22 = fmul float %v.8, %g.old.1
  %v.23 = fmul float %v.22, %v.22
  %v.24 = fpext float %v.23 to double
  %v.25 = getelementptr inbounds double, ptr %scratch, i64 %rest
  store double %v.24, ptr %v.25, align 8
  br label %rest.next
rest.next:
  %rest.after = add nsw i64 %rest, 1
  br label %rest.loop
rest.done:
  %v.26 = getelementptr inbounds double, ptr %scratch, i64 0
  %v.27 = call double @block_sum(ptr %v.26, i64 %count)
  %v.28 = load double, ptr %v.11, align 8
  %v.29 = fadd double %v.28, %v.27
  store double %v.29, ptr %v.11, align 8
  br label %block.next
block.next:
  %block.after = add nsw i64 %block, 1024
  br label %block.loop
block.done:
  br label %chunk.next
chunk.next:
  %chunk.after = add nsw i64 %chunk, 1
  br label %chunk.loop
chunk.done:
  ret void
}


attributes #0 = { nounwind "no-builtins" }
!0 = distinct !{!0, !"buffers of a tensor"}
!1 = distinct !{!1, !0}
!2 = distinct !{!2, !0}
!3 = distinct !{!3, !0}
!33 = !{!1}
!34 = !{!2, !3}
!35 = !{!2}
!36 = !{!1, !3}
!37 = !{!3}
!38 = !{!1, !2}
!97 = !{}


; kernel update  (fma: computes in f32, stores f32)
; hypers   lr, scale, beta, momentum, eps, elements, all_elements, mean0
; buffer   theta: f32, update
; buffer   g: f32, read
; buffer   u: f32, update
;
; prologue (host, f64, once a step)
;   v_old = scalar state, old
;   b_old = scalar state, old
;   square_0: f64 = mean0 / elements
;   v: f64 = beta * v_old + (1 - beta) * square_0
;   r: f64 = (1 - (beta ^ t)) / (v + eps)
;   gamma: f64 = lr * lr * r * square_0 / sqrt(1 + sqrt(lr) * b_old / 4)
;   s0: f64 = lr * scale
;   d: f64 = 1 / (1 + sqrt(s0) * b_old / 4)
;   b: f64 = b_old + gamma * (1 + b_old)
;   k0: f64 = s0 * sqrt(r)
;   k1: f64 = gamma / 2
;   k2: f64 = 1 - momentum
;   scalar state v_old <- v
;   scalar state b_old <- b
;   hand over momentum, direction, d, k0, k1, k2
;
; phase update (every element)
;   g: f32 = direction * load g
;   theta_old: f32 = load theta
;   u_old: f32 = load u
;   step_taken: f32 = d * (k0 * g + k1 * theta_old)
;   u: f32 = momentum * u_old + k2 * step_taken
;   theta: f32 = theta_old - u
;   store theta <- theta
;   store u <- u

define internal double @pow.f64(double %x, double %y) alwaysinline #0 {
entry:
  %v = call double @llvm.fabs.f64(double %x)
  %v.1 = fcmp olt double 0x43F0000000000000, %y
  %v.2 = select i1 %v.1, double 0x43F0000000000000, double %y
  %v.3 = fcmp olt double %v.2, 0xC3F0000000000000
  %v.4 = select i1 %v.3, double 0xC3F0000000000000, double %v.2
  %v.5 = fcmp oeq double %v, 0x0000000000000000
  %v.6 = fcmp oeq double %v, 0x7FF0000000000000
  %v.7 = or i1 %v.5, %v.6
  %v.8 = select i1 %v.7, double 0x3FF0000000000000, double %v
  %v.9 = fcmp olt double %v.8, 0x0010000000000000
  %v.10 = fmul double %v.8, 0x4350000000000000
  %v.11 = select i1 %v.9, double %v.10, double %v.8
  %v.12 = bitcast double %v.11 to i64
  %v.13 = add i64 %v.12, 2638149301829632
  %v.14 = lshr i64 %v.13, 52
  %v.15 = sub i64 %v.14, 1023
  %v.16 = bitcast double 0x4338000000000000 to i64
  %v.17 = add i64 %v.15, %v.16
  %v.18 = bitcast i64 %v.17 to double
  %v.19 = fsub double %v.18, 0x4338000000000000
  %v.20 = and i64 %v.13, 4503599627370495
  %v.21 = add i64 %v.20, 4604544269498187776
  %v.22 = bitcast i64 %v.21 to double
  %v.23 = fsub double %v.19, 0x404B000000000000
  %v.24 = select i1 %v.9, double %v.23, double %v.19
  %v.25 = fsub double %v.22, 0x3FF0000000000000
  %v.26 = fadd double %v.22, 0x3FF0000000000000
  %v.27 = fsub double %v.26, %v.22
  %v.28 = fsub double %v.26, %v.27
  %v.29 = fsub double %v.22, %v.28
  %v.30 = fsub double 0x3FF0000000000000, %v.27
  %v.31 = fadd double %v.29, %v.30
  %v.32 = fdiv double %v.25, %v.26
  %v.33 = fmul double %v.32, %v.26
  %v.34 = fmul double %v.32, 0x41A0000002000000
  %v.35 = fsub double %v.34, %v.32
  %v.36 = fsub double %v.34, %v.35
  %v.37 = fsub double %v.32, %v.36
  %v.38 = fmul double %v.26, 0x41A0000002000000
  %v.39 = fsub double %v.38, %v.26
  %v.40 = fsub double %v.38, %v.39
  %v.41 = fsub double %v.26, %v.40
  %v.42 = fmul double %v.36, %v.40
  %v.43 = fsub double %v.42, %v.33
  %v.44 = fmul double %v.36, %v.41
  %v.45 = fadd double %v.43, %v.44
  %v.46 = fmul double %v.37, %v.40
  %v.47 = fadd double %v.45, %v.46
  %v.48 = fmul double %v.37, %v.41
  %v.49 = fadd double %v.47, %v.48
  %v.50 = fsub double %v.25, %v.33
  %v.51 = fsub double %v.50, %v.49
  %v.52 = fmul double %v.32, %v.31
  %v.53 = fsub double %v.51, %v.52
  %v.54 = fdiv double %v.53, %v.26
  %v.55 = fmul double %v.32, %v.32
  %v.56 = fmul double 0x3FB47AE147AE147B, %v.55
  %v.57 = fadd double %v.56, 0x3FB642C8590B2164
  %v.58 = fmul double %v.57, %v.55
  %v.59 = fadd double %v.58, 0x3FB8618618618618
  %v.60 = fmul double %v.59, %v.55
  %v.61 = fadd double %v.60, 0x3FBAF286BCA1AF28
  %v.62 = fmul double %v.61, %v.55
  %v.63 = fadd double %v.62, 0x3FBE1E1E1E1E1E1E
  %v.64 = fmul double %v.63, %v.55
  %v.65 = fadd double %v.64, 0x3FC1111111111111
  %v.66 = fmul double %v.65, %v.55
  %v.67 = fadd double %v.66, 0x3FC3B13B13B13B14
  %v.68 = fmul double %v.67, %v.55
  %v.69 = fadd double %v.68, 0x3FC745D1745D1746
  %v.70 = fmul double %v.69, %v.55
  %v.71 = fadd double %v.70, 0x3FCC71C71C71C71C
  %v.72 = fmul double %v.71, %v.55
  %v.73 = fadd double %v.72, 0x3FD2492492492492
  %v.74 = fmul double %v.73, %v.55
  %v.75 = fadd double %v.74, 0x3FD999999999999A
  %v.76 = fmul double %v.75, %v.55
  %v.77 = fadd double %v.76, 0x3FE5555555555555
  %v.78 = fmul double %v.55, %v.77
  %v.79 = fmul double %v.24, 0x3FE62E42FEE00000
  %v.80 = fadd double %v.32, %v.32
  %v.81 = fadd double %v.79, %v.80
  %v.82 = fsub double %v.81, %v.79
  %v.83 = fsub double %v.81, %v.82
  %v.84 = fsub double %v.79, %v.83
  %v.85 = fsub double %v.80, %v.82
  %v.86 = fadd double %v.84, %v.85
  %v.87 = fadd double %v.54, %v.54
  %v.88 = fmul double %v.32, %v.78
  %v.89 = fadd double %v.87, %v.88
  %v.90 = fmul double %v.24, 0x3DEA39EF35793C76
  %v.91 = fadd double %v.89, %v.90
  %v.92 = fadd double %v.86, %v.91
  %v.93 = fadd double %v.81, %v.92
  %v.94 = fsub double %v.93, %v.81
  %v.95 = fsub double %v.93, %v.94
  %v.96 = fsub double %v.81, %v.95
  %v.97 = fsub double %v.92, %v.94
  %v.98 = fadd double %v.96, %v.97
  %v.99 = fmul double %v.4, %v.93
  %v.100 = fmul double %v.4, 0x41A0000002000000
  %v.101 = fsub double %v.100, %v.4
  %v.102 = fsub double %v.100, %v.101
  %v.103 = fsub double %v.4, %v.102
  %v.104 = fmul double %v.93, 0x41A0000002000000
  %v.105 = fsub double %v.104, %v.93
  %v.106 = fsub double %v.104, %v.105
  %v.107 = fsub double %v.93, %v.106
  %v.108 = fmul double %v.102, %v.106
  %v.109 = fsub double %v.108, %v.99
  %v.110 = fmul double %v.102, %v.107
  %v.111 = fadd double %v.109, %v.110
  %v.112 = fmul double %v.103, %v.106
  %v.113 = fadd double %v.111, %v.112
  %v.114 = fmul double %v.103, %v.107
  %v.115 = fadd double %v.113, %v.114
  %v.116 = fmul double %v.4, %v.98
  %v.117 = fadd double %v.115, %v.116
  %v.118 = fadd double %v.99, %v.117
  %v.119 = fsub double %v.118, %v.99
  %v.120 = fsub double %v.118, %v.119
  %v.121 = fsub double %v.99, %v.120
  %v.122 = fsub double %v.117, %v.119
  %v.123 = fadd double %v.121, %v.122
  %v.124 = fcmp olt double 0x4086300000000000, %v.118
  %v.125 = select i1 %v.124, double 0x4086300000000000, double %v.118
  %v.126 = fcmp olt double %v.125, 0xC087500000000000
  %v.127 = select i1 %v.126, double 0xC087500000000000, double %v.125
  %v.128 = fmul double %v.127, 0x3FF71547652B82FE
  %v.129 = fadd double %v.128, 0x4338000000000000
  %v.130 = fsub double %v.129, 0x4338000000000000
  %v.131 = bitcast double %v.129 to i64
  %v.132 = bitcast double 0x4338000000000000 to i64
  %v.133 = sub i64 %v.131, %v.132
  %v.134 = fmul double %v.130, 0x3FE62E42FEE00000
  %v.135 = fsub double %v.127, %v.134
  %v.136 = fmul double %v.130, 0x3DEA39EF35793C76
  %v.137 = fsub double %v.135, %v.136
  %v.138 = fmul double %v.137, %v.137
  %v.139 = fmul double 0x3E66376972BEA4D0, %v.138
  %v.140 = fadd double %v.139, 0xBEBBBD41C5D26BF1
  %v.141 = fmul double %v.140, %v.138
  %v.142 = fadd double %v.141, 0x3F11566AAF25DE2C
  %v.143 = fmul double %v.142, %v.138
  %v.144 = fadd double %v.143, 0xBF66C16C16BEBD93
  %v.145 = fmul double %v.144, %v.138
  %v.146 = fadd double %v.145, 0x3FC555555555553E
  %v.147 = fmul double %v.138, %v.146
  %v.148 = fsub double %v.137, %v.147
  %v.149 = fmul double %v.137, %v.148
  %v.150 = fsub double 0x4000000000000000, %v.148
  %v.151 = fdiv double %v.149, %v.150
  %v.152 = fsub double %v.151, %v.136
  %v.153 = fadd double %v.152, %v.135
  %v.154 = fadd double 0x3FF0000000000000, %v.153
  %v.155 = add i64 %v.133, 2305843009213693952
  %v.156 = lshr i64 %v.155, 1
  %v.157 = sub i64 %v.156, 1152921504606846976
  %v.158 = add i64 %v.157, 1023
  %v.159 = shl i64 %v.158, 52
  %v.160 = bitcast i64 %v.159 to double
  %v.161 = fmul double %v.154, %v.160
  %v.162 = sub i64 %v.133, %v.157
  %v.163 = add i64 %v.162, 1023
  %v.164 = shl i64 %v.163, 52
  %v.165 = bitcast i64 %v.164 to double
  %v.166 = fmul double %v.161, %v.165
  %v.167 = fmul double %v.166, %v.123
  %v.168 = fadd double %v.166, %v.167
  %v.169 = fcmp oeq double %v.166, 0x0000000000000000
  %v.170 = fcmp oeq double %v.166, 0x7FF0000000000000
  %v.171 = or i1 %v.169, %v.170
  %v.172 = select i1 %v.171, double %v.166, double %v.168
  %v.173 = fcmp oeq double %v, 0x0000000000000000
  %v.174 = fcmp olt double 0x0000000000000000, %y
  %v.175 = select i1 %v.174, double 0x0000000000000000, double 0x7FF0000000000000
  %v.176 = select i1 %v.173, double %v.175, double %v.172
  %v.177 = fcmp oeq double %v, 0x7FF0000000000000
  %v.178 = fcmp olt double 0x0000000000000000, %y
  %v.179 = select i1 %v.178, double 0x7FF0000000000000, double 0x0000000000000000
  %v.180 = select i1 %v.177, double %v.179, double %v.176
  %v.181 = call double @llvm.fabs.f64(double %y)
  %v.182 = fadd double %v.181, 0x4330000000000000
  %v.183 = fsub double %v.182, 0x4330000000000000
  %v.184 = bitcast double %v.183 to i64
  %v.185 = and i64 %v.184, 9223372036854775807
  %v.186 = bitcast double %y to i64
  %v.187 = and i64 %v.186, 9223372036854775808
  %v.188 = or i64 %v.185, %v.187
  %v.189 = bitcast i64 %v.188 to double
  %v.190 = fcmp olt double %y, %v.189
  %v.191 = fsub double %v.189, 0x3FF0000000000000
  %v.192 = select i1 %v.190, double %v.191, double %v.189
  %v.193 = fcmp olt double %v.181, 0x4330000000000000
  %v.194 = fcmp oeq double %v.192, 0x0000000000000000
  %v.195 = select i1 %v.194, double %y, double %v.192
  %v.196 = bitcast double %v.192 to i64
  %v.197 = and i64 %v.196, 9223372036854775807
  %v.198 = bitcast double %v.195 to i64
  %v.199 = and i64 %v.198, 9223372036854775808
  %v.200 = or i64 %v.197, %v.199
  %v.201 = bitcast i64 %v.200 to double
  %v.202 = select i1 %v.193, double %v.201, double %y
  %v.203 = fcmp oeq double %v.202, %y
  %v.204 = fmul double %y, 0x3FE0000000000000
  %v.205 = call double @llvm.fabs.f64(double %v.204)
  %v.206 = fadd double %v.205, 0x4330000000000000
  %v.207 = fsub double %v.206, 0x4330000000000000
  %v.208 = bitcast double %v.207 to i64
  %v.209 = and i64 %v.208, 9223372036854775807
  %v.210 = bitcast double %v.204 to i64
  %v.211 = and i64 %v.210, 9223372036854775808
  %v.212 = or i64 %v.209, %v.211
  %v.213 = bitcast i64 %v.212 to double
  %v.214 = fcmp olt double %v.204, %v.213
  %v.215 = fsub double %v.213, 0x3FF0000000000000
  %v.216 = select i1 %v.214, double %v.215, double %v.213
  %v.217 = fcmp olt double %v.205, 0x4330000000000000
  %v.218 = fcmp oeq double %v.216, 0x0000000000000000
  %v.219 = select i1 %v.218, double %v.204, double %v.216
  %v.220 = bitcast double %v.216 to i64
  %v.221 = and i64 %v.220, 9223372036854775807
  %v.222 = bitcast double %v.219 to i64
  %v.223 = and i64 %v.222, 9223372036854775808
  %v.224 = or i64 %v.221, %v.223
  %v.225 = bitcast i64 %v.224 to double
  %v.226 = select i1 %v.217, double %v.225, double %v.204
  %v.227 = fcmp oeq double %v.226, %v.204
  %v.228 = xor i1 %v.227, true
  %v.229 = and i1 %v.203, %v.228
  %v.230 = bitcast double %x to i64
  %v.231 = and i64 %v.230, 9223372036854775808
  %v.232 = icmp eq i64 %v.231, 0
  %v.233 = xor i1 %v.232, true
  %v.234 = and i1 %v.233, %v.229
  %v.235 = fneg double %v.180
  %v.236 = select i1 %v.234, double %v.235, double %v.180
  %v.237 = xor i1 %v.203, true
  %v.238 = fcmp olt double %x, 0x0000000000000000
  %v.239 = and i1 %v.237, %v.238
  %v.240 = fcmp oeq double %v, 0x7FF0000000000000
  %v.241 = xor i1 %v.240, true
  %v.242 = and i1 %v.239, %v.241
  %v.243 = fcmp oeq double %x, %x
  %v.244 = xor i1 %v.243, true
  %v.245 = or i1 %v.242, %v.244
  %v.246 = fcmp oeq double %y, %y
  %v.247 = xor i1 %v.246, true
  %v.248 = or i1 %v.245, %v.247
  %v.249 = select i1 %v.248, double 0x7FF8000000000000, double %v.236
  %v.250 = fcmp oeq double %y, 0x0000000000000000
  %v.251 = fcmp oeq double %x, 0x3FF0000000000000
  %v.252 = or i1 %v.250, %v.251
  %v.253 = fcmp oeq double %v, 0x3FF0000000000000
  %v.254 = call double @llvm.fabs.f64(double %y)
  %v.255 = fcmp oeq double %v.254, 0x7FF0000000000000
  %v.256 = and i1 %v.253, %v.255
  %v.257 = or i1 %v.252, %v.256
  %v.258 = select i1 %v.257, double 0x3FF0000000000000, double %v.249
  ret double %v.258
}

define void @prepare(ptr %hypers, ptr %t, ptr %direction, ptr %states, ptr %scalars, i64 %rows) #0 {
entry:
  br label %row.loop
row.loop:
  %row = phi i64 [ 0, %entry ], [ %row.after, %row.next ]
  %more = icmp slt i64 %row, %rows
  br i1 %more, label %row.body, label %row.done
row.body:
  %v = mul i64 %row, 8
  %v.1 = getelementptr inbounds double, ptr %hypers, i64 %v
  %lr = load double, ptr %v.1, align 8
  %v.2 = mul i64 %row, 8
  %v.3 = add i64 %v.2, 1
  %v.4 = getelementptr inbounds double, ptr %hypers, i64 %v.3
  %scale = load double, ptr %v.4, align 8
  %v.5 = mul i64 %row, 8
  %v.6 = add i64 %v.5, 2
  %v.7 = getelementptr inbounds double, ptr %hypers, i64 %v.6
  %beta = load double, ptr %v.7, align 8
  %v.8 = mul i64 %row, 8
  %v.9 = add i64 %v.8, 3
  %v.10 = getelementptr inbounds double, ptr %hypers, i64 %v.9
  %momentum = load double, ptr %v.10, align 8
  %v.11 = mul i64 %row, 8
  %v.12 = add i64 %v.11, 4
  %v.13 = getelementptr inbounds double, ptr %hypers, i64 %v.12
  %eps = load double, ptr %v.13, align 8
  %v.14 = mul i64 %row, 8
  %v.15 = add i64 %v.14, 5
  %v.16 = getelementptr inbounds double, ptr %hypers, i64 %v.15
  %elements = load double, ptr %v.16, align 8
  %v.17 = mul i64 %row, 8
  %v.18 = add i64 %v.17, 7
  %v.19 = getelementptr inbounds double, ptr %hypers, i64 %v.18
  %mean0 = load double, ptr %v.19, align 8
  %v.20 = mul i64 %row, 2
  %v.21 = getelementptr inbounds double, ptr %states, i64 %v.20
  %v_old = load double, ptr %v.21, align 8
  %v.22 = mul i64 %row, 2
  %v.23 = add i64 %v.22, 1
  %v.24 = getelementptr inbounds double, ptr %states, i64 %v.23
  %b_old = load double, ptr %v.24, align 8
  %v.25 = getelementptr inbounds double, ptr %t, i64 %row
  %t.1 = load double, ptr %v.25, align 8
  %v.26 = getelementptr inbounds double, ptr %direction, i64 %row
  %direction.1 = load double, ptr %v.26, align 8
  %v.27 = fdiv double %mean0, %elements
  %v.28 = fmul double %beta, %v_old
  %v.29 = fsub double 0x3FF0000000000000, %beta
  %v.30 = fmul double %v.29, %v.27
  %v.31 = fadd double %v.28, %v.30
  %pow = call double @pow.f64(double %beta, double %t.1)
  %v.32 = fsub double 0x3FF0000000000000, %pow
  %v.33 = fadd double %v.31, %eps
  %v.34 = fdiv double %v.32, %v.33
  %v.35 = fmul double %lr, %lr
  %v.36 = fmul double %v.35, %v.34
  %v.37 = fmul double %v.36, %v.27
  %v.38 = call double @llvm.sqrt.f64(double %lr)
  %v.39 = fmul double %v.38, %b_old
  %v.40 = fdiv double %v.39, 0x4010000000000000
  %v.41 = fadd double 0x3FF0000000000000, %v.40
  %v.42 = call double @llvm.sqrt.f64(double %v.41)
  %v.43 = fdiv double %v.37, %v.42
  %v.44 = fmul double %lr, %scale
  %v.45 = call double @llvm.sqrt.f64(double %v.44)
  %v.46 = fmul double %v.45, %b_old
  %v.47 = fdiv double %v.46, 0x4010000000000000
  %v.48 = fadd double 0x3FF0000000000000, %v.47
  %v.49 = fdiv double 0x3FF0000000000000, %v.48
  %v.50 = fadd double 0x3FF0000000000000, %b_old
  %v.51 = fmul double %v.43, %v.50
  %v.52 = fadd double %b_old, %v.51
  %v.53 = call double @llvm.sqrt.f64(double %v.34)
  %v.54 = fmul double %v.44, %v.53
  %v.55 = fdiv double %v.43, 0x4000000000000000
  %v.56 = fsub double 0x3FF0000000000000, %momentum
  %v.57 = mul i64 %row, 6
  %v.58 = getelementptr inbounds double, ptr %scalars, i64 %v.57
  store double %momentum, ptr %v.58, align 8
  %v.59 = mul i64 %row, 6
  %v.60 = add i64 %v.59, 1
  %v.61 = getelementptr inbounds double, ptr %scalars, i64 %v.60
  store double %direction.1, ptr %v.61, align 8
  %v.62 = mul i64 %row, 6
  %v.63 = add i64 %v.62, 2
  %v.64 = getelementptr inbounds double, ptr %scalars, i64 %v.63
  store double %v.49, ptr %v.64, align 8
  %v.65 = mul i64 %row, 6
  %v.66 = add i64 %v.65, 3
  %v.67 = getelementptr inbounds double, ptr %scalars, i64 %v.66
  store double %v.54, ptr %v.67, align 8
  %v.68 = mul i64 %row, 6
  %v.69 = add i64 %v.68, 4
  %v.70 = getelementptr inbounds double, ptr %scalars, i64 %v.69
  store double %v.55, ptr %v.70, align 8
  %v.71 = mul i64 %row, 6
  %v.72 = add i64 %v.71, 5
  %v.73 = getelementptr inbounds double, ptr %scalars, i64 %v.72
  store double %v.56, ptr %v.73, align 8
  %v.74 = mul i64 %row, 2
  %v.75 = getelementptr inbounds double, ptr %states, i64 %v.74
  store double %v.31, ptr %v.75, align 8
  %v.76 = mul i64 %row, 2
  %v.77 = add i64 %v.76, 1
  %v.78 = getelementptr inbounds double, ptr %states, i64 %v.77
  store double %v.52, ptr %v.78, align 8
  br label %row.next
row.next:
  %row.after = add nsw i64 %row, 1
  br label %row.loop
row.done:
  ret void
}

define void @update(ptr %addresses, ptr %chunks, i64 %first, i64 %last, ptr %scalars) #0 {
entry:
  br label %chunk.loop
chunk.loop:
  %chunk = phi i64 [ %first, %entry ], [ %chunk.after, %chunk.next ]
  %more = icmp slt i64 %chunk, %last
  br i1 %more, label %chunk.body, label %chunk.done
chunk.body:
  %v = getelementptr inbounds [4 x i64], ptr %chunks, i64 %chunk
  %tensor = load i64, ptr %v, align 8
  %v.1 = getelementptr inbounds i64, ptr %v, i64 1
  %start = load i64, ptr %v.1, align 8
  %v.2 = getelementptr inbounds i64, ptr %v, i64 2
  %size = load i64, ptr %v.2, align 8
  %v.3 = getelementptr inbounds i64, ptr %v, i64 3
  %row = load i64, ptr %v.3, align 8
  %v.4 = getelementptr inbounds [3 x i64], ptr %addresses, i64 %tensor, i64 0
  %v.5 = load i64, ptr %v.4, align 8
  %v.6 = inttoptr i64 %v.5 to ptr
  %theta.at = getelementptr inbounds float, ptr %v.6, i64 %start
  %v.7 = getelementptr inbounds [3 x i64], ptr %addresses, i64 %tensor, i64 1
  %v.8 = load i64, ptr %v.7, align 8
  %v.9 = inttoptr i64 %v.8 to ptr
  %g.at = getelementptr inbounds float, ptr %v.9, i64 %start
  %v.10 = getelementptr inbounds [3 x i64], ptr %addresses, i64 %tensor, i64 2
  %v.11 = load i64, ptr %v.10, align 8
  %v.12 = inttoptr i64 %v.11 to ptr
  %u.at = getelementptr inbounds float, ptr %v.12, i64 %start
  %v.13 = getelementptr inbounds [6 x double], ptr %scalars, i64 %row, i64 0
  %momentum = load double, ptr %v.13, align 8
  %v.14 = fptrunc double %momentum to float
  %v.15 = getelementptr inbounds [6 x double], ptr %scalars, i64 %row, i64 1
  %direction = load double, ptr %v.15, align 8
  %v.16 = fptrunc double %direction to float
  %v.17 = getelementptr inbounds [6 x double], ptr %scalars, i64 %row, i64 2
  %d = load double, ptr %v.17, align 8
  %v.18 = fptrunc double %d to float
  %v.19 = getelementptr inbounds [6 x double], ptr %scalars, i64 %row, i64 3
  %k0 = load double, ptr %v.19, align 8
  %v.20 = fptrunc double %k0 to float
  %v.21 = getelementptr inbounds [6 x double], ptr %scalars, i64 %row, i64 4
  %k1 = load double, ptr %v.21, align 8
  %v.22 = fptrunc double %k1 to float
  %v.23 = getelementptr inbounds [6 x double], ptr %scalars, i64 %row, i64 5
  %k2 = load double, ptr %v.23, align 8
  %v.24 = fptrunc double %k2 to float
  %v.25 = insertelement <16 x float> poison, float %v.14, i64 0
  %v.26 = shufflevector <16 x float> %v.25, <16 x float> poison, <16 x i32> zeroinitializer
  %v.27 = insertelement <16 x float> poison, float %v.16, i64 0
  %v.28 = shufflevector <16 x float> %v.27, <16 x float> poison, <16 x i32> zeroinitializer
  %v.29 = insertelement <16 x float> poison, float %v.18, i64 0
  %v.30 = shufflevector <16 x float> %v.29, <16 x float> poison, <16 x i32> zeroinitializer
  %v.31 = insertelement <16 x float> poison, float %v.20, i64 0
  %v.32 = shufflevector <16 x float> %v.31, <16 x float> poison, <16 x i32> zeroinitializer
  %v.33 = insertelement <16 x float> poison, float %v.22, i64 0
  %v.34 = shufflevector <16 x float> %v.33, <16 x float> poison, <16 x i32> zeroinitializer
  %v.35 = insertelement <16 x float> poison, float %v.24, i64 0
  %v.36 = shufflevector <16 x float> %v.35, <16 x float> poison, <16 x i32> zeroinitializer
  %whole = and i64 %size, -16
  br label %i.loop
i.loop:
  %i = phi i64 [ 0, %chunk.body ], [ %i.after, %i.next ]
  %more.1 = icmp slt i64 %i, %whole
  br i1 %more.1, label %i.body, label %i.done
i.body:
  %v.37 = getelementptr inbounds float, ptr %g.at, i64 %i
  %g.old = load <16 x float>, ptr %v.37, align 4, !alias.scope !35, !noalias !36
  %v.38 = fmul <16 x float> %v.28, %g.old
  %v.39 = getelementptr inbounds float, ptr %theta.at, i64 %i
  %theta.old = load <16 x float>, ptr %v.39, align 4, !alias.scope !33, !noalias !34
  %v.40 = getelementptr inbounds float, ptr %u.at, i64 %i
  %u.old = load <16 x float>, ptr %v.40, align 4, !alias.scope !37, !noalias !38
  %v.41 = fmul <16 x float> %v.32, %v.38
  %v.42 = call <16 x float> @llvm.fma.v16f32(<16 x float> %v.34, <16 x float> %theta.old, <16 x float> %v.41)
  %v.43 = fmul <16 x float> %v.30, %v.42
  %v.44 = fmul <16 x float> %v.26, %u.old
  %v.45 = call <16 x float> @llvm.fma.v16f32(<16 x float> %v.36, <16 x float> %v.43, <16 x float> %v.44)
  %v.46 = fsub <16 x float> %theta.old, %v.45
  %v.47 = getelementptr inbounds float, ptr %theta.at, i64 %i
  store <16 x float> %v.46, ptr %v.47, align 4, !alias.scope !33, !noalias !34
  %v.48 = getelementptr inbounds float, ptr %u.at, i64 %i
  store <16 x float> %v.45, ptr %v.48, align 4, !alias.scope !37, !noalias !38
  br label %i.next
i.next:
  %i.after = add nsw i64 %i, 16
  br label %i.loop
i.done:
  br label %rest.loop
rest.loop:
  %rest = phi i64 [ %whole, %i.done ], [ %rest.after, %rest.next ]
  %more.2 = icmp slt i64 %rest, %size
  br i1 %more.2, label %rest.body, label %rest.done
rest.body:
  %v.49 = getelementptr inbounds float, ptr %g.at, i64 %rest
  %g.old.1 = load float, ptr %v.49, align 4, !alias.scope !35, !noalias !36
  %v.50 = fmul float %v.16, %g.old.1
  %v.51 = getelementptr inbounds float, ptr %theta.at, i64 %rest
  %theta.old.1 = load float, ptr %v.51, align 4, !alias.scope !33, !noalias !34
  %v.52 = getelementptr inbounds float, ptr %u.at, i64 %rest
  %u.old.1 = load float, ptr %v.52, align 4, !alias.scope !37, !noalias !38
  %v.53 = fmul float %v.20, %v.50
  %v.54 = call float @llvm.fma.f32(float %v.22, float %theta.old.1, float %v.53)
  %v.55 = fmul float %v.18, %v.54
  %v.56 = fmul float %v.14, %u.old.1
  %v.57 = call float @llvm.fma.f32(float %v.24, float %v.55, float %v.56)
  %v.58 = fsub float %theta.old.1, %v.57
  %v.59 = getelementptr inbounds float, ptr %theta.at, i64 %rest
  store float %v.58, ptr %v.59, align 4, !alias.scope !33, !noalias !34
  %v.60 = getelementptr inbounds float, ptr %u.at, i64 %rest
  store float %v.57, ptr %v.60, align 4, !alias.scope !37, !noalias !38
  br label %rest.next
rest.next:
  %rest.after = add nsw i64 %rest, 1
  br label %rest.loop
rest.done:
  br label %chunk.next
chunk.next:
  %chunk.after = add nsw i64 %chunk, 1
  br label %chunk.loop
chunk.done:
  ret void
}

declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare double @llvm.fabs.f64(double)
declare double @llvm.sqrt.f64(double)
declare float @llvm.fma.f32(float, float, float)

attributes #0 = { nounwind "no-builtins" }
!0 = distinct !{!0, !"buffers of a tensor"}
!1 = distinct !{!1, !0}
!2 = distinct !{!2, !0}
!3 = distinct !{!3, !0}
!33 = !{!1}
!34 = !{!2, !3}
!35 = !{!2}
!36 = !{!1, !3}
!37 = !{!3}
!38 = !{!1, !2}
!97 = !{}
