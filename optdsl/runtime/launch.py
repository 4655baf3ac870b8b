"""Runs a compiled prologue and kernel over a batch: step scalars first, then the chunks, on some threads.

In: a `Batch` and a pair of kernels. Out: the tensors and scalar states of the batch, updated in place.
Tensors are cut into chunks, and every thread gets a contiguous range of them. Each element is computed
from its own old values alone, so neither the cuts nor the threads change a bit of the result.
Assumed: addresses, sizes and rows are right, and nothing overlaps; that is the caller's part.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.batch import Batch
from optdsl.runtime.numba_kernel import Kernel
from optdsl.runtime.thread_pool import Range, run_ranges, thread_count

# Small enough to share work evenly between threads, large enough that a chunk's set-up is lost in it.
CHUNK = 16384
# Below this many elements for each thread, waking it (about 15 us) costs more than it takes over.
ELEMENTS_PER_THREAD = 65536


class Chunks:
    """Where the work is cut: `table` (C, 4) int64 of tensor, first element, elements, row."""

    def __init__(self, sizes: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        counts = -(-sizes // CHUNK)  # no chunk for a tensor without elements
        tensor = np.repeat(np.arange(sizes.size), counts)
        index = np.arange(tensor.size) - np.repeat(np.cumsum(counts) - counts, counts)
        start = index * CHUNK
        self.table = np.empty((tensor.size, 4), np.int64)
        self.table[:, 0] = tensor
        self.table[:, 1] = start
        self.table[:, 2] = np.minimum(CHUNK, sizes[tensor] - start)
        self._tensor = tensor
        self._ends = np.cumsum(self.table[:, 2])
        self._ranges: dict[int, list[Range]] = {}
        self.set_rows(rows)

    @property
    def elements(self) -> int:
        return int(self._ends[-1]) if self._ends.size else 0

    def set_rows(self, rows: NDArray[np.int64]) -> None:
        """`rows` (T,): which row of scalars each tensor uses from now on."""
        self.table[:, 3] = rows[self._tensor]

    def ranges(self, threads: int) -> list[Range]:
        """At most `threads` contiguous ranges of chunks, with about the same number of elements each."""
        parts = max(1, min(threads, self.elements // ELEMENTS_PER_THREAD))
        if parts not in self._ranges:
            targets = self.elements * np.arange(1, parts) / parts
            cuts = [0, *np.searchsorted(self._ends, targets).tolist(), len(self._ends)]
            self._ranges[parts] = [(a, b) for a, b in pairwise(cuts) if a < b]
        return self._ranges[parts]


def launch(
    prepare: Kernel,
    update: Kernel,
    batch: Batch,
    scalar_count: int,
    threads: int | None = None,
    chunks: Chunks | None = None,
) -> None:
    """One step of every tensor of `batch`, in place; new scalar states are in the batch on return.

    `threads`: None for `$OPTDSL_NUM_THREADS` or all processors. `chunks`: cut before, with the rows of
    this step set. Raises `ValueError` for a bad number of threads, before anything is written.
    """
    count = thread_count() if threads is None else threads
    if count < 1:
        raise ValueError(f"the number of threads must be at least 1, not {count}")
    if chunks is None:
        chunks = Chunks(batch.sizes, batch.rows)
    # Compiled before anything is written, the prologue's new scalar states included.
    step, prologue = update.compiled, prepare.compiled
    scalars = np.empty((batch.t.size, scalar_count))
    prologue(batch.hypers, batch.t, batch.direction, batch.scalar_states, scalars)
    addresses, table = batch.addresses, chunks.table

    def work(first: int, last: int) -> None:
        step(addresses, table, first, last, scalars)

    ranges = chunks.ranges(count)
    if len(ranges) > 1:
        run_ranges(work, ranges)
    elif ranges:
        work(*ranges[0])
