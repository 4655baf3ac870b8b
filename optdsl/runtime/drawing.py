"""Fills buffers with random numbers before a step, on some threads: `threefry`, one element at a time.

In: a table's sizes and chunks, and seed, step and place of each tensor. Out: memory of our own, filled. The
numbers are computed in float64 and rounded to the tensor's type.
"""

from collections.abc import Iterable

import numpy as np
from numba import types
from numba.extending import register_jitable
from numpy.typing import NDArray

from optdsl.runtime.launch import Chunks
from optdsl.runtime.layout import Draw
from optdsl.runtime.numba_kernel import compiled, f32, f32_bytes, f64_bytes, write_f32, write_f64
from optdsl.runtime.thread_pool import run_ranges
from optdsl.runtime.threefry import GROUPS, PARITY, ROTATIONS, SCALE, key_of

_ADDRESSES = types.Array(types.uint64, 1, "C")
_CHUNKS = types.Array(types.int64, 2, "C")
_KEYS = types.Array(types.uint64, 2, "C")
_WORD = np.uint64(0xFFFFFFFF)
_FIRST, _SECOND = (tuple(np.uint64(x) for x in group) for group in ROTATIONS)
_WIDE, _PARITY, _ONE = np.uint64(32), np.uint64(PARITY), np.uint64(1)
_ANGLE = 2 * np.pi


class Drawn:
    """The numbers of one call of a spec, for all tensors of a table."""

    def __init__(self, draw: Draw, sizes: NDArray[np.int64], itemsize: int) -> None:
        self.draw, self.itemsize = draw, itemsize
        bytes_of = sizes * itemsize
        self._memory = np.empty(int(bytes_of.sum()) + itemsize, np.uint8)
        starts = np.cumsum(bytes_of) - bytes_of
        self.addresses = (self._memory.ctypes.data + starts).astype(np.uint64)

    def fill(
        self,
        seeds: NDArray[np.float64],
        t: NDArray[np.float64],
        places: NDArray[np.int64],
        chunks: Chunks,
        threads: int,
    ) -> None:
        """seeds, t, places (T,): of each tensor."""
        given = (x.astype(np.uint64) & _WORD for x in (seeds, t, places))
        seed, step, place = (x.astype(np.uint32) for x in given)
        keys = np.stack(key_of(seed, step, self.draw.number, place), axis=1).astype(np.uint64)
        normal, table = self.draw.kind == "normal", chunks.table

        def work(first: int, last: int) -> None:
            _fill.compiled(self.addresses, table, first, last, keys, normal, self.itemsize)

        if ranges := chunks.ranges(threads):
            run_ranges(work, ranges)


def compile_draws(drawn: Iterable[Drawn]) -> None:
    """So that nothing fails after the first write."""
    for _ in drawn:
        _fill.compiled  # noqa: B018


@register_jitable
def _four(x0, x1, rotations):  # type: ignore[no-untyped-def]
    for place in range(4):
        r = rotations[place]
        x0 = (x0 + x1) & _WORD
        x1 = ((x1 << r) | (x1 >> (_WIDE - r))) & _WORD
        x1 = x0 ^ x1
    return x0, x1


@register_jitable
def _threefry(k0, k1, x0, x1):  # type: ignore[no-untyped-def]
    keys = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0 = (x0 + k0) & _WORD
    x1 = (x1 + k1) & _WORD
    for group in range(GROUPS):
        x0, x1 = _four(x0, x1, _FIRST if group % 2 == 0 else _SECOND)  # type: ignore[no-untyped-call]
        x0 = (x0 + keys[(group + 1) % 3]) & _WORD
        x1 = (x1 + keys[(group + 2) % 3] + np.uint64(group) + _ONE) & _WORD
    return x0, x1


@compiled(_ADDRESSES, _CHUNKS, types.int64, types.int64, _KEYS, types.boolean, types.int64)
def _fill(addresses, chunks, first, last, keys, normal, itemsize):  # type: ignore[no-untyped-def]
    for chunk in range(first, last):
        tensor, start, size = chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2]
        k0, k1 = keys[tensor, 0], keys[tensor, 1]
        single = itemsize == 4
        at = addresses[tensor] + (f32_bytes(start) if single else f64_bytes(start))
        for i in range(size):
            index = np.uint64(start + i)
            x0, x1 = _threefry(k0, k1, index >> _WIDE, index & _WORD)  # type: ignore[no-untyped-call]
            value = np.float64(x0) * SCALE + SCALE / 2
            if normal:
                angle = np.float64(x1) * SCALE + SCALE / 2
                value = np.sqrt(-2 * np.log(value)) * np.cos(_ANGLE * angle)
            if single:
                write_f32(at, i, f32(value), 0)
            else:
                write_f64(at, i, value, 0)
