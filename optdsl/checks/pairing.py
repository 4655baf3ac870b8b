"""What a claim says besides its kind: conditions, other specs and what their hypers stand for.

In: the syntax of a claim, and the optimizers that it is about. Out: meaning: expressions over this spec's
hypers, narrower domains, and a `Pair` of optimizers over the same hypers. Names of the other spec that
are not matched get a prime (`lr'`), which no spec can spell.
Raises `UnreadableError` for what has no meaning here, `NoSpecError` for a spec that there is not.
Nothing is proved here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from optdsl.checks.catalogue import Lookup
from optdsl.checks.context import Context
from optdsl.checks.interval import Interval, intersection
from optdsl.checks.trace import EXACT, IllDefinedError, UndecidedError
from optdsl.diagnostics import Report, Source
from optdsl.language import syntax
from optdsl.language.expressions import resolve_expr
from optdsl.language.optimizer import (
    Apply,
    Assign,
    Expr,
    Hyper,
    Kind,
    Number,
    Optimizer,
    Ref,
    Role,
    State,
)
from optdsl.language.printer import print_claimed, print_expr
from optdsl.language.scope import Scope
from optdsl.language.specialise import specialise


class UnreadableError(Exception):
    """The claim says something that has no meaning here; its text is the reason."""


def claim_text(claim: syntax.Claim) -> str:
    return print_claimed(claim)


def meaning(expr: syntax.Expr, names: Iterable[str], kind: Kind = Kind.REAL) -> Expr:
    """An expression of a claim, over hypers (and symbols) of these names and t."""
    report = Report(Source("", ""))
    zero = syntax.Number("0")
    scope = Scope(report, hypers={name: syntax.HyperDecl(name, zero, None, None) for name in names})
    found = resolve_expr(expr, scope, kind)
    if found is None:
        reason = report.diagnostics[0].message if report.diagnostics else "it has no meaning"
        raise UnreadableError(f"`{print_expr(expr)}`: {reason}")
    return found


# --- when ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditions:
    """`fixed`: hypers that are an expression over the others; `domains`: of all that are not."""

    fixed: Mapping[str, Expr]
    domains: Mapping[str, Interval]


def conditions(claim: syntax.Claim, context: Context) -> Conditions:
    """What `when` says."""
    fixed: dict[str, Expr] = {}
    domains = dict(context.domains)
    if claim.when is not None:
        for part in conjuncts(claim.when):
            _restrict(part, fixed, domains)
    loose = {name for expr in fixed.values() for name in hypers_of(expr)} & fixed.keys()
    if loose:
        raise UnreadableError(f"`{min(loose)}` is fixed, and another condition uses it")
    return Conditions(fixed, {name: domain for name, domain in domains.items() if name not in fixed})


def conjuncts(expr: syntax.Expr) -> Iterator[syntax.Expr]:
    match expr:
        case syntax.Binary("and", left, right):
            yield from conjuncts(left)
            yield from conjuncts(right)
        case _:
            yield expr


_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "=="}


def _restrict(part: syntax.Expr, fixed: dict[str, Expr], domains: dict[str, Interval]) -> None:
    match part:
        case syntax.Binary(op, syntax.Name(name), value) if op in _FLIPPED and name in domains:
            pass
        case syntax.Binary(op, value, syntax.Name(name)) if op in _FLIPPED and name in domains:
            op = _FLIPPED[op]
        case _:
            raise UnreadableError(f"the condition `{print_expr(part)}` is not of the form HYPER = VALUE")
    expr = meaning(value, domains)
    if op == "==":
        if name in fixed or name in hypers_of(expr):
            raise UnreadableError(f"`{name}` is fixed twice, or by itself")
        fixed[name] = expr
        return
    end = constant_of(expr)
    if end is None:
        raise UnreadableError(f"`{print_expr(value)}` is not a number")
    closed = op.endswith("=")
    half = Interval(None, end, True, not closed) if op[0] == "<" else Interval(end, None, not closed, True)
    narrowed = intersection(domains[name], half)
    if narrowed is None:
        raise UnreadableError(f"no value of `{name}` satisfies `{print_expr(part)}`")
    domains[name] = narrowed


def constant_of(expr: Expr) -> Fraction | None:
    """The rational that an expression without names is."""
    if hypers_of(expr):
        return None
    try:
        value = EXACT.evaluate(expr, {})
    except (KeyError, IllDefinedError, UndecidedError):
        return None
    return value if isinstance(value, Fraction) else None


# --- names ---------------------------------------------------------------------------------------


def hypers_of(expr: Expr) -> set[str]:
    match expr:
        case Ref(role=Role.HYPER, name=name):
            return {name}
        case Apply(args=args):
            return set().union(*map(hypers_of, args))
        case _:
            return set()


def substituted(expr: Expr, hypers: Mapping[str, Expr], values: Mapping[str, str] | None = None) -> Expr:
    """With hypers replaced by expressions, and values renamed."""
    match expr:
        case Ref(role=Role.HYPER, name=name):
            return hypers.get(name, expr)
        case Ref(role=Role.VALUE, name=name) if values and name in values:
            return replace(expr, name=values[name])
        case Apply(args=args):
            return replace(expr, args=tuple(substituted(arg, hypers, values) for arg in args))
        case _:
            return expr


def bound(optimizer: Optimizer, hypers: Mapping[str, Expr], own: tuple[Hyper, ...]) -> Optimizer:
    """The optimizer over the hypers `own`: each of its hypers is replaced, and no value has their name."""
    taken = {hyper.name for hyper in own}
    lines = (*optimizer.query_lines, *optimizer.lines)
    values = {
        line.target.name: f"{line.target.name}'"
        for line in lines
        if line.target.role is Role.VALUE and line.target.name in taken
    }

    def rewritten(line: Assign) -> Assign:
        target = line.target
        if target.role is Role.VALUE and target.name in values:
            target = replace(target, name=values[target.name])
        first = substituted(line.first, hypers, values) if line.first is not None else None
        return replace(line, target=target, value=substituted(line.value, hypers, values), first=first)

    def started(state: State) -> State:
        initial = substituted(state.initial, hypers)
        if isinstance(initial, Apply | Ref) and (value := constant_of(initial)) is not None:
            initial = Number(value)
        if isinstance(initial, Apply) or (isinstance(initial, Ref) and initial.role is Role.TIME):
            raise UnreadableError(f"`{state.name}[0]` is neither a number nor a hyperparameter")
        return replace(state, initial=initial)

    return replace(
        optimizer,
        hypers=own,
        states=tuple(map(started, optimizer.states)),
        query=substituted(optimizer.query, hypers, values) if optimizer.query is not None else None,
        query_lines=tuple(map(rewritten, optimizer.query_lines)),
        lines=tuple(map(rewritten, optimizer.lines)),
    )


# --- another spec --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """This spec and another, both over this one's hypers.

    `free` are hypers of the other that are to be found (`lr` by the name `lr'`); `defaults` those that
    nothing here matches.
    """

    left: Optimizer
    right: Optimizer
    other: str
    domains: Mapping[str, Interval]
    fixed: Mapping[str, Expr]
    free: Mapping[str, str]
    matched: Mapping[str, Expr]
    defaults: tuple[str, ...]

    def with_right(self, right: Optimizer) -> "Pair":
        return replace(self, right=right)

    def swapped(self) -> "Pair":
        return replace(self, left=self.right, right=self.left)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the other spec's hypers are, where it is not what the name says."""
        if not self.defaults:
            return ()
        return (f"{self.other}: {', '.join(self.defaults)} (defaults, which nothing here matches)",)


