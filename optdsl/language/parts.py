"""Parts of compositions: what a transform, a schedule and a wrapper mean, each told as an optimizer.

A part on its own moves nothing. Its *stand-in* is the optimizer that it makes of gradient descent, so that
everything that reads an `Optimizer` (names, shapes, checks) reads parts too:

    transform   its lines, then  theta[t] = theta[t-1] - out         g[t] is what comes in
    schedule    its lines, then  theta[t] = theta[t-1] - out*g[t]
    wrapper     inner = theta[t-1] - g[t],  then its lines, in which `inner(theta[t-1])` is `inner`;
                where it has a line `g[t] = grad(...)`, everything down to that stands above

In: the syntax of a part. Out: the syntax of its stand-in (`stand_in`), or the meaning of both (`Part`).
Not done here: nothing is composed (`compose`), and names and shapes are left to `resolve`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from optdsl.diagnostics import Problem, Report, Source, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.diagnostics import catalogue_parts as parts_problem
from optdsl.language import syntax
from optdsl.language.inputs import DRAWN
from optdsl.language.objective import VALUE
from optdsl.language.optimizer import Assign, Flag, Hyper, Optimizer
from optdsl.language.shapes import flattened, parts_of

PARTS = frozenset((syntax.Kind.TRANSFORM, syntax.Kind.SCHEDULE, syntax.Kind.WRAPPER))
THETA = syntax.At("theta", -1, None)
GRADIENT = syntax.At("g", 0, None)


@dataclass(frozen=True)
class Part:
    """The meaning of a part. `inner` is a wrapper's word for the optimizer that it is around."""

    kind: syntax.Kind
    stand_in: Optimizer
    inner: str = ""

    @property
    def name(self) -> str:
        return self.stand_in.name

    @property
    def doc(self) -> str:
        return self.stand_in.doc

    @property
    def hypers(self) -> tuple[Hyper, ...]:
        return self.stand_in.hypers

    @property
    def flags(self) -> tuple[Flag, ...]:
        return self.stand_in.flags

    @property
    def source(self) -> Source | None:
        return self.stand_in.source

    @property
    def span(self) -> Span:
        return self.stand_in.span

    @property
    def lines(self) -> tuple[Assign, ...]:
        """Its own lines, without the one that makes it an optimizer."""
        lines = self.stand_in.lines
        if self.kind is not syntax.Kind.WRAPPER:
            return lines[:-1]
        return tuple(line for line in lines if line.target.name != self.inner)


def stand_in(definition: syntax.Definition, report: Report) -> syntax.Definition | None:
    """The definition as an optimizer; None when it has what a part of its kind cannot have."""
    kind, where = definition.kind, definition.name_span
    found = _Reading(definition, report)
    if kind is syntax.Kind.WRAPPER:
        body = found.wrapper()
    else:
        found.of_values()
        change: syntax.Expr = syntax.Name(VALUE, where)
        if kind is syntax.Kind.SCHEDULE:
            change = syntax.Binary("*", change, replace(GRADIENT, span=where), where)
        moved = syntax.Binary("-", replace(THETA, span=where), change, where)
        last = syntax.Assign(syntax.At("theta", 0, None, where), moved, where)
        body = (*definition.body, last)
    if found.wrong:
        return None
    return replace(definition, kind=syntax.Kind.OPTIMIZER, formals=(), body=body)


