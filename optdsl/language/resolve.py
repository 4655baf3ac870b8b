"""Syntax to meaning of an optimizer: names, times, kinds, shapes.

In: a `syntax.Definition`, maybe without lines that did not parse. Out: an `Optimizer` in which every name is
known, or None; all that is wrong goes to the `Report`. Not done: folding, choosing flags, claims.
"""

from dataclasses import replace
from fractions import Fraction

from optdsl.diagnostics import Label, Report, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.language import declarations, syntax
from optdsl.language.channels import refuse_mixed
from optdsl.language.constants import check_constants
from optdsl.language.expressions import PER, SHAPE_WORDS, resolve_value
from optdsl.language.inputs import FIRST_GRADIENT, SEED, made
from optdsl.language.matrices import uses_matrices
from optdsl.language.optimizer import (
    Age,
    Assign,
    Domain,
    Expr,
    Hyper,
    Optimizer,
    Ref,
    Role,
    Shape,
    references,
)
from optdsl.language.ranks import Block, rank_flags
from optdsl.language.reductions import reductions_in
from optdsl.language.resolve_output import resolve_output
from optdsl.language.scope import Declaration, Scope
from optdsl.language.shapes import flattened, infer_shapes
from optdsl.language.sweeps import with_history
from optdsl.language.usage import report_unused


def resolve_optimizer(
    definition: syntax.Definition, header: str, report: Report, excused: frozenset[str]
) -> Optimizer | None:
    """The meaning of an optimizer. `excused` are names on lines that did not parse."""
    if definition.formals:
        report.add(problem.NotYet(span=definition.formals[0].span, what="an optimizer around another"))
        return None
    declarations.check_name(definition.name, definition.name_span, report)
    return _Definition(definition, report, excused).resolve(header)


SEED_HYPER = Hyper(SEED, Fraction(0), Domain(Fraction(0), Fraction(2**32 - 1), True, True))


