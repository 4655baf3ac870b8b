"""What a generated module says about what it remembers: how much, where, and by which loops it is read.

Plain frozen data, a part of `layout`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optdsl.runtime.numba_kernel import Kernel


@dataclass(frozen=True)
class Length:
    """How many values of a state are kept: the whole part of the hyper in `column` (-1: none) + `offset`, and
    `least` at least.
    """

    column: int
    offset: int
    least: int

    def of(self, hypers: Sequence[float]) -> int:
        return max(self.least, 0 if self.column < 0 else int(hypers[self.column]) + self.offset)


@dataclass(frozen=True)
class Ring:
    """A state that is remembered: the buffer of its new value, its own, the bytes of each of its numbers, and
    how many values are kept.
    """

    new: int
    state: int
    width: int
    kept: Length

    def length(self, hypers: Sequence[float]) -> int:
        return self.kept.of(hypers)


@dataclass(frozen=True)
class Recursion:
    """A stage of loops over what is remembered: its functions, the buffers of what is given besides, and of
    what it makes. Those of the same `key` are the same; `per_tensor`: it has products of each tensor alone.
    """

    key: str
    pair: tuple["Kernel", Callable[..., tuple[Any, ...]]]
    scalar_count: int
    rings: tuple[Ring, ...]
    given: tuple[int, ...]
    writes: tuple[int, ...]
    per_tensor: bool = False
