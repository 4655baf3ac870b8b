"""The syntax tree: what the author wrote, in their order, with a span on every node.

Comes from `parser`, goes to `resolve` and `printer`. Names are already in ASCII (`β₁` is `beta1`);
nothing here is checked beyond the grammar. Two nodes are equal when they say the same, wherever
they stand: spans take no part in equality.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from optdsl.diagnostics import Span


def _span() -> Span:
    return field(default=Span(0, 0), compare=False, repr=False)


# --- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    text: str  # as written: exact, and printed back unchanged
    span: Span = _span()


@dataclass(frozen=True)
class Bool:
    value: bool
    span: Span = _span()


@dataclass(frozen=True)
class Name:
    name: str
    span: Span = _span()


@dataclass(frozen=True)
class At:
    """`x[t]`, `x[t-1]` (offset 0, -1) or `x[1]` (a fixed step).

    With a `count`, `x[t-k]` (offset 0) or `a[k]` (neither).
    """

    name: str
    offset: int | None
    step: int | None
    span: Span = _span()
    count: str | None = None


@dataclass(frozen=True)
class Unary:
    op: str  # "-" or "not"
    operand: "Expr"
    span: Span = _span()


@dataclass(frozen=True)
class Binary:
    op: str  # + - * / ^ @ mod == <= >= < > and or
    left: "Expr"
    right: "Expr"
    span: Span = _span()


@dataclass(frozen=True)
class If:
    test: "Expr"
    then: "Expr"
    otherwise: "Expr"
    span: Span = _span()


@dataclass(frozen=True)
class Argument:
    name: str | None  # None: positional
    value: "Expr"
    span: Span = _span()
    at: At | None = None  # of `a[k] = ...`


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Argument, ...]
    over: str | None = None  # rows, cols, all
    span: Span = _span()


@dataclass(frozen=True)
class Expectation:
    """`E[x]`, in claims only."""

    operand: "Expr"
    span: Span = _span()


@dataclass(frozen=True)
class Range:
    """`0 to m - 1`: how a loop over what is remembered counts."""

    first: "Expr"
    last: "Expr"
    span: Span = _span()


Expr = Number | Bool | Name | At | Unary | Binary | If | Call | Expectation | Range

# --- statements ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alias:
    """`as betas[0]`: the name that a framework knows a thing by."""

    name: str
    index: int | None = None
    span: Span = _span()


@dataclass(frozen=True)
class Interval:
    """`[0, 1)`: the domain of a hyperparameter."""

    low: Expr
    high: Expr
    low_closed: bool
    high_closed: bool
    span: Span = _span()


@dataclass(frozen=True)
class HyperDecl:
    name: str
    default: Expr
    domain: Interval | None
    alias: Alias | None
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True)
class FlagDecl:
    name: str
    default: bool
    alias: Alias | None
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True)
class StateDecl:
    name: str
    step: int  # the 0 of `m[0]`
    initial: Expr
    alias: Alias | None
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True)
class InputDecl:
    name: str
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True)
class OutputDecl:
    """`value` is None for a state."""

    name: str
    value: Expr | None
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True)
class Assign:
    """`x = ...`, `x[t] = ...` or `x[1] = ...`."""

    target: Name | At
    value: Expr
    span: Span = _span()


@dataclass(frozen=True)
class When:
    """`when TEST` ... `else` ... `end`: rules for a rank."""

    test: Expr
    then: tuple["Statement", ...]
    otherwise: tuple["Statement", ...]
    span: Span = _span()


@dataclass(frozen=True)
class Start:
    """`start x = -1.5, y = 2`: where an objective is minimised from."""

    arguments: tuple[Argument, ...]
    span: Span = _span()


@dataclass(frozen=True)
class Claim:
    """`left = right when condition free a, b with lr = 1`; `right` is None for `odd`, `stable`...

    `when eps = 0 and mu < 1` is the expression `eps == 0 and mu < 1`.
    """

    left: Expr
    right: Expr | None
    iff: Expr | None = None
    when: Expr | None = None
    free: tuple[str, ...] = ()
    substitution: tuple[Argument, ...] = ()
    refuted: bool = False  # `expect refuted`
    estimate: bool = False  # `estimate`
    span: Span = _span()


Statement = HyperDecl | FlagDecl | StateDecl | InputDecl | OutputDecl | Assign | When | Start | Claim


class Kind(StrEnum):
    OPTIMIZER = "optimizer"
    TRANSFORM = "transform"
    SCHEDULE = "schedule"
    OBJECTIVE = "objective"
    WRAPPER = "wrapper"


@dataclass(frozen=True)
class Stage:
    """One part of a composition: `adamw(lr = cosine(3e-4, 1000))`."""

    name: str
    arguments: tuple[Argument, ...] = ()
    span: Span = _span()


@dataclass(frozen=True)
class Definition:
    """`optimizer Adam` and its statements; `formals` are a wrapper's or an objective's."""

    kind: Kind
    name: str
    formals: tuple[Name, ...]
    body: tuple[Statement, ...]
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True)
class Composition:
    """`optimizer Mine = clip(1.0) | adamw(lr = 1e-4)`, and what is claimed of the whole."""

    kind: Kind
    name: str
    stages: tuple[Stage, ...]
    claims: tuple[Claim, ...] = ()
    span: Span = _span()
    name_span: Span = _span()


@dataclass(frozen=True)
class File:
    """A whole `.opt` file: `header` is its leading comment block, without the `#`."""

    header: str
    definitions: tuple[Definition | Composition, ...]
