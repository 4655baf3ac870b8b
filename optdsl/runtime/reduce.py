"""Passes that sum before a step: partial sums by chunk, then by tensor, then over all tensors of all batches.

In: batches with a row for each tensor, whose inputs have columns for counts and totals, and the passes of
each. Out: those columns filled, and what stages of matrices take and make. Nothing else is written. The sums
do not depend on the number of threads: chunks are cut by size alone, and what they give is added in their
order; over all tensors, exactly.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from math import fsum

import numpy as np
from numba import types
from numpy.typing import NDArray

from optdsl.runtime.batch import BLOCK, MAX_SUMS, Batch
from optdsl.runtime.launch import Chunks, go_through, prepared
from optdsl.runtime.layout import COUNTS, LINE_COUNTS, Reduction
from optdsl.runtime.lines import ColumnSums
from optdsl.runtime.matrices import run_stage
from optdsl.runtime.numba_kernel import compiled
from optdsl.runtime.past.layout import Recursion
from optdsl.runtime.past.loops import run_recursions
from optdsl.runtime.sharded_sums import Across
from optdsl.runtime.thread_pool import run_ranges, thread_count

Work = tuple[Batch, Sequence[Reduction]]

_CHUNKS = types.Array(types.int64, 2, "C")
_ROWS = types.Array(types.float64, 2, "C")


def reduce_batches(
    work: Sequence[Work],
    threads: int | None = None,
    chunks: Sequence[Chunks] | None = None,
    across: Across | None = None,
    elsewhere: Collection[int] = (),
) -> None:
    """Every pass of every batch, in turns: a later pass may read what an earlier one has summed over all.

    A batch waits until such a sum is whole, since batches of other variants may make it in another pass.
    `across`: other processes hold parts of the tensors, and take the same turns. `elsewhere`: batches that
    are counted only, since their passes run on a device; no sum over all is among these.
    """
    count = thread_count() if threads is None else threads
    cut = [Chunks(batch.sizes, batch.rows, batch.dims) for batch, _ in work] if chunks is None else chunks
    here = [batch.sizes for batch, _ in work]
    whole = here if across is None else across.sizes(here)
    elements = float(sum(int(sizes.sum()) for sizes in whole))
    for (batch, passes), sizes in zip(work, whole, strict=True):
        if passes:
            counts = _first_total(batch, passes) - COUNTS
            if batch.dims is not None:
                counts -= LINE_COUNTS
                batch.hypers[:, counts + COUNTS : counts + COUNTS + LINE_COUNTS] = batch.dims
            batch.hypers[:, counts] = sizes
            batch.hypers[:, counts + 1] = elements
    missing = Counter(key for _, passes in work for each in passes for key in each.keys_over_all)
    places: defaultdict[str, list[tuple[Batch, int]]] = defaultdict(list)
    done = [len(passes) if index in elsewhere else 0 for index, (_, passes) in enumerate(work)]
    while any(number < len(passes) for number, (_, passes) in zip(done, work, strict=True)):
        waiting = {key for key, left in missing.items() if left}
        turn = [
            index
            for index, (_, passes) in enumerate(work)
            if done[index] < len(passes)
            and waiting.isdisjoint(key for each in passes[: done[index]] for key in each.keys_over_all)
        ]
        if not turn:
            raise RuntimeError(
                "the parameters follow rules that wait for each other's sums over all parameters; "
                "step them with optimizers of their own"
            )
        found = {
            index: _partials(work[index][0], work[index][1][done[index]], count, cut[index]) for index in turn
        }
        looping: list[tuple[Batch, Recursion, Chunks]] = []
        together = {} if across is None else across.totals(found)
        for index in turn:
            batch, passes = work[index]
            first, reduction = _first_total(batch, passes), passes[done[index]]
            totals = together[index] if index in together else _by_tensor(batch, found[index], cut[index])
            batch.hypers[:, [first + total.column for total in reduction.totals]] = totals
            if reduction.matrices is not None:
                run_stage(batch, reduction.matrices, first)
            if reduction.recursion is not None:
                looping.append((batch, reduction.recursion, cut[index]))
            done[index] += 1
            for total in reduction.totals:
                if total.over_all:
                    places[total.key].append((batch, first + total.column))
                    missing[total.key] -= 1
        if looping:
            run_recursions(looping, count)
        for key in waiting:
            if not missing[key]:
                value = fsum(x for batch, column in places[key] for x in batch.hypers[:, column].tolist())
                for batch, column in places[key]:
                    batch.hypers[:, column] = value


def _first_total(batch: Batch, passes: Sequence[Reduction]) -> int:
    width: int = batch.hypers.shape[1]
    return width - sum(each.column_count for each in passes)


def _partials(batch: Batch, reduction: Reduction, threads: int, chunks: Chunks) -> NDArray[np.float64]:
    """The sums of a pass by chunk; those by column go to where they belong."""
    if reduction.pair is None:
        return np.empty((chunks.table.shape[0], 0))
    scalars = prepared(reduction.pair[0], batch, reduction.scalar_count)
    if not reduction.sums:
        go_through(reduction.pair[1], batch, scalars, chunks, threads)
        return np.empty((chunks.table.shape[0], 0))
    sums = reduction.pair[1].compiled
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
    return partials


def _by_tensor(batch: Batch, partials: NDArray[np.float64], chunks: Chunks) -> NDArray[np.float64]:
    found = np.zeros((batch.sizes.size, partials.shape[1]))
    _add_up.compiled(chunks.table, partials, found)
    return found


@compiled(_CHUNKS, _ROWS, _ROWS)
def _add_up(chunks, partials, totals):  # type: ignore[no-untyped-def]
    for chunk in range(chunks.shape[0]):
        for column in range(partials.shape[1]):
            totals[chunks[chunk, 0], column] += partials[chunk, column]


def compile_passes(passes: Sequence[Reduction]) -> None:
    """So that nothing fails after the first write."""
    if passes:
        _add_up.compiled  # noqa: B018
    for each in passes:
        stages = [stage.pair[0] for stage in (each.matrices, each.recursion) if stage is not None]
        for kernel in (*(each.pair or ()), *stages):
            kernel.compiled  # noqa: B018
