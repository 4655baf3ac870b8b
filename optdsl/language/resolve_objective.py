"""Syntax to meaning of an objective: its variables, lines, value and start.

In: a definition of kind `objective`, perhaps with lines left out that did not parse. Out: an `Objective` in
which every name is known, or None; all that is wrong goes to the `Report`. Expressions are those of
optimizers, without what has to do with time: `t`, `theta`, `g`, states.
Not done here: no claim is looked into, nothing is differentiated.
"""

from fractions import Fraction

from optdsl.diagnostics import Label, Report, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.language import declarations, syntax
from optdsl.language.constants import check_constants, declared_constant
from optdsl.language.expressions import resolve_expr
from optdsl.language.names import closest
from optdsl.language.objective import VALUE, Objective, Variable
from optdsl.language.optimizer import Assign, Ref, Role, Shape, references
from optdsl.language.scope import Scope
from optdsl.language.shapes import names_in

_TIMELESS = {Role.TIME: "the step `t`", Role.THETA: "`theta`", Role.GRAD: "the gradient `g[t]`"}


def resolve_objective(
    definition: syntax.Definition, header: str, report: Report, excused: frozenset[str]
) -> Objective | None:
    declarations.check_name(definition.name, definition.name_span, report)
    return _Definition(definition, report, excused).resolve(header)


