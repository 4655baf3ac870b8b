"""Loops over what is remembered: products of all vectors in one pass, the loop on coefficients, their sums.

In: batches whose tables of addresses end in float64 buffers for what the pass before has laid out, the new
value of each remembered state among it; the others lie in that state, a ring of values whose place turns with
the step. Out: results, whose addresses are put into the table, in memory that the batch holds; and after the
update the new values, in the place of the oldest. Until then nothing that is kept is written.
Products are summed as everything is, in blocks, by chunk, by tensor: the same bits for any number of threads.
What is remembered is in the parameter's type, the newest, too, is rounded to it: a step reads what is kept.
"""

from collections.abc import Sequence

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
from optdsl.runtime.past_layout import Recursion, Ring
from optdsl.runtime.past_math import Past
from optdsl.runtime.thread_pool import run_ranges

Array = NDArray[np.float64]

_I64_1D = types.Array(types.int64, 1, "C")
_I64_2D = types.Array(types.int64, 2, "C")
_U64_1D = types.Array(types.uint64, 1, "C")
_U64_2D = types.Array(types.uint64, 2, "C")
_F64_2D = types.Array(types.float64, 2, "C")
_F64_3D = types.Array(types.float64, 3, "C")

LANES = 64  # of a block, added up side by side


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
        of_tensors = vectors.products(chunks, threads)
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


class _Vectors:
    """All known vectors of a batch by address: those of each state from the newest on, then the others."""

    def __init__(self, batch: Batch, recursion: Recursion, lengths: Sequence[int]) -> None:
        columns, widths = [], []
        for ring, length in zip(recursion.rings, lengths, strict=True):
            columns.append(batch.addresses[:, ring.new])
            columns += [place_of(batch, ring, length, steps) for steps in range(1, length)]
            widths += [8] + [ring.width] * (length - 1)
        columns += [batch.addresses[:, buffer] for buffer in recursion.given]
        self.addresses = np.ascontiguousarray(np.array(columns, np.uint64).T.reshape(-1, len(columns)))
        self.widths = np.array(widths + [8] * len(recursion.given), np.int64)

    def products(self, chunks: Chunks, threads: int) -> Array:
        """Of all pairs, (T, B, B)."""
        count = self.widths.size
        which = np.arange(count)
        partial = np.zeros((chunks.table.shape[0], count, count))

        def work(first: int, last: int) -> None:
            scratch = np.zeros((count + 1, BLOCK))
            _products.compiled(
                self.addresses, self.widths, chunks.table, first, last, which, scratch, partial
            )

        if ranges := chunks.ranges(threads):
            run_ranges(work, ranges)
        found = np.zeros((self.addresses.shape[0], count, count))
        for chunk, tensor in enumerate(chunks.table[:, 0].tolist()):
            found[tensor] += partial[chunk]
        return np.asarray(np.tril(found) + np.swapaxes(np.tril(found, -1), 1, 2))

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


@compiled(_U64_2D, _I64_1D, _I64_2D, types.int64, types.int64, _I64_1D, _F64_2D, _F64_3D)
def _products(  # type: ignore[no-untyped-def]
    addresses, widths, chunks, first, last, which, scratch, partial
):
    """scratch (B + 1, BLOCK): a block of each vector, and lanes. The products of each of `which` with all
    before it, and itself.
    """
    lanes = scratch[addresses.shape[1]]
    for chunk in range(first, last):
        tensor, start, size = chunks[chunk, 0], chunks[chunk, 1], chunks[chunk, 2]
        for block in range(0, size, BLOCK):
            count = min(BLOCK, size - block)
            for vector in range(addresses.shape[1]):
                row = scratch[vector]
                if widths[vector] == 4:
                    at = addresses[tensor, vector] + f32_bytes(start + block)
                    for i in range(count):
                        row[i] = f64(read_f32(at, i, 0))
                else:
                    at = addresses[tensor, vector] + f64_bytes(start + block)
                    for i in range(count):
                        row[i] = read_f64(at, i, 0)
                for i in range(count, BLOCK):
                    row[i] = 0.0
            for place in range(which.size):
                x = scratch[which[place]]
                for vector in range(which[place] + 1):
                    y = scratch[vector]
                    for lane in range(LANES):
                        lanes[lane] = x[lane] * y[lane]
                    for i in range(LANES, BLOCK, LANES):
                        for lane in range(LANES):
                            lanes[lane] += x[i + lane] * y[i + lane]
                    half = LANES // 2
                    while half > 0:
                        for lane in range(half):
                            lanes[lane] += lanes[half + lane]
                        half //= 2
                    partial[chunk, place, vector] += lanes[0]


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
