"""PTX to try the tools on: an Adam step and a sum of squares, written by hand as LLVM IR and compiled here.

The kernels take what the compiler's take: `addresses` (T, B) uint64, `chunks` (C, 4) int64 of tensor, start,
size and row, `scalars` (R, S) float64, and sums `partials` (C, 1) float64; one block of 256 threads a chunk.
Adam's buffers are theta, g, m, v; its scalars `lr beta1 beta2 eps 1/(1-beta1^t) 1/(1-beta2^t)`, rounded to
float32 once; its arithmetic is float32 with fused multiply-add, as `adam_in_numpy` has it again.
Assumed: llvmlite with LLVM 20 or newer (0.45).
"""

from functools import cache
from typing import Any

import numpy as np

from .arithmetic import fma

THREADS = 256
CHUNK = 1024
SCALARS = np.array([[1e-3, 0.9, 0.999, 1e-8, 1 / (1 - 0.9**7), 1 / (1 - 0.999**7)]])

_DECLARATIONS = """\
target triple = "nvptx64-nvidia-cuda"
target datalayout = "e-p6:32:32-i64:64-i128:128-i256:256-v16:16-v32:32-n16:32:64"
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)
declare float @llvm.fma.f32(float, float, float)
declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)
declare float @llvm.sqrt.f32(float)
declare <4 x float> @llvm.sqrt.v4f32(<4 x float>)
declare double @llvm.fma.f64(double, double, double)
@folded = internal addrspace(3) global [256 x double] undef, align 8
"""

_CHUNK = """\
  %block32 = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %block = zext i32 %block32 to i64
  %thread32 = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %thread = zext i32 %thread32 to i64
  %chunk = getelementptr [4 x i64], ptr addrspace(1) %chunks, i64 %block
  %tensor = load i64, ptr addrspace(1) %chunk, !invariant.load !0
  %start.at = getelementptr i64, ptr addrspace(1) %chunk, i64 1
  %start = load i64, ptr addrspace(1) %start.at, !invariant.load !0
  %size.at = getelementptr i64, ptr addrspace(1) %chunk, i64 2
  %size = load i64, ptr addrspace(1) %size.at, !invariant.load !0
  %end = add i64 %start, %size
"""

BUFFERS = ("theta", "g", "m", "v")
SCALAR_NAMES = ("lr", "beta1", "beta2", "eps", "k1", "k2")


def _body(name: str, lanes: int) -> str:
    """Adam at index %i of loop `name`, for one element or four."""
    number = "<4 x float>" if lanes == 4 else "float"
    suffix = "v4f32" if lanes == 4 else "f32"
    lines = []
    for buffer in BUFFERS:
        lines += [
            f"%{name}.{buffer}.at = getelementptr float, ptr addrspace(1) %{buffer}, i64 %{name}.i",
            f"%{name}.{buffer} = load {number}, ptr addrspace(1) %{name}.{buffer}.at, align {4 * lanes}",
        ]
    if lanes == 4:
        for each in (*SCALAR_NAMES, "one1", "one2"):
            lines += [
                f"%{name}.{each}.first = insertelement <4 x float> undef, float %{each}, i32 0",
                f"%{name}.{each} = shufflevector <4 x float> %{name}.{each}.first, <4 x float> undef, "
                "<4 x i32> zeroinitializer",
            ]

    def scalar(which: str) -> str:
        return f"%{name}.{which}" if lanes == 4 else f"%{which}"

    def fma(to: str, a: str, b: str, c: str) -> str:
        call = f"call {number} @llvm.fma.{suffix}({number} {a}, {number} {b}, {number} {c})"
        return f"%{name}.{to} = {call}"

    at = f"%{name}."
    lines += [
        f"{at}m.part = fmul {number} {scalar('one1')}, {at}g",
        fma("m.new", scalar("beta1"), f"{at}m", f"{at}m.part"),
        f"{at}square = fmul {number} {at}g, {at}g",
        f"{at}v.part = fmul {number} {scalar('one2')}, {at}square",
        fma("v.new", scalar("beta2"), f"{at}v", f"{at}v.part"),
        f"{at}mhat = fmul {number} {at}m.new, {scalar('k1')}",
        f"{at}vhat = fmul {number} {at}v.new, {scalar('k2')}",
        f"{at}root = call {number} @llvm.sqrt.{suffix}({number} {at}vhat)",
        f"{at}below = fadd {number} {at}root, {scalar('eps')}",
        f"{at}above = fmul {number} {scalar('lr')}, {at}mhat",
        f"{at}step = fdiv {number} {at}above, {at}below",
        f"{at}theta.new = fsub {number} {at}theta, {at}step",
    ]
    lines += [
        f"store {number} {at}{buffer}.new, ptr addrspace(1) {at}{buffer}.at, align {4 * lanes}"
        for buffer in ("theta", "m", "v")
    ]
    return "\n".join(f"  {line}" for line in lines)


