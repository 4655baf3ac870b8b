"""Everything there is to say about one objective: formula, gradient, Hessian, critical points, claims.

In: its meaning. Out: text for `optdsl explain NAME`. Decides nothing.
"""

from collections.abc import Iterator

from optdsl.checks.critical import MAX_DEGREE
from optdsl.checks.polynomials import NotPolynomialError, as_sum, polynomial
from optdsl.checks.rational import BudgetError, Poly
from optdsl.language import maths
from optdsl.language.derivatives import Function, TooLargeError, derivative, size
from optdsl.language.objective import VALUE, Objective
from optdsl.language.optimizer import Apply, Expr, Ref
from optdsl.language.unparse import as_syntax

LONGEST = 400  # nodes of a derivative that is shown
TOO_LONG = "(too long to show)"


def gradient(objective: Objective) -> Iterator[str]:
    """`∂out/∂x = ...`, one line for each variable."""
    names, poly = _names(objective), _polynomial(objective)
    for i, variable in enumerate(objective.variables):
        left = maths.UNICODE.name(f"∂{VALUE}/∂{variable.name}")
        partial = poly.derivative(i) if poly is not None else None
        yield f"{left} = {_text(objective, (variable.name,), partial, names)}"


def hessian(objective: Objective) -> Iterator[str]:
    """`∂²out/∂x∂y = ...`, one line for each two variables."""
    names, poly = _names(objective), _polynomial(objective)
    for i, first in enumerate(objective.variables):
        for j, second in enumerate(objective.variables[i:], i):
            below = "∂".join(maths.UNICODE.name(v.name) for v in (first, second))
            left = f"∂²{VALUE}/∂{below}" if i != j else f"∂²{VALUE}/∂{maths.UNICODE.name(first.name)}²"
            partial = poly.derivative(i).derivative(j) if poly is not None else None
            yield f"{left} = {_text(objective, (first.name, second.name), partial, names)}"


def _names(objective: Objective) -> list[str]:
    return [*(each.name for each in objective.variables), *(each.name for each in objective.hypers)]


def _polynomial(objective: Objective) -> Poly | None:
    try:
        poly = polynomial(objective, symbolic=True)
    except (NotPolynomialError, BudgetError):
        return None
    return poly if len(poly) and poly.total_degree() <= MAX_DEGREE else None


def _text(objective: Objective, by: tuple[str, ...], poly: Poly | None, names: list[str]) -> str:
    """As the rules give it, or as a sum of powers: the shorter one."""
    found = []
    if poly is not None:
        found.append(maths.show(as_sum(poly, names), maths.UNICODE))
    try:
        function = objective.function
        for name in by:
            function = derivative(function, name)
        found.append(maths.show(as_syntax(_inlined(function)), maths.UNICODE))
    except TooLargeError:
        pass
    text = min(found, key=len, default=TOO_LONG)
    return text if len(text) <= LONGEST else TOO_LONG


def _inlined(function: Function) -> Expr:
    """The value in the author's own names: what differentiation made is put in. Raises `TooLargeError`."""
    known: dict[str, Expr] = {}

    def put(expr: Expr) -> Expr:
        match expr:
            case Ref(name=name):
                return known.get(name, expr)
            case Apply(op=op, args=args, shape=shape, kind=kind):
                found = Apply(op, tuple(map(put, args)), shape, kind)
                if size(found, LONGEST) > LONGEST:
                    raise TooLargeError
                return found
            case _:
                return expr

    for line in function.lines:
        if "/" in line.target.name:
            known[line.target.name] = put(line.value)
    return put(function.value)
