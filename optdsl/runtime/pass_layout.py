"""What a generated module says about the passes of a step, and the stages behind them.

Plain frozen data, a part of `layout`, where generated modules read it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optdsl.runtime.past.layout import Recursion

if TYPE_CHECKING:
    from optdsl.runtime.cuda.kernel import DeviceKernel
    from optdsl.runtime.numba_kernel import Kernel

KernelPair = tuple["Kernel", "Kernel | DeviceKernel"]
"""(prologue, kernel)."""


@dataclass(frozen=True)
class Total:
    """A sum that a pass makes, in a column behind the hypers: of each tensor, or (`over_all`) of all.

    Sums over all of the same `key` are one sum, whatever the variant and the dtype of their tensors.
    """

    column: int
    key: str
    over_all: bool


@dataclass(frozen=True)
class Column:
    """Sums that a pass makes for each column, in the buffer of that number; or the largest instead."""

    buffer: int
    largest: bool


@dataclass(frozen=True)
class Whole:
    """A buffer as a stage takes it: "element" (rows x columns), "left" (rows x rows), "right" (columns x
    columns) or "flipped" (columns x rows), in numbers of so many bytes.
    """

    buffer: int
    per: str
    width: int


@dataclass(frozen=True)
class Matrices:
    """A stage: what it is given, in order, and what it makes: arrays, then numbers."""

    pair: tuple["Kernel", Callable[..., tuple[Any, ...]]]
    scalar_count: int
    reads: tuple[Whole, ...]
    writes: tuple[Whole, ...]
    totals: tuple[Total, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A state that a stage makes: the buffer of its new value, its own, and its numbers' bytes."""

    result: int
    state: int
    per: str
    width: int


@dataclass(frozen=True)
class Reduction:
    """One pass over memory that only reads; `totals` in the order of its partial sums, and so `columns`.

    `matrices` is the stage behind it, or `recursion`; where there is only this, `pair` is None. A pass that
    only lays out what a stage takes sums nothing (`sums`), and is called as an update is.
    """

    pair: KernelPair | None
    scalar_count: int
    totals: tuple[Total, ...]
    columns: tuple[Column, ...] = ()
    matrices: Matrices | None = None
    sums: bool = True
    recursion: Recursion | None = None

    @property
    def column_count(self) -> int:
        """Columns behind the hypers that it fills."""
        return len(self.totals) + (len(self.matrices.totals) if self.matrices else 0)

    @property
    def keys_over_all(self) -> list[str]:
        return [total.key for total in self.totals if total.over_all]


@dataclass(frozen=True)
class Vector:
    """What writes the states that have a value for each row or column (`per`), after the update."""

    pair: KernelPair
    scalar_count: int
    per: str
