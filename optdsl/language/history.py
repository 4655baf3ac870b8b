"""What is remembered: states that are read as `s[t-k]` in a loop over k, and those loops.

In: meanings of expressions. Out: of what a loop is made (vectors that are added and scaled, numbers, products
of vectors), how many steps back each state is read, and what cannot be. Since its vectors are sums of few
known ones, a loop runs on their coefficients, and its products on those of the known ones (`kernel`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from optdsl.language.operators import OPERATORS
from optdsl.language.optimizer import Apply, Assign, Expr, Number, Optimizer, Ref, Role, Shape, Truth

SWEEP = "sweep"
"""`repeat(k = FIRST to LAST, x = START, a[k] = ..., b = ..., NEW)` is
Apply(SWEEP, (FIRST, LAST, k, x, START, a[k], ..., b, ..., NEW)).
"""
ENTRY = "entry"
"""`s[t-k]` is Apply(ENTRY, (s, k)); s is the new value, which is that of k = 0."""
ROUND = "round"
"""`a[k]` is Apply(ROUND, (a, k)); behind them the value of the line that has set it, if that is another."""

PRODUCTS = {name: f"past_{name}" for name in ("dot", "dot_all", "norm", "norm_all")}
"""The reductions that a loop can make of vectors, and what they are called on coefficients."""


class NotLinearError(Exception):
    """What is neither a sum of vectors times numbers, nor a number made of such and of products."""

    def __init__(self, expr: Expr) -> None:
        self.expr = expr


@dataclass(frozen=True)
class Parts:
    """Of a `SWEEP`; `bound` are values of a round, under a name or as `ROUND`."""

    first: Expr
    last: Expr
    count: Ref
    around: Ref
    start: Expr
    bound: tuple[tuple[Expr, Expr], ...]
    new: Expr


def parts_of_sweep(expr: Apply) -> Parts:
    first, last, count, around, start, *bound, new = expr.args
    assert isinstance(count, Ref)
    assert isinstance(around, Ref)
    return Parts(first, last, count, around, start, tuple(zip(bound[::2], bound[1::2], strict=True)), new)


def is_sweep(expr: Expr | None) -> bool:
    return isinstance(expr, Apply) and expr.op == SWEEP


def sweeps(lines: Iterable[Assign]) -> Iterator[tuple[Assign, Parts]]:
    for line in lines:
        if isinstance(line.value, Apply) and line.value.op == SWEEP:
            yield line, parts_of_sweep(line.value)


# --- what a loop reads ---------------------------------------------------------------------------


def leaves(parts: Parts, earlier: Collection[str]) -> Iterator[Expr]:
    """What comes from outside: numbers, vectors, entries of states, values of `earlier` loops.

    Raises `NotLinearError`.
    """
    yield from number_leaves(parts.first, earlier)
    yield from number_leaves(parts.last, earlier)
    for value in (parts.start, *(value for _, value in parts.bound), parts.new):
        yield from (number_leaves if value.shape <= Shape.TENSOR else vector_leaves)(value, earlier)


def vector_leaves(expr: Expr, earlier: Collection[str]) -> Iterator[Expr]:
    match expr:
        case Ref(role=Role.LOOP):
            return
        case Apply(op="entry"):
            yield expr
        case _ if not _is_inside(expr, earlier):
            yield expr
        case Ref():
            yield expr
        case Apply("add" | "sub" | "neg", args):
            for arg in args:
                if arg.shape is not Shape.ELEMENT:
                    raise NotLinearError(expr)
                yield from vector_leaves(arg, earlier)
        case Apply("mul", (x, y)) if min(x.shape, y.shape) <= Shape.TENSOR:
            for arg in (x, y):
                kind = number_leaves if arg.shape <= Shape.TENSOR else vector_leaves
                yield from kind(arg, earlier)
        case Apply("div", (x, factor)) if factor.shape <= Shape.TENSOR:
            yield from vector_leaves(x, earlier)
            yield from number_leaves(factor, earlier)
        case _:
            raise NotLinearError(expr)


def number_leaves(expr: Expr, earlier: Collection[str]) -> Iterator[Expr]:
    match expr:
        case Number() | Truth():
            return
        case _ if not reads_loop(expr):
            yield expr
        case Ref() | Apply(op="round"):
            return
        case Apply(op=op, args=args) if op in PRODUCTS:
            for arg in args:
                yield from vector_leaves(arg, earlier)
        case Apply(op=op, args=args) if op in OPERATORS and expr.shape <= Shape.TENSOR:
            for arg in args:
                yield from number_leaves(arg, earlier)
        case _:
            raise NotLinearError(expr)


def reads_loop(expr: Expr) -> bool:
    match expr:
        case Ref(role=role):
            return role is Role.LOOP
        case Apply(args=args):
            return any(map(reads_loop, args))
        case _:
            return False


def _is_inside(expr: Expr, earlier: Collection[str]) -> bool:
    """Whether it is made in a loop, or of what an earlier loop has made."""
    match expr:
        case Ref(role=Role.VALUE, name=name):
            return name in earlier
        case Ref(role=role):
            return role is Role.LOOP
        case Apply(args=args):
            return any(_is_inside(arg, earlier) for arg in args)
        case _:
            return False


# --- how far back --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Length:
    """How many values of a state are kept: `hyper` (its whole part) + `offset`, and `least` at least."""

    hyper: str | None
    offset: int
    least: int

    def of(self, values: Mapping[str, float]) -> int:
        """By the values of the hypers."""
        return max(self.least, 0 if self.hyper is None else int(values[self.hyper]) + self.offset)


def end_of(expr: Expr) -> tuple[str | None, int] | None:
    """The hyper and the whole number that the end of a loop is the sum of; None if it is no such sum."""
    match expr:
        case Number(value=value) if value.denominator == 1:
            return None, int(value)
        case Ref(role=Role.HYPER, name=name):
            return name, 0
        case Apply("add" | "sub" as op, (Ref(role=Role.HYPER, name=name), Number(value=value))):
            if value.denominator == 1:
                return name, int(value if op == "add" else -value)
    return None


def entries_in(expr: Expr) -> Iterator[Apply]:
    if isinstance(expr, Apply):
        if expr.op == ENTRY:
            yield expr
        for arg in expr.args:
            yield from entries_in(arg)


def lengths(optimizer: Optimizer) -> dict[str, Length]:
    """How many values of each remembered state are kept: the new one, and those that a later step reads."""
    found: dict[str, Length] = {}
    for line, parts in sweeps(optimizer.lines):
        ends = [end for end in map(end_of, (parts.first, parts.last)) if end is not None]
        hyper, offset = max((each for each in ends if each[0]), key=lambda each: each[1], default=(None, 0))
        least = max((end for name, end in ends if name is None), default=0)
        for entry in entries_in(line.value):
            (state, _) = entry.args
            assert isinstance(state, Ref)
            old = found.get(state.name, Length(hyper, offset + 1, 1))
            found[state.name] = Length(
                hyper or old.hyper, max(offset + 1, old.offset), max(least + 1, old.least)
            )
    return found


def counting_hypers(optimizer: Optimizer) -> set[str]:
    """The hypers that say how often a loop over what is remembered goes around."""
    ends = (end for _, parts in sweeps(optimizer.lines) for end in map(end_of, (parts.first, parts.last)))
    return {end[0] for end in ends if end is not None and end[0] is not None}
