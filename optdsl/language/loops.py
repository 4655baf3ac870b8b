"""`repeat(n, x = start, a = ..., new)` and `rows(theta)`: calls whose arguments are more than expressions.

In: the call, and the scope it stands in. Out: the meaning, as `matrices.loop_parts` takes it apart again, or
None after reporting why not. Inside of a loop its names hide nothing: they have to be new.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from optdsl.diagnostics import catalogue as problem
from optdsl.diagnostics import catalogue_matrices as matrix_problem
from optdsl.language import syntax
from optdsl.language.matrices import REPEAT
from optdsl.language.names import why_illegal
from optdsl.language.optimizer import Apply, Expr, Kind, Ref, Role, Shape
from optdsl.language.scope import Scope
from optdsl.language.shapes import parts_of

Resolve = Callable[[syntax.Expr, Scope], Expr | None]


def resolve_count(call: syntax.Call, scope: Scope) -> Expr | None:
    """The number of rows or columns: `rows(theta)`."""
    match call.arguments:
        case (syntax.Argument(None, syntax.Name("theta")),) if call.over is None:
            return Apply(call.function, (), Shape.TENSOR, Kind.REAL, call.span)
    expected = "`theta`: it is the number of its " + ("rows" if call.function == "rows" else "columns")
    given = "something else" if call.arguments else "0"
    scope.report.add(problem.WrongArity(span=call.span, name=call.function, expected=expected, given=given))
    return None


def resolve_loop(call: syntax.Call, scope: Scope, resolve: Resolve) -> Expr | None:
    """A loop: how often, what goes around and at which value it starts, values of a round, the new value."""
    form = _form(call)
    if form is not None:
        scope.report.add(matrix_problem.LoopForm(span=call.span, reason=form))
        return None
    count, *bound, last = call.arguments
    times = resolve(count.value, scope)
    if times is not None and times.shape > Shape.SCALAR:
        reason = "how often it goes around has to be known before the step: a number, hypers and `t`"
        scope.report.add(matrix_problem.LoopForm(span=count.value.span, reason=reason))
        times = None
    inner = replace(scope, loop=dict(scope.loop))
    args: list[Expr | None] = [times]
    for argument in bound:
        name = argument.name or ""
        value = resolve(argument.value, inner)
        taken = name in scope or name in scope.later or name in inner.loop
        if (why := why_illegal(name)) or taken:
            reason = f"its name `{name}` {why or 'has a meaning already'}"
            scope.report.add(matrix_problem.LoopForm(span=argument.span, reason=reason))
            return None
        if value is None:
            scope.gradient_read = scope.gradient_read or inner.gradient_read
            return None
        inner.loop[name] = value.shape
        args += [Ref(Role.LOOP, name, shape=value.shape, span=argument.span), value]
    new = resolve(last.value, inner)
    scope.gradient_read = scope.gradient_read or inner.gradient_read
    if new is None or times is None:
        return None
    start = args[2]
    assert start is not None
    if start.shape is not new.shape or start.shape < Shape.ELEMENT:
        reason = "what goes around has to be a matrix, of the same rows and columns after each round"
        scope.report.add(matrix_problem.LoopForm(span=last.value.span, reason=reason))
        return None
    found = tuple(arg for arg in (*args, new) if arg is not None)
    return Apply(REPEAT, found, start.shape, Kind.REAL, call.span)


def _form(call: syntax.Call) -> str | None:
    named = [argument.name is not None for argument in call.arguments]
    if call.over or len(named) < 3 or named[0] or named[-1] or not all(named[1:-1]):
        return "it needs how often, what goes around with its start, and its new value"
    inside = [part for argument in call.arguments for part in _calls(argument.value)]
    return "a loop in a loop is not compiled" if REPEAT in inside else None


def _calls(expr: syntax.Expr) -> Iterator[str]:
    if isinstance(expr, syntax.Call):
        yield expr.function
    for part in parts_of(expr):
        yield from _calls(part)
