"""What a composition gives to one of its parts: numbers, schedules and switches for its defaults.

In: the arguments of a stage, and the hypers and flags that they are for. Out: a `Given`, with all that is
wrong told to the `Report` at the argument.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from optdsl.diagnostics import Report, Span
from optdsl.diagnostics import catalogue_parts as problem
from optdsl.language import syntax
from optdsl.language.constants import declared_constant
from optdsl.language.names import closest
from optdsl.language.objective import Objective
from optdsl.language.operators import OPERATORS
from optdsl.language.optimizer import Flag, Hyper, Optimizer
from optdsl.language.parts import Part
from optdsl.language.printer import print_expr

Meaning = Optimizer | Objective | Part
Find = Callable[[str, Span], Meaning | None]
"""The meaning of a part by its name; None when there is none, which has then been reported."""


@dataclass(frozen=True)
class Scheduled:
    """A schedule in the place of a number: `cosine(3e-4, 1000)`."""

    part: Part
    name: str
    arguments: tuple[syntax.Argument, ...]
    span: Span


@dataclass
class Given:
    """By the names that the part itself has."""

    numbers: dict[str, Fraction] = field(default_factory=dict)
    schedules: dict[str, Scheduled] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)


def read_arguments(
    name: str,
    arguments: Sequence[syntax.Argument],
    hypers: Sequence[Hyper],
    flags: Sequence[Flag],
    find: Find,
    report: Report,
) -> Given:
    """What is given to the part `name`."""
    given = Given()
    by_name: dict[str, Hyper | Flag] = {}
    declared: tuple[Hyper | Flag, ...] = (*hypers, *flags)
    for each in declared:
        if each.alias is not None and each.alias.index is None:
            by_name[each.alias.name] = each
    by_name |= {each.name: each for each in declared}
    set_by: dict[str, Span] = {}
    for place, argument in enumerate(arguments):
        wanted = _wanted(name, place, argument, hypers, by_name, report)
        if wanted is None:
            continue
        if wanted.name in set_by:
            _bad(report, argument.span, f"`{wanted.name}` of `{name}` is given twice", "given again",
                 "leave one of them out")  # fmt: skip
            continue
        set_by[wanted.name] = argument.span
        if isinstance(wanted, Flag):
            _switch(wanted, argument, given, report)
        else:
            _number(wanted, argument, given, find, report)
    return given


def _bad(report: Report, span: Span, reason: str, here: str, choice: str) -> None:
    report.add(problem.BadArgument(span=span, reason=reason, here=here, choice=choice))


def _wanted(
    name: str,
    place: int,
    argument: syntax.Argument,
    hypers: Sequence[Hyper],
    by_name: dict[str, Hyper | Flag],
    report: Report,
) -> Hyper | Flag | None:
    has = ", ".join(f"`{each}`" for each in dict.fromkeys(each.name for each in by_name.values()))
    has = f"it has {has}" if has else "it takes no arguments"
    if argument.name is None:
        if place < len(hypers):
            return hypers[place]
        count = f"{len(hypers)} hyperparameter{'' if len(hypers) == 1 else 's'}"
        _bad(report, argument.span, f"`{name}` has {count}", "one argument too many", has)
    elif argument.name in by_name:
        return by_name[argument.name]
    else:
        near = closest(argument.name, by_name)
        _bad(report, argument.span, f"`{name}` has no `{argument.name}`", "no such hyperparameter or flag",
             f"did you mean `{near}`?" if near else has)  # fmt: skip
    return None


def _switch(flag: Flag, argument: syntax.Argument, given: Given, report: Report) -> None:
    if isinstance(argument.value, syntax.Bool):
        given.switches[flag.name] = argument.value.value
    else:
        _bad(report, argument.value.span, f"the flag `{flag.name}` is true or false", "not a switch",
             f"write `{flag.name} = true`")  # fmt: skip


def _number(hyper: Hyper, argument: syntax.Argument, given: Given, find: Find, report: Report) -> None:
    match argument.value:
        case syntax.Bool(span=span):
            _bad(report, span, f"`{hyper.name}` is a number", "a switch", f"its domain is {hyper.domain}")
        case syntax.Name(name, span) if name != "inf":
            _scheduled(hyper, name, (), span, given, find, report)
        case syntax.Call(name, arguments, None, span) if name not in OPERATORS:
            _scheduled(hyper, name, arguments, span, given, find, report)
        case value:
            number = declared_constant(value, f"the argument for `{hyper.name}`", report)
            if number is None:
                return
            if not hyper.domain.contains(number):
                report.add(
                    problem.ArgumentOutsideDomain(
                        span=value.span, name=hyper.name, value=print_expr(value), domain=str(hyper.domain)
                    )
                )
                return
            given.numbers[hyper.name] = number


def _scheduled(
    hyper: Hyper,
    name: str,
    arguments: tuple[syntax.Argument, ...],
    span: Span,
    given: Given,
    find: Find,
    report: Report,
) -> None:
    head = Span(span.start, span.start + len(name))
    part = find(name, head)
    if isinstance(part, Part) and part.kind is syntax.Kind.SCHEDULE:
        given.schedules[hyper.name] = Scheduled(part, name, arguments, span)
    elif part is not None:
        kind = part.kind if isinstance(part, Part) else type(part).__name__.lower()
        report.add(
            problem.WrongPlace(
                span=head,
                reason=f"`{name}` is {'an' if kind[0] == 'o' else 'a'} {kind}: `{hyper.name}` is a number",
                here="a number or a schedule stands here",
                choice=f"its domain is {hyper.domain}",
            )
        )