def _adam() -> str:
    lines = []
    for number, buffer in enumerate(BUFFERS):
        lines += [
            f"%{buffer}.slot = getelementptr i64, ptr addrspace(1) %tensor.at, i64 {number}",
            f"%{buffer}.address = load i64, ptr addrspace(1) %{buffer}.slot, !invariant.load !0",
            f"%{buffer} = inttoptr i64 %{buffer}.address to ptr addrspace(1)",
            f"%{buffer}.begin = getelementptr float, ptr addrspace(1) %{buffer}, i64 %start",
            f"%{buffer}.begins = ptrtoint ptr addrspace(1) %{buffer}.begin to i64",
        ]
    for number, scalar in enumerate(SCALAR_NAMES):
        lines += [
            f"%{scalar}.at = getelementptr double, ptr addrspace(1) %scalars.at, i64 {number}",
            f"%{scalar}.wide = load double, ptr addrspace(1) %{scalar}.at, !invariant.load !0",
            f"%{scalar} = fptrunc double %{scalar}.wide to float",
        ]
    setup = "\n".join(f"  {line}" for line in lines)
    return f"""
define ptx_kernel void @update_f32(
  ptr addrspace(1) %addresses, ptr addrspace(1) %chunks, ptr addrspace(1) %scalars) {{
entry:
{_CHUNK}
  %row.at = getelementptr i64, ptr addrspace(1) %chunk, i64 3
  %row = load i64, ptr addrspace(1) %row.at, !invariant.load !0
  %tensor.at = getelementptr [4 x i64], ptr addrspace(1) %addresses, i64 %tensor
  %scalars.at = getelementptr [6 x double], ptr addrspace(1) %scalars, i64 %row
{setup}
  %one1 = fsub float 1.0, %beta1
  %one2 = fsub float 1.0, %beta2
  %or1 = or i64 %theta.begins, %g.begins
  %or2 = or i64 %or1, %m.begins
  %or3 = or i64 %or2, %v.begins
  %odd = and i64 %or3, 15
  %aligned = icmp eq i64 %odd, 0
  %fours = and i64 %size, -4
  %in.fours = select i1 %aligned, i64 %fours, i64 0
  %middle = add i64 %start, %in.fours
  %first4 = shl i64 %thread, 2
  %from4 = add i64 %start, %first4
  br label %fours.test
fours.test:
  %a.i = phi i64 [ %from4, %entry ], [ %a.next, %fours.body ]
  %more4 = icmp slt i64 %a.i, %middle
  br i1 %more4, label %fours.body, label %ones
fours.body:
{_body("a", 4)}
  %a.next = add i64 %a.i, {4 * THREADS}
  br label %fours.test
ones:
  %from = add i64 %middle, %thread
  br label %ones.test
ones.test:
  %b.i = phi i64 [ %from, %ones ], [ %b.next, %ones.body ]
  %more = icmp slt i64 %b.i, %end
  br i1 %more, label %ones.body, label %done
ones.body:
{_body("b", 1)}
  %b.next = add i64 %b.i, {THREADS}
  br label %ones.test
done:
  ret void
}}
"""