class _Definition:
    """One pass over the lines of a definition, from top to bottom."""

    def __init__(self, definition: syntax.Definition, report: Report, excused: frozenset[str]) -> None:
        self.definition, self.report = definition, report
        self.scope = Scope(report, excused=excused)
        self.lines: list[Assign] = []
        self.start: dict[str, tuple[Fraction | None, Span]] = {}
        self.variables: dict[str, Span] = {}

    def resolve(self, header: str) -> Objective | None:
        body, scope, report = self.definition.body, self.scope, self.report
        self._formals()
        declared = [each for each in body if isinstance(each, syntax.HyperDecl)]
        declarations.declare(declared, scope)
        for each in declared:
            if each.name in self.variables:
                first = Label(self.variables[each.name], "first declared here")
                report.add(problem.AlreadyDeclared(span=each.name_span, name=each.name, also=(first,)))
        hypers = [declarations.hyper(each, report) for each in scope.hypers.values()]
        declarations.check_aliases(scope)
        for statement in body:
            if isinstance(statement, syntax.Assign) and isinstance(statement.target, syntax.Name):
                scope.later.setdefault(statement.target.name, statement.target.span)
        for statement in body:
            self._statement(statement)
        self._finish()
        if report.has_errors:
            return None
        objective = Objective(
            name=self.definition.name,
            doc=header,
            variables=tuple(
                Variable(name, self.start[name][0] or Fraction(0), span)
                for name, span in self.variables.items()
            ),
            hypers=tuple(hyper for hyper in hypers if hyper),
            lines=tuple(self.lines),
            claims=tuple(each for each in body if isinstance(each, syntax.Claim)),
            source=report.source,
            span=self.definition.name_span,
        )
        _report_unused(objective, scope)
        return objective

    def _formals(self) -> None:
        for formal in self.definition.formals:
            if formal.name in self.variables:
                first = Label(self.variables[formal.name], "first declared here")
                self.report.add(problem.AlreadyDeclared(span=formal.span, name=formal.name, also=(first,)))
                continue
            declarations.check_name(formal.name, formal.span, self.report)
            self.variables[formal.name] = formal.span
        self.scope.values |= self.variables
        self.scope.shapes = dict.fromkeys(self.variables, Shape.SCALAR)
        if not self.variables:
            self._incomplete(
                f"the objective `{self.definition.name}` has no variables",
                "a function of what?",
                f"name them: `objective {self.definition.name}(x, y)`",
                self.definition.name_span,
            )

    def _statement(self, statement: syntax.Statement) -> None:
        match statement:
            case syntax.Assign(target=syntax.Name()):
                self._value(statement)
            case syntax.Start():
                self._start(statement)
            case syntax.Assign(target=target):
                self._timeless(f"a line for `{self.report.source.slice(target.span)}`", target.span)
            case syntax.StateDecl() | syntax.FlagDecl() | syntax.InputDecl():
                word = {syntax.StateDecl: "a state", syntax.FlagDecl: "a flag"}.get(type(statement))
                self._timeless(word or "an input", statement.span)
            case syntax.OutputDecl():
                self._timeless("an output", statement.span)
            case syntax.When():
                self._timeless("a `when` block", statement.span)
            case _:
                pass  # hypers have been read, and claims are not looked into

    def _timeless(self, what: str, span: Span) -> None:
        self.report.add(problem.NotOfObjective(span=span, what=what))

    def _value(self, line: syntax.Assign) -> None:
        scope, report, name, span = self.scope, self.report, line.target.name, line.target.span
        value = resolve_expr(line.value, scope)
        if value is not None:
            check_constants(value, report)
            found = [ref for ref in references(value) if ref.role in _TIMELESS]
            for ref in sorted(found, key=lambda ref: ref.span.start):
                self._timeless(_TIMELESS[ref.role], ref.span)
            if found:
                value = None
        if name in self.variables or name in scope.hypers:
            what = "a variable" if name in self.variables else "a hyperparameter"
            where = self.variables.get(name) or scope.hypers[name].name_span
            also = (Label(where, "declared here"),)
            report.add(problem.CannotSet(span=span, name=name, what=f"{what} is given", also=also))
            return
        if name in scope.values:
            first = (Label(scope.values[name], "first set here"),)
            report.add(problem.SetTwice(span=span, name=name, also=first))
            return
        if not declarations.check_name(name, span, report) or value is None:
            scope.poisoned.add(name)
            return
        scope.values[name], scope.shapes[name] = span, Shape.SCALAR
        self.lines.append(Assign(Ref(Role.VALUE, name, span=span), value, span=line.span))

    def _start(self, statement: syntax.Start) -> None:
        for argument in statement.arguments:
            name, span = argument.name, argument.span
            if name is None:
                self._incomplete(
                    "this start is not said to be of a variable",
                    "of which variable?",
                    "write `start x = 1, y = 2`",
                    span,
                )
            elif name not in self.variables:
                close = closest(name, self.variables)
                head = Span(span.start, span.start + len(name))
                self.report.add(problem.UnknownName(span=head, name=name, suggestion=close))
            elif name in self.start:
                first = (Label(self.start[name][1], "first set here"),)
                self.report.add(problem.SetTwice(span=span, name=name, also=first))
            else:
                value = declared_constant(argument.value, f"the start of `{name}`", self.report)
                self.start[name] = value, span

    def _finish(self) -> None:
        name, span = self.definition.name, self.definition.name_span
        missing = [
            each for each in self.variables if each not in self.start and each not in self.scope.excused
        ]
        if missing:
            self._incomplete(
                f"no start is given for {', '.join(f'`{each}`' for each in missing)}",
                "where does minimising begin?",
                f"add a line `start {', '.join(f'{each} = 1' for each in missing)}`",
                self.variables[missing[0]],
            )
        if not {VALUE} & (self.scope.values.keys() | self.scope.poisoned | self.scope.excused):
            self._incomplete(
                f"the objective `{name}` has no value", "minimise what?", f"add a line `{VALUE} = ...`", span
            )

    def _incomplete(self, reason: str, missing: str, choice: str, span: Span) -> None:
        self.report.add(problem.ObjectiveIncomplete(span=span, reason=reason, missing=missing, choice=choice))


def _report_unused(objective: Objective, scope: Scope) -> None:
    """What never reaches `out`, and stands in no claim."""
    setters = {line.target.name: line for line in objective.lines}
    reached: set[str] = set()
    waiting = [VALUE]
    for claim in objective.claims:
        waiting += [name for part in (claim.left, claim.right) if part for name in names_in(part)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            if name in setters:
                waiting += [ref.name for ref in references(setters[name].value)]
    kinds = (
        ("variable", {variable.name: variable.span for variable in objective.variables}),
        ("hyperparameter", {hyper.name: scope.hypers[hyper.name].name_span for hyper in objective.hypers}),
        ("value", {name: line.target.span for name, line in setters.items()}),
    )
    for what, names in kinds:
        for name, span in names.items():
            if name not in reached:
                unused = problem.Unused(span=span, what=what, name=name, target=f"`{VALUE}`")
                scope.report.add(unused)
