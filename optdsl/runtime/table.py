"""One call's worth of tensors by address: buffers, counters, scalar states and chunks, kept between steps.

In: the addresses of T tensors that share a variant and a dtype, and the hyperparameters of the groups
that they belong to. `gather` reads the step counters and scalar states from memory and finds the distinct
rows; `run` launches a kernel; `scatter` writes counters and scalar states back. All three are compiled
loops, since a few hundred `.item()` calls would cost more than the step itself.
Assumed: the addresses hold, and nothing overlaps. NOT done: any check of a tensor.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numba import types
from numpy.typing import NDArray

from optdsl.runtime.batch import Batch
from optdsl.runtime.drawing import Drawn, compile_draws
from optdsl.runtime.launch import Chunks
from optdsl.runtime.layout import Kept, KernelPair, Reduction, Variant, Vector
from optdsl.runtime.lines import buffers, compile_lines, update_lines
from optdsl.runtime.numba_kernel import compiled, f32, f64, read_f32, read_f64, write_f32, write_f64
from optdsl.runtime.past.layout import Ring
from optdsl.runtime.past.loops import Memory, compile_past, remember
from optdsl.runtime.reduce import compile_passes, reduce_batches
from optdsl.runtime.sharded_sums import Across, Ledger, Send

if TYPE_CHECKING:
    from optdsl.runtime.cuda.step import DeviceStep

_U64_2D = types.Array(types.uint64, 2, "C")
_I64_1D = types.Array(types.int64, 1, "C")
_I64_2D = types.Array(types.int64, 2, "C")
_F64_1D = types.Array(types.float64, 1, "C")
_F64_2D = types.Array(types.float64, 2, "C")

NUMBER_WIDTHS = (0, 4, 8)
"""A number is not kept (0), or is a float32 or a float64 in memory."""


@dataclass
class Table:
    """T tensors, B buffers, K scalar states.

    addresses   (T, B) uint64     a buffer's first element, columns as `variant.buffers`; on return, with
                                  more behind them for what a variant reduces over rows and columns
    sizes       (T,) int64        elements
    numbers_at  (T, 1 + K) uint64 where the step counter and the scalar states are
    widths      (T, 1 + K) int64  their bytes, of `NUMBER_WIDTHS`
    times       (T,) float64      the step to take, for tensors whose counter is not kept
    groups      (T,) int64        the group of each tensor
    places      (T,) int64        which of all parameters each is, for what is drawn
    itemsize                      bytes of an element
    dims        (T, 2) int64      rows and columns, for variants that reduce over them
    ledger                        for what reduces tensors of which other processes hold parts
    device_step                   what runs in the place of passes and kernel, where the tensors are on a GPU
    """

    variant: Variant
    pair: KernelPair
    addresses: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    numbers_at: NDArray[np.uint64]
    widths: NDArray[np.int64]
    times: NDArray[np.float64]
    groups: NDArray[np.int64]
    places: NDArray[np.int64]
    itemsize: int
    reductions: tuple[Reduction, ...] = ()
    vectors: tuple[Vector, ...] = ()
    kept: tuple[Kept, ...] = ()
    rings: tuple[Ring, ...] = ()
    dims: NDArray[np.int64] | None = None
    views: dict[str, KernelPair] = field(default_factory=dict)
    ledger: Ledger | None = None
    device_step: "DeviceStep | None" = None
    batch: Batch = field(init=False)
    chunks: Chunks = field(init=False)

    def __post_init__(self) -> None:
        count, scalars = self.sizes.size, len(self.variant.scalar_states)
        self._rows = np.zeros(count, np.int64)
        self._old_rows, self._every = self._rows.copy(), np.arange(count)
        self._t = np.empty(count)
        self._direction = np.empty(count)
        self._states = np.empty((count, scalars))
        self._count = np.zeros(1, np.int64)
        self._hypers: NDArray[np.float64] | None = None
        self._lengths: set[tuple[int, ...]] = set()
        self._past = Memory() if self.rings else None
        if not self.variant.reduced:
            self.dims = None
        if self.dims is not None:
            added, self._memory = buffers(self.sizes, self.dims, self.variant.reduced)
            self.addresses = np.hstack((self.addresses, added))
        self._drawn = [Drawn(draw, self.sizes, self.itemsize) for draw in self.variant.draws]
        for each in self._drawn:
            self.addresses[:, each.draw.buffer] = each.addresses
        pieces = None if self.ledger is None else self.ledger.pieces
        self.chunks = Chunks(self.sizes, self._rows, self.dims, pieces)

    def compile(self) -> None:
        """Everything that a step runs, so that nothing fails after the first write."""
        if self.device_step is not None:
            self.device_step.prepared  # noqa: B018
        for kernel in (*(() if self.device_step else self.pair), _gather, _scatter):
            kernel.compiled  # noqa: B018
        compile_passes(() if self.device_step else self.reductions)
        compile_draws(self._drawn)
        if self.dims is not None:
            compile_lines(self.vectors)
        if self.rings:
            compile_past()

    def compile_view(self, name: str) -> None:
        for kernel in self.views[name]:
            kernel.compiled  # noqa: B018

    def gather(self, hypers: NDArray[np.float64], direction: NDArray[np.float64]) -> None:
        """Reads counters and scalar states, and makes this step's batch.

        hypers (G, H) and direction (G,), both float64, by group. Raises `ValueError` where they ask to
        remember more, or less, than the states have been made for.
        """
        if self.rings:
            self._check_lengths(hypers)
        if self._hypers is None:
            self._hypers = np.empty((self.sizes.size, hypers.shape[1] + self.variant.extra_columns))
        if self.device_step is not None and self.device_step.keeps_numbers:
            self._rows[:] = self._every
            self._hypers[:, : hypers.shape[1]] = hypers[self.groups]
            self._t[:], self._direction[:] = self.times, direction[self.groups]
            self._count[0] = self._rows.size
        else:
            rows = (self._rows, self._hypers, self._t, self._direction, self._states, self._count)
            searched = 0 if self.reductions else SEARCHED
            _gather(self.numbers_at, self.widths, self.times, self.groups, hypers, direction, searched, *rows)
        if self._rows.tobytes() != self._old_rows.tobytes():
            self._old_rows[:] = self._rows
            self.chunks.set_rows(self._rows)
        n = int(self._count[0])
        self.batch = Batch(
            addresses=self.addresses,
            sizes=self.sizes,
            rows=self._rows,
            hypers=self._hypers[:n],
            t=self._t[:n],
            direction=self._direction[:n],
            scalar_states=self._states[:n],
            dims=self.dims,
            memory=self._past,
        )

    def _check_lengths(self, hypers: NDArray[np.float64]) -> None:
        lengths = {
            tuple(ring.length(hypers[group]) for ring in self.rings) for group in set(self.groups.tolist())
        }
        if len(lengths) > 1 or self._lengths not in (set(), lengths):
            raise ValueError(
                "how much is remembered is chosen when the optimizer is made, for all parameters alike; "
                "make a new one to change it"
            )
        self._lengths = lengths

    def draw(self, threads: int) -> None:
        """This step's random numbers, into buffers of the table's own."""
        rows = self.batch.rows
        for each in self._drawn:
            seeds = self.batch.hypers[rows, self.variant.seed]
            each.fill(seeds, self.batch.t[rows], self.places, self.chunks, threads)

    def run(self, pair: KernelPair, threads: int) -> None:
        """A kernel over the gathered batch; the scalar states of the batch are new afterwards."""
        if pair is self.pair and self.device_step is not None:
            self.device_step.prepared(self.batch)
            return
        own = pair is self.pair
        vectors, kept = (self.vectors, self.kept) if own else ((), ())
        update_lines(pair, vectors, self.batch, self.variant.scalar_count, threads, self.chunks, kept)
        if own:
            remember(self.batch, self.rings)

    def scatter(self) -> None:
        """Counters and scalar states go back to memory.

        The mean of no elements is NaN: a tensor without any keeps the number that would become it.
        """
        batch = self.batch
        if self.device_step is None or not self.device_step.keeps_numbers:
            numbers = (batch.t, batch.scalar_states)
            _scatter(self.numbers_at, self.widths, self.sizes, batch.rows, *numbers)
        self.times[:] = 2.0


def reduce_tables(tables: Iterable[Table], threads: int, send: Send | None = None) -> None:
    """The passes of all tables that belong to one step; `send` where other processes hold parts of them."""
    reducing = [table for table in tables if table.reductions]
    if reducing:
        work = [(table.batch, table.reductions) for table in reducing]
        across = None if send is None else Across([table.ledger for table in reducing], send)
        elsewhere = {place for place, table in enumerate(reducing) if table.device_step is not None}
        reduce_batches(work, threads, [table.chunks for table in reducing], across, elsewhere)


SEARCHED = 16  # how many of the last rows are compared: more distinct ones than that may repeat, harmlessly


@compiled(
    *(_U64_2D, _I64_2D, _F64_1D, _I64_1D, _F64_2D, _F64_1D, types.int64),
    *(_I64_1D, _F64_2D, _F64_1D, _F64_1D, _F64_2D, _I64_1D),
)
def _gather(  # type: ignore[no-untyped-def]
    numbers_at,
    widths,
    times,
    groups,
    group_hypers,
    group_direction,
    searched,
    rows,
    hypers,
    t,
    direction,
    states,
    count,
):
    """The distinct (group, t, scalar states), and which of them each tensor has."""
    scalars = states.shape[1]
    row_groups = np.empty(rows.size, np.int64)
    n = 0
    for tensor in range(rows.size):
        # The candidate is written behind the rows found so far, and stays there if it is a new one.
        group = groups[tensor]
        time = times[tensor]
        if widths[tensor, 0] == 4:
            time = f64(read_f32(numbers_at[tensor, 0], 0, 0)) + 1.0
        elif widths[tensor, 0] == 8:
            time = read_f64(numbers_at[tensor, 0], 0, 0) + 1.0
        for k in range(scalars):
            if widths[tensor, 1 + k] == 4:
                states[n, k] = f64(read_f32(numbers_at[tensor, 1 + k], 0, 0))
            else:
                states[n, k] = read_f64(numbers_at[tensor, 1 + k], 0, 0)
        found = n
        for row in range(n - 1, max(n - 1 - searched, -1), -1):
            same = row_groups[row] == group and t[row] == time
            for k in range(scalars):
                same = same and states[row, k] == states[n, k]
            if same:
                found = row
                break
        rows[tensor] = found
        if found == n:
            row_groups[n] = group
            t[n] = time
            direction[n] = group_direction[group]
            for h in range(group_hypers.shape[1]):
                hypers[n, h] = group_hypers[group, h]
            n += 1
    count[0] = n


@compiled(_U64_2D, _I64_2D, _I64_1D, _I64_1D, _F64_1D, _F64_2D)
def _scatter(numbers_at, widths, sizes, rows, t, states):  # type: ignore[no-untyped-def]
    for tensor in range(rows.size):
        row = rows[tensor]
        for number in range(widths.shape[1]):
            value = t[row] if number == 0 else states[row, number - 1]
            if sizes[tensor] == 0 and math.isnan(value):
                continue
            if widths[tensor, number] == 4:
                write_f32(numbers_at[tensor, number], 0, f32(value), 0)
            elif widths[tensor, number] == 8:
                write_f64(numbers_at[tensor, number], 0, value, 0)
