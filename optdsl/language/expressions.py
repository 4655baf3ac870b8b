"""One expression of a line: syntax to meaning.

Assumes that declarations are in the `Scope`. Gives an `optimizer.Expr` with every kind and shape known,
or None after reporting why not. Keeps the author's order; folds nothing.
"""

from collections.abc import Container
from itertools import pairwise

from optdsl.diagnostics import Label, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.language import syntax
from optdsl.language.constants import literal
from optdsl.language.inputs import DRAWN, INPUTS, draw_name
from optdsl.language.loops import resolve_count, resolve_loop
from optdsl.language.matrices import COUNTS, MATRIX, REPEAT, MatrixOperator
from optdsl.language.names import closest
from optdsl.language.operators import (
    INFIX,
    OPERATORS,
    REDUCTIONS,
    RESERVED_FUNCTIONS,
    Operator,
    Reduction,
    reduction_name,
)
from optdsl.language.optimizer import Age, Apply, Expr, Kind, Number, Ref, Role, Shape, Truth, joined
from optdsl.language.scope import Scope
from optdsl.language.spellings import INSTEAD
from optdsl.language.sweeps import is_loop_over_past, refuse_loop, resolve_counted, resolve_past_loop

_KIND_NAME = {Kind.REAL: "number", Kind.BOOL: "condition"}
_KIND_ADVICE = {
    Kind.REAL: "turn the condition into a number: `if CONDITION then 1 else 0`",
    Kind.BOOL: "compare it with something, as in `x > 0`",
}


def resolve_expr(expr: syntax.Expr, scope: Scope, wanted: Kind = Kind.REAL) -> Expr | None:
    """The meaning of an expression of the wanted kind."""
    found = _resolve(expr, scope)
    if found is not None and found.kind is not wanted:
        scope.report.add(
            problem.WrongKind(
                span=expr.span,
                expected=_KIND_NAME[wanted],
                found=_KIND_NAME[found.kind],
                choice=_KIND_ADVICE[wanted],
            )
        )
        return None
    return found


def resolve_value(expr: syntax.Expr, line: str, scope: Scope) -> Expr | None:
    """The value of `line = ...`: an expression, or a loop over what is remembered."""
    if line and isinstance(expr, syntax.Call) and is_loop_over_past(expr):
        return resolve_past_loop(expr, line, scope, resolve_expr)
    return resolve_expr(expr, scope)


def _resolve(expr: syntax.Expr, scope: Scope) -> Expr | None:
    match expr:
        case syntax.Number():
            value = literal(expr, scope.report)
            return None if value is None else Number(value, expr.span)
        case syntax.Bool(value=truth):
            return Truth(truth, expr.span)
        case syntax.Name():
            return _name(expr, scope)
        case syntax.At():
            return _at(expr, scope) if expr.count is None else resolve_counted(expr, scope)
        case syntax.Unary(op, operand):
            return _apply(OPERATORS["not" if op == "not" else "neg"], (operand,), expr.span, scope)
        case syntax.Binary("@", left, right):
            return matrix_operation(MATRIX["matmul"], (left, right), expr.span, scope)
        case syntax.Binary(op, left, right):
            return _apply(INFIX[op], (left, right), expr.span, scope)
        case syntax.If(test, then, otherwise):
            return _apply(OPERATORS["where"], (test, then, otherwise), expr.span, scope)
        case syntax.Call():
            return _call(expr, scope)
        case syntax.Range():
            scope.report.add(problem.UnexpectedText(span=expr.span, expected="a value", found="`to`"))
            return None
        case syntax.Expectation():
            scope.report.add(problem.UnexpectedText(span=expr.span, expected="a value", found="`E[...]`"))
            return None


def _apply(row: Operator, operands: tuple[syntax.Expr, ...], span: Span, scope: Scope) -> Expr | None:
    found = [resolve_expr(x, scope, kind) for x, kind in zip(operands, row.takes, strict=True)]
    args = tuple(arg for arg in found if arg is not None)
    if len(args) < len(found) or not _fit(args, span, scope):
        return None
    return Apply(row.name, args, joined(arg.shape for arg in args), row.gives, span)