class _Definition:
    """One pass over the lines of a definition, from top to bottom."""

    def __init__(self, definition: syntax.Definition, report: Report, excused: frozenset[str]) -> None:
        self.definition = definition
        self.report = report
        self.scope = Scope(report, excused=excused, draws=[])
        self.lines: list[Assign] = []
        self.claims: list[syntax.Claim] = []
        self.first_cases: dict[str, tuple[syntax.Assign, Expr | None]] = {}
        self.query: Expr | None = None
        self.query_lines: tuple[Assign, ...] = ()
        self.first_gradient: Span | None = None

    def resolve(self, header: str) -> Optimizer | None:
        body, scope = self.definition.body, self.scope
        declarations.declare(flattened(body), scope)
        scope.shapes = infer_shapes(body)
        for statement in flattened(body):
            if isinstance(statement, syntax.Assign) and isinstance(statement.target, syntax.Name):
                scope.later.setdefault(statement.target.name, statement.target.span)
        hypers = [declarations.hyper(declared, self.report) for declared in scope.hypers.values()]
        flags = tuple(declarations.flag(declared, self.report) for declared in scope.flags.values())
        states = [declarations.state(declared, scope) for declared in scope.states.values()]
        declarations.check_inputs(scope)
        declarations.check_aliases(scope)
        blocks = [Block(statement) for statement in body if isinstance(statement, syntax.When)]
        scope.elsewhere.update(name for block in blocks for names in block.partial for name in names)
        for statement in body:
            self._statement(statement)
        views = [each for each in body if isinstance(each, syntax.OutputDecl)]
        outputs = [resolve_output(each, scope) for each in views]
        for each in views:
            first = next(other for other in views if other.name == each.name)
            if first is not each:
                also = (Label(first.name_span, "first declared here"),)
                self.report.add(problem.AlreadyDeclared(span=each.name_span, name=each.name, also=also))
        self._finish()
        flags += rank_flags(blocks, self.report)
        if self.report.has_errors:
            return None
        optimizer = Optimizer(
            name=self.definition.name,
            doc=header,
            hypers=(*(hyper for hyper in hypers if hyper), *((SEED_HYPER,) if scope.draws else ())),
            flags=flags,
            states=tuple(state for state in states if state),
            inputs=(*scope.inputs, *((FIRST_GRADIENT,) if self.first_gradient else ()), *(scope.draws or ())),
            query=self.query,
            query_lines=self.query_lines,
            lines=tuple(self.lines),
            claims=tuple(self.claims),
            outputs=tuple(output for output in outputs if output),
            source=self.report.source,
            span=self.definition.name_span,
        )
        report_unused(optimizer := with_history(optimizer), scope)
        refuse_mixed(optimizer, self.report)
        return None if self.report.has_errors else optimizer

    def _statement(self, statement: syntax.Statement) -> None:
        match statement:
            case syntax.Claim():
                self.claims.append(statement)
            case syntax.When():
                self._when(Block(statement))
            case syntax.Start():
                self.report.add(problem.NotYet(span=statement.span, what="`start` in an optimizer"))
            case syntax.Assign(target=syntax.At(name, offset, count=str(k), span=span)):
                index = k if offset is None else f"t-{k}"
                self.report.add(problem.TimeIndex(span=span, index=index))
                self.scope.poisoned.add(name)
            case syntax.Assign(target=syntax.Name()):
                self._value(statement)
            case syntax.Assign(target=syntax.At("g")):
                self._gradient(statement)
            case syntax.Assign():
                self._update(statement)
            case _:
                pass  # declarations have been read

    def _when(self, block: Block) -> None:
        """Both branches, each with the names that were set before; then one line for each name."""
        if not block.check(self.report):
            self.scope.poisoned |= block.names
            if "theta" in block.names:
                self.scope.new.setdefault("theta", block.when.span)
            return
        before, lines = self.scope, self.lines
        found: list[list[Assign]] = []
        scopes: list[Scope] = []
        for branch, own in zip(block.branches, block.partial, strict=True):
            self.scope = replace(
                before,
                values=dict(before.values),
                new=dict(before.new),
                elsewhere=before.elsewhere - own,
            )
            self.lines = []
            for statement in branch:
                self._statement(statement)
            found.append(self.lines)
            scopes.append(self.scope)
        self.scope, self.lines = before, lines
        for scope in scopes:
            before.values |= scope.values
            before.new |= scope.new
            before.gradient_read = before.gradient_read or scope.gradient_read
        self.lines += block.merged(found[0], found[1], self.report)

    def _resolved(self, expr: syntax.Expr, line: str = "") -> Expr | None:
        found = resolve_value(expr, line, self.scope)
        if found is not None:
            check_constants(found, self.report)
        return found

    # --- x = ... ---

    def _value(self, line: syntax.Assign) -> None:
        scope, name, span = self.scope, line.target.name, line.target.span
        if isinstance(line.value, syntax.Call) and line.value.function == "grad":
            value = self._first_gradient(line.value)
        else:
            value = self._resolved(line.value, name)
        if name in scope.states:
            self.report.add(
                problem.StateSetWithoutIndex(
                    span=span,
                    name=name,
                    also=(Label(scope.states[name].name_span, "declared as a state here"),),
                )
            )
            scope.poisoned.add(name)
            return
        if (declared := scope.declaration(name)) is not None:
            self._cannot_set(line, declared)
            return
        if name in scope.values:
            self._set_twice(name, line, scope.values[name])
            return
        if (meant := scope.subscripted(name)) is not None:
            choice = f"write `{meant}[t] = ...`: the time stands in brackets"
            self.report.add(problem.MissingIndex(span=span, name=name, choice=choice))
            scope.poisoned.update((name, meant))
            return
        if name == "theta":
            choice = "write `theta[t] = ...`: the parameters after the step"
            self.report.add(problem.MissingIndex(span=span, name=name, choice=choice))
            scope.poisoned.add(name)
            return
        if not declarations.check_name(name, span, self.report):
            scope.poisoned.add(name)
            return
        if value is None:
            scope.poisoned.add(name)
            return
        scope.values[name] = span
        self.lines.append(Assign(Ref(Role.VALUE, name, shape=value.shape, span=span), value, span=line.span))

    def _cannot_set(self, line: syntax.Assign, declared: Declaration) -> None:
        name = line.target.name
        what = {
            syntax.HyperDecl: "a hyperparameter is given by the user of the optimizer",
            syntax.FlagDecl: "a flag is chosen by the user of the optimizer",
        }.get(type(declared), "an input is given by the user of the optimizer")
        also = (Label(declared.name_span, "declared here"),)
        self.report.add(problem.CannotSet(span=line.target.span, name=name, what=what, also=also))

    def _set_twice(self, name: str, line: syntax.Assign, first: Span) -> None:
        self.report.add(
            problem.SetTwice(span=line.target.span, name=name, also=(Label(first, "first set here"),))
        )

    # --- x[t] = ..., x[1] = ... ---

    def _update(self, line: syntax.Assign) -> None:
        scope, target = self.scope, line.target
        assert isinstance(target, syntax.At)
        name = target.name
        value = self._resolved(line.value)
        if name != "theta" and name not in scope.states:
            if (declared := scope.declaration(name)) is not None:
                self._cannot_set(line, declared)
            elif name == "t":
                self.report.add(problem.CannotSet(span=target.span, name="t", what="`t` counts by itself"))
            elif name not in scope.excused:
                self.report.add(problem.UndeclaredState(span=target.span, name=name))
            scope.poisoned.add(name)
            return
        if target.step is not None:
            self._first_case(line, target, value)
            return
        if target.offset != 0:
            old = (target.offset or 0) < 0
            what = "an old value stays what it was" if old else "the future is set later"
            choice = "" if old else f"a step makes `[t]` of `[t-1]`: write `{name}[t] = ...`"
            shown = self.report.source.slice(target.span)
            self.report.add(problem.CannotSet(span=target.span, name=shown, what=what, choice=choice))
            scope.poisoned.add(name)
            return
        if name in scope.new:
            self._set_twice(f"{name}[t]", line, scope.new[name])
            return
        first = self.first_cases.pop(name, None)
        scope.new[name] = target.span
        if value is None or (first is not None and first[1] is None):
            return
        role = Role.THETA if name == "theta" else Role.STATE
        shape = Shape.ELEMENT if name == "theta" else scope.shapes[name]
        if value.shape.clashes(shape):
            self.report.add(
                problem.ShapeClash(
                    span=line.value.span,
                    reason=f"`{name}` cannot be set to this: it is {SHAPE_WORDS[shape]}",
                    found=SHAPE_WORDS[value.shape],
                    choice="transpose or multiply (`@`), so that it has the same rows and columns",
                )
            )
            return
        if name == "theta" and value.shape is not Shape.ELEMENT:
            self.report.add(
                problem.ShapeClash(
                    span=line.value.span,
                    reason="every element of the parameters would be set to one number",
                    found=f"one value per {PER[value.shape]}",
                    choice="begin with the old value: `theta[t] = theta[t-1] - ...`",
                )
            )
            return
        ref = Ref(role, name, Age.NEW, shape, span=target.span)
        self.lines.append(Assign(ref, value, first[1] if first else None, line.span))

    def _first_case(self, line: syntax.Assign, target: syntax.At, value: Expr | None) -> None:
        name = target.name
        if target.step != 1:
            reason = f"only the first step can have a case of its own, not step {target.step}"
        elif name in self.scope.new:
            reason = f"the first step's case of `{name}` stands below its general line"
        elif name in self.first_cases:
            reason = f"the first step's case of `{name}` is given twice"
        else:
            self.first_cases[name] = (line, value)
            return
        self.report.add(problem.FirstStepCase(span=target.span, name=name, reason=reason))

    # --- h = grad(theta[t-1]), g[t] = grad(...) ---

    def _first_gradient(self, call: syntax.Call) -> Expr | None:
        """A gradient to find the point of `g[t]` with."""
        scope = self.scope
        if self.query is not None or scope.gradient_read is not None:
            reason = "the first gradient stands below the one that is stepped with"
            self.report.add(problem.GradientPoint(span=call.span, reason=reason))
            return None
        if [(each.name, each.value) for each in call.arguments] != [(None, syntax.At("theta", -1, None))]:
            what = "a first gradient at another point than `theta[t-1]`"
            self.report.add(problem.NotYet(span=call.span, what=what))
            return None
        self.first_gradient = self.first_gradient or call.span
        return Ref(Role.INPUT, FIRST_GRADIENT, shape=Shape.ELEMENT, span=call.span)

    def _gradient(self, line: syntax.Assign) -> None:
        scope, call = self.scope, line.value
        target = line.target
        assert isinstance(target, syntax.At)
        if not (
            target.offset == 0
            and isinstance(call, syntax.Call)
            and call.function == "grad"
            and len(call.arguments) == 1
            and call.arguments[0].name is None
        ):
            self.report.add(
                problem.CannotSet(
                    span=target.span,
                    name="g",
                    what="the gradient is given; only `g[t] = grad(POINT)` says where",
                )
            )
            return
        if self.query is not None:
            self.report.add(
                problem.GradientPoint(span=line.span, reason="the gradient is taken a second time")
            )
            return
        point = self._resolved(call.arguments[0].value)
        if scope.gradient_read is not None:
            self.report.add(
                problem.GradientPoint(
                    span=line.span,
                    reason="the gradient is used before it is said where it is taken",
                    also=(Label(scope.gradient_read, "used here"),),
                )
            )
            return
        if point is None:
            return
        if point.shape is not Shape.ELEMENT:
            self.report.add(
                problem.ShapeClash(
                    span=line.value.span,
                    reason="the gradient is taken at a point, which has one value per element",
                    found="one value per step",
                    choice="write, for example, `grad(theta[t-1] + mu*b[t-1])`",
                )
            )
            return
        before = (point, *(each.value for each in self.lines))
        of_lines = (each for part in before for each in reductions_in(part) if each.shape > Shape.TENSOR)
        if any(True for _ in of_lines):
            what = "a reduction over rows or columns before the gradient is taken"
            self.report.add(problem.NotYet(span=line.span, what=what))
            return
        if any(map(uses_matrices, before)):
            self.report.add(problem.NotYet(span=line.span, what="a matrix before the gradient is taken"))
            return
        given = [
            ref
            for part in before
            for ref in references(part)
            if ref.role is Role.INPUT and not made(ref.name)
        ]
        if given:
            self.report.add(
                problem.GradientPoint(
                    span=line.span,
                    reason=f"`{given[0].name}` is known only where the gradient is",
                    also=(Label(given[0].span, "used here"),),
                )
            )
            return
        if not (isinstance(point, Ref) and point.role is Role.THETA and point.age is Age.OLD):
            self.query, self.query_lines = point, tuple(self.lines)

    def _finish(self) -> None:
        scope, report = self.scope, self.report
        for name, (line, _) in self.first_cases.items():
            reason = f"`{name}` has a case for the first step, and none for the later ones"
            report.add(problem.FirstStepCase(span=line.target.span, name=name, reason=reason))
        for name, declared in scope.states.items():
            known = name in scope.new or name in scope.poisoned or name in self.first_cases
            if not known and name not in scope.excused:
                report.add(problem.StateNotSet(span=declared.name_span, name=name))
        if self.first_gradient and self.query is None and not report.has_errors:
            reason = "a first gradient, and no second one at another point"
            report.add(problem.GradientPoint(span=self.first_gradient, reason=reason))
        if not ({"theta"} & (scope.new.keys() | scope.poisoned | scope.excused | self.first_cases.keys())):
            report.add(problem.ParametersNotSet(span=self.definition.name_span, name=self.definition.name))
