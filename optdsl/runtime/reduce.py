"""Passes that sum before a step: partial sums by chunk, then by tensor, then over all tensors of all batches.

In: batches with a row for each tensor, whose inputs have columns for counts and totals, and the passes of
each. Out: those columns filled. Nothing else is written. The sums do not depend on the number of threads:
chunks are cut by size alone, and what they give is added in their order; over all tensors, exactly.
"""

from collections import defaultdict
from collections.abc import Sequence
from math import fsum

import numpy as np
from numba import types

from optdsl.runtime.batch import MAX_SUMS, Batch
from optdsl.runtime.launch import Chunks, prepared
from optdsl.runtime.layout import COUNTS, LINE_COUNTS, Reduction
from optdsl.runtime.lines import ColumnSums
from optdsl.runtime.numba_kernel import BLOCK, compiled
from optdsl.runtime.thread_pool import run_ranges, thread_count

Work = tuple[Batch, Sequence[Reduction]]

_CHUNKS = types.Array(types.int64, 2, "C")
_ROWS = types.Array(types.float64, 2, "C")


def reduce_batches(
    work: Sequence[Work], threads: int | None = None, chunks: Sequence[Chunks] | None = None
) -> None:
    """Every pass of every batch, pass by pass: the second may read what the first has summed over all."""
    count = thread_count() if threads is None else threads
    cut = [Chunks(batch.sizes, batch.rows, batch.dims) for batch, _ in work] if chunks is None else chunks
    elements = float(sum(int(batch.sizes.sum()) for batch, _ in work))
    for batch, passes in work:
        if passes:
            counts = _first_total(batch, passes) - COUNTS
            if batch.dims is not None:
                counts -= LINE_COUNTS
                batch.hypers[:, counts + COUNTS : counts + COUNTS + LINE_COUNTS] = batch.dims
            batch.hypers[:, counts] = batch.sizes
            batch.hypers[:, counts + 1] = elements
    for number in range(max((len(passes) for _, passes in work), default=0)):
        over_all: defaultdict[str, list[tuple[Batch, int]]] = defaultdict(list)
        for (batch, passes), pieces in zip(work, cut, strict=True):
            if number < len(passes):
                first = _first_total(batch, passes)
                _reduce(batch, passes[number], first, count, pieces)
                for total in passes[number].totals:
                    if total.over_all:
                        over_all[total.key].append((batch, first + total.column))
        for places in over_all.values():
            value = fsum(x for batch, column in places for x in batch.hypers[:, column].tolist())
            for batch, column in places:
                batch.hypers[:, column] = value


def _first_total(batch: Batch, passes: Sequence[Reduction]) -> int:
    width: int = batch.hypers.shape[1]
    return width - sum(len(each.totals) for each in passes)


def _reduce(batch: Batch, reduction: Reduction, first: int, threads: int, chunks: Chunks) -> None:
    sums = reduction.pair[1].compiled
    scalars = prepared(reduction.pair[0], batch, reduction.scalar_count)
    width = len(reduction.totals)
    addresses, table = batch.addresses, chunks.table
    partials = np.empty((table.shape[0], width))
    columns = None if batch.dims is None else ColumnSums(reduction.columns, chunks)
    places = () if columns is None else (columns.starts,)

    def work(start: int, end: int) -> None:
        scratch = np.empty((width if columns is None else MAX_SUMS) * BLOCK)
        sums(addresses, table, start, end, scalars, np.uint64(scratch.ctypes.data), partials, *places)

    ranges = chunks.ranges(threads)
    if len(ranges) > 1:
        run_ranges(work, ranges)
    elif ranges:
        work(*ranges[0])
    if columns is not None:
        columns.finish(batch, chunks)
    found = np.zeros((batch.sizes.size, width))
    _by_tensor.compiled(table, partials, found)
    batch.hypers[:, [first + total.column for total in reduction.totals]] = found


@compiled(_CHUNKS, _ROWS, _ROWS)
def _by_tensor(chunks, partials, totals):  # type: ignore[no-untyped-def]
    for chunk in range(chunks.shape[0]):
        for column in range(partials.shape[1]):
            totals[chunks[chunk, 0], column] += partials[chunk, column]


def compile_passes(passes: Sequence[Reduction]) -> None:
    """So that nothing fails after the first write."""
    if passes:
        _by_tensor.compiled  # noqa: B018
    for each in passes:
        for kernel in each.pair:
            kernel.compiled  # noqa: B018
