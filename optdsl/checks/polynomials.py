"""An objective as a polynomial in its variables, and polynomials as text.

Values come from our own tree by the rational arithmetic of `algebra`; what is not a polynomial (a quotient,
an exponential, a sign that has to be known) is refused with the reason.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce

from optdsl.checks.algebra import Algebra, NeedCaseError, NoFormError, VacuousError
from optdsl.checks.rational import Poly, Rational, as_fraction, used
from optdsl.checks.rational import constant as constant_poly
from optdsl.checks.trace import Real
from optdsl.checks.walk import Key
from optdsl.language import syntax
from optdsl.language.derivatives import first_kink
from optdsl.language.objective import VALUE, Objective
from optdsl.language.optimizer import Age
from optdsl.language.printer import print_expr
from optdsl.language.unparse import number


class NotPolynomialError(Exception):
    """The text is why."""


def polynomial(objective: Objective, *, symbolic: bool = False) -> Poly:
    """Generator i is variable i. Hypers are at their defaults or, `symbolic`, the generators that follow.

    Raises `NotPolynomialError` and `BudgetError`.
    """
    kink = first_kink(objective.function)
    if kink is not None:
        raise NotPolynomialError(f"`{kink}` is outside of what is differentiated for proofs")
    algebra = Algebra()
    inputs = [variable.name for variable in objective.variables]
    values: dict[Key, Rational] = {(name, Age.NOW): algebra.symbol((name, Age.NOW)) for name in inputs}
    for hyper in objective.hypers:
        key = hyper.name, Age.NOW
        values[key] = algebra.symbol(key) if symbolic else Rational.of(hyper.default)
    count = len(algebra.names)
    try:
        for line in objective.lines:
            values[line.target.name, Age.NOW] = algebra.evaluate(line.value, values)
    except (NoFormError, NeedCaseError, VacuousError) as error:
        raise NotPolynomialError("the objective is not a polynomial") from error
    found = values[VALUE, Age.NOW]
    if not found.den.is_constant() or any(i >= count for i in used(found.num)):
        raise NotPolynomialError("the objective is not a polynomial")
    return found.num


def shown_equation(poly: Poly, names: Sequence[str]) -> str:
    """`w1*w2 = 1`: what is zero, with its constant on the right."""
    constant = Fraction(0)
    for monomial, coefficient in poly.to_dict().items():
        if not any(monomial):
            constant = as_fraction(coefficient)
    left = poly - constant_poly(constant)
    if not left.is_zero() and as_fraction(left.leading_coefficient()) < 0:
        left, constant = -left, -constant
    return f"{print_expr(as_sum(left, names))} = {-constant}"


def as_sum(poly: Poly, names: Sequence[str]) -> syntax.Expr:
    """A sum of terms, the highest powers first; generator i is called `names[i]`."""
    total: syntax.Expr | None = None
    terms = [(tuple(map(int, monomial)), as_fraction(c)) for monomial, c in poly.to_dict().items()]
    for monomial, coefficient in sorted(terms, key=lambda term: (-sum(term[0]), [-e for e in term[0]])):
        parts: list[syntax.Expr] = [
            syntax.Name(names[i])
            if exponent == 1
            else syntax.Binary("^", syntax.Name(names[i]), syntax.Number(str(exponent)))
            for i, exponent in enumerate(monomial)
            if exponent
        ]
        magnitude = abs(coefficient)
        if magnitude != 1 or not parts:
            parts.insert(0, number(magnitude))
        term = reduce(lambda x, y: syntax.Binary("*", x, y), parts)
        if total is None:
            total = syntax.Unary("-", term) if coefficient < 0 else term
        else:
            total = syntax.Binary("-" if coefficient < 0 else "+", total, term)
    return total or syntax.Number("0")


def shown_value(value: Real) -> str:
    if isinstance(value, Fraction):
        return str(value)
    return "≈ 0" if value.contains(0) else f"≈ {float(value.mid()):.6g}"
