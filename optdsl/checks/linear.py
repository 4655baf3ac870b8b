"""`equivalent(other) free ...`: this spec is that one, up to a linear change of state that is found.

In: the claim, this spec, a way to look the other up. The ansatz is
    theta' = theta + sum of c_i*state_i,        state_j' = d_j*theta + sum of d_ij*state_i
with unknown constants and, for `free` hypers of the other, unknown values, all of them functions of this
spec's hypers. What the update lines say of them is solved (`solve`), and the result is proved anew by
`relation`: the search need not be trusted. Refuted, where nothing is free, by a run in which the two take
their gradients at different points.
Not done here: changes of state that are not linear or depend on t, and specs that are not polynomial in
their states (their ansatz has no solution, or none that is found: unknown).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

from optdsl.checks.algebra import Algebra, NeedCaseError, NoFormError, VacuousError
from optdsl.checks.catalogue import Lookup
from optdsl.checks.context import Context
from optdsl.checks.pairing import Pair, UnreadableError, bound, claim_text, pair, substituted
from optdsl.checks.rational import ONE, ZERO, BudgetError, Poly, Rational, as_fraction
from optdsl.checks.relation import RELATED, Part, Relation, difference, facts_of, invariant
from optdsl.checks.runs import first_difference
from optdsl.checks.show import shown
from optdsl.checks.solve import Solution, solutions
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.language import syntax
from optdsl.language.optimizer import (
    Age,
    Apply,
    Expr,
    Hyper,
    Kind,
    Number,
    Optimizer,
    Ref,
    Role,
    Shape,
    references,
)

MAX_SIGNS = 20
MAX_CANDIDATES = 8


@dataclass(frozen=True)
class Found:
    """A relation that is proved, with the values of the free hypers."""

    pair: Pair  # its right spec has no unknowns left
    relation: Relation
    hypers: Mapping[str, Expr]
    parts: frozenset[Part]
    reverse: bool = False  # the relation gives this spec's states in terms of the other's


def claim_equivalent(claim: syntax.Claim, context: Context, lookup: Lookup) -> Verdict:
    text = claim_text(claim)
    try:
        specs = pair(claim, context, lookup)
    except UnreadableError as error:
        return Verdict(text, Outcome.UNKNOWN, residual=str(error))
    found = find_either(specs)
    if found is not None:
        summary, derivation, assumptions = told(found)
        return Verdict(text, Outcome.PROVED, summary, derivation, assumptions=assumptions)
    if not specs.free and _starts_at_zero(specs.left) and _starts_at_zero(specs.right):
        witness = first_difference(specs, queries_only=True)
        if witness is not None:
            summary = "no linear change of state: the gradients are taken at different points"
            return Verdict(text, Outcome.REFUTED, summary, specs.notes, witness)
    return Verdict(
        text,
        Outcome.UNKNOWN,
        residual="no linear relation between the states was found",
        derivation=specs.notes,
    )


def _starts_at_zero(optimizer: Optimizer) -> bool:
    """Then every linear relation has theta' = theta at the start."""
    return all(state.initial == Number(Fraction(0)) for state in optimizer.states)


def told(found: Found) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A relation in words: summary, derivation and what it assumes."""
    specs = found.pair
    algebra = Algebra(facts_of(specs, first=False))
    for hyper in specs.left.hypers:
        algebra.symbol((hyper.name, Age.NOW))  # hypers first in every product
    values = {
        (ref.name, ref.age): algebra.symbol((ref.name, ref.age))
        for expr in (*found.relation.values(), *found.hypers.values())
        for ref in references(expr)
    }
    names = [name for name in found.relation if ("related", name) in found.parts]
    rationals = {name: algebra.evaluate(found.relation[name], values) for name in names}
    chosen = {name: algebra.evaluate(expr, values) for name, expr in found.hypers.items()}
    mine, other = ("'", "") if found.reverse else ("", "'")
    settings = [
        f"{name}{other} = {shown(algebra, value).replace('[t-1]', mine)}" for name, value in rationals.items()
    ]
    settings += [f"{name}' = {shown(algebra, value)}" for name, value in chosen.items()]
    summary = f"with {', '.join(settings)} (primes: {specs.other})"
    derivation = (
        *specs.notes,
        f"relation found: {', '.join(settings)}",
        "proved: it holds after step 1 from the initial states, every step t >= 2 keeps it,",
        "and both take the gradient at the same point, for every sequence of gradients",
    )
    divided = sorted(
        {
            shown(algebra, Rational(factor, ONE))
            for rational in (*rationals.values(), *chosen.values())
            for factor, power in rational.factors()[1]
            if power < 0 and not algebra.interval(factor).nonzero
        }
    )
    assumptions = [f"{factor} is not 0: the relation divides by it" for factor in divided]
    return summary, derivation, ("hypers do not change from step to step", *assumptions)


# --- the search ----------------------------------------------------------------------------------


def find_either(specs: Pair, *, same_theta: bool = False) -> Found | None:
    """A relation in one direction or the other."""
    found = find(specs, same_theta=same_theta)
    if found is None and (back := find(specs.swapped(), same_theta=same_theta)) is not None:
        found = replace(back, reverse=True)
    return found


def find(specs: Pair, *, same_theta: bool = False) -> Found | None:
    """A relation that is proved; theta' = theta with `same_theta`. None says nothing."""
    unknown, relation = _ansatz(specs, same_theta=same_theta)
    names = frozenset((*unknown, *specs.free.values()))
    zero = Hyper("", Fraction(0), next(iter(specs.left.hypers)).domain) if specs.left.hypers else None
    if zero is None:
        return None
    hypers = (*specs.right.hypers, *(replace(zero, name=name) for name in unknown))
    searched = replace(specs, right=replace(specs.right, hypers=hypers))
    try:
        algebra, equations = _equations(searched, relation, names)
        indices = {algebra.index(algebra.symbol((name, Age.NOW))): name for name in sorted(names)}
        found = islice(solutions(equations, frozenset(indices)), MAX_CANDIDATES)
        for solution in found:
            proved = _checked(specs, relation, algebra, indices, solution)
            if proved is not None:
                return proved
    except (BudgetError, NoFormError, VacuousError, ZeroDivisionError):
        return None
    return None


