"""Kernel IR: what runs, typed, in the order of the spec. The whole of it fits on this screen.

A kernel has a *prologue*, run once per step and per row of hyperparameters on the host in float64,
and a *phase*, one pass over memory for every element. Where a reduction must be finished before its
result is used, there is one more kernel: passes that only read and sum (`Total`), then the `update` that
writes everything. What the passes before have summed, and how many elements there are, are columns of the
prologue's inputs behind the hypers; with them every tensor has a row of its own.

Where something is reduced over rows or columns, the phases go through the rows of matrices (`Loop.MATRIX`);
sums for each row or column are float64 buffers, shorter than the others, as states of these shapes are.
Such states are written by kernels of their own after the update, which goes through them alone.

Frozen; built by `lower`, rewritten by `passes`, checked by `verify`, shown by `printer`.
Where matrices are multiplied or factored, a pass lays out what that takes (float64 buffers, too), and a
*stage* behind it has the matrices of each tensor whole (`Loop.WHOLE`): its operators are those of
`matrices.MATRIX`, reductions, and all others element by element. What it makes, later passes load.

Where a loop goes over what states remember, its stage (`Loop.PAST`) computes with coefficients: see
`past_lowering`.

Supported: per-element arithmetic, host scalars, scalar states, sums, matrices. Not yet: random.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from optdsl.diagnostics import Span
from optdsl.language.optimizer import Shape


class Type(StrEnum):
    F32 = "f32"
    F64 = "f64"
    BOOL = "bool"
    # Only in memory; read, they are float32 (see `portable.formats`):
    BF16 = "bf16"
    F16 = "f16"
    P16 = "p16"  # float16, and never below 0
    S8 = "s8"  # with a scale for each block of them
    U8 = "u8"  # so, too, and never below 0
    PAIR = "bf16+bf16"  # the sum of two
    SPLIT = "bf16+low"  # a float32, as the nearest bfloat16 and the bits that this is short of
    LOW = "low"  # these bits


BY_BLOCKS = (Type.S8, Type.U8)
ALONE_IN_16_BITS = (Type.BF16, Type.F16, Type.P16)
IN_16_BITS = (*ALONE_IN_16_BITS, Type.PAIR, Type.SPLIT, Type.LOW)
"""A number of 16 bits in memory, or two of them in two buffers."""
PARAMETER = "(parameter)"
"""The column, where there is one, that is no address: which of all parameters the tensor is."""
WITH_MORE = {Type.S8: Type.F32, Type.U8: Type.F32, Type.PAIR: Type.BF16, Type.SPLIT: Type.LOW}
"""Types of which one buffer does not hold all, and that of the other one."""


MODES = ("accurate", "fast", "fma", "strict")


@dataclass(frozen=True)
class Precision:
    """How numbers are kept and how they are computed; stated in generated code.

    `accurate` computes in float64 and stores in `storage`; the others compute in `storage`. `strict` rounds
    every operation of the spec; `fma` multiplies by reciprocals of scalars and does not round a product
    before something is added to it: both say what the bits are. `fast` does as `fma`, or rounds the product,
    as the backend likes.
    """

    mode: str  # one of MODES
    storage: Type
    kept: tuple[tuple[str, Type], ...] = ()  # states that are stored in another type
    theta: Type | None = None  # a form of bfloat16, that gradients and inputs have, too
    dithered: bool = False  # whether theta is rounded at random, as all of `kept` are

    @property
    def compute(self) -> Type:
        return Type.F64 if self.mode == "accurate" else self.storage


class Access(StrEnum):
    READ = "read"
    WRITE = "write"
    UPDATE = "update"  # read, then written


@dataclass(frozen=True)
class Buffer:
    """One address per parameter tensor; the position in `Kernel.buffers` is its column."""

    name: str  # theta, g, a state, or what is reduced for each row or column
    type: Type
    access: Access
    shape: Shape = Shape.ELEMENT
    summed: bool = False  # made by a pass, and not kept
    stage: str = ""  # "operand" or "result" of a stage: made in a step, and not kept
    state: str = ""  # of a result that is kept after all: the buffer that it goes to after the update
    more: str = ""  # the buffer of what one of `WITH_MORE` does not hold: read and written with it


# --- expressions: every node has a type ----------------------------------------------------------


@dataclass(frozen=True)
class Const:
    value: Fraction | bool
    type: Type


@dataclass(frozen=True)
class Local:
    """A name bound by an earlier `Let`, or a scalar that the prologue hands over."""

    name: str
    type: Type


@dataclass(frozen=True)
class Load:
    """The old value of a buffer at this element, in the buffer's type."""

    buffer: str
    type: Type


