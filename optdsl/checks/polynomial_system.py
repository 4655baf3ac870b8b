"""All real solutions of polynomial equations over Q: points, and sets with more than one.

An equation that is a product is split into its factors; a variable that stands alone is put into the others;
what is left falls apart into groups that share no variable, each of which has one unknown (its roots), one
equation (a curve or surface), or two unknowns (resultants, and interval Newton to tell which pairs of roots
belong together). Everything else raises `UndecidedError`, and what is too large `BudgetError`: never a guess.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from flint import fmpq, fmpz

from optdsl.checks.algebraic import Point, Root, identify, is_common_zero, real_roots, univariate
from optdsl.checks.interval import EVERYTHING, Interval, exactly
from optdsl.checks.rational import (
    ZERO,
    BudgetError,
    Poly,
    as_fraction,
    coefficients,
    constant,
    generator,
    power,
    used,
)
from optdsl.checks.rational import product as times
from optdsl.checks.trace import UndecidedError

MAX_DEGREE = 24
MAX_RESULTANT = 49  # degree of one equation times degree of the other
MAX_BRANCHES = 64
MAX_POINTS = 64

Solved = tuple[tuple[int, Poly], ...]
"""Variables and what they are, in the order in which they were found: each reads later ones."""


@dataclass(frozen=True, eq=False)
class Family:
    """Infinitely many solutions: the common zeros of `equations`, of this dimension."""

    equations: tuple[Poly, ...]
    dimension: int
    solved: Solved
    rest: tuple[Poly, ...]  # irreducible, in groups without a common variable


@dataclass(frozen=True, eq=False)
class Solutions:
    points: tuple[Point, ...]
    families: tuple[Family, ...]


def solve(equations: Sequence[Poly], variables: Sequence[int]) -> Solutions:
    """Every real solution, once. Raises `UndecidedError` and `BudgetError`."""
    points: dict[tuple[Root, ...], Point] = {}
    families: dict[frozenset[str], Family] = {}
    for left, solved in _leaves(equations):
        for found in _of_leaf(left, solved, variables):
            if isinstance(found, Family):
                families.setdefault(frozenset(map(str, found.equations)), found)
            else:
                points.setdefault(tuple(found[v] for v in variables), found)
            if len(points) > MAX_POINTS:
                raise BudgetError(f"more than {MAX_POINTS} points")
    return Solutions(tuple(points.values()), tuple(families.values()))


def _leaves(equations: Sequence[Poly]) -> Iterator[tuple[list[Poly], Solved]]:
    """Cases in which no equation can be split and none gives a variable; together they are everything."""
    waiting: list[tuple[list[Poly], Solved]] = [(list(equations), ())]
    done = 0
    while waiting:
        left, solved = waiting.pop()
        done += 1
        if done > MAX_BRANCHES:
            raise BudgetError("too many cases")
        irreducible: list[Poly] = []
        cases = _split(left, irreducible)
        if cases is not None:
            waiting += [(case, solved) for case in cases]
        elif (found := _alone(irreducible)) is not None:
            index, value, source = found
            others = [put(equation, index, value) for equation in irreducible if equation is not source]
            waiting.append((others, (*solved, (index, value))))
        else:
            yield irreducible, solved


def _split(left: list[Poly], irreducible: list[Poly]) -> list[list[Poly]] | None:
    """Cases that together have the same solutions; None when every equation is irreducible, and said once."""
    seen: set[str] = set()
    for place, equation in enumerate(left):
        if equation.is_zero():
            continue
        if equation.is_constant():
            return []
        if equation.total_degree() > MAX_DEGREE:
            raise BudgetError(f"an equation of degree {equation.total_degree()}")
        factors = [factor for factor, _ in equation.factor()[1]]
        others = left[:place] + left[place + 1 :]
        if len(factors) > 1:
            return [[factor, *others] for factor in factors]
        factor = factors[0] / constant(as_fraction(factors[0].leading_coefficient()))
        around = _range(factor)
        if around.nonzero:
            return []
        if around.nonnegative:  # a sum of terms that are never negative is zero where each of them is
            terms = [factor.context().from_dict({m: c}) for m, c in factor.to_dict().items()]
            return [[*terms, *others]]
        if str(factor) not in seen:
            seen.add(str(factor))
            irreducible.append(factor)
    return None


def _alone(left: list[Poly]) -> tuple[int, Poly, Poly] | None:
    """A variable, what it is by an equation that has it in one term alone, and that equation."""
    candidates = []
    for equation in left:
        for index in used(equation):
            parts = coefficients(equation, index)
            if max(parts) == 1 and parts[1].is_constant():
                value = -parts.get(0, ZERO) / parts[1]
                degree = value.total_degree() if len(value) else 0
                candidates.append((degree, len(value), index, value, equation))
    if not candidates:
        return None
    _, _, index, value, source = min(candidates, key=lambda each: each[:3])
    return index, value, source


def put(poly: Poly, index: int, value: Poly) -> Poly:
    """With a variable replaced."""
    if index not in used(poly):
        return poly
    total = ZERO
    for exponent, rest in coefficients(poly, index).items():
        total = total + times(rest, power(value, exponent))
    return total


def _range(poly: Poly) -> Interval:
    total = exactly(0)
    for monomial, coefficient in poly.to_dict().items():
        term = exactly(as_fraction(coefficient))
        for exponent in monomial:
            if exponent:
                term = term * EVERYTHING.power(int(exponent))
        total = total + term
    return total


# --- a case in which nothing can be split or put in ----------------------------------------------


def _of_leaf(left: list[Poly], solved: Solved, variables: Sequence[int]) -> Iterator[Point | Family]:
    groups = _groups(left)
    free = set(variables) - {i for i, _ in solved} - {i for indices, _ in groups for i in indices}
    curves = [equations[0] for indices, equations in groups if len(indices) > 1 and len(equations) == 1]
    finite = [group for group in groups if group[1][0] not in curves]
    solutions = [_of_group(indices, equations) for indices, equations in finite]
    if not all(solutions):
        return
    if free or curves:
        for curve in curves:
            _must_be_real(curve)
        dimension = len(free) + sum(len(used(curve)) - 1 for curve in curves)
        equations = (*(generator(i) - value for i, value in solved), *left)
        yield Family(equations, dimension, solved, tuple(left))
        return
    for parts in product(*solutions):
        base = {index: root for part in parts for index, root in part.items()}
        yield {**base, **_completed(base, solved)}


def _groups(left: list[Poly]) -> list[tuple[list[int], list[Poly]]]:
    """Equations that share variables, directly or through others."""
    groups: list[tuple[set[int], list[Poly]]] = []
    for equation in left:
        indices, equations = set(used(equation)), [equation]
        for group in [group for group in groups if group[0] & indices]:
            indices, equations = indices | group[0], group[1] + equations
            groups.remove(group)
        groups.append((indices, equations))
    return [(sorted(indices), equations) for indices, equations in groups]


def _of_group(indices: list[int], equations: list[Poly]) -> list[dict[int, Root]]:
    if len(indices) == 1:
        if len(equations) > 1:
            return []  # irreducible and different: no common root
        return [{indices[0]: root} for root in real_roots(univariate(equations[0], indices[0]))]
    if len(indices) != 2 or len(equations) != 2:
        raise UndecidedError(f"{len(equations)} equations in {len(indices)} variables do not fall apart")
    p, q = equations
    if p.total_degree() * q.total_degree() > MAX_RESULTANT:
        raise BudgetError(f"equations of degrees {p.total_degree()} and {q.total_degree()}")
    x, y = indices
    rivals = {
        x: real_roots(univariate(p.resultant(q, y), x)),
        y: real_roots(univariate(p.resultant(q, x), y)),
    }
    found = []
    for roots in product(rivals[x], rivals[y]):
        point = dict(zip(indices, roots, strict=True))
        known = is_common_zero(p, q, point, rivals)
        if known is None:
            raise UndecidedError(f"not known whether there is a solution at {roots[0]}, {roots[1]}")
        if known:
            found.append(point)
    return found


_GRID = (0, 1, -1, 2, -2, 5, -5)


def _must_be_real(curve: Poly) -> None:
    """A polynomial that is positive somewhere and negative somewhere is zero on all that lies between."""
    signs: set[int] = set()
    indices = used(curve)
    for place in product(_GRID, repeat=min(len(indices), 4)):
        known: dict[str | int, int | fmpz | fmpq] = {i: fmpq(0) for i in indices}
        known |= {i: fmpq(v) for i, v in zip(indices, place, strict=False)}
        value = curve.subs(known)
        if not value.is_zero():
            signs.add(1 if as_fraction(value.leading_coefficient()) > 0 else -1)
        if len(signs) == 2:
            return
    raise UndecidedError("not known whether an equation has real solutions")


def _completed(base: dict[int, Root], solved: Solved) -> dict[int, Root]:
    """The variables that were put in, as roots of their own minimal polynomials."""
    done: dict[int, Root] = {}
    for place, (index, value) in enumerate(solved):
        for later, found in solved[place + 1 :]:
            value = put(value, later, found)
        minimal = generator(index) - value
        for i in sorted(used(value)):
            own = constant(0)
            for exponent, coefficient in enumerate(base[i].coefficients):
                own = own + times(constant(coefficient), power(generator(i), exponent))
            if minimal.total_degree() * own.total_degree() > MAX_RESULTANT:
                raise BudgetError("a coordinate of high degree")
            minimal = minimal.resultant(own, i)
        done[index] = identify(value, index, base, univariate(minimal, index))
    return done
