"""A step with sums for each tensor that never waits for the GPU: prologues and totals are its own, too.

In: a batch with a row for each tensor, and the code of the passes and of the update. Out: launches on the
current stream, in this order for each pass: its prologue (a thread a tensor), the sums of each chunk, their
totals in the order of the chunks; then the update's prologue, and the update. Nothing comes back.

    prepare_ENTRY(hypers f64[T][H], t f64[T], direction f64[T], states, scalars[T][S], T)
    totals_ENTRY(partials f64[C][K], first s64[T + 1], T, hypers)

Powers of step counters are those of the kernels' own arithmetic, a unit in the last place of a float64 or so
from the C library's, which prologues on the host call. NOT done: sums over all tensors, which may be on
several devices, and scalar states, which are kept on the host: their steps are those of `reduce`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from optdsl.runtime.batch import Batch
from optdsl.runtime.cuda.driver import NO_CAPTURE, refusal
from optdsl.runtime.cuda.kernel import THREADS, DeviceCode, DeviceTables, Launch, loaded
from optdsl.runtime.cuda.memory import Mirror, Room
from optdsl.runtime.launch import Chunks


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
    """`codes`: the passes in order, then the update. `prepared` makes it ready: nothing fails later."""

    def __init__(
        self, codes: Sequence[DeviceCode], tables: DeviceTables, tensors: int, chunks: Chunks
    ) -> None:
        self.codes, self.tables, self.tensors = codes, tables, tensors
        self.chunks = chunks
        self.totals = sum(code.sums for code in codes)
        self._phases: list[_Phase] = []
        device = tables.device
        self._hypers, self._t, self._direction = Mirror(device), Mirror(device), Mirror(device)
        self._first = Mirror(device)
        self._starts = np.searchsorted(chunks.table[:, 0], np.arange(tensors + 1)).astype(np.int64)

    @property
    def prepared(self) -> Callable[[Batch], None]:
        """Raises `CudaError`."""
        if not self._phases:
            tables, count = self.tables, self.chunks.table.shape[0]
            with tables.device:
                tables.addresses.reserve(8 * self.tensors * self.codes[0].buffers)
                tables.chunks.reserve(8 * 4 * count)
                self._hypers.reserve(8 * self.tensors * self.codes[0].hypers)
                for mirror in (self._t, self._direction, self._first):
                    mirror.reserve(8 * (self.tensors + 1))
                self._phases = [_Phase(code, tables, self.tensors, count) for code in self.codes]
        return self._run

    def _run(self, batch: Batch) -> None:
        tables, device = self.tables, self.tables.device
        stream, count = tables.stream(), self.chunks.table.shape[0]
        if not count:
            return
        batch.hypers[:, batch.hypers.shape[1] - self.totals :] = 0.0  # the device's own
        rows = -(-self.tensors // THREADS)
        with device:
            if device.capturing(stream):
                raise refusal(NO_CAPTURE)
            tables.turn.begin(stream)
            addresses = tables.addresses.put(batch.addresses, stream)
            chunks = tables.chunks.put(self.chunks.table, stream)
            first = self._first.put(self._starts, stream)
            hypers = self._hypers.put(batch.hypers, stream)
            t, direction = self._t.put(batch.t, stream), self._direction.put(batch.direction, stream)
            for each in self._phases:
                scalars, partials = each.scalars.address, each.partials.address
                each.prepare(rows, stream, hypers, t, direction, 0, scalars, self.tensors)
                if each.sums:
                    each.main(count, stream, addresses, chunks, scalars, partials)
                    each.totals(rows, stream, partials, first, self.tensors, hypers)
                else:
                    each.main(count, stream, addresses, chunks, scalars)
            tables.turn.end(stream)