@dataclass(frozen=True)
class Cast:
    """`at`: the step, where it is rounded up or down at random, by bits of step, parameter and element."""

    operand: "Expr"
    type: Type
    at: "Expr | None" = None


@dataclass(frozen=True)
class Op:
    """A row of `operators.OPERATORS`."""

    name: str
    args: tuple["Expr", ...]
    type: Type


Expr = Const | Local | Load | Cast | Op

# --- statements ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Let:
    name: str
    value: Expr
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Store:
    buffer: str
    value: Expr
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Total:
    """A sum over the elements of each tensor, in float64; later prologues read it under this name.

    Of rows or columns (`shape`), it goes to the buffer of this name; `largest`: the maximum instead.
    """

    name: str
    value: Expr
    shape: Shape = Shape.TENSOR
    largest: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


Stmt = Let | Store | Total


@dataclass(frozen=True)
class Phase:
    """One pass over memory: every element on its own, statements in order, stores last wins never.

    All loads see old values: a buffer is stored to after it was last loaded.
    """

    name: str
    body: tuple[Stmt, ...]


class Loop(StrEnum):
    """What a phase goes through."""

    ELEMENTS = "every element"
    MATRIX = "every row, and every element in it"
    ROWS = "every row"
    COLS = "every column"
    WHOLE = "every tensor, its matrices whole"
    PAST = "all tensors at once, on coefficients of what is remembered"


LINES = {Shape.ROWS: Loop.ROWS, Shape.COLS: Loop.COLS}


@dataclass(frozen=True)
class Kernel:
    """`hypers` (with inputs, counts and totals), `t` and `scalar_states` are what the prologue reads, all
    float64.

    `scalars` are the prologue's names that the phases read, in the order of their columns;
    `scalar_updates` says which prologue name is the new value of each scalar state.
    """

    name: str
    precision: Precision
    hypers: tuple[str, ...]
    scalar_states: tuple[str, ...]
    prologue: tuple[Let, ...]
    scalar_updates: tuple[str, ...]
    scalars: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    phases: tuple[Phase, ...]
    loop: Loop = Loop.ELEMENTS

    def buffer(self, name: str) -> Buffer:
        return next(buffer for buffer in self.buffers if buffer.name == name)

    @property
    def stored(self) -> tuple[int, ...]:
        """The numbers of the buffers that are stored, in the order of the stores."""
        numbers = {buffer.name: number for number, buffer in enumerate(self.buffers)}
        body = (stmt for phase in self.phases for stmt in phase.body)
        return tuple(numbers[stmt.buffer] for stmt in body if isinstance(stmt, Store))

    @property
    def line_sums(self) -> tuple[str, ...]:
        """Behind the states: "rows" or "cols" for each buffer of what is reduced for them, "operand" or
        "result" for one of a stage.
        """
        made = (buffer for buffer in self.buffers if buffer.summed or buffer.stage)
        return tuple(buffer.stage or buffer.shape.name.lower() for buffer in made)

    @property
    def sums(self) -> bool:
        return any(isinstance(stmt, Total) for phase in self.phases for stmt in phase.body)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to go through memory for."""
        return not any(phase.body for phase in self.phases)

    @property
    def column_sums(self) -> tuple[tuple[int, bool], ...]:
        """What is reduced for each column: the number of its buffer, and whether it is the largest."""
        numbers = {buffer.name: number for number, buffer in enumerate(self.buffers)}
        found = (stmt for phase in self.phases for stmt in phase.body if isinstance(stmt, Total))
        return tuple((numbers[each.name], each.largest) for each in found if each.shape is Shape.COLS)

    @property
    def written(self) -> tuple[str, ...]:
        """The buffers that it stores to, in the order of the stores."""
        found = (stmt for phase in self.phases for stmt in phase.body if isinstance(stmt, Store))
        return tuple(stmt.buffer for stmt in found)


# Inputs of every prologue beside the hypers and scalar states: the step counter, and +1 or -1, the
# sign that `maximize` gives the gradient.
TIME, DIRECTION = "t", "direction"

# Columns behind the hypers of a program with reductions, before the totals: how many elements there are in
# the tensor, and in all of them together; in a row and in a column, where these are reduced.
ELEMENTS, ALL_ELEMENTS = "elements", "all_elements"
ROW_COUNT, COLUMN_COUNT = "row_count", "column_count"
