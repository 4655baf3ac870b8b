"""Flags chosen: an `Optimizer` in which every condition on flags alone is decided.

In: a resolved optimizer and values for its flags. Out: one without flags, in which only lines and states
remain that reach the parameters. Hypers stay, all of them: the caller's signature does not change.
Nothing else is folded; a condition on a hyperparameter or on `t` is left for the kernel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

from optdsl.language.inputs import made
from optdsl.language.optimizer import (
    Age,
    Apply,
    Assign,
    Expr,
    Optimizer,
    Ref,
    Role,
    Truth,
    choices,
    references,
    settled,
)


def flag_settings(optimizer: Optimizer) -> Iterator[dict[str, bool]]:
    """Every combination of the flags, the defaults first; of a choice, one is true."""
    values_of = [(flag.default, not flag.default) for flag in optimizer.flags]
    groups = choices(optimizer.flags).values()
    for values in product(*values_of):
        setting = {flag.name: value for flag, value in zip(optimizer.flags, values, strict=True)}
        if all(sum(setting[flag.name] for flag in group) == 1 for group in groups):
            yield setting


def rank_settings(*optimizers: Optimizer) -> list[dict[str, bool]]:
    """The flags that tensors decide, as they can be; one setting without any where there is none."""
    flags = (flag for optimizer in optimizers for flag in optimizer.flags)
    ranks = {flag.name: flag.rank for flag in flags if flag.rank is not None}
    every = {rank - 1 for rank in ranks.values()} | {max(ranks.values(), default=0)}
    return [{name: n >= rank for name, rank in ranks.items()} for n in sorted(every, reverse=True)]


def specialise(optimizer: Optimizer, flags: Mapping[str, bool]) -> Optimizer:
    """The optimizer with its flags at the given values, and at their defaults where none is given."""
    values = settled(optimizer.flags, flags)
    lines = tuple(_line(line, values) for line in optimizer.lines)
    query = _decided(optimizer.query, values) if optimizer.query else None
    query_lines = tuple(_line(line, values) for line in optimizer.query_lines)
    outputs = tuple(replace(output, value=_decided(output.value, values)) for output in optimizer.outputs)
    live = live_names(lines, query, query_lines, tuple(output.value for output in outputs))
    kept = tuple(line for line in (*query_lines, *lines) if line.target.name in live)
    parts = [part for line in kept for part in (line.value, line.first)] + [query]
    read = {ref.name for part in parts if part is not None for ref in references(part)}
    return replace(
        optimizer,
        flags=(),
        inputs=tuple(name for name in optimizer.inputs if name in read or not made(name)),
        states=tuple(state for state in optimizer.states if state.name in live),
        query=query,
        query_lines=tuple(line for line in query_lines if line.target.name in live),
        lines=tuple(line for line in lines if line.target.name in live),
        outputs=outputs,
    )


def _line(line: Assign, flags: Mapping[str, bool]) -> Assign:
    first = _decided(line.first, flags) if line.first else None
    return replace(line, value=_decided(line.value, flags), first=first)


def _decided(expr: Expr, flags: Mapping[str, bool]) -> Expr:
    match expr:
        case Ref(role=Role.FLAG, name=name):
            return Truth(flags[name], expr.span)
        case Apply(op=op, args=args):
            return _folded(replace(expr, args=tuple(_decided(arg, flags) for arg in args)), op)
        case _:
            return expr


def _folded(expr: Apply, op: str) -> Expr:
    match op, expr.args:
        case "where", (Truth(value=value), then, otherwise):
            return then if value else otherwise
        case "not", (Truth(value=value),):
            return Truth(not value, expr.span)
        case "and", (Truth(value=value), other) | (other, Truth(value=value)):
            return other if value else Truth(False, expr.span)
        case "or", (Truth(value=value), other) | (other, Truth(value=value)):
            return Truth(True, expr.span) if value else other
        case _:
            return expr


def live_names(
    lines: tuple[Assign, ...],
    query: Expr | None,
    query_lines: tuple[Assign, ...],
    outputs: tuple[Expr, ...] = (),
) -> set[str]:
    """Names whose value reaches theta, an output or the point of the gradient, now or in a later step.

    A name that stays stays with its line: an old value that is read needs the line that keeps it.
    """
    setters = {line.target.name: line for line in (*query_lines, *lines)}
    live = {"theta"}
    roots = [ref for part in (query, *outputs) for ref in _set_by_lines(part, setters)]
    waiting = [setters["theta"], *(setters[ref.name] for ref in roots)]
    live.update(line.target.name for line in waiting)
    while waiting:
        line = waiting.pop()
        for part in (line.value, line.first):
            for ref in _set_by_lines(part, setters):
                if ref.name not in live:
                    live.add(ref.name)
                    waiting.append(setters[ref.name])
    return live


def _set_by_lines(expr: Expr | None, setters: Mapping[str, Assign]) -> list[Ref]:
    if expr is None:
        return []
    found = [ref for ref in references(expr) if ref.role in (Role.STATE, Role.VALUE) and ref.name in setters]
    return sorted(found, key=lambda ref: (ref.name, ref.age is Age.NEW))
