"""The interpreter of PTX: it computes what the ISA's manual says, and traps on every planted fault."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ptx import samples
from tests.ptx.arithmetic import fma
from tests.ptx.machine import launch
from tests.ptx.memory import Memory, Trap
from tests.ptx.text import PtxError, parsed

CHUNK = 1024
SCALARS = np.array([[1e-3, 0.9, 0.999, 1e-8, 1 / (1 - 0.9**7), 1 / (1 - 0.999**7)]])


class Adam:
    """Tensors of `sizes` in a memory, what tells the kernel of them, and copies of what was there."""

    def __init__(self, sizes: tuple[int, ...], offset: int = 0) -> None:
        rng = np.random.default_rng(sum(sizes))
        self.memory = Memory(1 << 22)
        self.before = [
            [rng.standard_normal(size).astype(np.float32) for _ in samples.BUFFERS] for size in sizes
        ]
        for tensors in self.before:
            tensors[3] = np.abs(tensors[3])
        self.table = np.array([[self.memory.put(x, offset) for x in each] for each in self.before], np.uint64)
        self.chunks = np.array(
            [(t, at, min(CHUNK, n - at), 0) for t, n in enumerate(sizes) for at in range(0, n, CHUNK)]
        )

    def run(self, ptx: str = "") -> None:
        where = [self.memory.put(each) for each in (self.table, self.chunks, SCALARS)]
        entry = parsed(ptx or samples.adam()).entries["update_f32"]
        launch(entry, self.memory, len(self.chunks), samples.THREADS, where)

    def found(self, tensor: int, buffer: int) -> np.ndarray[Any, Any]:
        size = self.before[tensor][0].nbytes
        return self.memory.read(int(self.table[tensor, buffer]), size).view(np.float32)


def adam_in_numpy(theta: Any, g: Any, m: Any, v: Any) -> tuple[Any, Any, Any]:
    lr, beta1, beta2, eps, k1, k2 = SCALARS[0].astype(np.float32)
    one = np.float32(1)
    m = fma(np.full_like(m, beta1), m, (one - beta1) * g)
    v = fma(np.full_like(v, beta2), v, (one - beta2) * (g * g))
    return theta - lr * (m * k1) / (np.sqrt(v * k2) + eps), m, v


@pytest.mark.parametrize("offset", [0, 4])
def test_a_kernel_gives_the_bits_of_numpy(offset: int) -> None:
    adam = Adam((1, 3, 4, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3000), offset)
    adam.run()
    for number, before in enumerate(adam.before):
        for buffer, expected in zip((0, 2, 3), adam_in_numpy(*before), strict=True):
            np.testing.assert_array_equal(adam.found(number, buffer), expected)
        np.testing.assert_array_equal(adam.found(number, 1), before[1])


def sum_of_squares(ptx: str) -> tuple[float, np.ndarray[Any, Any]]:
    g = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    memory = Memory(1 << 16)
    table, chunks = np.array([[0, memory.put(g)]], np.uint64), np.array([[0, 0, 1000, 0]])
    out = memory.allocate(8)
    where = [*(memory.put(each) for each in (table, chunks, SCALARS)), out]
    launch(parsed(ptx).entries["reduce0_f32"], memory, 1, samples.THREADS, where)
    return float(memory.read(out, 8).view(np.float64)[0]), g


def test_a_reduction_through_shared_memory() -> None:
    found, g = sum_of_squares(samples.adam())
    exact = sum(Fraction(float(x)) ** 2 for x in g)
    assert abs(Fraction(found) - exact) <= exact * Fraction(12, 2**53)  # 4 + 8 roundings, each of half an ulp


# --- planted faults ----------------------------------------------------------------------------------


def too_long() -> None:
    adam = Adam((1000,))
    adam.chunks[0, 2] += 1
    adam.run()


def far_away() -> None:
    adam = Adam((1000,))
    adam.table[0, 2] = 16
    adam.run()


def replaced(old: str, new: str, count: int = -1) -> str:
    assert old in samples.adam()
    return samples.adam().replace(old, new, count)


def vectors_of_odd_addresses() -> None:
    Adam((1000,), offset=4).run(replaced("and.b64 \t%rd34, %rd33, 15", "and.b64 \t%rd34, %rd33, 0"))


def state_that_nobody_wrote() -> None:
    adam = Adam((1000,))
    adam.table[0, 3] = adam.memory.allocate(4000)
    adam.run()


def chunk_that_is_there_twice() -> None:
    adam = Adam((2000,))
    adam.chunks = np.concatenate([adam.chunks, adam.chunks[:1]])
    adam.run()


def gradient_that_is_a_parameter() -> None:
    adam = Adam((1000, 1000))
    adam.table[0, 1] = adam.table[1, 0]
    adam.run()


def parameter_that_is_a_gradient() -> None:
    adam = Adam((1000, 1000))
    adam.table[1, 1] = adam.table[0, 0]
    adam.run()


def no_barrier() -> None:
    sum_of_squares(replaced("bar.sync \t0;", ""))


def barrier_for_some() -> None:
    sum_of_squares(replaced("@%p10 bra \t$L__BB1_19;", "@%p10 bra \t$L__BB1_19;\n\tbar.sync \t0;"))


def barriers_apart() -> None:
    branch = "@%p3 bra \t$L__BB1_5;"
    sum_of_squares(replaced(branch, f"{branch}\n\tbar.sync \t0;"))


HEADER = ".version 7.0\n.target sm_80\n.address_size 64\n"


def entry_of(body: str) -> str:
    return (
        f"{HEADER}.visible .entry k(.param .u64 at)\n{{\n\t.reg .pred %p<9>;\n\t.reg .b16 %rs<9>;\n"
        f"\t.reg .b32 %r<9>;\n\t.reg .b64 %rd<9>;\n\tld.param.b64 %rd1, [at];\n{body}\n\tret;\n}}\n"
    )


def alone(body: str, threads: int = 64) -> None:
    """64 words of zeros at %rd1, %r1 the thread, %rd2 its word."""
    memory = Memory(1 << 12)
    start = "mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd2, %rd2, %rd1;\n"
    where = memory.put(np.zeros(64, np.uint32))
    launch(parsed(entry_of(start + body)).entries["k"], memory, 1, threads, [where], limit=1000)


FAULTS: dict[str, tuple[Callable[[], None], str]] = {
    "one element too many": (too_long, "out of bounds: bytes"),
    "an address that is none": (far_away, "out of bounds: far"),
    "vectors where they are not aligned": (vectors_of_odd_addresses, "misaligned: 16 bytes"),
    "state that nobody wrote": (state_that_nobody_wrote, "uninitialised: a read of bytes"),
    "a chunk twice": (chunk_that_is_there_twice, "race"),
    "a gradient that is updated later": (gradient_that_is_a_parameter, "race: a thread writes what"),
    "a gradient that was updated": (parameter_that_is_a_gradient, "race: a thread reads what"),
    "no barriers": (no_barrier, "race: a thread reads what"),
    "a barrier for some": (barrier_for_some, "barrier divergence: some threads of reduce0_f32 ended"),
    "different barriers": (barriers_apart, "barrier divergence: threads of reduce0_f32 wait at"),
    "one word for all": (lambda: alone("st.global.b32 [%rd1], %r1;"), "race: two threads write one byte at"),
    "a neighbour's word, read": (
        lambda: alone("xor.b64 %rd3, %rd2, 4;\nst.global.b32 [%rd2], %r1;\nld.global.b32 %r2, [%rd3];"),
        "race: a thread reads what another writes",
    ),
    "a neighbour's word, written": (
        lambda: alone("xor.b64 %rd3, %rd2, 4;\nld.global.b32 %r2, [%rd2];\nst.global.b32 [%rd3], %r1;"),
        "race: a thread writes what another reads",
    ),
    "a word for all, then written": (
        lambda: alone("ld.global.b32 %r2, [%rd1];\nst.global.b32 [%rd2], %r1;"),
        "race: a thread writes what another reads",
    ),
    "the read-only cache": (
        lambda: alone("st.global.b32 [%rd2], %r1;\nld.global.nc.b32 %r2, [%rd2];"),
        "race: a read through the read-only cache",
    ),
    "a register before it is written": (lambda: alone("add.s32 %r2, %r3, 1;"), "uninitialised: %r3"),
    "a register that some have written": (
        lambda: alone("setp.lt.u32 %p1, %r1, 7;\n@%p1 mov.b32 %r2, 1;\nadd.s32 %r3, %r2, 1;"),
        "uninitialised: %r2 is read by a thread",
    ),
    "an endless loop": (lambda: alone("$L:\nbra $L;"), "does not end"),
    "a shuffle of half a warp": (
        lambda: alone("setp.lt.u32 %p1, %r1, 16;\n@%p1 shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;"),
        "a shuffle by some",
    ),
    "a division by zero": (lambda: alone("div.u32 %r2, %r1, 0;"), "divided by zero"),
    "no shared memory": (lambda: alone("mov.b64 %rd3, 0;\nld.shared.b32 %r2, [%rd3];"), "out of"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_caught(name: str) -> None:
    fault, words = FAULTS[name]
    with pytest.raises(Trap, match=words):
        fault()


def test_a_barrier_orders_what_a_block_does() -> None:
    alone(
        "xor.b64 %rd3, %rd2, 4;\nst.global.b32 [%rd2], %r1;\nbar.sync 0;\nld.global.b32 %r2, [%rd3];\n"
        "bar.sync 0;\nst.global.b32 [%rd2], %r2;"
    )


@pytest.mark.parametrize(
    "body",
    ["sqrt.rz.f32 %r2, %r1;", "add.cc.s32 %r2, %r1, 1;", "atom.global.add.u32 %r2, [%rd1], 1;",
     "call.uni f, (%r1);", "ld.local.b32 %r2, [%rd1];", "cvt.rz.f32.f64 %r2, %rd1;", "bar.sync 1;",
     "bra $NOWHERE;", "add.s48 %r2, %r1, 1;", "ld.param.b64 %rd2, [nothing];", "nonsense %r1;",
     "ld.global.v2.b32 {%r1, %r2, %r3}, [%rd1];", "st.global.b32 [%rd1], 1.5;"],
)  # fmt: skip
def test_what_is_not_known_is_refused(body: str) -> None:
    with pytest.raises(PtxError):
        alone(body)


@pytest.mark.parametrize(
    "text",
    ["", HEADER, f"{HEADER}.func f() {{ ret; }}\n{entry_of('')[len(HEADER):]}",
     f"{HEADER}.global .align 4 .b8 table[16];\n{entry_of('')[len(HEADER):]}",
     entry_of(".local .align 4 .b8 depot[16];")],
)  # fmt: skip
def test_text_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(PtxError):
        parsed(text)


# --- single instructions -----------------------------------------------------------------------------


def bits(value: float, width: int = 32) -> int:
    return int(np.array(value, f"f{width // 8}").view(f"u{width // 8}"))


NAN, INF = float("nan"), float("inf")
# What the manual of the ISA says, or what follows by hand: (instruction, sources, result), registers as bits.
SINGLE: list[tuple[str, tuple[int, ...], int]] = [
    ("prmt.b32", (0x33221100, 0x77665544, 0x5410), 0x55441100),
    ("prmt.b32", (0x00008000, 0, 0xC9C1), 0x00FF0080),  # the highest bit of a selector copies a sign
    ("bfe.u32", (0xABCD1234, 8, 8), 0x12),
    ("shl.b32", (3, 31), 0x80000000),
    ("shl.b32", (3, 32), 0),
    ("shr.u32", (0x80000000, 31), 1),
    ("shr.s32", (0x80000000, 40), 0xFFFFFFFF),
    ("mul.hi.u32", (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFE),
    ("mul.lo.s32", (0xFFFFFFFF, 7), 0xFFFFFFF9),
    ("mad.lo.s32", (3, 0xFFFFFFFE, 10), 4),
    ("div.s32", (0xFFFFFFF9, 2), 0xFFFFFFFD),  # -7/2 = -3
    ("rem.s32", (0xFFFFFFF9, 2), 0xFFFFFFFF),
    ("min.s32", (0xFFFFFFFF, 1), 0xFFFFFFFF),
    ("max.u32", (0xFFFFFFFF, 1), 0xFFFFFFFF),
    ("min.f32", (bits(NAN), bits(2.0)), bits(2.0)),
    ("min.f32", (bits(0.0), bits(-0.0)), bits(-0.0)),
    ("max.f32", (bits(-0.0), bits(0.0)), bits(0.0)),
    ("neg.f32", (bits(0.0),), bits(-0.0)),
    ("abs.f32", (bits(-INF),), bits(INF)),
    ("sqrt.rn.f32", (bits(2.0),), 0x3FB504F3),
    ("rcp.rn.f32", (bits(3.0),), 0x3EAAAAAB),
    ("add.ftz.f32", (1, 0), 0),
    ("add.rn.f32", (1, 0), 1),
    ("fma.rn.f32", (bits(1 + 2**-12), bits(1 - 2**-12), bits(-1.0)), bits(-(2**-24))),
    ("copysign.f32", (bits(-1.0), bits(3.0)), bits(-3.0)),
    ("cvt.rni.s32.f32", (bits(2.5),), 2),
    ("cvt.rzi.s32.f32", (bits(-2.7),), 0xFFFFFFFE),
    ("cvt.rzi.s32.f32", (bits(NAN),), 0),
    ("cvt.rzi.s32.f32", (bits(3e9),), 0x7FFFFFFF),
    ("cvt.rzi.u32.f32", (bits(-1.0),), 0),
    ("cvt.rn.f32.s32", (0xFFFFFFFF,), bits(-1.0)),
    ("cvt.rn.f32.u32", (0xFFFFFFFF,), bits(2.0**32)),
    ("cvt.rmi.f32.f32", (bits(-1.5),), bits(-2.0)),
    ("not.b32", (0,), 0xFFFFFFFF),
]
LUT = {0x80: lambda a, b, c: a & b & c, 0xFE: lambda a, b, c: a | b | c, 0x40: lambda a, b, c: a & b & ~c,
       0x1A: lambda a, b, c: (a & b | c) ^ a}  # fmt: skip


def word_of(instructions: str, *sources: int) -> int:
    """What %r7 is, with the sources in %r2, %r3, %r4."""
    memory = Memory(1 << 12)
    loads = "".join(f"mov.b32 %r{number}, {source};\n" for number, source in enumerate(sources, 2))
    where = memory.allocate(4)
    body = f"{loads}{instructions}\nst.global.b32 [%rd1], %r7;"
    launch(parsed(entry_of(body)).entries["k"], memory, 1, 1, [where])
    return int(memory.read(where, 4).view(np.uint32)[0])


@pytest.mark.parametrize(("name", "sources", "result"), SINGLE, ids=str)
def test_single_instructions(name: str, sources: tuple[int, ...], result: int) -> None:
    registers = ", ".join(f"%r{number}" for number in range(2, 2 + len(sources)))
    assert hex(word_of(f"{name} %r7, {registers};", *sources)) == hex(result)


@pytest.mark.parametrize("table", LUT)
def test_logic_of_three(table: int) -> None:
    sources = (0x12345678, 0x9ABCDEF0, 0x0F1E2D3C)
    expected = LUT[table](*sources) & 0xFFFFFFFF
    assert word_of(f"lop3.b32 %r7, %r2, %r3, %r4, {table};", *sources) == expected


@pytest.mark.parametrize(
    ("comparison", "a", "b", "holds"),
    [("lt.f32", NAN, 1.0, 0), ("ltu.f32", NAN, 1.0, 1), ("ne.f32", NAN, 1.0, 0), ("neu.f32", NAN, NAN, 1),
     ("equ.f32", NAN, 2.0, 1), ("geu.f32", 1.0, 2.0, 0), ("num.f32", 1.0, NAN, 0), ("nan.f32", 1.0, NAN, 1),
     ("eq.f32", 0.0, -0.0, 1), ("gt.f32", INF, 1.0, 1)],
)  # fmt: skip
def test_comparisons(comparison: str, a: float, b: float, holds: int) -> None:
    found = word_of(f"setp.{comparison} %p1, %r2, %r3;\nselp.b32 %r7, 1, 0, %p1;", bits(a), bits(b))
    assert found == holds


@pytest.mark.parametrize(
    ("how", "which", "expected"),
    [("bfly", 5, lambda lane: lane ^ 5), ("down", 3, lambda lane: lane + 3 if lane + 3 < 32 else lane),
     ("idx", 9, lambda lane: 9), ("up", 2, lambda lane: lane - 2 if lane >= 2 else lane)],
)  # fmt: skip
def test_shuffles(how: str, which: int, expected: Callable[[int], int]) -> None:
    memory = Memory(1 << 12)
    where = memory.put(np.zeros(64, np.uint32))
    clamp = 0 if how == "up" else 31
    body = (
        "mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd2, %rd2, %rd1;\n"
        f"shfl.sync.{how}.b32 %r2|%p1, %r1, {which}, {clamp}, -1;\nst.global.b32 [%rd2], %r2;"
    )
    launch(parsed(entry_of(body)).entries["k"], memory, 1, 64, [where])
    found = memory.read(where, 256).view(np.uint32).tolist()
    assert found == [32 * warp + expected(lane) for warp in (0, 1) for lane in range(32)]


def test_halves_of_registers() -> None:
    body = "mov.b32 {%rs1, %rs2}, %r2;\nmov.b32 %r7, {%rs2, %rs1};"
    assert word_of(body, 0x12345678) == 0x56781234


# --- one rounding ------------------------------------------------------------------------------------


def rounded_once(a: float, b: float, c: float, width: int) -> float:
    """Of finite numbers, by fractions; float32 by halving the interval of its neighbours."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c
    if width == 64:
        try:
            return float(exact)
        except OverflowError:
            return INF if exact > 0 else -INF
    with np.errstate(all="ignore"):
        near = np.float32(float(exact))  # rounded twice: perhaps a neighbour of the right one
        around = [np.nextafter(near, np.float32(-INF)), near, np.nextafter(near, np.float32(INF))]
    finite = [x for x in around if np.isfinite(x)]
    best = min(finite, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(np.uint32)) & 1))
    largest = Fraction(float(np.finfo(np.float32).max)) + Fraction(2) ** 103
    if abs(exact) >= largest:
        return INF if exact > 0 else -INF
    return float(best) if best != 0 else float(np.copysign(0.0, float(exact)))


