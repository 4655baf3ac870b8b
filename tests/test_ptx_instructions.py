"""Single instructions of PTX give what the ISA's manual says; a fused multiply-add is rounded once."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ptx.arithmetic import fma
from tests.ptx.machine import launch
from tests.ptx.memory import Memory
from tests.ptx.samples import entry_of
from tests.ptx.text import parsed


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


def test_halves_of_a_register() -> None:
    """As LLVM writes them: of one half in a block with a register of its own, or both at once."""
    upper = "{ .reg .b16 tmp; mov.b32 {tmp, %rs1}, %r2; }\n{ .reg .b16 tmp; mov.b32 {%rs2, tmp}, %r3; }\n"
    assert word_of(upper + "mov.b32 %r7, {%rs1, %rs2};", 0x12345678, 0x9ABCDEF0) == 0xDEF01234
    both = "mov.b32 {%rs1, %rs2}, %r2;\ncvt.u32.u16 %r7, %rs2;"
    assert word_of(both, 0xFEDC5678) == 0xFEDC


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