def _sum_of_squares() -> str:
    return f"""
define ptx_kernel void @reduce0_f32(
  ptr addrspace(1) %addresses, ptr addrspace(1) %chunks, ptr addrspace(1) %scalars,
  ptr addrspace(1) %partials) {{
entry:
{_CHUNK}
  %tensor.at = getelementptr [2 x i64], ptr addrspace(1) %addresses, i64 %tensor
  %slot = getelementptr i64, ptr addrspace(1) %tensor.at, i64 1
  %address = load i64, ptr addrspace(1) %slot, !invariant.load !0
  %g = inttoptr i64 %address to ptr addrspace(1)
  %from = add i64 %start, %thread
  br label %test
test:
  %i = phi i64 [ %from, %entry ], [ %next, %body ]
  %sum = phi double [ 0.0, %entry ], [ %more.sum, %body ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %body, label %fold
body:
  %at = getelementptr float, ptr addrspace(1) %g, i64 %i
  %x32 = load float, ptr addrspace(1) %at, !invariant.load !0
  %x = fpext float %x32 to double
  %more.sum = call double @llvm.fma.f64(double %x, double %x, double %sum)
  %next = add i64 %i, {THREADS}
  br label %test
fold:
  %mine = getelementptr [256 x double], ptr addrspace(3) @folded, i64 0, i64 %thread
  store double %sum, ptr addrspace(3) %mine
  br label %round
round:
  %half = phi i64 [ 128, %fold ], [ %less, %after ]
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)
  %works = icmp ult i64 %thread, %half
  br i1 %works, label %add, label %after
add:
  %other = add i64 %thread, %half
  %theirs = getelementptr [256 x double], ptr addrspace(3) @folded, i64 0, i64 %other
  %left = load double, ptr addrspace(3) %mine
  %right = load double, ptr addrspace(3) %theirs
  %both = fadd double %left, %right
  store double %both, ptr addrspace(3) %mine
  br label %after
after:
  %less = lshr i64 %half, 1
  %last = icmp eq i64 %less, 0
  br i1 %last, label %out, label %round
out:
  %first = icmp eq i64 %thread, 0
  br i1 %first, label %write, label %done
write:
  %total = load double, ptr addrspace(3) %mine
  %partial = getelementptr double, ptr addrspace(1) %partials, i64 %block
  store double %total, ptr addrspace(1) %partial
  br label %done
done:
  ret void
}}
"""


@cache
def compiled(llvm_ir: str, cpu: str = "sm_80", isa: str = "70") -> str:
    """PTX for a processor and an ISA version."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple("nvptx64-nvidia-cuda")
    machine = target.create_target_machine(cpu=cpu, features=f"+ptx{isa}", opt=3)
    module = binding.parse_assembly(llvm_ir)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    text: str = machine.emit_assembly(module)
    return text


def adam() -> str:
    """PTX of `update_f32` and `reduce0_f32`."""
    return compiled(f"{_DECLARATIONS}{_adam()}{_sum_of_squares()}!0 = !{{}}\n")


def adam_in_numpy(theta: Any, g: Any, m: Any, v: Any) -> tuple[Any, Any, Any]:
    lr, beta1, beta2, eps, k1, k2 = SCALARS[0].astype(np.float32)
    one = np.float32(1)
    m = fma(np.full_like(m, beta1), m, (one - beta1) * g)
    v = fma(np.full_like(v, beta2), v, (one - beta2) * (g * g))
    return theta - lr * (m * k1) / (np.sqrt(v * k2) + eps), m, v


HEADER = ".version 7.0\n.target sm_80\n.address_size 64\n"


def entry_of(body: str) -> str:
    return (
        f"{HEADER}.visible .entry k(.param .u64 at)\n{{\n\t.reg .pred %p<9>;\n\t.reg .b16 %rs<9>;\n"
        f"\t.reg .b32 %r<9>;\n\t.reg .b64 %rd<9>;\n\tld.param.b64 %rd1, [at];\n{body}\n\tret;\n}}\n"
    )
