"""`repeat(k = 0 to m - 1, q = g[t], a[k] = ..., q - a[k]*y[t-k])`, and what it reads: syntax to meaning.

In: the call, which is the whole of a line, and the scope. Out: a `history.SWEEP`, or None after reporting why
not. `refuse_history` says what no spec with such loops can have, once all lines are known.
"""

from collections.abc import Callable
from dataclasses import replace

from optdsl.diagnostics import Report, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.diagnostics import catalogue_matrices as matrix_problem
from optdsl.language import syntax
from optdsl.language.history import (
    ENTRY,
    ROUND,
    SWEEP,
    NotLinearError,
    counting_hypers,
    end_of,
    leaves,
    lengths,
    sweeps,
)
from optdsl.language.names import why_illegal
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Kind, Optimizer, Ref, Role, Shape, references
from optdsl.language.scope import Scope

Resolve = Callable[[syntax.Expr, Scope], Expr | None]

_HERE = "a loop over what is remembered is a line of its own"


def is_loop_over_past(expr: syntax.Expr) -> bool:
    return isinstance(expr, syntax.Call) and any(isinstance(a.value, syntax.Range) for a in expr.arguments)


def refuse_loop(call: syntax.Call, scope: Scope) -> None:
    scope.report.add(matrix_problem.LoopForm(span=call.span, reason=_HERE))


def resolve_past_loop(call: syntax.Call, line: str, scope: Scope, resolve: Resolve) -> Expr | None:
    """`line` is the name that the line sets."""
    form = _form(call)
    if form is not None:
        _refused(call.span, form, scope)
        return None
    counted, *bound, last = call.arguments
    count = counted.name or ""
    inner = replace(scope, loop={**scope.loop, count: Shape.SCALAR}, count=count, rounds=dict(scope.rounds))
    if why := _why_taken(count, line, scope):
        _refused(counted.span, f"its name `{count}` {why}", scope)
        return None
    assert isinstance(counted.value, syntax.Range)
    args: list[Expr | None] = [resolve(counted.value.first, scope), resolve(counted.value.last, scope)]
    k = Ref(Role.LOOP, count, span=counted.span)
    args.append(k)
    made: dict[str, tuple[str, Shape]] = {}
    for argument in bound:
        name = argument.name or ""
        value = resolve(argument.value, inner)
        scope.gradient_read = scope.gradient_read or inner.gradient_read
        if name in inner.rounds or (why := _why_taken(name, line, inner)):
            why = "has a meaning already" if name in inner.rounds else why
            _refused(argument.span, f"its name `{name}` {why}", scope)
            return None
        if value is None:
            return None
        ref = Ref(Role.LOOP, name, shape=value.shape, span=argument.span)
        if argument.at is None:
            inner.loop[name] = value.shape
            args += [ref, value]
        elif (argument.at.offset, argument.at.step, argument.at.count) == (None, None, count):
            inner.rounds[name] = "", value.shape
            made[name] = line, value.shape
            args += [Apply(ROUND, (ref, k), value.shape, Kind.REAL, argument.span), value]
        else:
            _refused(argument.span, f"a value of each round is written `{name}[{count}] = ...`", scope)
            return None
    new = resolve(last.value, inner)
    scope.gradient_read = scope.gradient_read or inner.gradient_read
    found = tuple(arg for arg in (*args, new) if arg is not None)
    if len(found) < len(args) + 1:
        return None
    loop = Apply(SWEEP, found, Shape.ELEMENT, Kind.REAL, call.span)
    if _is_wrong(loop, scope):
        return None
    scope.rounds |= made
    scope.past_loops.add(line)
    return loop


def _is_wrong(loop: Apply, scope: Scope) -> bool:
    ((_, parts),) = sweeps([Assign(Ref(Role.VALUE, ""), loop)])
    for end in (parts.first, parts.last):
        if end_of(end) is None:
            reason = "it counts from and to whole numbers, or hypers and whole numbers: `0 to m - 1`"
            _refused(end.span, reason, scope)
            return True
    if {parts.start.shape, parts.new.shape} != {Shape.ELEMENT}:
        _refused(parts.new.span, "what goes around has one value per element, as `g[t]` has", scope)
        return True
    numbers = [value for target, value in parts.bound if isinstance(target, Apply)]
    for value in numbers:
        if value.shape > Shape.TENSOR:
            _refused(value.span, "what is kept of each round is a number", scope)
            return True
    try:
        list(leaves(parts, scope.past_loops))
    except NotLinearError as error:
        reason = (
            "vectors are added and multiplied by numbers here, and numbers made of their `dot` and `norm`"
        )
        _refused(error.expr.span, reason, scope)
        return True
    return False


def _form(call: syntax.Call) -> str | None:
    others = call.arguments[1:]
    named = [argument.name is not None for argument in call.arguments]
    counted = [isinstance(argument.value, syntax.Range) for argument in call.arguments]
    first_at = next((a for a in others if a.name is not None), None)
    if not counted[0] or any(counted[1:]) or len(named) < 3 or named[-1] or not all(named[:-1]) or call.over:
        return "it needs how it counts, what goes around with its start, and its new value"
    return "what goes around has no index" if first_at is not None and first_at.at is not None else None


