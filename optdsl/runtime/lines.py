"""What has one value for each row or column of the matrices that a tensor is: sums of passes, and states.

In: batches with `dims`, whose tables of addresses end in float64 buffers for what is summed. Out: sums of
columns, added up from those of chunks in the order of the chunks, so that no number of threads changes a bit;
and the states of these shapes, written after the update by kernels that go through them alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numba import types
from numpy.typing import NDArray

from optdsl.runtime.batch import Batch
from optdsl.runtime.launch import Chunks, go_through, launch, prepared
from optdsl.runtime.layout import Column, Kept, KernelPair, Vector
from optdsl.runtime.matrices import keep
from optdsl.runtime.numba_kernel import compiled, f64_bytes, read_f64, write_f64
from optdsl.runtime.scalar_math import maximum

_I64_2D = types.Array(types.int64, 2, "C")
_U64_2D = types.Array(types.uint64, 2, "C")


def buffers(
    sizes: NDArray[np.int64], dims: NDArray[np.int64], reduced: Sequence[str]
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Addresses (T, len(reduced)) of float64 buffers, and the memory that they are in."""
    lengths = np.array([line_counts(sizes, dims, per) for per in reduced]).reshape(len(reduced), -1)
    ends = np.cumsum(lengths).reshape(lengths.shape)
    memory = np.zeros(int(lengths.sum()) + 1)
    addresses = memory.ctypes.data + 8 * (ends - lengths)
    return np.ascontiguousarray(addresses.T.astype(np.uint64)), memory


def line_counts(sizes: NDArray[np.int64], dims: NDArray[np.int64], per: str) -> NDArray[np.int64]:
    """How many rows, or columns, each tensor has: those of all its matrices; none without elements.

    Or elements, for the operands of stages; their results bring memory of their own.
    """
    if per in ("operand", "result"):
        return sizes if per == "operand" else np.zeros_like(sizes)
    counts: NDArray[np.int64] = sizes // np.maximum(dims[:, 1 if per == "rows" else 0], 1)
    return counts


class ColumnSums:
    """What a pass sums for each column: a place for each chunk's, then the buffers."""

    def __init__(self, columns: Sequence[Column], chunks: Chunks) -> None:
        self.columns = columns
        self.parts = np.zeros((len(columns), chunks.width))
        for part, column in zip(self.parts, columns, strict=True):
            if column.largest:
                part.fill(-np.inf)
        self.starts = (self.parts.ctypes.data + 8 * chunks.width * np.arange(len(columns))).astype(np.uint64)

    def finish(self, batch: Batch, chunks: Chunks) -> None:
        for start, column in zip(self.starts, self.columns, strict=True):
            _by_column.compiled(chunks.table, batch.addresses, column.buffer, start, column.largest)


@compiled(_I64_2D, _U64_2D, types.int64, types.uint64, types.boolean)
def _by_column(chunks, addresses, buffer, parts, largest):  # type: ignore[no-untyped-def]
    for chunk in range(chunks.shape[0]):
        tensor, start, size, _, height, width, part = chunks[chunk]
        matrix = height * width
        count = width * max(size // matrix, 1)
        to = addresses[tensor, buffer] + f64_bytes(start // matrix * width)
        begins = start % matrix == 0
        for i in range(count):
            value = read_f64(parts, part + i, 0)
            if not begins:
                old = read_f64(to, i, 1)
                value = maximum(old, value) if largest else old + value
            write_f64(to, i, value, 1)


def compile_lines(vectors: Sequence[Vector]) -> None:
    """So that nothing fails after the first write."""
    for kernel in (_by_column, *(kernel for vector in vectors for kernel in vector.pair)):
        kernel.compiled  # noqa: B018


def update_lines(
    pair: KernelPair,
    vectors: Sequence[Vector],
    batch: Batch,
    scalar_count: int,
    threads: int | None = None,
    chunks: Chunks | None = None,
    kept: Sequence[Kept] = (),
) -> None:
    """The update, then the states with a value for each row or column, by the old values of all others; and
    those that stages have made.
    """
    scalars = [prepared(vector.pair[0], batch, vector.scalar_count) for vector in vectors]
    launch(*pair, batch, scalar_count, threads, chunks)
    for vector, own in zip(vectors, scalars, strict=True):
        assert batch.dims is not None
        lines = replace(batch, sizes=line_counts(batch.sizes, batch.dims, vector.per), dims=None)
        go_through(vector.pair[1], lines, own, Chunks(lines.sizes, lines.rows), 1)
    keep(batch, kept)