def _fit(args: tuple[Expr, ...], span: Span, scope: Scope) -> bool:
    """Whether there is something in common, element by element; reports it where there is not."""
    for x, y in pairwise(args):
        if x.shape.clashes(y.shape):
            reason = "element by element, these two have nothing in common"
            found = f"{SHAPE_WORDS[x.shape]} and {SHAPE_WORDS[y.shape]}"
            choice = "transpose or multiply one of them (`@`), so that both have the same rows and columns"
            scope.report.add(problem.ShapeClash(span=span, reason=reason, found=found, choice=choice))
            return False
    return True


def matrix_operation(
    row: MatrixOperator, operands: tuple[syntax.Expr, ...], span: Span, scope: Scope
) -> Expr | None:
    """A product, a factor of a matrix or a number of it."""
    found = [resolve_expr(operand, scope) for operand in operands]
    args = tuple(arg for arg in found if arg is not None)
    if len(args) < len(found):
        return None
    matrices = args[: row.arity - row.numbers]
    shape = row.shape(*(arg.shape for arg in matrices))
    if shape is None or any(arg.shape > Shape.TENSOR for arg in args[len(matrices) :]):
        name = "@" if row.name == "matmul" else row.name
        words = " and ".join(SHAPE_WORDS[arg.shape] for arg in args)
        reason = f"`{name}` is of {row.wants}"
        choice = "a matrix has one value per element, as `g[t]` and `theta[t-1]` have, or is made of such"
        if row.name == "matmul":
            choice = "`x @ transpose(x)` is rows x rows, `transpose(x) @ x` columns x columns"
        scope.report.add(problem.ShapeClash(span=span, reason=reason, found=words, choice=choice))
        return None
    return Apply(row.name, args, shape, Kind.REAL, span)


SHAPE_WORDS = {
    Shape.SCALAR: "one value per step",
    Shape.GLOBAL: "one value per step",
    Shape.TENSOR: "one value per tensor",
    Shape.COLS: "one value per column",
    Shape.ROWS: "one value per row",
    Shape.ELEMENT: "rows x columns",
    Shape.LEFT: "rows x rows",
    Shape.RIGHT: "columns x columns",
    Shape.FLIPPED: "columns x rows",
}


PER = {Shape.TENSOR: "tensor", Shape.ROWS: "row", Shape.COLS: "column"} | dict.fromkeys(
    (Shape.SCALAR, Shape.GLOBAL), "step"
)


def _call(call: syntax.Call, scope: Scope) -> Expr | None:
    report, name = scope.report, call.function
    if name == "grad":
        report.add(problem.GradientPoint(span=call.span, reason="`grad` is not a value of its own"))
    elif name in DRAWN and scope.draws is not None:
        return _drawn(call, scope.draws, scope)
    elif name in RESERVED_FUNCTIONS:
        report.add(problem.NotYet(span=call.span, what=f"`{name}`"))
    elif is_loop_over_past(call):
        refuse_loop(call, scope)
    elif name == REPEAT:
        return resolve_loop(call, scope, resolve_expr)
    elif name in COUNTS:
        return resolve_count(call, scope)
    elif name in MATRIX and not call.over:
        if MATRIX[name].arity == len(call.arguments) and not any(a.name for a in call.arguments):
            operands = tuple(argument.value for argument in call.arguments)
            return matrix_operation(MATRIX[name], operands, call.span, scope)
        report.add(_wrong_arity(call, MATRIX[name].arity))
    elif reduction_name(name, call.over) in REDUCTIONS:
        return _reduction(call, scope)
    elif call.over:
        report.add(problem.NotYet(span=call.span, what=f"`{name}` over {call.over}"))
    elif name in scope or name in scope.excused or name in ("theta", "g", "t"):
        head = Span(call.span.start, call.span.start + len(name))
        report.add(problem.MissingOperator(span=head, left=name, right="(...)"))
    elif name not in OPERATORS or not OPERATORS[name].callable:
        reductions = (row.spelled for row in REDUCTIONS.values())
        known = [*(row.name for row in OPERATORS.values() if row.callable), *reductions, *MATRIX, REPEAT]
        head = Span(call.span.start, call.span.start + len(name))
        choice = INSTEAD.get(name, "")
        close = None if choice else closest(name, known)
        report.add(problem.UnknownFunction(span=head, name=name, suggestion=close, choice=choice))
        for argument in call.arguments:
            _resolve(argument.value, scope)
    elif name in ("min", "max") and len(call.arguments) == 1:
        report.add(problem.NotYet(span=call.span, what=f"`{name}` over elements"))
    elif OPERATORS[name].arity != len(call.arguments) or any(a.name for a in call.arguments):
        report.add(_wrong_arity(call, OPERATORS[name].arity))
    else:
        return _apply(OPERATORS[name], tuple(a.value for a in call.arguments), call.span, scope)
    return None


