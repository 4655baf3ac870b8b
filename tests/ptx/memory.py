"""Memory that traps: what a kernel must not do to it ends the launch with a sentence.

`Memory` is a stretch of bytes in which allocations lie with gaps. `load` and `store` take the addresses of
all threads that do it at once. They trap on: bytes outside of every allocation, addresses that are not
aligned to the whole access, reads of bytes that nobody wrote, and races: two threads of which at least one
writes touch a byte, with no barrier between them (threads of different blocks have none), and reads through
the read-only cache (`.nc`) of what this launch wrote.
Exact by bytes. NOT done: fences and atomic operations, which no kernel here uses.
"""

import numpy as np
from numpy.typing import NDArray

GAP = 64  # bytes between allocations that belong to nobody
SEVERAL, OTHER_BLOCKS = -2, -3  # beside the number of a thread

Where = slice | NDArray[np.int64]
Threads = NDArray[np.int32]


class Trap(Exception):
    """A kernel did what it must not; the sentence says what."""


class Memory:
    """`size` bytes at the address `base`, or those of `data` where they really are."""

    def __init__(self, size: int, base: int | None = None, data: NDArray[np.uint8] | None = None) -> None:
        self.data = np.zeros(size, np.uint8) if data is None else data
        self.base = self.data.ctypes.data if base is None else base
        self.owned = np.zeros(size, np.bool_)
        self.known = np.zeros(size, np.bool_)  # was written, by the host or a kernel
        self._writer = np.zeros(size, np.int32)
        self._reader = np.zeros(size, np.int32)
        self._write_time = np.zeros(size, np.int32)
        self._read_time = np.zeros(size, np.int32)
        self._now = self._block = self._launch = 1  # times of accesses: when this block and launch began
        self._top = 0
        self._sizes: dict[int, int] = {}

    # --- the host's side ---------------------------------------------------------------------------

    def allocate(self, size: int, offset: int = 0, align: int = 256) -> int:
        """The address of `size` bytes that nobody has written, `offset` behind a multiple of `align`."""
        address = -(-(self.base + self._top + GAP) // align) * align + offset
        first = address - self.base
        if first + size > self.data.size:
            raise MemoryError(f"{size} bytes do not fit")
        self.owned[first : first + size] = True
        self._top = first + size
        self._sizes[address] = size
        return address

    def free(self, address: int) -> None:
        """Its bytes belong to nobody from now on, and never again to anybody."""
        first, size = address - self.base, self._sizes.pop(address)
        self.owned[first : first + size] = self.known[first : first + size] = False

    def write(self, address: int, values: NDArray[np.generic]) -> None:
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        first = self._inside(address, flat.size)
        self.data[first : first + flat.size] = flat
        self.known[first : first + flat.size] = True

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """A copy. Raises `Trap` where nobody has written."""
        first = self._inside(address, size)
        if not self.known[first : first + size].all():
            raise Trap("the host reads bytes that nobody wrote")
        return self.data[first : first + size].copy()

    def _inside(self, address: int, size: int) -> int:
        first = address - self.base
        if first < 0 or not self.owned[first : first + size].all() or first + size > self.data.size:
            raise Trap(f"the host touches {size} bytes at {address:#x} that are not allocated")
        return first

    def put(self, values: NDArray[np.generic], offset: int = 0) -> int:
        """The address of a new copy of `values`."""
        address = self.allocate(values.nbytes, offset)
        self.write(address, values)
        return address

    # --- the kernel's side -------------------------------------------------------------------------

    def start_launch(self) -> None:
        self._now += 1
        self._block = self._launch = self._now

    def start_block(self) -> None:
        self._now += 1
        self._block = self._now

    def barrier(self) -> None:
        self._now += 1

    def load(
        self, addresses: NDArray[np.int64], size: int, threads: Threads, cached: bool
    ) -> NDArray[np.uint8]:
        """(N, size): the bytes at each of N addresses. `threads` (N,): who reads, numbered over the grid.

        `cached`: through the read-only cache. Raises `Trap`.
        """
        where, together = self._where(addresses, size)
        if not self.known[where].all():
            raise Trap("uninitialised: a read of bytes that nobody wrote")
        who: Threads = np.repeat(threads, size) if not together else np.full(size, SEVERAL, np.int32)
        time, writer = self._write_time[where], self._writer[where]
        if cached and (time >= self._launch).any():
            raise Trap("race: a read through the read-only cache of what this launch wrote")
        if (self._elsewhere(time) | ((time == self._now) & (writer != who))).any():
            raise Trap("race: a thread reads what another writes")
        time, reader = self._read_time[where], self._reader[where]
        elsewhere = self._elsewhere(time) | ((reader == OTHER_BLOCKS) & (time >= self._launch))
        mark = np.where((time == self._now) & (reader != who), SEVERAL, who)
        self._reader[where] = np.where(elsewhere, OTHER_BLOCKS, mark)
        self._read_time[where] = self._now
        if not isinstance(where, slice):
            self._mark_crowds(where)
        found = self.data[where].reshape(-1, size).copy()  # registers, which a later store must not change
        return np.broadcast_to(found, (threads.size, size)) if together else found

    def store(self, addresses: NDArray[np.int64], values: NDArray[np.uint8], threads: Threads) -> None:
        """`values` (N, size). Raises `Trap`; then nothing has been written."""
        size = values.shape[1]
        where, together = self._where(addresses, size)
        if together or (not isinstance(where, slice) and np.unique(where).size != where.size):
            raise Trap("race: two threads write one byte at once")
        who = np.repeat(threads, size)
        time, writer = self._write_time[where], self._writer[where]
        if (self._elsewhere(time) | ((time == self._now) & (writer != who))).any():
            raise Trap("race: two threads write one byte")
        time, reader = self._read_time[where], self._reader[where]
        others = (time >= self._launch) & (reader == OTHER_BLOCKS)
        if (self._elsewhere(time) | others | ((time == self._now) & (reader != who))).any():
            raise Trap("race: a thread writes what another reads")
        self._write_time[where] = self._now
        self._writer[where] = who
        self.known[where] = True
        self.data[where] = values.reshape(-1)

    def _elsewhere(self, time: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether it was in this launch, by another block."""
        return (time >= self._launch) & (time < self._block)

    def _where(self, addresses: NDArray[np.int64], size: int) -> tuple[Where, bool]:
        """Which bytes; and whether several threads mean the very same."""
        if (addresses % size).any():
            at = int(addresses[addresses % size != 0][0])
            raise Trap(f"misaligned: {size} bytes at {at:#x}")
        first = addresses - self.base
        if first.min() < 0 or first.max() + size > self.data.size:
            raise Trap("out of bounds: far from everything that is allocated")
        where: Where
        together = first.size > 1 and bool((first == first[0]).all())
        if together or first.size == 1:
            where = slice(int(first[0]), int(first[0]) + size)
        elif (np.diff(first) == size).all():
            where = slice(int(first[0]), int(first[-1]) + size)
        else:
            where = (first[:, None] + np.arange(size)).reshape(-1)
        if not self.owned[where].all():
            raise Trap("out of bounds: bytes that belong to nobody")
        return where, together

    def _mark_crowds(self, where: NDArray[np.int64]) -> None:
        """Bytes that several threads read at once: the last of them would stand for all."""
        places, counts = np.unique(where, return_counts=True)
        crowded = places[counts > 1]
        self._reader[crowded] = np.where(self._reader[crowded] == OTHER_BLOCKS, OTHER_BLOCKS, SEVERAL)
