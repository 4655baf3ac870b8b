"""Declarations of a definition: names, domains, defaults, aliases.

Fills a `Scope`, reports what is wrong with each declaration on its own, and gives the meaning of those
that are right.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import TypeVar

from optdsl.diagnostics import Label, Report, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.language import syntax
from optdsl.language.constants import declared_constant
from optdsl.language.inputs import INPUTS
from optdsl.language.names import why_illegal
from optdsl.language.optimizer import Age, Alias, Domain, Expr, Flag, Hyper, Number, Ref, Role, Shape, State
from optdsl.language.printer import print_expr
from optdsl.language.scope import Scope

_D = TypeVar("_D", syntax.HyperDecl, syntax.FlagDecl, syntax.StateDecl, syntax.InputDecl)


def declare(statements: Iterable[syntax.Statement], scope: Scope) -> None:
    """Enter every declaration under its name."""
    for statement in statements:
        match statement:
            case syntax.HyperDecl():
                _enter(statement, scope.hypers, scope)
            case syntax.FlagDecl():
                _enter(statement, scope.flags, scope)
            case syntax.StateDecl():
                _enter(statement, scope.states, scope)
            case syntax.InputDecl():
                _enter(statement, scope.inputs, scope)


def _enter(statement: _D, declared: dict[str, _D], scope: Scope) -> None:
    name, span = statement.name, statement.name_span
    known = isinstance(statement, syntax.InputDecl) and name in INPUTS  # `hvp` is an operator's, too
    if known or check_name(name, span, scope.report):
        if (first := scope.declaration(name)) is not None:
            scope.report.add(
                problem.AlreadyDeclared(
                    span=span, name=name, also=(Label(first.name_span, "first declared here"),)
                )
            )
        else:
            declared[name] = statement
    else:
        declared.setdefault(name, statement)  # so that its uses are not reported as well


def check_name(name: str, span: Span, report: Report) -> bool:
    """Whether a spec may define this name; reports why not."""
    reason = why_illegal(name)
    if reason is None:
        return True
    suggestion = {"lambda": "weight_decay", "lam": None}.get(name)
    report.add(problem.IllegalName(span=span, name=name[:64], reason=reason, suggestion=suggestion))
    return False


def hyper(declared: syntax.HyperDecl, report: Report) -> Hyper | None:
    default = declared_constant(declared.default, f"the default of `{declared.name}`", report)
    domain = Domain()
    if declared.domain is None:
        report.add(problem.NoDomain(span=declared.name_span, name=declared.name))
    else:
        found = _domain(declared.domain, report)
        if found is None:
            return None
        domain = found
    if default is None:
        return None
    if not domain.contains(default):
        report.add(
            problem.DefaultOutsideDomain(
                span=declared.default.span,
                name=declared.name,
                value=print_expr(declared.default),
                domain=str(domain),
                also=(Label(declared.domain.span, "the domain"),) if declared.domain else (),
            )
        )
        return None
    return Hyper(declared.name, default, domain, _alias(declared.alias, report), declared.span)


def flag(declared: syntax.FlagDecl, report: Report) -> Flag:
    alias = _alias(declared.alias, report)
    if alias is not None and alias.index is not None and declared.alias:
        report.add(
            problem.AliasClash(
                span=declared.alias.span, alias=f"{alias.name}[{alias.index}]", reason="is part of a tuple"
            )
        )
    return Flag(declared.name, declared.default, alias, declared.span)


def state(declared: syntax.StateDecl, scope: Scope) -> State | None:
    report = scope.report
    if declared.step != 0:
        report.add(
            problem.NoSuchTime(
                span=declared.name_span,
                name=declared.name,
                index=str(declared.step),
                reason="a state begins at [0]",
                choice=f"write `state {declared.name}[0] = ...`",
            )
        )
        return None
    initial = _initial(declared, scope)
    if initial is None:
        return None
    alias = declared.alias.name if declared.alias else None
    return State(declared.name, initial, scope.shapes[declared.name], alias, declared.span)


def _initial(declared: syntax.StateDecl, scope: Scope) -> Expr | None:
    match declared.initial:
        case syntax.Name(name, span) if name in scope.hypers:
            return Ref(Role.HYPER, name, span=span)
        case syntax.At("theta", _, 0, span):
            return Ref(Role.THETA, "theta", Age.OLD, Shape.ELEMENT, span=span)
        case syntax.Name("theta") | syntax.At("theta"):
            scope.report.add(
                problem.MissingIndex(
                    span=declared.initial.span,
                    name="theta",
                    choice="write `theta[0]`: the parameters as they were at the start",
                )
            )
            return None
        case _:
            what = f"the initial value of `{declared.name}`"
            choice = (
                "a state begins at a number, at a hyper, or at `theta[0]`; `x[1] = ...` is its first step"
            )
            value = declared_constant(declared.initial, what, scope.report, choice)
            return None if value is None else Number(value, declared.initial.span)


def _domain(interval: syntax.Interval, report: Report) -> Domain | None:
    low, low_infinite = _end(interval.low, report)
    high, high_infinite = _end(interval.high, report)
    if (low is None and not low_infinite) or (high is None and not high_infinite):
        return None
    domain = Domain(low, high, interval.low_closed, interval.high_closed)
    reason = None
    if low_infinite > 0 or high_infinite < 0:
        reason = "has its infinite end on the wrong side"
    elif (low_infinite and interval.low_closed) or (high_infinite and interval.high_closed):
        reason = "includes infinity: write a round bracket"
    elif low is not None and high is not None:
        if low > high:
            reason = "has its upper end first"
        elif low == high and not (interval.low_closed and interval.high_closed):
            reason = "is empty"
    if reason:
        report.add(problem.EmptyDomain(span=interval.span, domain=_printed(interval), reason=reason))
        return None
    return domain


def _end(expr: syntax.Expr, report: Report) -> tuple[Fraction | None, int]:
    """The end's value, or the sign of its infinity."""
    match expr:
        case syntax.Name("inf"):
            return None, 1
        case syntax.Unary("-", syntax.Name("inf")):
            return None, -1
        case _:
            return declared_constant(expr, "the end of a domain", report), 0