def _drawn(call: syntax.Call, draws: list[str], scope: Scope) -> Expr | None:
    """Every call draws numbers of its own; to read one twice, give it a name."""
    if call.arguments or call.over:
        scope.report.add(_wrong_arity(call, 0))
        return None
    draws.append(draw_name(call.function, len(draws)))
    return Ref(Role.INPUT, draws[-1], shape=Shape.ELEMENT, span=call.span)


def _reduction(call: syntax.Call, scope: Scope) -> Expr | None:
    row = REDUCTIONS[reduction_name(call.function, call.over)]
    if row.arity != len(call.arguments) or any(argument.name for argument in call.arguments):
        scope.report.add(_wrong_arity(call, row.arity))
        return None
    found = [resolve_expr(argument.value, scope) for argument in call.arguments]
    args = tuple(arg for arg in found if arg is not None)
    if len(args) < len(found):
        return None
    if not _fit(args, call.span, scope):
        return None
    shape = joined(arg.shape for arg in args)
    if shape.is_whole and row.over:
        report_over = f"`{call.function}` over {row.over} of what is {SHAPE_WORDS[shape]}"
        scope.report.add(problem.NotYet(span=call.span, what=report_over))
        return None
    if not _reducible(shape, row):
        per = {Shape.ROWS: " per row", Shape.COLS: " per column"}.get(shape, "")
        choice = f"reduce something with more than one value, such as `g[t]`, or leave `{call.function}` out"
        if per:
            choice = f"write what it is reduced over: `{call.function}(... over {_REDUCED[shape]})`"
        found_in = call.arguments[0].span
        scope.report.add(problem.NothingToReduce(span=found_in, name=call.function, per=per, choice=choice))
        return None
    return Apply(row.name, args, row.shape, Kind.REAL, call.span)


def _reducible(shape: Shape, row: Reduction) -> bool:
    """Whether there is more than one value of it for each of the reduction's.

    What has one value per row has as many as there are rows, and not one per element: the mean of all is
    the same either way, and everything else has to say what it is over.
    """
    return shape >= Shape.ELEMENT or (
        shape in _REDUCED and (row.over == _REDUCED[shape] or row.name == "mean")
    )


_REDUCED = {Shape.ROWS: "rows", Shape.COLS: "cols"}


def _wrong_arity(call: syntax.Call, arity: int) -> problem.WrongArity:
    return problem.WrongArity(
        span=call.span,
        name=call.function,
        expected=f"{arity} argument{'s' if arity > 1 else ''}, by position" if arity else "no argument",
        given=", ".join(a.name for a in call.arguments if a.name) or str(len(call.arguments)),
    )


