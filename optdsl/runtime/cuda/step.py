"""A step that never waits for the GPU: prologues and totals are its own there, and so may the counters be.

In: a batch with a row for each tensor, and the code of the passes and of the update. Out: launches on the
current stream, and nothing else: `begin` (`helpers`), then for each pass its prologue (a thread a tensor),
the sums of each chunk, their totals in the order of the chunks; then the update's prologue, the update, and
`move`, which brings counters and scalar states back. Nothing comes to the host.

    prepare_ENTRY(hypers f64[T][H], t f64[T], direction f64[T], states f64[T][K], scalars[T][S], T)
    totals_ENTRY(partials f64[C][K], first s64[T + 1], T, hypers)

What may be another thing at the next step (addresses of gradients, hypers of groups, counters that the host
keeps) goes up as arguments of `write`, and everything that a step writes to is made anew by each: so a CUDA
graph may record a step, be replayed among ordinary ones and recorded again. With `Numbers` the counters and
scalar states are on the GPU, so that a replay is a step of its own; hypers may then be numbers there, too.

Powers of step counters are those of the kernels' own arithmetic, a unit in the last place of a float64 or so
from the C library's, which prologues on the host call. NOT done: sums over all tensors, which may be on
several devices; scalar states that the host keeps.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.batch import Batch
from optdsl.runtime.cuda import helpers
from optdsl.runtime.cuda.driver import NO_WARM_UP, refusal
from optdsl.runtime.cuda.kernel import THREADS, DeviceCode, DeviceTables, Launch, loaded
from optdsl.runtime.cuda.memory import Mirror, Room
from optdsl.runtime.launch import Chunks

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Numbers:
    """Where the step counter (if kept) and the scalar states of each tensor are, on the device.

    addresses (T, 1 + K) uint64, widths (T, 1 + K) int64: bytes, 0 for a counter that is not kept
    empty     (T,) bool: tensors without elements, which keep a number that would become NaN
    """

    addresses: NDArray[np.uint64]
    widths: NDArray[np.int64]
    empty: NDArray[np.bool_]

    def moves(self, t: int, states: int) -> tuple[Words, Words]:
        """(N, 3) for `move`, before a step and after it; `t`, `states`: where a step has its own."""
        there, back = [], []
        scalars = self.widths.shape[1] - 1
        for (tensor, column), width in np.ndenumerate(self.widths):
            if not width:
                continue
            kept = int(self.addresses[tensor, column])
            own = states + 8 * (tensor * scalars + column - 1) if column else t + 8 * tensor
            wide = width == 8
            how = helpers.TO_F64 | (helpers.FROM_F64 if wide else 0) | (0 if column else helpers.PLUS_ONE)
            there.append((kept, own, how))
            how = helpers.FROM_F64 | (helpers.TO_F64 if wide else 0)
            back.append((own, kept, how | (helpers.UNLESS_NAN if self.empty[tensor] else 0)))
        found = [np.array(each, np.uint64).reshape(-1, 3) for each in (there, back)]
        return found[0], found[1]


@dataclass(frozen=True)
class Source:
    """A hyper that is a number on the device: whose, which, where, and its bytes."""

    group: int
    hyper: int
    address: int
    width: int


class _Phase:
    """One kernel with its prologue, and its totals where it sums."""

    def __init__(self, code: DeviceCode, tables: DeviceTables, tensors: int, chunks: int) -> None:
        device, module = tables.device, loaded(tables.device, code.ptx)
        self.sums = code.sums
        with device:
            self.scalars, self.partials = Room(device), Room(device)
            self.scalars.reserve(8 * tensors * code.scalars)
            self.partials.reserve(8 * chunks * code.sums)
            self.prepare = Launch(device, device.function(module, f"prepare_{code.entry}"), 6)
            self.main = Launch(device, device.function(module, code.entry), 4 if code.sums else 3)
            if code.sums:
                self.totals = Launch(device, device.function(module, f"totals_{code.entry}"), 4)


class DeviceStep:
    """`codes`: the passes in order, then the update. `prepared` makes it ready: nothing fails later.

    groups (T,): the group of each tensor. `numbers`: None where the host keeps them.
    """

    def __init__(
        self,
        codes: Sequence[DeviceCode],
        tables: DeviceTables,
        chunks: Chunks,
        groups: NDArray[np.int64],
        numbers: Numbers | None = None,
    ) -> None:
        self.codes, self.tables, self.numbers = codes, tables, numbers
        self.tensors = groups.size
        self.sources: Sequence[Source] = ()
        self._groups, self._chunks = groups, chunks
        self._counted = numbers is not None and bool(numbers.widths[:, 0].all())
        self._phases: list[_Phase] = []
        self._placed = False
        self._moves = (0, 0, 0)  # how many numbers come from elsewhere, and how they come and go
        device = tables.device
        self._hypers, self._first, self._of = Mirror(device), Mirror(device), Mirror(device)
        self._there, self._back = Mirror(device), Mirror(device)
        self._words, self._t, self._direction, self._states = (Room(device) for _ in range(4))
        self._starts = np.searchsorted(chunks.table[:, 0], np.arange(groups.size + 1)).astype(np.int64)
        self._options: NDArray[np.float64] = np.empty((0, 0))

    @property
    def keeps_numbers(self) -> bool:
        """Whether nothing of them is on the host."""
        return self.numbers is not None

    def take(
        self, hypers: NDArray[np.float64], direction: NDArray[np.float64], sources: Iterable[Source]
    ) -> None:
        """This step's, by group: hypers (G, H) and direction (G,)."""
        self._options = np.column_stack((hypers, direction))
        self.sources = tuple(sources)

    @property
    def prepared(self) -> Callable[[Batch], None]:
        """Raises `CudaError`."""
        if not self._phases:
            self._prepare()
        return self._run

    def _prepare(self) -> None:
        tables, count, device = self.tables, self._chunks.table.shape[0], self.tables.device
        module = loaded(device, helpers.text())
        with device:
            tables.addresses.reserve(8 * self.tensors * self.codes[0].buffers)
            tables.chunks.reserve(8 * 4 * count)
            self._hypers.reserve(8 * self.tensors * self.codes[0].hypers)
            self._first.reserve(8 * (self.tensors + 1))
            self._of.reserve(8 * self.tensors)
            most = 2 * self.tensors + 4 * self._options.size  # gradients, t; options, and where they are
            self._words.reserve(8 * helpers.WORDS * -(-most // helpers.WORDS))
            self._direction.reserve(8 * self.tensors)
            if self.numbers is not None:
                cells = self.numbers.widths.size
                self._t.reserve(8 * self.tensors)
                self._states.reserve(8 * cells)
                self._there.reserve(24 * cells)
                self._back.reserve(24 * cells)
            self._write = Launch(device, device.function(module, "write"), 1 + helpers.WORDS, threads=1)
            self._begin = Launch(device, device.function(module, "begin"), 12)
            self._move = Launch(device, device.function(module, "move"), 2)
            self._phases = [_Phase(code, tables, self.tensors, count) for code in self.codes]

    def _place(self, batch: Batch, stream: int) -> None:
        """What never changes, and room for what does."""
        tables = self.tables
        totals = sum(code.sums for code in self.codes)
        hypers = batch.hypers.copy()
        hypers[:, hypers.shape[1] - totals :] = 0.0  # the device's own
        self._at_hypers = self._hypers.put(hypers, stream)
        self._at_addresses = tables.addresses.put(batch.addresses, stream)
        self._at_chunks = tables.chunks.put(self._chunks.table, stream)
        self._at_first = self._first.put(self._starts, stream)
        self._at_groups = self._of.put(self._groups, stream)
        if self.numbers is not None:
            there, back = self.numbers.moves(self._t.address, self._states.address)
            self._moves = len(there), self._there.put(there, stream), self._back.put(back, stream)
        self._placed = True

    def _send(self, batch: Batch, stream: int) -> tuple[int, int, int, int]:
        """Where gradients' addresses, options, counters and sources of options are, from now on."""
        options = self._options
        at_options = self._words.address + 8 * self.tensors
        counters = () if self._counted else (batch.t.view(np.uint64),)
        sources = np.array(
            [
                (each.address, at_options + 8 * (each.group * options.shape[1] + each.hyper), _how(each))
                for each in self.sources
            ],
            np.uint64,
        )
        words = np.concatenate(
            (batch.addresses[:, 1], options.view(np.uint64).reshape(-1), *counters, sources.reshape(-1))
        )
        for first in range(0, words.size, helpers.WORDS):
            self._write.several(self._words.address + 8 * first, words[first : first + helpers.WORDS])
            self._write.go(1, stream)
        at_t = at_options + 8 * options.size
        return self._words.address, at_options, at_t, at_t + 8 * sum(each.size for each in counters)

    def _run(self, batch: Batch) -> None:
        tables, device = self.tables, self.tables.device
        stream, count, tensors = tables.stream(), self._chunks.table.shape[0], self.tensors
        if not (count or self.keeps_numbers):
            return
        rows = -(-tensors // THREADS)
        with device:
            recorded = device.capturing(stream)
            if recorded and not self._placed:
                raise refusal(NO_WARM_UP)
            if not recorded:
                tables.turn.begin(stream)
            if not self._placed:
                self._place(batch, stream)
            gradients, options, at_t, sources = self._send(batch, stream)
            if self.sources:
                self._move(-(-len(self.sources) // THREADS), stream, sources, len(self.sources))
            number, width = self._options.shape[1] - 1, self.codes[0].hypers
            hypers, direction = self._at_hypers, self._direction.address
            moves, there, back = self._moves
            given = (gradients, self._at_groups, options, self._at_addresses, hypers, direction)
            sizes = (self.codes[0].buffers, number, width, tensors)
            self._begin(max(rows, -(-moves // THREADS)), stream, *given, *sizes, there, moves)
            t = self._t.address if self._counted else at_t
            for each in self._phases:
                scalars, partials = each.scalars.address, each.partials.address
                each.prepare(rows, stream, hypers, t, direction, self._states.address, scalars, tensors)
                rest = (partials,) if each.sums else ()
                if count:
                    each.main(count, stream, self._at_addresses, self._at_chunks, scalars, *rest)
                if each.sums:
                    each.totals(rows, stream, partials, self._at_first, tensors, hypers)
            if moves:
                self._move(-(-moves // THREADS), stream, back, moves)
            if not recorded:
                tables.turn.end(stream)


def _how(source: Source) -> int:
    return helpers.TO_F64 | (helpers.FROM_F64 if source.width == 8 else 0)