def _why_taken(name: str, line: str, scope: Scope) -> str | None:
    taken = name in scope or name in scope.later or (name in scope.loop and name != scope.count)
    if name == scope.count and scope.count:
        taken = True
    return why_illegal(name) or ("has a meaning already" if taken or name == line else None)


def _refused(span: Span, reason: str, scope: Scope) -> None:
    scope.report.add(matrix_problem.LoopForm(span=span, reason=reason))


def resolve_counted(node: syntax.At, scope: Scope) -> Expr | None:
    """`s[t-k]`, or `a[k]`."""
    name, count = node.name, Ref(Role.LOOP, node.count or "", span=node.span)
    if node.count != scope.count:
        reason = f"`{node.count}` counts in no loop around this: `repeat(k = 0 to m - 1, ...)`"
        _refused(node.span, reason, scope)
        return None
    if node.offset is None:
        if name not in scope.rounds:
            reason = f"`{name}[{node.count}]` is set by no loop above, nor above in this one"
            _refused(node.span, reason, scope)
            return None
        line, shape = scope.rounds[name]
        by = (Ref(Role.VALUE, line, shape=Shape.ELEMENT),) if line else ()
        ref = Ref(Role.LOOP, name, shape=shape, span=node.span)
        return Apply(ROUND, (ref, count, *by), shape, Kind.REAL, node.span)
    if name not in scope.states or scope.shapes[name] is not Shape.ELEMENT:
        what = f"`{name}[t-{node.count}]` of anything but a state with a value per element"
        scope.report.add(problem.NotYet(span=node.span, what=what))
        return None
    if name not in scope.new:
        if name not in scope.poisoned and name not in scope.excused:
            choice = f"move this line below `{name}[t] = ...`"
            found = problem.ReadBeforeSet(span=node.span, name=f"{name}[t]", choice=choice)
            scope.report.add(found)
        return None
    state = Ref(Role.STATE, name, Age.NEW, Shape.ELEMENT, span=node.span)
    return Apply(ENTRY, (state, count), Shape.ELEMENT, Kind.REAL, node.span)


def with_history(optimizer: Optimizer) -> Optimizer:
    """The optimizer with the shape of what is remembered."""
    past = lengths(optimizer)
    states = (replace(state, shape=Shape.PAST) if state.name in past else state for state in optimizer.states)
    return replace(optimizer, states=tuple(states))


def refuse_history(optimizer: Optimizer, report: Report, where: Span | None = None) -> None:
    """Reports what stands beside loops over what is remembered and is not compiled with them."""
    from optdsl.language.stages import plan

    found = list(sweeps(optimizer.lines))
    if not found:
        return

    def refuse(span: Span, what: str) -> None:
        report.add(problem.NotYet(span=where or span, what=what))

    domains = {hyper.name: hyper.domain for hyper in optimizer.hypers}
    for _, parts in found:
        for end in (parts.first, parts.last):
            affine = end_of(end)
            if affine is None:  # an argument of a composition
                refuse(end.span, "a loop over what is remembered whose ends change from step to step")
                return
            name, offset = affine
            low = 0 if name is None else domains[name].low
            if low is None or low + offset < 0:
                refuse(end.span, "a loop that may count to less than 0, which is in the future")
                return
    if len(counting_hypers(optimizer)) > 1:
        refuse(found[0][0].span, "more than one hyperparameter that says how much is remembered")
    past = lengths(optimizer)
    initials = {state.name: state for state in optimizer.states if state.name in past}
    for state in initials.values():
        if isinstance(state.initial, Ref):
            refuse(state.span, "a state that is remembered and begins at something else than a number")
    lines = (*optimizer.query_lines, *optimizer.lines)
    parts_of_lines = [part for line in lines for part in (line.value, line.first, optimizer.query) if part]
    for ref in (ref for part in parts_of_lines for ref in references(part)):
        if ref.name in past and ref.role is Role.STATE and ref.age is Age.OLD:
            refuse(ref.span, f"`{ref.name}[t-1]` outside of the loop that reads `{ref.name}[t-k]`")
            return
    for output in optimizer.outputs:
        if any(ref.name in past for ref in references(output.value)):
            refuse(output.span, "a view of what is remembered")
    if optimizer.query is not None:
        refuse(found[0][0].span, "a loop over what is remembered beside a gradient that is taken elsewhere")
    planned = plan(optimizer.lines)
    stages = {planned.lines[line.target.name, line.target.age] for line, _ in found}
    others = {key for key in planned.lines if key not in {(a.target.name, a.target.age) for a, _ in found}}
    if others or planned.results:
        refuse(found[0][0].span, "a loop over what is remembered beside whole matrices")
    elif len(stages) > 1:
        refuse(found[-1][0].span, "a loop over what is remembered that needs the elements of an earlier one")
