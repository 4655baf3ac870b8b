"""The interpreter of PTX: it computes what the ISA's manual says, and traps on every planted fault."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.ptx import samples
from tests.ptx.machine import launch
from tests.ptx.memory import Memory, Trap
from tests.ptx.samples import CHUNK, HEADER, SCALARS, adam_in_numpy, entry_of
from tests.ptx.text import PtxError, parsed


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