FLOATS = {width: st.floats(width=width, allow_nan=False, allow_infinity=False) for width in (32, 64)}
TINY = 2.0**-1074


@pytest.mark.parametrize("width", [32, 64])
@given(data=st.data())
def test_a_fused_multiply_add_is_rounded_once(width: int, data: Any) -> None:
    a, b = data.draw(FLOATS[width]), data.draw(FLOATS[width])
    with np.errstate(over="ignore"):
        near = float(np.array(-(a * b)).astype(f"f{width // 8}"))
    cancels = st.just(near if np.isfinite(near) else 0.0)
    c = data.draw(FLOATS[width] | cancels)
    found = fma(*(np.array([x], f"f{width // 8}") for x in (a, b, c)))[0]
    expected = rounded_once(a, b, c, width)
    assert float(found) == expected
    assert np.signbit(found) == np.signbit(expected)


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [(1e308, 10.0, -INF, -INF), (INF, 0.0, 1.0, NAN), (INF, 1.0, -INF, NAN), (TINY, TINY, 1.0, 1.0),
     (-TINY, TINY, 0.0, -0.0), (2.0**600, 2.0**600, -(2.0**1023), INF), (0.0, -1.0, -0.0, -0.0),
     (2.0**-600, 2.0**-474, TINY, 2 * TINY)],
)  # fmt: skip
def test_a_fused_multiply_add_at_the_edges(a: float, b: float, c: float, expected: float) -> None:
    found = fma(*(np.array([x]) for x in (a, b, c)))[0]
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(expected) or np.signbit(found) == np.signbit(expected)
