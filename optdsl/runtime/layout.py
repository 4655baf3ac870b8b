"""What a generated module says about its optimizer: names, domains, states, and which kernels to run.

Plain frozen data, written out by the compiler and read by `torch.optimizer` and `numpy.optimizer`.
Nothing is checked here: the compiler has done that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, TypedDict, cast

from optdsl.runtime.batch import CODED
from optdsl.runtime.pass_layout import Column as Column
from optdsl.runtime.pass_layout import Kept as Kept
from optdsl.runtime.pass_layout import KernelPair as KernelPair
from optdsl.runtime.pass_layout import Matrices as Matrices
from optdsl.runtime.pass_layout import Reduction as Reduction
from optdsl.runtime.pass_layout import Total as Total
from optdsl.runtime.pass_layout import Vector as Vector
from optdsl.runtime.pass_layout import Whole as Whole
from optdsl.runtime.past.layout import Length, Ring

if TYPE_CHECKING:
    from optdsl.runtime.cuda.kernel import DeviceCode

THETA_0 = "theta[0]"
"""`State.initial` for a copy of the parameter as it is when the state is made."""

COUNTS = 2
"""Columns behind the hypers and inputs, before the totals: the elements of the tensor, and of all tensors."""

LINE_COUNTS = 2
"""Columns behind these where rows and columns are reduced: how many of them a matrix has."""


@dataclass(frozen=True)
class Hyper:
    """A run-time number: its domain, and the group key (`option`, and a place in it) that users set."""

    name: str
    default: float
    low: float
    high: float
    low_closed: bool
    high_closed: bool
    option: str
    index: int | None = None

    def contains(self, value: float) -> bool:
        """NaN is in no domain."""
        above = self.low <= value if self.low_closed else self.low < value
        return above and (value <= self.high if self.high_closed else value < self.high)


@dataclass(frozen=True)
class Flag:
    """A switch that chooses the variant; `option` is its group key. Flags of one option are a choice: it is
    the name of the one that is true, or None for the default.
    """

    name: str
    default: bool
    option: str


FIRST_GRADIENT = "first_g"
"""The input of a step of two gradients that is not the user's to give."""

OPTAX_INPUTS = {"loss": "value", FIRST_GRADIENT: "first_gradient"}
"""What `update` calls an input, where it is something else."""


@dataclass(frozen=True)
class Input:
    """What a step is given beside gradients: a number, or an array for each parameter.

    `made`: by the runtime, and not given by a user.
    """

    name: str
    per_element: bool
    made: bool = False


@dataclass(frozen=True)
class Draw:
    """Random numbers for the buffer of that number: "normal" or "uniform", of which call of the spec."""

    buffer: int
    kind: str
    number: int


