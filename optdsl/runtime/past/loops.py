"""Loops over what is remembered: products of all vectors in one pass, the loop on coefficients, their sums.

In: batches whose tables of addresses end in float64 buffers for what the pass before has laid out, the new
value of each remembered state among it; the others lie in that state, a ring of values whose place turns with
the step. Out: results, whose addresses are put into the table, in memory that the batch holds; and after the
update the new values, in the place of the oldest. Until then nothing that is kept is written.
Products are summed as everything is, in blocks, by chunk, by tensor: the same bits for any number of threads.
What is remembered is in the parameter's type, the newest, too, is rounded to it: a step reads what is kept.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from optdsl.runtime.batch import Batch
from optdsl.runtime.launch import Chunks, prepared
from optdsl.runtime.numba_kernel import (
    BLOCK,
    compiled,
    f32,
    f32_bytes,
    f64,
    f64_bytes,
    read_f32,
    read_f64,
    write_f32,
    write_f64,
)
from optdsl.runtime.past.layout import Recursion, Ring
from optdsl.runtime.past.math import Past
from optdsl.runtime.thread_pool import run_ranges

Array = NDArray[np.float64]

_I64_1D = types.Array(types.int64, 1, "C")
_I64_2D = types.Array(types.int64, 2, "C")
_U64_1D = types.Array(types.uint64, 1, "C")
_U64_2D = types.Array(types.uint64, 2, "C")
_F64_2D = types.Array(types.float64, 2, "C")

LANES = 64  # of a block, added up side by side
PAIRS = 1024  # whose products are made in one pass


def check_alike(work: Sequence[tuple[Batch, Recursion]]) -> None:
    """Raises `RuntimeError` where the tensors of one step do not follow the same loops."""
    if len({(recursion.key, lengths_of(batch, recursion.rings)) for batch, recursion in work}) > 1:
        raise RuntimeError(
            "parameters that are summed over together have to remember as much and follow the same rules; "
            "give all groups the same options, or step them with optimizers of their own"
        )


def lengths_of(batch: Batch, rings: Sequence[Ring]) -> tuple[int, ...]:
    """How many values of each state are kept. Raises `RuntimeError` where tensors differ in that."""
    found = [{ring.length(row) for row in batch.hypers.tolist()} for ring in rings]
    if any(len(each) != 1 for each in found):
        raise RuntimeError("all parameters have to remember as many steps; give all groups the same options")
    return tuple(each.pop() for each in found)


def run_recursions(work: Sequence[tuple[Batch, Recursion, Chunks]], threads: int) -> None:
    """One stage of all batches that take it together."""
    check_alike([(batch, recursion) for batch, recursion, _ in work])
    lengths = lengths_of(work[0][0], work[0][1].rings)
    kinds: list[list[int]] = []  # of each batch, the kind of each of its tensors
    scalars: list[Array] = []  # by kind
    products: list[Array] = []
    known = []
    for batch, recursion, chunks in work:
        vectors = _Vectors(batch, recursion, lengths)
        t = batch.t[batch.rows]
        of_tensors = vectors.products(chunks, threads, t, batch.memory)
        rows = prepared(recursion.pair[0], batch, recursion.scalar_count)[batch.rows]
        own = []
        for tensor, row in enumerate(rows):
            same = (i for i, each in enumerate(scalars) if np.array_equal(each, row, equal_nan=True))
            kind = len(scalars) if recursion.per_tensor else next(same, len(scalars))
            if kind == len(scalars):
                scalars.append(row)
                products.append(np.zeros(of_tensors.shape[1:]))
            products[kind] += of_tensors[tensor]
            own.append(kind)
        kinds.append(own)
        known.append(vectors)
    with np.errstate(all="ignore"):
        past = Past(np.array(products), lengths)
        made = work[0][1].pair[1](past, np.array(scalars).T[:, :, None])
    coefficients = np.array([np.broadcast_to(each, past.products.shape[:2]) for each in made])
    for (batch, recursion, chunks), vectors, own in zip(work, known, kinds, strict=True):
        of_tensors = np.ascontiguousarray(coefficients[:, own])
        for place, buffer in enumerate(recursion.writes):
            batch.addresses[:, buffer] = vectors.add_up(of_tensors[place], chunks, threads, batch)


class Memory:
    """The products of a step, for the next one: what is still remembered then needs no new ones."""

    def __init__(self) -> None:
        self.products, self._t = np.zeros((0, 0, 0)), np.zeros(0)

    def keep(self, t: Array, products: Array) -> None:
        self.products, self._t = products, t.copy()

    def is_of_step(self, t: Array, shape: tuple[int, ...]) -> bool:
        return self.products.shape == shape and np.array_equal(self._t, t)


class _Vectors:
    """All known vectors of a batch by address: those of each state from the newest on, then the others."""

    def __init__(self, batch: Batch, recursion: Recursion, lengths: Sequence[int]) -> None:
        columns, widths = [], []
        self.starts: list[int] = np.cumsum(
            [0, *lengths]
        ).tolist()  # of each state, and of what is given besides
        self.fresh = [*self.starts[:-1], *range(self.starts[-1], self.starts[-1] + len(recursion.given))]
        self.length = lengths[0] if lengths else 0
        for ring, length in zip(recursion.rings, lengths, strict=True):
            columns.append(batch.addresses[:, ring.new])
            columns += [place_of(batch, ring, length, steps) for steps in range(1, length)]
            widths += [8] + [ring.width] * (length - 1)
        columns += [batch.addresses[:, buffer] for buffer in recursion.given]
        self.addresses = np.ascontiguousarray(np.array(columns, np.uint64).T.reshape(-1, len(columns)))
        self.widths = np.array(widths + [8] * len(recursion.given), np.int64)

    def products(self, chunks: Chunks, threads: int, t: Array, memory: "Memory | None") -> Array:
        """Of all pairs, (T, B, B): of what was there in the last step, those that were made then, if it still
        has the same squares.
        """
        fresh = self.fresh
        older = [vector for vector in range(self.widths.size) if vector not in fresh]
        checked = [(vector, vector) for vector in older] + [(vector, self.beside(vector)) for vector in older]
        pairs = list(dict.fromkeys([(x, y) for x in fresh for y in range(self.widths.size)] + checked))
        found = np.zeros((self.addresses.shape[0], self.widths.size, self.widths.size))
        self._fill(found, pairs, chunks, threads)
        inside, before = np.ix_(range(len(found)), older, older), [vector - 1 for vector in older]
        if memory is not None and older and memory.is_of_step(t - 1, found.shape):
            known = memory.products[np.ix_(range(len(found)), before, before)]
            rows, columns = np.array([(older.index(x), older.index(y)) for x, y in checked]).T
            if np.array_equal(known[:, rows, columns], found[inside][:, rows, columns], equal_nan=True):
                found[inside] = known
                memory.keep(t, found)
                return found
        some = [vector for vector in older if found[:, vector, vector].any()]  # all others are zero
        self._fill(found, [(x, y) for x in some for y in some if y < x], chunks, threads)
        if memory is not None:
            memory.keep(t, found)
        return found

    def beside(self, vector: int) -> int:
        """The vector of the first state that is as old."""
        start = max(start for start in self.starts if start <= vector)
        return min(vector - start, self.length - 1)

    def _fill(self, found: Array, pairs: list[tuple[int, int]], chunks: Chunks, threads: int) -> None:
        """The products of pairs, some at a time: a number for each chunk and pair is made."""
        for place in range(0, len(pairs), PAIRS):
            some = np.array(pairs[place : place + PAIRS], np.int64)
            partial = np.zeros((chunks.table.shape[0], len(some)))

            def work(first: int, last: int, some: Any = some, partial: Array = partial) -> None:
                scratch = np.zeros((self.widths.size + 1, BLOCK))
                at = np.uint64(scratch.ctypes.data)
                _products.compiled(self.addresses, self.widths, chunks.table, first, last, some, at, partial)

            if ranges := chunks.ranges(threads):
                run_ranges(work, ranges)
            of_tensors = np.zeros((len(found), len(some)))
            np.add.at(of_tensors, chunks.table[:, 0], partial)
            found[:, some[:, 0], some[:, 1]] = found[:, some[:, 1], some[:, 0]] = of_tensors

    def add_up(self, coefficients: Array, chunks: Chunks, threads: int, batch: Batch) -> NDArray[np.uint64]:
        """The sum of the vectors by the coefficients (T, B) of each tensor: its addresses."""
        made = np.empty(int(batch.sizes.sum()) + 1)
        batch.made.append(made)
        starts = made.ctypes.data + 8 * (np.cumsum(batch.sizes) - batch.sizes)
        to = starts.astype(np.uint64)

        def work(first: int, last: int) -> None:
            _add_up.compiled(self.addresses, self.widths, chunks.table, first, last, coefficients, to)

        if ranges := chunks.ranges(threads):
            run_ranges(work, ranges)
        return to


def place_of(batch: Batch, ring: Ring, length: int, steps: int) -> NDArray[np.uint64]:
    """Where each tensor keeps the value of so many steps before this one."""
    turned = (batch.t[batch.rows].astype(np.int64) - steps) % length
    offsets = turned * batch.sizes * ring.width
    return batch.addresses[:, ring.state] + offsets.astype(np.uint64)


def remember(batch: Batch, rings: Sequence[Ring]) -> None:
    """The new values go to where the oldest were."""
    if rings:
        for ring, length in zip(rings, lengths_of(batch, rings), strict=True):
            to = place_of(batch, ring, length, 0)
            _keep.compiled(batch.addresses, ring.new, batch.sizes, to, ring.width)


def compile_past() -> None:
    """So that nothing fails after the first write."""
    for each in (_products, _add_up, _keep):
        each.compiled  # noqa: B018


@compiled(_U64_2D, _I64_1D, _I64_2D, types.int64, types.int64, _I64_2D, types.uint64, _F64_2D)
def _products(  # type: ignore[no-untyped-def]
    addresses, widths, chunks, first, last, pairs, scratch, partial
):
    """scratch: room for B + 1 blocks of float64, one of each vector, and of sums that are added up side by
    side. partial (N, P): of each chunk and pair.
    """
    lanes = scratch + f64_bytes(addresses.shape[1] * BLOCK)
    for chunk in range(first, last):
        tensor, start, size = chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2]
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for vector in range(addresses.shape[1]):
                row = scratch + f64_bytes(vector * BLOCK)
                if widths[vector] == 4:
                    at = addresses[tensor, vector] + f32_bytes(start + block)
                    for i in range(count):
                        write_f64(row, i, f64(read_f32(at, i, 0)), 1)
                else:
                    at = addresses[tensor, vector] + f64_bytes(start + block)
                    for i in range(count):
                        write_f64(row, i, read_f64(at, i, 0), 1)
                for i in range(count, BLOCK):
                    write_f64(row, i, 0.0, 1)
            for pair in range(pairs.shape[0]):
                x = scratch + f64_bytes(pairs[pair, 0] * BLOCK)
                y = scratch + f64_bytes(pairs[pair, 1] * BLOCK)
                for lane in range(LANES):
                    write_f64(lanes, lane, read_f64(x, lane, 1) * read_f64(y, lane, 1), 2)
                for i in range(LANES, BLOCK, LANES):
                    for lane in range(LANES):
                        product = read_f64(x, i + lane, 1) * read_f64(y, i + lane, 1)
                        write_f64(lanes, lane, read_f64(lanes, lane, 2) + product, 2)
                half = LANES // 2
                while half > 0:
                    for lane in range(half):
                        write_f64(lanes, lane, read_f64(lanes, lane, 2) + read_f64(lanes, half + lane, 2), 2)
                    half //= 2
                partial[chunk, pair] += read_f64(lanes, 0, 2)


@compiled(_U64_2D, _I64_1D, _I64_2D, types.int64, types.int64, _F64_2D, _U64_1D)
def _add_up(addresses, widths, chunks, first, last, coefficients, to):  # type: ignore[no-untyped-def]
    total = np.empty(BLOCK)
    for chunk in range(first, last):
        tensor, start, size = chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2]
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for i in range(count):
                total[i] = 0.0
            for vector in range(addresses.shape[1]):
                factor = coefficients[tensor, vector]
                if widths[vector] == 4:
                    at = addresses[tensor, vector] + f32_bytes(start + block)
                    for i in range(count):
                        total[i] += factor * f64(read_f32(at, i, 0))
                else:
                    at = addresses[tensor, vector] + f64_bytes(start + block)
                    for i in range(count):
                        total[i] += factor * read_f64(at, i, 0)
            at = to[tensor] + f64_bytes(start + block)
            for i in range(count):
                write_f64(at, i, total[i], 1)


@compiled(_U64_2D, types.int64, _I64_1D, _U64_1D, types.int64)
def _keep(addresses, column, sizes, to, width):  # type: ignore[no-untyped-def]
    for tensor in range(sizes.size):
        at = addresses[tensor, column]
        for i in range(sizes[tensor]):
            if width == 4:
                write_f32(to[tensor], i, f32(read_f64(at, i, 0)), 1)
            else:
                write_f64(to[tensor], i, read_f64(at, i, 0), 1)