def _printed(interval: syntax.Interval) -> str:
    opening, closing = "[" if interval.low_closed else "(", "]" if interval.high_closed else ")"
    return f"{opening}{print_expr(interval.low)}, {print_expr(interval.high)}{closing}"


def _alias(alias: syntax.Alias | None, report: Report) -> Alias | None:
    if alias is None or not check_name(alias.name, alias.span, report):
        return None
    return Alias(alias.name, alias.index)


def check_inputs(scope: Scope) -> None:
    """Each is one that a step can be given."""
    for name, declared in scope.inputs.items():
        if name not in INPUTS:
            known = "; ".join(f"`{known}`, {row.what}" for known, row in INPUTS.items())
            scope.report.add(problem.NoSuchInput(span=declared.name_span, name=name, known=known))


def check_aliases(scope: Scope) -> None:
    """No two things share a framework's name, and `betas[0]`, `betas[1]` leave no gap."""
    options: dict[tuple[str, int | None], Span] = {}
    tuples: dict[str, dict[int, Span]] = {}
    keys: dict[str, Span] = {}

    def clash(span: Span, alias: str, reason: str) -> None:
        scope.report.add(problem.AliasClash(span=span, alias=alias, reason=reason))

    chosen = _choices(scope)
    for name, flags in chosen.items():
        if sum(each.default for each in flags) != 1:
            span = flags[-1].alias.span if flags[-1].alias else flags[-1].span
            clash(span, name, "is a choice between flags, of which one is true by default")
    with_options: tuple[syntax.HyperDecl | syntax.FlagDecl, ...] = (
        *scope.hypers.values(),
        *scope.flags.values(),
    )
    for declared in with_options:
        alias = declared.alias or syntax.Alias(declared.name, None, declared.name_span)
        if (alias.name, alias.index) in options and alias.name not in chosen:
            clash(alias.span, _shown(alias), "is given twice")
        options[alias.name, alias.index] = alias.span
        if alias.index is not None:
            tuples.setdefault(alias.name, {})[alias.index] = alias.span
    for name, indices in tuples.items():
        span = indices[max(indices)]
        if (name, None) in options:
            clash(span, name, "is both one value and a tuple")
        if sorted(indices) != list(range(len(indices))):
            clash(span, f"{name}[{max(indices)}]", f"leaves a gap: a tuple begins with {name}[0]")
    for state_declared in scope.states.values():
        alias = state_declared.alias or syntax.Alias(state_declared.name, None, state_declared.name_span)
        if alias.index is not None:
            clash(alias.span, _shown(alias), "cannot carry an index: a state has one key")
        elif alias.name == "step":
            clash(alias.span, "step", "is the key of the step counter")
        elif alias.name in keys:
            clash(alias.span, alias.name, "is given twice")
        keys[alias.name] = alias.span


def _choices(scope: Scope) -> dict[str, list[syntax.FlagDecl]]:
    """Flags that share an option."""
    found: dict[str, list[syntax.FlagDecl]] = {}
    for each in scope.flags.values():
        if each.alias is not None and each.alias.index is None:
            found.setdefault(each.alias.name, []).append(each)
    hypers = {each.alias.name if each.alias else each.name for each in scope.hypers.values()}
    return {name: flags for name, flags in found.items() if len(flags) > 1 and name not in hypers}


def _shown(alias: syntax.Alias) -> str:
    return alias.name if alias.index is None else f"{alias.name}[{alias.index}]"
