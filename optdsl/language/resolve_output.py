"""`output x = ...`: a second view of the parameters, worked out between steps from what is kept.

In: a declaration, and the scope after all lines. Out: an `Output`, or None after reporting why not. What is
known between steps is theta, the states and the hypers; the gradient and the values of a step are gone.
"""

from optdsl.diagnostics import Label
from optdsl.diagnostics import catalogue as problem
from optdsl.language import syntax
from optdsl.language.constants import check_constants
from optdsl.language.declarations import check_name
from optdsl.language.expressions import resolve_expr
from optdsl.language.matrices import uses_matrices
from optdsl.language.optimizer import Age, Expr, Output, Role, Shape, references
from optdsl.language.reductions import is_reduction
from optdsl.language.scope import Scope


def resolve_output(declared: syntax.OutputDecl, scope: Scope) -> Output | None:
    name, span = declared.name, declared.name_span
    if declared.value is None:
        if name not in scope.states:
            if name not in scope.excused:
                reason = f"no state is called `{name}`"
                scope.report.add(problem.OutputNotKept(span=span, name=name, reason=reason))
            return None
        value = resolve_expr(syntax.At(name, 0, None, span), scope)
    else:
        if not _is_new(name, declared, scope):
            return None
        value = resolve_expr(declared.value, scope)
    if value is None:
        return None
    check_constants(value, scope.report)
    if (why := _not_kept(value)) is not None:
        scope.report.add(problem.OutputNotKept(span=declared.span, name=name, reason=why))
        return None
    return Output(name, value, declared.span)


def _is_new(name: str, declared: syntax.OutputDecl, scope: Scope) -> bool:
    if name in scope:
        first = scope.declaration(name)
        where = first.name_span if first is not None else scope.values[name]
        label = Label(where, "first declared here")
        scope.report.add(problem.AlreadyDeclared(span=declared.name_span, name=name, also=(label,)))
        return False
    return check_name(name, declared.name_span, scope.report)


def _not_kept(value: Expr) -> str | None:
    """Why it is not known between steps, or is no view of the parameters."""
    if is_reduction(value):
        return "it holds a reduction"
    if uses_matrices(value):
        return "it holds a matrix"
    for ref in references(value):
        kept = ref.role in (Role.THETA, Role.STATE) and ref.age is Age.NEW
        if not kept and ref.role not in (Role.HYPER, Role.FLAG):
            return f"`{ref.name}{ref.age.value}` is not known then"
    return None if value.shape is Shape.ELEMENT else "it has one value, and the parameters one per element"
