"""Which bytes tensors occupy: whether they fill a stretch without gaps, overlap themselves or each other.

In: addresses, shapes and strides in bytes, of whatever framework. Out: truth values, and `RuntimeError`
with the words for two tensors that share an element. Exact, except that more gradients than necessary
may count as lying in the way when views interleave (they are then copied).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Memory:
    """A tensor with the words for it; `first` is the address of the element at index 0, 0, ..."""

    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int
    what: str = ""

    @property
    def empty(self) -> bool:
        return 0 in self.shape

    @property
    def start(self) -> int:
        """The lowest address."""
        reaches = ((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True) if s < 0)
        return self.first + (0 if self.empty else sum(reaches))

    @property
    def end(self) -> int:
        """Behind the highest address."""
        if self.empty:
            return self.first
        reaches = ((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True) if s > 0)
        return self.first + sum(reaches) + self.itemsize

    @property
    def _long_axes(self) -> list[tuple[int, int]]:
        """(distance, size) of the axes with more than one element, the smallest distance first."""
        return sorted((abs(s), n) for n, s in zip(self.shape, self.strides, strict=True) if n > 1)

    @property
    def dense(self) -> bool:
        """Whether the elements fill a stretch without gaps, in ascending order of some axes."""
        if self.empty:
            return True
        expected = self.itemsize
        for distance, size in self._long_axes:
            if distance != expected:
                return False
            expected *= size
        return all(s >= 0 for n, s in zip(self.shape, self.strides, strict=True) if n > 1)

    @property
    def overlaps_itself(self) -> bool:
        """Whether two indices may mean one address: exact for slices, transposes and expansions."""
        reach = 0 if self.empty else self.itemsize - 1
        for distance, size in [] if self.empty else self._long_axes:
            if distance <= reach:
                return True
            reach += distance * (size - 1)
        return False

    def touched(self) -> NDArray[np.int64]:
        """Every byte."""
        at = np.array(self.first, np.int64)
        for size, stride in zip(self.shape, self.strides, strict=True):
            at = at[..., None] + np.arange(size) * stride
        return (at.reshape(-1, 1) + np.arange(self.itemsize)).reshape(-1)


@dataclass(frozen=True)
class Written:
    """All memory that a step writes to: stretches in ascending order, no two with a byte in common."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @staticmethod
    def of(memories: Sequence[Memory]) -> "Written":
        """Raises `RuntimeError` if two tensors have an element in common."""
        ordered = sorted((memory for memory in memories if not memory.empty), key=attrgetter("start"))
        reaching: list[Memory] = []
        for memory in ordered:
            reaching = [other for other in reaching if other.end > memory.start]
            for other in reaching:
                if (other.dense and memory.dense) or np.intersect1d(other.touched(), memory.touched()).size:
                    raise RuntimeError(
                        f"{other.what} and {memory.what} share memory, so that updating one changes the "
                        "other; copy one of them, or give only one to the optimizer"
                    )
            reaching.append(memory)
        starts = np.array([memory.start for memory in ordered], np.int64)
        # Interleaved views reach over each other: a stretch counts as going on until all of them ended.
        ends = np.array([memory.end for memory in ordered], np.int64)
        return Written(starts, np.maximum.accumulate(ends) if ends.size else ends)

    def touches(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each of N stretches [start, end): whether something in it is written to."""
        if not self.starts.size:
            return np.zeros(starts.size, np.bool_)
        before = np.searchsorted(self.starts, ends) - 1  # the last that begins before the end
        reaches: NDArray[np.bool_] = (before >= 0) & (self.ends[np.maximum(before, 0)] > starts)
        return reaches & (ends > starts)