def _ansatz(specs: Pair, *, same_theta: bool) -> tuple[tuple[str, ...], dict[str, Expr]]:
    """The names of the unknown constants, and the relation with them."""
    unknown: list[str] = []

    def term(of: str, quantity: Expr) -> Expr:
        unknown.append(f"{of}/{len(unknown)}'")
        return _apply("mul", Ref(Role.HYPER, unknown[-1]), quantity)

    theta: Expr = Ref(Role.THETA, "theta", Age.OLD, Shape.ELEMENT)
    states = [Ref(Role.STATE, state.name, Age.OLD, state.shape) for state in specs.left.states]
    relation: dict[str, Expr] = {"theta": theta}
    if not same_theta:
        for mine in states:
            relation["theta"] = _apply("add", relation["theta"], term("theta", mine))
    for there in specs.right.states:
        total: Expr = term(there.name, theta)
        for mine in states:
            total = _apply("add", total, term(there.name, mine))
        relation[there.name] = total
    return tuple(unknown), relation


def _equations(specs: Pair, relation: Relation, unknown: frozenset[str]) -> tuple[Algebra, list[Poly]]:
    """What has to be zero, coefficient by coefficient, where no sign that a line asks for is zero."""
    algebra = Algebra(facts_of(specs, first=False))
    for _ in range(MAX_SIGNS):
        try:
            rows = list(_rows(specs, relation, algebra))
            break
        except NeedCaseError as need:
            algebra = algebra.assuming(need.poly, need.signs[0])
    else:
        raise BudgetError("too many signs")
    hypers = {(hyper.name, Age.NOW) for hyper in (*specs.left.hypers, *specs.right.hypers)}
    known = {
        i
        for i, definition in enumerate(algebra.definitions)
        if definition[0] == "input" and definition[1] in hypers
    }
    found: dict[str, Poly] = {}
    for row in rows:
        for coefficient in _coefficients(row.num, known):
            found[str(coefficient)] = coefficient
    return algebra, list(found.values())


def _rows(specs: Pair, relation: Relation, algebra: Algebra) -> Iterator[Rational]:
    for first in (True, False):
        for part in (("query", ""), *(("related", name) for name in relation)):
            yield difference(part, specs, algebra, relation, frozenset(), first=first)


def _coefficients(poly: Poly, known: set[int]) -> Iterator[Poly]:
    """Of the monomials in everything that changes from step to step."""
    found: dict[tuple[int, ...], Poly] = {}
    for monomial, value in poly.to_dict().items():
        changing = tuple(0 if i in known else int(e) for i, e in enumerate(monomial))
        fixed = tuple(int(e) if i in known else 0 for i, e in enumerate(monomial))
        found[changing] = found.get(changing, ZERO) + poly.context().from_dict({fixed: value})
    yield from found.values()


def _checked(
    specs: Pair, relation: Relation, algebra: Algebra, indices: Mapping[int, str], solution: Solution
) -> Found | None:
    """The candidate as expressions, proved from the start."""
    back = {prime: name for name, prime in specs.free.items()}
    values: dict[str, Expr] = {}
    for index, name in indices.items():
        if index in solution:
            rational = solution[index]
            for other in indices:
                if other in rational.generators():  # an unknown that is left open: any value will do
                    rational = rational.substituted(other, Rational.of(1 if indices[other] in back else 0))
            values[name] = as_expr(algebra, rational)
        else:
            values[name] = Number(Fraction(1 if name in back else 0))
    chosen = {name: substituted(expr, values) for name, expr in relation.items()}
    hypers = {back[name]: expr for name, expr in values.items() if name in back}
    final = replace(
        specs,
        left=bound(specs.left, values, specs.left.hypers),
        right=bound(specs.right, values, specs.right.hypers),
    )
    parts = invariant(final, chosen)
    if not parts >= RELATED:
        return None
    return Found(final, chosen, hypers, parts)


# --- rational functions as expressions -----------------------------------------------------------


def as_expr(algebra: Algebra, rational: Rational) -> Expr:
    """A rational function of hypers as an expression; raises `NoFormError` for any other atom."""
    return _apply("div", _poly_expr(algebra, rational.num), _poly_expr(algebra, rational.den))


def _poly_expr(algebra: Algebra, poly: Poly) -> Expr:
    total: Expr = Number(Fraction(0))
    for monomial, value in poly.to_dict().items():
        term: Expr = Number(as_fraction(value))
        for index, exponent in enumerate(monomial):
            if exponent:
                match algebra.definitions[index]:
                    case "input", (str(name), Age.NOW):
                        power = _apply("pow", Ref(Role.HYPER, name), Number(Fraction(int(exponent))))
                        term = _apply("mul", term, power)
                    case _:
                        raise NoFormError("not a function of hypers alone")
        total = _apply("add", total, term)
    return total


def _apply(op: str, x: Expr, y: Expr) -> Expr:
    return Apply(op, (x, y), x.shape.joined(y.shape), Kind.REAL)