def _name(node: syntax.Name, scope: Scope) -> Expr | None:
    name, span = node.name, node.span
    if name in scope.elsewhere:
        scope.report.add(problem.SetInABranch(span=span, name=name))
        return None
    if name == "t":
        return Ref(Role.TIME, "t", span=span)
    if name in scope.hypers:
        return Ref(Role.HYPER, name, span=span)
    if name in scope.flags:
        return Ref(Role.FLAG, name, kind=Kind.BOOL, span=span)
    if name in scope.inputs and name in INPUTS:
        return Ref(Role.INPUT, name, shape=INPUTS[name].shape, span=span)
    if name in scope.loop:
        return Ref(Role.LOOP, name, shape=scope.loop[name], span=span)
    if name in scope.values:
        return Ref(Role.VALUE, name, shape=scope.shapes[name], span=span)
    if name in scope.poisoned or name in scope.excused or name in scope.inputs:
        return None
    if name in ("theta", "g") or name in scope.states:
        new = name == "g" or name in scope.new
        choice = f"write `{name}[t]`" + (
            "" if name == "g" else f" for the new value, `{name}[t-1]` for the old"
        )
        if not new:
            choice = f"write `{name}[t-1]`: the new value is not set yet on this line"
        scope.report.add(problem.MissingIndex(span=span, name=name, choice=choice))
    elif name in scope.later:
        scope.report.add(
            problem.ReadBeforeSet(
                span=span,
                name=name,
                choice="move this line below the one that sets it",
                also=(Label(scope.later[name], "set here"),),
            )
        )
    elif (meant := scope.subscripted(name)) is not None:
        choice = f"write `{meant}[t]`: the time stands in brackets"
        scope.report.add(problem.MissingIndex(span=span, name=name, choice=choice))
    else:
        choice = INSTEAD.get(name, "")
        close = None if choice else closest(name, scope.readable())
        also: tuple[Label, ...] = ()
        if close and (declared := scope.declaration(close)):
            also = (Label(declared.name_span, "declared here"),)
        if close in scope.states or close == "theta":
            close = f"{close}[t]" if close in scope.new else f"{close}[t-1]"
        scope.report.add(
            problem.UnknownName(
                span=span, name=name, suggestion=close, also=also, replacement=close, choice=choice
            )
        )
    return None


def _at(node: syntax.At, scope: Scope) -> Expr | None:
    name, span = node.name, node.span
    changing = name in scope.states or name in ("theta", "g")
    if not changing:
        _needless_index(node, scope)
        return None
    if name in scope.elsewhere:
        scope.report.add(problem.SetInABranch(span=span, name=name))
        return None
    if node.step is not None or node.offset is None:
        _refuse_time(node, scope, "only `[t]` and `[t-1]` can be read", f"write `{name}[t-1]`")
        return None
    if node.offset > 0:
        _refuse_time(node, scope, "the future is not known", f"write `{name}[t]`")
        return None
    if name == "g":
        if node.offset == 0:
            scope.gradient_read = scope.gradient_read or span
            return Ref(Role.GRAD, "g", shape=Shape.ELEMENT, span=span)
        advice = "keep it: `state g_old[0] = 0`, and as last line `g_old[t] = g[t]`"
        _refuse_time(node, scope, "old gradients are not kept by themselves", advice)
        return None
    if node.offset < -1:
        _refuse_time(
            node, scope, "only one old value is kept", f"declare a second state that keeps `{name}[t-1]`"
        )
        return None
    role = Role.THETA if name == "theta" else Role.STATE
    shape = Shape.ELEMENT if name == "theta" else scope.shapes[name]
    if node.offset == -1:
        return Ref(role, name, Age.OLD, shape, span=span)
    if name in scope.new:
        return Ref(role, name, Age.NEW, shape, span=span)
    if name not in scope.poisoned and name not in scope.excused:
        scope.report.add(
            problem.ReadBeforeSet(
                span=span,
                name=f"{name}[t]",
                choice=f"write `{name}[t-1]` for the old value, or move this line below `{name}[t] = ...`",
            )
        )
    return None


def _refuse_time(node: syntax.At, scope: Scope, reason: str, choice: str) -> None:
    index = str(node.step) if node.offset is None else "t" + (f"{node.offset:+d}" if node.offset else "")
    scope.report.add(
        problem.NoSuchTime(span=node.span, name=node.name, index=index, reason=reason, choice=choice)
    )


def _needless_index(node: syntax.At, scope: Scope) -> None:
    name = node.name
    kinds: dict[str, Container[str]] = {
        "a hyperparameter": scope.hypers,
        "a flag": scope.flags,
        "an input": scope.inputs,
    }
    what = next((f"`{name}` is {kind}" for kind, names in kinds.items() if name in names), None)
    if what is None and (name in scope.values or name in scope.later):
        what = f"`{name}` is a value of this step; to keep it, declare `state {name}[0] = 0`"
    if what is not None:
        scope.report.add(problem.NeedlessIndex(span=node.span, name=name, what=what))
    elif name not in scope.excused and name not in scope.poisoned:
        close = closest(name, (*scope.states, "theta"))
        suggestion = f"{close}[t{node.offset or ''}]" if close and close != "g[t]" else close
        scope.report.add(
            problem.UnknownName(span=node.span, name=name, suggestion=suggestion, replacement=suggestion)
        )