def pair(claim: syntax.Claim, context: Context, lookup: Lookup) -> Pair:
    """The optimizers that `reduces(other, ...)` and its like are about."""
    match claim.left:
        case syntax.Call(arguments=(syntax.Argument(None, syntax.Name(stem)), *arguments)):
            pass
        case _:
            raise UnreadableError("it does not say which spec: reduces(NAME)")
    other = lookup(stem)
    limits = conditions(claim, context)
    flags = dict(context.ranks)
    if missing := {flag.name for flag in other.flags if flag.rank is not None} - flags.keys():
        raise UnreadableError(f"{stem} has other rules when {', '.join(missing)}, and this spec has not")
    given: dict[str, Expr] = {}
    for argument in (*arguments, *claim.substitution):
        _argument(argument, stem, other, context, flags, given)
    chosen = specialise(other, flags)
    free = {_named(name, stem, other): f"{_named(name, stem, other)}'" for name in claim.free}
    matched, defaults = _matched(other, context.optimizer, given, free)
    matched = {name: substituted(expr, limits.fixed) for name, expr in matched.items()}
    own = context.optimizer.hypers
    unknown = tuple(
        replace(hyper, name=free[hyper.name], alias=None) for hyper in other.hypers if hyper.name in free
    )
    return Pair(
        left=bound(context.optimizer, limits.fixed, own),
        right=bound(chosen, matched, (*own, *unknown)),
        other=stem,
        domains=limits.domains,
        fixed=limits.fixed,
        free=free,
        matched=matched,
        defaults=defaults,
    )


def _argument(
    argument: syntax.Argument,
    stem: str,
    other: Optimizer,
    context: Context,
    flags: dict[str, bool],
    given: dict[str, Expr],
) -> None:
    if argument.name is None:
        raise UnreadableError("settings of the other spec are given by name")
    for flag in other.flags:
        if argument.name in (flag.name, flag.alias.name if flag.alias else None):
            if not isinstance(argument.value, syntax.Bool):
                raise UnreadableError(f"`{flag.name}` is a flag: true or false")
            flags[flag.name] = argument.value.value
            return
    name = _named(argument.name, stem, other)
    if name in given:
        raise UnreadableError(f"`{name}` is given twice")
    given[name] = meaning(argument.value, context.domains)


def _named(name: str, stem: str, other: Optimizer) -> str:
    for hyper in other.hypers:
        if name == hyper.name:
            return name
    for hyper in other.hypers:
        if name in _names(hyper):
            return hyper.name
    raise UnreadableError(f"{stem} has no `{name}`")


def _names(hyper: Hyper) -> set[str]:
    alias = hyper.alias
    if alias is None:
        return {hyper.name}
    return {hyper.name, alias.name if alias.index is None else f"{alias.name}[{alias.index}]"}


def _matched(
    other: Optimizer, this: Optimizer, given: Mapping[str, Expr], free: Mapping[str, str]
) -> tuple[dict[str, Expr], tuple[str, ...]]:
    """Every hyper of the other as an expression over this spec's, and those that are defaults."""
    found: dict[str, Expr] = {}
    defaults = []
    by_name = {hyper.name: hyper for hyper in this.hypers}
    for hyper in other.hypers:
        partner = by_name.get(hyper.name) or next(
            (mine for mine in this.hypers if _names(mine) & _names(hyper)), None
        )
        if hyper.name in given:
            found[hyper.name] = given[hyper.name]
        elif hyper.name in free:
            found[hyper.name] = Ref(Role.HYPER, free[hyper.name])
        elif partner is not None:
            found[hyper.name] = Ref(Role.HYPER, partner.name)
        else:
            found[hyper.name] = Number(hyper.default)
            defaults.append(f"{hyper.name} = {hyper.default}")
    return found, tuple(defaults)
