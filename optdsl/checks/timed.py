"""Expressions in claims that may name the values of a spec: read, and asked what they depend on.

In: the syntax of an expression and an optimizer. Out: its meaning over hypers, t, values and (where they are
allowed) states, to be evaluated with the keys that `run_step` gives. Nothing is decided here.
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import TypeVar

from flint import ctx

from optdsl.checks.pairing import UnreadableError, meaning, substituted
from optdsl.checks.trace import EXACT, PRECISION, Real
from optdsl.checks.walk import TIME, Arithmetic, Key, key_of
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Optimizer, Ref, Role, references

T = TypeVar("T")

FIXED = "hypers do not change from step to step"
"""What a claim about all t assumes of them."""


def argument(claim: syntax.Claim) -> syntax.Expr:
    """The X of `limit(X)`."""
    match claim.left:
        case syntax.Call(_, (syntax.Argument(None, inside),)):
            return inside
    raise UnreadableError("it is about one quantity: `limit(x)`, `nonnegative(x)`, `nondecreasing(x)`")


def read(expr: syntax.Expr, optimizer: Optimizer, fixed: Mapping[str, Expr]) -> Expr:
    """The meaning; a state's name is its new value, a fixed hyper what it is. Raises `UnreadableError`."""
    lines = {line.target.name: line.target for line in (*optimizer.query_lines, *optimizer.lines)}
    names = [hyper.name for hyper in optimizer.hypers]
    return _aged(substituted(meaning(_plain(expr), [*names, *fixed, *lines]), fixed), lines)


def _plain(expr: syntax.Expr) -> syntax.Expr:
    """`m[t]` as `m`."""
    match expr:
        case syntax.At(name, 0):
            return syntax.Name(name, expr.span)
        case syntax.Unary():
            return replace(expr, operand=_plain(expr.operand))
        case syntax.Binary():
            return replace(expr, left=_plain(expr.left), right=_plain(expr.right))
        case _:
            return expr


def _aged(expr: Expr, lines: Mapping[str, Ref]) -> Expr:
    match expr:
        case Ref(name=name) if name in lines:
            return lines[name]
        case Apply():
            return replace(expr, args=tuple(_aged(arg, lines) for arg in expr.args))
        case _:
            return expr


def needed(expr: Expr, optimizer: Optimizer) -> tuple[Assign, ...]:
    """The lines that an expression takes its values from, in their order."""
    lines = {line.target.name: line for line in (*optimizer.query_lines, *optimizer.lines)}
    seen: set[str] = set()
    waiting = [expr]
    while waiting:
        for ref in references(waiting.pop()):
            if ref.age is not Age.OLD and ref.name in lines and ref.name not in seen:
                seen.add(ref.name)
                line = lines[ref.name]
                waiting += [part for part in (line.value, line.first) if part is not None]
    return tuple(line for name, line in lines.items() if name in seen)


def unsteady(expr: Expr, optimizer: Optimizer) -> str | None:
    """Something besides hypers and t that an expression depends on; None when there is nothing."""
    steady = (Role.HYPER, Role.TIME, Role.VALUE)
    return min((ref.name for ref in _inside(expr, optimizer) if ref.role not in steady), default=None)


def hypers_in(expr: Expr, optimizer: Optimizer) -> set[str]:
    """The hypers that it depends on."""
    return {ref.name for ref in _inside(expr, optimizer) if ref.role is Role.HYPER}


def _inside(expr: Expr, optimizer: Optimizer) -> set[Ref]:
    parts = (expr, *(line.value for line in needed(expr, optimizer)))
    return {ref for part in parts for ref in references(part)}


def value_at(
    expr: Expr, optimizer: Optimizer, arithmetic: Arithmetic[T], hypers: Mapping[str, T], time: T
) -> T:
    """An expression of hypers and t alone, in the general step."""
    values: dict[Key, T] = {(name, Age.NOW): value for name, value in hypers.items()}
    values[TIME] = time
    for line in needed(expr, optimizer):
        values[key_of(line)] = arithmetic.evaluate(line.value, values)
    return arithmetic.evaluate(expr, values)


def number_at(expr: Expr, optimizer: Optimizer, hypers: Mapping[str, Fraction], time: Fraction) -> Real:
    """The same, as a number. Raises `IllDefinedError` and `UndecidedError`."""
    ctx.prec = PRECISION
    value = value_at(expr, optimizer, EXACT, hypers, time)
    assert not isinstance(value, bool)
    return value
