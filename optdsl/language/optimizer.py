"""What a spec means: every name resolved, every shape and kind known, lines in the author's order.

Comes from `resolve`, goes to `kernel.lower` (to be run), to the `reference` backend (to be believed)
and to the checks (to be proved). This tree is the truth; anything SymPy makes of it is a translation.
Frozen; equality ignores spans.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from functools import reduce

from optdsl.diagnostics import Source, Span
from optdsl.language.syntax import Claim


class Shape(IntEnum):
    """How many values a quantity has; the shape of a sum is that of its parts, `joined`.

    A tensor is a batch of matrices in its last two dimensions; a vector is a matrix of one row.
    """

    SCALAR = 0  # one value per step, known on the host: hypers, t and what follows from them
    GLOBAL = 1  # one per step, reduced over all parameters: known only after a pass over memory
    TENSOR = 2  # one per parameter tensor
    COLS = 3  # one per column of a matrix
    ROWS = 4  # one per row
    ELEMENT = 5  # one per element
    LEFT = 6  # one per pair of rows, as x @ transpose(x) has
    RIGHT = 7  # one per pair of columns, as transpose(x) @ x has
    FLIPPED = 8  # one per element, columns first, as transpose(x) has
    PAST = 9  # one per element, of some steps: a state that is read as `s[t-k]`

    @property
    def is_whole(self) -> bool:
        """Whether such a value is known to matrix stages only: it has no place in a pass over elements."""
        return self > Shape.ELEMENT

    def joined(self, other: "Shape") -> "Shape":
        """The shape of what is made of both: a row and a column have an element in common."""
        if {self, other} == {Shape.ROWS, Shape.COLS}:
            return Shape.ELEMENT
        return max(self, other)

    def clashes(self, other: "Shape") -> bool:
        """Whether nothing can be made of both, element by element."""
        low, high = sorted((self, other))
        return high.is_whole and low is not high and low > Shape.TENSOR

    def reduced(self, to: "Shape") -> "Shape":
        """The shape of what reads this only inside of a reduction of shape `to` (`ELEMENT`: none).

        Values that differ within a tensor have one for each row (or column) then, although they may be the
        same for all rows of one matrix.
        """
        if to in (Shape.ROWS, Shape.COLS):
            return to if self > Shape.TENSOR else self
        return self if to is Shape.ELEMENT else min(self, to)


def joined(shapes: Iterable[Shape]) -> Shape:
    return reduce(Shape.joined, shapes)


class Kind(StrEnum):
    REAL = "real"
    BOOL = "bool"


class Role(StrEnum):
    """What a name stands for."""

    HYPER = "hyper"
    FLAG = "flag"
    TIME = "time"
    THETA = "theta"
    GRAD = "grad"
    STATE = "state"
    VALUE = "value"
    INPUT = "input"
    LOOP = "loop"  # a name inside of `repeat`


class Age(Enum):
    NOW = ""  # has no age: a value of this step, a hyper, g
    OLD = "[t-1]"
    NEW = "[t]"


def _span() -> Span:
    return field(default=Span(0, 0), compare=False, repr=False)


@dataclass(frozen=True)
class Number:
    value: Fraction  # exact, whatever the base it was written in
    span: Span = _span()
    shape: Shape = Shape.SCALAR
    kind: Kind = Kind.REAL


@dataclass(frozen=True)
class Truth:
    value: bool
    span: Span = _span()
    shape: Shape = Shape.SCALAR
    kind: Kind = Kind.BOOL


@dataclass(frozen=True)
class Ref:
    role: Role
    name: str
    age: Age = Age.NOW
    shape: Shape = Shape.SCALAR
    kind: Kind = Kind.REAL
    span: Span = _span()


@dataclass(frozen=True)
class Apply:
    """An operator of `operators.OPERATORS` applied to its arguments; `if` is `where`.

    Or a reduction, or an operator of `matrices.MATRIX`, whose loops hold their names among the arguments.
    """

    op: str
    args: tuple["Expr", ...]
    shape: Shape
    kind: Kind
    span: Span = _span()


Expr = Number | Truth | Ref | Apply


@dataclass(frozen=True)
class Domain:
    """An interval; None is an infinite end."""

    low: Fraction | None = None
    high: Fraction | None = None
    low_closed: bool = False
    high_closed: bool = False

    def contains(self, value: Fraction) -> bool:
        if self.low is not None and (value < self.low or (value == self.low and not self.low_closed)):
            return False
        return self.high is None or value < self.high or (value == self.high and self.high_closed)

    def __str__(self) -> str:
        low = "-inf" if self.low is None else f"{float(self.low):g}"
        high = "inf" if self.high is None else f"{float(self.high):g}"
        return f"{'[' if self.low_closed else '('}{low}, {high}{']' if self.high_closed else ')'}"


@dataclass(frozen=True)
class Alias:
    """A framework's name: `betas[0]` is ("betas", 0)."""

    name: str
    index: int | None = None


