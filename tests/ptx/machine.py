"""Runs an entry of PTX in NumPy: the threads of a block side by side, the blocks one after the other.

In: an `Entry`, a `Memory`, a grid, a number of threads a block and the values of the parameters. Out: the
memory, changed. `Trap` for whatever the memory refuses, for threads of a block that do not meet at a barrier,
and for registers that are read before they are written; `PtxError` for an instruction that is not known here.
The threads with the least program counter go first, so that those that parted meet again. One dimension only.
NOT done: local memory, calls, atomic operations, textures, `.v4` of anything but 32 and 64 bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import UNSIGNED, Array, dtype_of
from .instructions import Step, compiled
from .memory import Memory, Trap
from .text import Entry, PtxError


def launch(
    entry: Entry,
    memory: Memory,
    grid: int,
    threads: int,
    arguments: Sequence[int | float],
    limit: int = 10**7,
) -> int:
    """How many instructions were done, each by some threads of a block. `limit`: more of them is a `Trap`."""
    if len(arguments) != len(entry.parameters):
        raise Trap(f"{entry.name} takes {len(entry.parameters)} arguments, not {len(arguments)}")
    values = {
        parameter.name: np.array(argument, dtype_of(parameter.type))
        for parameter, argument in zip(entry.parameters, arguments, strict=True)
    }
    program = [compiled(entry, each) for each in entry.instructions]
    memory.start_launch()
    done = 0
    with np.errstate(all="ignore"):
        for number in range(grid):
            memory.start_block()
            block = Block(entry, memory, values, number, grid, threads)
            done += block.run(program, limit - done)
    return done


class Block:
    """One block on its way: `at` is each thread's program counter, `active` those that do something."""

    def __init__(
        self, entry: Entry, memory: Memory, values: Mapping[str, Array], number: int, grid: int, threads: int
    ) -> None:
        self.entry, self.memory, self.values = entry, memory, values
        self.threads = threads
        self.shared = Memory(max(entry.shared_bytes, 1), base=0)
        self.shared.owned[: entry.shared_bytes] = True
        self.at = np.zeros(threads, np.int64)
        self.waits = np.full(threads, -1, np.int64)  # the barrier at which a thread waits
        self.active = np.arange(threads)
        self.everyone = True
        self._registers: dict[str, Array] = {}
        self._written: dict[str, NDArray[np.bool_]] = {}  # of those that not every thread has written
        lanes = np.arange(threads, dtype=np.uint32)
        self.names = (number * threads + lanes).astype(np.int32)
        self._special: dict[str, Array] = {
            "%tid.x": lanes,
            "%laneid": lanes % 32,
            "%warpid": lanes // 32,
            "%ntid.x": np.full(threads, threads, np.uint32),
            "%ctaid.x": np.full(threads, number, np.uint32),
            "%nctaid.x": np.full(threads, grid, np.uint32),
        }
        for which in ("tid", "ctaid"):
            for axis in ("y", "z"):
                self._special[f"%{which}.{axis}"] = np.zeros(threads, np.uint32)

    def run(self, program: Sequence[Step], limit: int) -> int:
        end = len(program)
        for done in range(limit):
            ready = (self.at < end) & (self.waits < 0)
            if not ready.any():
                if (self.waits < 0).all():
                    return done
                self._meet(end)
                continue
            counter = int(self.at[ready].min())
            chosen = ready & (self.at == counter)
            self._activate(chosen)
            self.at[self.active] = counter + 1
            instruction = self.entry.instructions[counter]
            try:
                if instruction.guard:
                    holds = np.zeros(self.threads, np.bool_)
                    holds[self.active] = self.read_predicate(instruction.guard) ^ instruction.negated
                    self._activate(chosen & holds)
                if self.active.size:
                    program[counter](self)
            except (Trap, ZeroDivisionError) as trap:
                where = f"{self.entry.name}, line {instruction.line}: {instruction.text}"
                raise Trap(f"{trap} ({where}, block {int(self._special['%ctaid.x'][0])})") from None
        raise Trap(f"{self.entry.name} does not end")

    def _activate(self, mask: NDArray[np.bool_]) -> None:
        self.active = np.flatnonzero(mask)
        self.everyone = self.active.size == self.threads

    def _meet(self, end: int) -> None:
        """Everyone waits or has ended: at one barrier, all of them go on."""
        if (self.waits < 0).any():
            raise Trap(
                f"barrier divergence: some threads of {self.entry.name} ended, and others wait for them"
            )
        if (self.waits != self.waits[0]).any():
            raise Trap(f"barrier divergence: threads of {self.entry.name} wait at different barriers")
        self.waits[:] = -1
        self.memory.barrier()
        self.shared.barrier()

    # --- what instructions do ------------------------------------------------------------------------

    def jump(self, to: int) -> None:
        self.at[self.active] = to

    def wait(self) -> None:
        self.waits[self.active] = self.at[self.active]

    def _raw(self, name: str) -> Array:
        if name in self._special:
            values = self._special[name]
        elif name in self._registers:
            values = self._registers[name]
            if name in self._written and not self._written[name][self.active].all():
                raise Trap(f"uninitialised: {name} is read by a thread that has not written it")
        else:
            raise Trap(f"uninitialised: {name} is read before it is written")
        return values if self.everyone else values[self.active]

    def read_predicate(self, name: str) -> NDArray[np.bool_]:
        values = self._raw(name)
        if values.dtype != np.bool_:
            raise PtxError(f"{name} is no predicate")
        return values

    def read(self, name: str, dtype: Any) -> Array:
        """A register's bits as a type of the same width; the low ones of a wider register."""
        values = self._raw(name)
        if values.dtype.itemsize < dtype.itemsize or values.dtype == np.bool_:
            raise PtxError(f"{name} has not the {8 * dtype.itemsize} bits that are read")
        if values.dtype.itemsize > dtype.itemsize:
            values = values.astype(UNSIGNED[dtype.itemsize])
        return values.view(dtype)

    def write(self, name: str, values: Array) -> None:
        """To a register of at least this width: signed values keep their sign, others get zeros."""
        kind = self.entry.register_type(name)
        if kind == "pred":
            if values.dtype != np.bool_:
                raise PtxError(f"{name} is a predicate")
            raw: Array = values
        else:
            width = dtype_of(kind).itemsize
            if values.dtype.itemsize > width or values.dtype == np.bool_:
                raise PtxError(f"{name} has not room for {values.dtype}")
            if values.dtype.itemsize < width:
                values = values.astype(f"{'i' if values.dtype.kind == 'i' else 'u'}{width}")
            raw = np.ascontiguousarray(values).view(UNSIGNED[width])
        if self.everyone:
            self._registers[name] = np.broadcast_to(raw, self.threads)
            self._written.pop(name, None)
            return
        old = self._registers.get(name)
        if old is None:
            self._written[name] = np.zeros(self.threads, np.bool_)
        new = np.zeros(self.threads, raw.dtype) if old is None else old.copy()
        new[self.active] = raw
        self._registers[name] = new
        if name in self._written:
            self._written[name][self.active] = True