class _Reading:
    """What a part may not hold is reported, by its kind."""

    def __init__(self, definition: syntax.Definition, report: Report) -> None:
        self.definition, self.report, self.wrong = definition, report, False

    def _refuse(self, found: Problem) -> None:
        self.report.add(found)
        self.wrong = True

    def _not_here(self, what: str, span: Span) -> None:
        self._refuse(parts_problem.NotOfPart(span=span, kind=str(self.definition.kind), what=what))

    def of_values(self) -> None:
        """A transform or a schedule: it ends in `out = ...` and does not move the parameters itself."""
        kind, body = self.definition.kind, tuple(flattened(self.definition.body))
        if self.definition.formals:
            self._not_here("an inner optimizer", self.definition.formals[0].span)
        for statement in body:
            match statement:
                case syntax.Assign(target=syntax.At("theta" | "g") as target):
                    self._not_here(f"a line for `{self.report.source.slice(target.span)}`", target.span)
                case syntax.StateDecl() if kind is syntax.Kind.SCHEDULE:
                    self._not_here("a state", statement.span)
                case syntax.InputDecl() if kind is syntax.Kind.SCHEDULE:
                    self._not_here("an input", statement.span)
                case syntax.OutputDecl() if kind is syntax.Kind.SCHEDULE:
                    self._not_here("an output", statement.span)
                case syntax.Assign(value=value) if kind is syntax.Kind.SCHEDULE:
                    for at in _everywhere(value):
                        changing = isinstance(at, syntax.At) and at.name in ("theta", "g")
                        if changing or (isinstance(at, syntax.Call) and at.function in DRAWN):
                            self._not_here(f"`{self.report.source.slice(at.span)}`", at.span)
        if not any(isinstance(s, syntax.Assign) and s.target == syntax.Name(VALUE) for s in body):
            name = self.definition.name
            self._refuse(
                parts_problem.NoValue(span=self.definition.name_span, kind=str(kind), name=name, value=VALUE)
            )

    def wrapper(self) -> tuple[syntax.Statement, ...]:
        """The inner step stands first; where a gradient is taken elsewhere, just below that line."""
        definition = self.definition
        if len(definition.formals) != 1:
            span = definition.formals[1].span if definition.formals else definition.name_span
            self._refuse(parts_problem.OneInner(span=span, name=definition.name))
            return ()
        (inner,) = definition.formals
        for statement in flattened(definition.body):
            if _takes_gradient(statement) and statement not in definition.body:
                self._refuse(problem.NotYet(span=statement.span, what="a gradient elsewhere under `when`"))
        where = definition.name_span
        step = syntax.Binary("-", replace(THETA, span=where), replace(GRADIENT, span=where), where)
        first = syntax.Assign(syntax.Name(inner.name, inner.span), step, inner.span)

        def called(expr: syntax.Expr) -> syntax.Expr:
            if not isinstance(expr, syntax.Call) or expr.function != inner.name:
                return expr
            if [(each.name, each.value) for each in expr.arguments] != [(None, THETA)] or expr.over:
                what = f"`{inner.name}` at another point than `theta[t-1]`"
                self._refuse(problem.NotYet(span=expr.span, what=what))
            return syntax.Name(inner.name, expr.span)

        def line(statement: syntax.Statement) -> syntax.Statement:
            match statement:
                case syntax.Assign(value=value):
                    return replace(statement, value=mapped(value, called))
                case syntax.When(then=then, otherwise=otherwise):
                    branches = tuple(map(line, then)), tuple(map(line, otherwise))
                    return replace(statement, then=branches[0], otherwise=branches[1])
                case syntax.OutputDecl(value=value) if value is not None:
                    return replace(statement, value=mapped(value, called))
                case _:
                    return statement

        lines = tuple(map(line, definition.body))
        place = next((place for place, each in enumerate(lines, 1) if _takes_gradient(each)), 0)
        return (*lines[:place], first, *lines[place:])


def _takes_gradient(statement: syntax.Statement) -> bool:
    return isinstance(statement, syntax.Assign) and statement.target == GRADIENT


def _everywhere(expr: syntax.Expr) -> Iterator[syntax.Expr]:
    yield expr
    for part in parts_of(expr):
        yield from _everywhere(part)


def mapped(expr: syntax.Expr, change: Callable[[syntax.Expr], syntax.Expr]) -> syntax.Expr:
    """The expression with every part changed, innermost first."""
    match expr:
        case syntax.Unary(_, operand) | syntax.Expectation(operand):
            return change(replace(expr, operand=mapped(operand, change)))
        case syntax.Binary(_, left, right):
            return change(replace(expr, left=mapped(left, change), right=mapped(right, change)))
        case syntax.If(test, then, otherwise):
            test, then, otherwise = (mapped(each, change) for each in (test, then, otherwise))
            return change(replace(expr, test=test, then=then, otherwise=otherwise))
        case syntax.Call(_, arguments):
            given = tuple(replace(each, value=mapped(each.value, change)) for each in arguments)
            return change(replace(expr, arguments=given))
        case _:
            return change(expr)
