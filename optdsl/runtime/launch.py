"""Runs a compiled prologue and kernel over a batch: step scalars first, then the chunks, on some threads.

In: a `Batch` and a pair of kernels. Out: the tensors and scalar states of the batch, updated in place.
Tensors are cut into chunks, and every thread gets a contiguous range of them. Each element is computed
from its own old values alone, so neither the cuts nor the threads change a bit of the result.
Assumed: addresses, sizes and rows are right, and nothing overlaps; that is the caller's part.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.batch import Batch
from optdsl.runtime.numba_kernel import Kernel
from optdsl.runtime.thread_pool import Range, run_ranges, thread_count

if TYPE_CHECKING:
    from optdsl.runtime.cuda.kernel import DeviceKernel

# Small enough to share work evenly between threads, large enough that a chunk's set-up is lost in it.
CHUNK = 16384
# A chunk of matrices is whole rows, and as many at least: what is summed down the columns of a chunk takes
# eight bytes for each column.
LEAST_ROWS = 16
# Below this many elements for each thread, waking it (about 15 us) costs more than it takes over.
ELEMENTS_PER_THREAD = 65536

Pieces = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Of which tensor, from which element, and how many."""


class Chunks:
    """Where the work is cut: `table` (C, 4) int64 of tensor, first element, elements, row.

    With `dims` (T, 2), the rows and columns of the matrices, chunks are whole rows of one matrix or whole
    matrices, and `table` goes on (C, 7) with rows, columns and the place of the chunk's columns among those
    of all chunks, of which there are `width`. `pieces`: cut already. `together`: never in ranges.
    """

    together = False

    def __init__(
        self,
        sizes: NDArray[np.int64],
        rows: NDArray[np.int64],
        dims: NDArray[np.int64] | None = None,
        pieces: Pieces | None = None,
    ) -> None:
        if pieces is None:
            pieces = _pieces(sizes, CHUNK) if dims is None else _matrix_pieces(sizes, dims)
        tensor, start, size = pieces
        self.table = np.empty((tensor.size, 4 if dims is None else 7), np.int64)
        self.table[:, 0] = tensor
        self.table[:, 1] = start
        self.table[:, 2] = size
        self.width = 0
        if dims is not None:
            matrix = dims[tensor].prod(1)
            widths = dims[tensor, 1] * np.maximum(size // np.maximum(matrix, 1), 1)
            ends = np.cumsum(widths)
            self.table[:, 4:6] = dims[tensor]
            self.table[:, 6] = ends - widths
            self.width = int(ends[-1]) if ends.size else 0
        self._tensor = tensor
        self._ends = np.cumsum(self.table[:, 2])
        self._ranges: dict[int, list[Range]] = {}
        self.version = 0  # another number when the table is another one
        self.set_rows(rows)

    @property
    def elements(self) -> int:
        return int(self._ends[-1]) if self._ends.size else 0

    def set_rows(self, rows: NDArray[np.int64]) -> None:
        """`rows` (T,): which row of scalars each tensor uses from now on."""
        self.table[:, 3] = rows[self._tensor]
        self.version += 1

    def ranges(self, threads: int) -> list[Range]:
        """At most `threads` contiguous ranges of chunks, with about the same number of elements each."""
        parts = 1 if self.together else max(1, min(threads, self.elements // ELEMENTS_PER_THREAD))
        if parts not in self._ranges:
            targets = self.elements * np.arange(1, parts) / parts
            cuts = [0, *np.searchsorted(self._ends, targets).tolist(), len(self._ends)]
            self._ranges[parts] = [(a, b) for a, b in pairwise(cuts) if a < b]
        return self._ranges[parts]


def _pieces(sizes: NDArray[np.int64], length: NDArray[np.int64] | int) -> Pieces:
    """Each of `sizes` in pieces of its length, the last one shorter: which it is of, where, how long."""
    lengths = np.broadcast_to(length, sizes.shape)
    counts = -(-sizes // lengths)  # none for a size of 0
    of = np.repeat(np.arange(sizes.size), counts)
    index = np.arange(of.size) - np.repeat(np.cumsum(counts) - counts, counts)
    start = index * lengths[of]
    return of, start, np.minimum(lengths[of], sizes[of] - start)


def _matrix_pieces(sizes: NDArray[np.int64], dims: NDArray[np.int64]) -> Pieces:
    """As many whole matrices as make a chunk; of one that is larger, as many rows."""
    matrix = np.maximum(dims.prod(1), 1)
    together = matrix * np.maximum(CHUNK // matrix, 1)
    tensor, start, size = _pieces(sizes, together)
    rows = np.maximum(-(-CHUNK // np.maximum(dims[:, 1], 1)), LEAST_ROWS)
    lengths = np.where(matrix > CHUNK, rows * dims[:, 1], together)
    of, inner, length = _pieces(size, lengths[tensor])
    return tensor[of], start[of] + inner, length


def launch(
    prepare: Kernel,
    update: "Kernel | DeviceKernel",
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
        chunks = Chunks(batch.sizes, batch.rows, batch.dims)
    # Compiled before anything is written, the prologue's new scalar states included.
    update.compiled  # noqa: B018
    go_through(update, batch, prepared(prepare, batch, scalar_count), chunks, count)


def prepared(prepare: Kernel, batch: Batch, scalar_count: int) -> NDArray[np.float64]:
    """Step scalars; the scalar states of the batch are those that the prologue makes."""
    scalars = np.empty((batch.t.size, scalar_count))
    prepare.compiled(batch.hypers, batch.t, batch.direction, batch.scalar_states, scalars)
    return scalars


def go_through(
    update: "Kernel | DeviceKernel", batch: Batch, scalars: NDArray[np.float64], chunks: Chunks, count: int
) -> None:
    """The chunks, on at most `count` threads."""
    step, addresses, table = update.compiled, batch.addresses, chunks.table

    def work(first: int, last: int) -> None:
        step(addresses, table, first, last, scalars)

    ranges = chunks.ranges(count)
    if len(ranges) > 1:
        run_ranges(work, ranges)
    elif ranges:
        work(*ranges[0])
