"""Optimizers to be put together: names that are free, and expressions with some references replaced.

Shapes stay what they are: what takes the place of something is as large as it was.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from optdsl.language.names import why_illegal
from optdsl.language.optimizer import Apply, Assign, Expr, Flag, Hyper, Optimizer, Ref, Role, State

LONGEST = 56  # what a name may have, less a number
_NAMED = (Role.HYPER, Role.FLAG, Role.STATE, Role.VALUE)


class Names:
    """The names of a composition: one that is taken gets its part's name in front."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)

    def fresh(self, name: str, part: str) -> str:
        found, number = name, 1
        front = f"{part.strip('_')}_{name}"[:LONGEST]
        while found in self.taken or why_illegal(found):
            found = front if number == 1 else f"{front}{number}"
            number += 1
        self.taken.add(found)
        return found


def names_of(optimizer: Optimizer) -> list[str]:
    """Everything that the optimizer declares or sets."""
    named: tuple[Hyper | Flag | State, ...] = (*optimizer.hypers, *optimizer.flags, *optimizer.states)
    declared = (each.name for each in named)
    values = (line.target.name for line in optimizer.lines if line.target.role is Role.VALUE)
    views = (output.name for output in optimizer.outputs)
    return list(dict.fromkeys((*declared, *values, *views)))


def map_refs(expr: Expr, change: Callable[[Ref], Expr]) -> Expr:
    match expr:
        case Ref():
            return change(expr)
        case Apply(args=args):
            return replace(expr, args=tuple(map_refs(arg, change) for arg in args))
        case _:
            return expr


def map_line(line: Assign, change: Callable[[Ref], Expr]) -> Assign:
    """The line with what it reads replaced; its target stays."""
    first = map_refs(line.first, change) if line.first is not None else None
    return replace(line, value=map_refs(line.value, change), first=first)


def renamed(optimizer: Optimizer, names: Mapping[str, str]) -> Optimizer:
    """The optimizer with other names for what it declares and sets."""

    def ref(old: Ref) -> Ref:
        return replace(old, name=names.get(old.name, old.name)) if old.role in _NAMED else old

    def line(old: Assign) -> Assign:
        return replace(map_line(old, ref), target=ref(old.target))

    states = (
        replace(state, name=names.get(state.name, state.name), initial=map_refs(state.initial, ref))
        for state in optimizer.states
    )
    return replace(
        optimizer,
        hypers=tuple(replace(each, name=names.get(each.name, each.name)) for each in optimizer.hypers),
        flags=tuple(replace(each, name=names.get(each.name, each.name)) for each in optimizer.flags),
        states=tuple(states),
        query=map_refs(optimizer.query, ref) if optimizer.query is not None else None,
        query_lines=tuple(map(line, optimizer.query_lines)),
        lines=tuple(map(line, optimizer.lines)),
        outputs=tuple(
            replace(each, name=names.get(each.name, each.name), value=map_refs(each.value, ref))
            for each in optimizer.outputs
        ),
    )
