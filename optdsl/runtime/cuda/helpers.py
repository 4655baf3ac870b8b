"""What every step on a GPU needs beside the kernels of its rule, in PTX that is written by hand.

    write(to, w0 ... w499)   words that are arguments go to memory: a CUDA graph keeps them as they were
    begin(gradients u64[T], groups s64[T], rows f64[G][H + 1], addresses u64[T][B], hypers f64[T][W],
          direction f64[T], B, H, W, T, moves u64[N][3], N)
                             a thread for each tensor: its gradient's address, and its group's hypers and
                             direction, go to where prologues and kernels read them; and what `move` does
    move(moves u64[N][3], N) a thread for each: a number goes from an address to another; the third says how

Out: text that any driver from CUDA 11.0 on takes. Nothing of a spec is in it. Assumed: what `begin` reads
does not overlap what it writes.
"""

from functools import cache

WORDS = 500  # of `write`: with `to` they fit into the 4 KiB that arguments may have
FROM_F64, TO_F64, PLUS_ONE, UNLESS_NAN = 1, 2, 4, 8  # how a number is moved, added up

_HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"

_THREAD = """\
    mov.u32 %r0, %ctaid.x;
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd0, %r0, 256;
    cvt.u64.u32 %rd1, %r1;
    add.s64 %rd0, %rd0, %rd1;
"""

_MOVING = f"""\
    ld.param.u64 %rd1, [moved];
    setp.ge.u64 %p0, %rd0, %rd1;
    @%p0 bra end;
    ld.param.u64 %rd2, [moves];
    mul.lo.u64 %rd3, %rd0, 24;
    add.s64 %rd2, %rd2, %rd3;
    ld.global.u64 %rd4, [%rd2];
    ld.global.u64 %rd5, [%rd2+8];
    ld.global.u64 %rd6, [%rd2+16];
    and.b64 %rd7, %rd6, {FROM_F64};
    setp.ne.u64 %p1, %rd7, 0;
    @%p1 bra wide;
    ld.global.f32 %f0, [%rd4];
    cvt.f64.f32 %fd0, %f0;
    bra known;
wide:
    ld.global.f64 %fd0, [%rd4];
known:
    and.b64 %rd8, %rd6, {PLUS_ONE};
    setp.eq.u64 %p2, %rd8, 0;
    @%p2 bra counted;
    add.rn.f64 %fd0, %fd0, 0d3FF0000000000000;
counted:
    and.b64 %rd9, %rd6, {UNLESS_NAN};
    setp.eq.u64 %p3, %rd9, 0;
    @%p3 bra store;
    setp.nan.f64 %p4, %fd0, %fd0;
    @%p4 bra end;
store:
    and.b64 %rd10, %rd6, {TO_F64};
    setp.ne.u64 %p5, %rd10, 0;
    @%p5 bra whole;
    cvt.rn.f32.f64 %f1, %fd0;
    st.global.f32 [%rd5], %f1;
    bra end;
whole:
    st.global.f64 [%rd5], %fd0;
end:
    ret;
}}
"""

_MOVE = f"""\
.visible .entry move(
    .param .u64 moves, .param .u64 moved
)
{{
    .reg .pred %p<6>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<16>;
    .reg .f32 %f<2>;
    .reg .f64 %fd<2>;
{_THREAD}\
{_MOVING}"""


_BEGIN = f"""\
.visible .entry begin(
    .param .u64 gradients, .param .u64 groups, .param .u64 rows, .param .u64 addresses, .param .u64 hypers,
    .param .u64 direction, .param .u64 buffers, .param .u64 count, .param .u64 width, .param .u64 tensors,
    .param .u64 moves, .param .u64 moved
)
{{
    .reg .pred %p<6>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<16>;
    .reg .f32 %f<2>;
    .reg .f64 %fd<2>;
{_THREAD}\
    ld.param.u64 %rd1, [tensors];
    setp.ge.u64 %p0, %rd0, %rd1;
    @%p0 bra numbers;
    shl.b64 %rd2, %rd0, 3;
    // addresses[thread][1] = gradients[thread]
    ld.param.u64 %rd3, [gradients];
    add.s64 %rd3, %rd3, %rd2;
    ld.global.u64 %rd4, [%rd3];
    ld.param.u64 %rd5, [buffers];
    mul.lo.u64 %rd5, %rd5, %rd2;
    ld.param.u64 %rd6, [addresses];
    add.s64 %rd6, %rd6, %rd5;
    st.global.u64 [%rd6+8], %rd4;
    // %rd7: the row of its group, %rd9: its own row, %rd10: how many numbers are left
    ld.param.u64 %rd3, [groups];
    add.s64 %rd3, %rd3, %rd2;
    ld.global.u64 %rd4, [%rd3];
    ld.param.u64 %rd10, [count];
    add.s64 %rd5, %rd10, 1;
    mul.lo.u64 %rd5, %rd5, %rd4;
    shl.b64 %rd5, %rd5, 3;
    ld.param.u64 %rd7, [rows];
    add.s64 %rd7, %rd7, %rd5;
    ld.param.u64 %rd8, [width];
    mul.lo.u64 %rd8, %rd8, %rd2;
    ld.param.u64 %rd9, [hypers];
    add.s64 %rd9, %rd9, %rd8;
next:
    ld.global.u64 %rd11, [%rd7];
    setp.eq.u64 %p1, %rd10, 0;
    @%p1 bra last;
    st.global.u64 [%rd9], %rd11;
    add.s64 %rd7, %rd7, 8;
    add.s64 %rd9, %rd9, 8;
    sub.s64 %rd10, %rd10, 1;
    bra next;
last:
    ld.param.u64 %rd12, [direction];
    add.s64 %rd12, %rd12, %rd2;
    st.global.u64 [%rd12], %rd11;
numbers:
{_MOVING}"""


@cache
def text() -> str:
    """The module."""
    places = range(WORDS)
    write = "\n".join(
        f"    ld.param.u64 %rd1, [w{place}];\n    st.global.u64 [%rd0+{8 * place}], %rd1;" for place in places
    )
    parameters = ", ".join(["to", *(f"w{place}" for place in places)]).replace(", ", ",\n    .param .u64 ")
    head = f".visible .entry write(\n    .param .u64 {parameters}\n)\n{{\n    .reg .b64 %rd<2>;\n"
    body = f"{head}    ld.param.u64 %rd0, [to];\n{write}\n    ret;\n}}\n"
    return "\n".join((_HEAD, body, _BEGIN, _MOVE))
