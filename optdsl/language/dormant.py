"""States that do nothing while a hyperparameter is zero: the buffer of a momentum that is 0.

Frameworks do not keep such a state then, and a checkpoint of theirs lacks it. In: a specialised
optimizer. Out: which state may be missing when which hyper is 0. Decided on the meaning with the hyper
replaced by 0, by 0*x = 0 and its like; what that cannot see is not claimed.
"""

from dataclasses import replace
from fractions import Fraction

from optdsl.language.optimizer import (
    Age,
    Apply,
    Assign,
    Expr,
    Number,
    Optimizer,
    Ref,
    Role,
    Truth,
    references,
)
from optdsl.language.specialise import live_names

_ZERO, _ONE = Fraction(0), Fraction(1)


def dormant_states(optimizer: Optimizer) -> dict[str, str]:
    """State name to the name of the first hyper at whose zero nothing reads the state's old value."""
    found: dict[str, str] = {}
    for hyper in optimizer.hypers:
        if not hyper.domain.contains(_ZERO):
            continue
        lines = tuple(_at_zero(line, hyper.name) for line in optimizer.lines)
        query = _simplified(optimizer.query, hyper.name) if optimizer.query else None
        read = _read(lines, query, optimizer.query_lines)
        if not any(ref.role is Role.GRAD for ref in read):
            continue  # where lr is 0 nothing is read: that says nothing about the states
        old = {ref.name for ref in read if ref.age is Age.OLD}
        for state in optimizer.states:
            if state.name not in old:
                found.setdefault(state.name, hyper.name)
    return found


def _read(lines: tuple[Assign, ...], query: Expr | None, query_lines: tuple[Assign, ...]) -> set[Ref]:
    """Everything that live lines read."""
    live = live_names(lines, query, query_lines)
    parts = [part for line in lines if line.target.name in live for part in (line.value, line.first)]
    return {ref for part in (*parts, query) if part is not None for ref in references(part)}


def _at_zero(line: Assign, hyper: str) -> Assign:
    first = _simplified(line.first, hyper) if line.first else None
    return replace(line, value=_simplified(line.value, hyper), first=first)


def _simplified(expr: Expr, hyper: str) -> Expr:
    match expr:
        case Ref(role=Role.HYPER, name=name) if name == hyper:
            return Number(_ZERO, expr.span)
        case Apply(args=args):
            return _folded(replace(expr, args=tuple(_simplified(arg, hyper) for arg in args)))
        case _:
            return expr


def _folded(expr: Apply) -> Expr:
    match expr.op, expr.args:
        case "mul", (Number(value=x), _) | (_, Number(value=x)) if x == 0:
            return Number(_ZERO, expr.span)
        case "div", (Number(value=x), _) if x == 0:
            return Number(_ZERO, expr.span)
        case "add", (Number(value=x), other) | (other, Number(value=x)) if x == 0:
            return other
        case "sub", (other, Number(value=x)) if x == 0:
            return other
        case "mul", (Number(value=x), other) | (other, Number(value=x)) if x == _ONE:
            return other
        case (("gt" | "lt"), (Number(value=x), Number(value=y))):
            return Truth(x > y if expr.op == "gt" else x < y, expr.span)
        case "where", (Truth(value=truth), then, otherwise):
            return then if truth else otherwise
        case _:
            return expr