@dataclass(frozen=True)
class State:
    """What is kept between steps for one parameter tensor, under `key`.

    `initial` is a number, the name of a hyper, or `THETA_0`. `per`: "rows" or "cols" for a value for each row
    or column of the matrices that the tensor is in its last two dimensions; it has all dimensions of the
    parameter, one of them of size 1. "left", "right": a square for each of these matrices, with as many rows
    as there are rows, or columns; "flipped": each of them transposed. "past": as many values as `length`
    says, one behind the other; that of step t is the one of number t modulo how many there are. "blocks": a
    scale for each `CODED` elements in the order of memory.

    `dtype`: where it is not the parameter's, or what this is computed in; "s8" and "u8" are numbers of 8 bits
    (`portable.formats`). `of`: the only dtype of parameters that has it.
    """

    name: str
    key: str
    initial: float | str
    per: str = ""
    length: Length | None = None
    dtype: str = ""
    of: str = ""

    def shape(self, parameter: tuple[int, ...], hypers: Sequence[float]) -> tuple[int, ...]:
        """The shape for a parameter of that shape, and these hypers."""
        if self.length is not None:
            return (self.length.of(hypers), *parameter)
        if self.per == "blocks":
            return (-(-prod(parameter) // CODED),)
        if self.per == "rows":
            return (*parameter[:-1], 1) if parameter else ()
        if self.per == "cols" and len(parameter) > 1:
            return (*parameter[:-2], 1, parameter[-1])
        rows, columns = dims(parameter)
        sides = {"left": (rows, rows), "right": (columns, columns), "flipped": (columns, rows)}
        return (*parameter[:-2], *sides[self.per]) if self.per in sides else parameter


def dims(parameter: tuple[int, ...], by_channel: bool = False) -> tuple[int, int]:
    """The rows and columns of the matrices of a parameter; a vector is a matrix of one row.

    `by_channel`: it is one matrix, whose rows are its first dimension.
    """
    if by_channel and len(parameter) > 1:
        return parameter[0], prod(parameter[1:])
    rows, columns = (1, 1, *parameter)[-2:]
    return rows, columns


@dataclass(frozen=True)
class View:
    """A second view of the parameters: the pairs put it into theta, from theta and the states."""

    name: str
    float32: KernelPair
    float64: KernelPair
    bfloat16: KernelPair | None = None


class Kernels(TypedDict):
    """What runs for parameters of one dtype."""

    pair: KernelPair
    reductions: tuple[Reduction, ...]
    vectors: tuple[Vector, ...]
    kept: tuple[Kept, ...]
    rings: tuple[Ring, ...]
    views: dict[str, KernelPair]


@dataclass(frozen=True)
class Variant:
    """The optimizer with its flags chosen.

    buffers            columns of the address table: theta, g, `states` in order, inputs per element
    states             one value per element (or row, or column), in the parameter's dtype
    scalar_states      one value per tensor, 0-d
    scalar_count       columns of the scalars that the prologue writes
    first_step_only    t is read only to tell step 1 from the others, so no counter is kept
    uses_time          t is read
    float32, float64   (prologue, kernel) for each dtype of parameters
    bfloat16           the same; None: as float32, on copies
    query              the same optimizer with kernels that only move theta, to where the gradient is taken;
                       None: it stays
    views              what the parameters can be evaluated with
    reductions_...     the passes before the kernel, in order; with any, every tensor has a row of its own
    reduced            "rows" or "cols" for each float64 buffer behind the states, where a pass puts its sums,
                       "operand" for what it lays out for a stage, "result" for what a stage makes;
                       with any, tensors are gone through by rows, and have to be contiguous
    kept_...           states that stages make
    rings_...          states that are remembered
    only_matrices      tensors have to have two dimensions
    vectors_...        what writes the states with one value for each row or column
    draws              what is drawn before a step; tensors have to be contiguous
    seed               the column of the seed, where anything is drawn
    numbered           the column of the table that holds no address, but which of all parameters it is: what
                       rounding at random asks for; 0: there is none
    by_channel         tensors are matrices by their first dimension
    below              the variant for tensors of fewer dimensions than `rank`; None: there is one for all
    """

    buffers: tuple[str, ...]
    states: tuple[State, ...]
    scalar_states: tuple[State, ...]
    scalar_count: int
    first_step_only: bool
    uses_time: bool
    float32: KernelPair
    float64: KernelPair
    query: "Variant | None" = None
    reductions_float32: tuple[Reduction, ...] = ()
    reductions_float64: tuple[Reduction, ...] = ()
    reduced: tuple[str, ...] = ()
    vectors_float32: tuple[Vector, ...] = ()
    vectors_float64: tuple[Vector, ...] = ()
    kept_float32: tuple[Kept, ...] = ()
    kept_float64: tuple[Kept, ...] = ()
    rings_float32: tuple[Ring, ...] = ()
    rings_float64: tuple[Ring, ...] = ()
    below: "Variant | None" = None
    rank: int = 0
    only_matrices: bool = False
    views: tuple[View, ...] = ()
    draws: tuple[Draw, ...] = ()
    seed: int = 0
    by_channel: bool = False
    bfloat16: KernelPair | None = None
    reductions_bfloat16: tuple[Reduction, ...] = ()
    numbered: int = 0

    def of_rank(self, dimensions: int) -> "Variant":
        """The variant for a tensor of so many dimensions."""
        return self if self.below is None or dimensions >= self.rank else self.below

    @property
    def by_rows(self) -> bool:
        """Whether elements have to lie in the order of their indices."""
        return bool(self.reduced or self.draws)

    def moving(self, dimensions: int) -> "Variant | None":
        """What moves such a tensor to where the gradient is taken."""
        return self.of_rank(dimensions).query

    def kernels(self, dtype: str) -> Kernels:
        """For parameters of "float32", "float64" or "bfloat16"."""
        views = {view.name: getattr(view, dtype) for view in self.views}
        parts = ("reductions", "vectors", "kept", "rings")
        found = {part: getattr(self, f"{part}_{dtype}", ()) for part in parts}
        return cast(Kernels, {"pair": getattr(self, dtype), "views": views, **found})

    @property
    def keeps_state(self) -> bool:
        return bool(self.states or self.scalar_states)

    @property
    def extra_columns(self) -> int:
        """Columns behind the hypers and inputs: counts and totals, where anything is reduced."""
        totals = sum(reduction.column_count for reduction in self.reductions_float32)
        counts = COUNTS + LINE_COUNTS if self.reduced else COUNTS
        return counts + totals if self.reductions_float32 else 0

    @property
    def keeps_step(self) -> bool:
        """Whether a counter is kept, under `step`; torch keeps one wherever it keeps a state."""
        return not self.first_step_only and (self.uses_time or self.keeps_state)


def choices(flags: Sequence[Flag]) -> dict[str, tuple[Flag, ...]]:
    """The flags of each option that more than one of them is of: it is the name of one."""
    options = [flag.option for flag in flags]
    return {
        name: tuple(flag for flag in flags if flag.option == name)
        for name in options
        if options.count(name) > 1
    }


def check_dimensions(name: str, variant: Any, shape: Sequence[int]) -> None:
    """Raises `ValueError`, as torch words it, for a tensor that is no matrix where only these are stepped."""
    if variant.of_rank(len(shape)).only_matrices and len(shape) != 2:
        raise ValueError(
            f"{name} only supports 2D parameters whereas we found a parameter with size: {shape}"
        )


@dataclass(frozen=True)
class Layout:
    """`variants` by the values of the flags, in the order of `flags`.

    `device_code`: what a GPU runs in the place of a kernel, by its function's name; None: there is nothing.
    """

    name: str
    hypers: tuple[Hyper, ...]
    flags: tuple[Flag, ...]
    variants: Mapping[tuple[bool, ...], Variant]
    inputs: tuple[Input, ...] = ()
    device_code: "Callable[[str], DeviceCode] | None" = None

    @cached_property
    def two_gradients(self) -> bool:
        """Whether a step takes one at the parameters, and with it finds where it takes the other."""
        return any(each.name == FIRST_GRADIENT for each in self.inputs)

    @cached_property
    def lengths(self) -> dict[str, int | None]:
        """How many hypers each option holds; None for one that is a number by itself."""
        lengths: dict[str, int | None] = {}
        for hyper in self.hypers:
            known = lengths.get(hyper.option) or 0
            lengths[hyper.option] = None if hyper.index is None else max(known, hyper.index + 1)
        return lengths

    @cached_property
    def words(self) -> dict[str, tuple[Flag, ...]]:
        """The flags of each option that is a choice."""
        return choices(self.flags)

    @cached_property
    def views(self) -> tuple[str, ...]:
        """The same for all variants."""
        return tuple(view.name for view in next(iter(self.variants.values())).views)

    @cached_property
    def options(self) -> tuple[str, ...]:
        """The group keys of hypers and flags."""
        return tuple(dict.fromkeys((*self.lengths, *(flag.option for flag in self.flags))))