@dataclass(frozen=True)
class Hyper:
    """A run-time argument of the kernel: never baked in."""

    name: str
    default: Fraction
    domain: Domain
    alias: Alias | None = None
    span: Span = _span()


@dataclass(frozen=True)
class Flag:
    """A compile-time switch; with a `rank`, whether a tensor has so many dimensions, which no user sets.

    Flags of one alias are a choice: one of them is true, and the framework's option is its name.
    """

    name: str
    default: bool
    alias: Alias | None = None
    span: Span = _span()
    rank: int | None = None


@dataclass(frozen=True)
class State:
    """What is kept between steps. `initial` is a constant or hyper expression, or theta[0]."""

    name: str
    initial: Expr
    shape: Shape
    alias: str | None = None
    span: Span = _span()


@dataclass(frozen=True)
class Assign:
    """One line. `first` replaces `value` at t = 1 (the line `x[1] = ...`)."""

    target: Ref
    value: Expr
    first: Expr | None = None
    span: Span = _span()


@dataclass(frozen=True)
class Output:
    """A second view of the parameters: elements made of the new theta and states, hypers and flags."""

    name: str
    value: Expr
    span: Span = _span()


@dataclass(frozen=True)
class Inherited:
    """A claim of a part of a composition, in the names of the whole, of which it may or may not hold."""

    part: str
    claim: Claim


@dataclass(frozen=True)
class Optimizer:
    """The meaning of one `optimizer` definition.

    `inputs` are names of `inputs.INPUTS`. `query` is where the gradient is taken, None for theta[t-1];
    `lines` run from top to bottom.
    """

    name: str
    doc: str
    hypers: tuple[Hyper, ...]
    flags: tuple[Flag, ...]
    states: tuple[State, ...]
    inputs: tuple[str, ...]
    query: Expr | None
    query_lines: tuple[Assign, ...]  # the values that `query` needs, before the gradient is known
    lines: tuple[Assign, ...]
    claims: tuple[Claim, ...] = ()
    outputs: tuple[Output, ...] = ()
    source: Source | None = field(default=None, compare=False, repr=False)
    span: Span = _span()  # its name
    parts: tuple[str, ...] = field(default=(), compare=False)  # of a composition, from left to right
    inherited: tuple[Inherited, ...] = field(default=(), compare=False)


def references(expr: Expr) -> frozenset[Ref]:
    """Every `Ref` in an expression."""
    match expr:
        case Ref():
            return frozenset((expr,))
        case Apply(args=args):
            return frozenset().union(*map(references, args))
        case _:
            return frozenset()


def choices(flags: Iterable[Flag]) -> dict[str, list[Flag]]:
    """The flags that share an option, by its name."""
    found: dict[str, list[Flag]] = {}
    for flag in flags:
        if flag.alias is not None:
            found.setdefault(flag.alias.name, []).append(flag)
    return {name: members for name, members in found.items() if len(members) > 1}


def settled(flags: Iterable[Flag], given: Mapping[str, bool]) -> dict[str, bool]:
    """Each flag's value: the given one or its default. Of a choice, what is chosen unchooses the rest."""
    flags = tuple(flags)
    values = {flag.name: given.get(flag.name, flag.default) for flag in flags}
    for members in choices(flags).values():
        picked = [flag.name for flag in members if given.get(flag.name)]
        if picked:
            values |= {flag.name: flag.name in picked for flag in members}
    return values
