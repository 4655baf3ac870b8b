"""Inequalities that follow from others by nonnegative multipliers: found in floats, checked in balls.

In: `Statement`s over function values f and a Gram matrix, with unknown numbers in them. Out: unknowns and
multipliers for which what is stated, minus the multiples of what is given, is a positive definite quadratic
form without function values. The search is a semidefinite programme, by clarabel (`optdsl[rates]`; imported
on use); `holds` then rounds it to rationals and bounds every pivot of the form away from zero in ball
arithmetic, so that no solver's tolerance is trusted.
Not done here: which inequalities and statements; see `performance`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite, sqrt
from typing import TypeVar

from flint import arb, ctx, fmpq

INSTALL = "worst-case rates need an SDP solver: pip install 'optdsl[rates]'"
ROUNDED = 2**60  # denominators of what the solver found
BITS = 256
NONE = Fraction(0)
USABLE = frozenset(("Solved", "AlmostSolved", "InsufficientProgress", "MaxIterations"))
"""How the solver may end: `holds` decides what its answer is worth."""


class NoSolverError(Exception):
    """`optdsl[rates]` is not installed."""


@dataclass(frozen=True)
class Expression:
    """values . f + z' M z, over function values f and a basis z, without zeros: `form` has M's upper half."""

    values: Mapping[int, Fraction] = field(default_factory=dict)
    form: Mapping[tuple[int, int], Fraction] = field(default_factory=dict)

    def __add__(self, other: "Expression") -> "Expression":
        return Expression(_sum(self.values, other.values), _sum(self.form, other.form))

    def __mul__(self, factor: Fraction) -> "Expression":
        if not factor:
            return Expression()
        values = {i: x * factor for i, x in self.values.items()}
        return Expression(values, {place: x * factor for place, x in self.form.items()})

    def __sub__(self, other: "Expression") -> "Expression":
        return self + -other

    def __neg__(self) -> "Expression":
        return self * Fraction(-1)


K = TypeVar("K")


def _sum(x: Mapping[K, Fraction], y: Mapping[K, Fraction]) -> dict[K, Fraction]:
    found = dict(x)
    for key, value in y.items():
        if total := found.get(key, NONE) + value:
            found[key] = total
        else:
            del found[key]
    return found


@dataclass(frozen=True)
class Statement:
    """known + sum u[i]*parts[i] >= 0, wherever every one of `given` is nonnegative; `size` is z's."""

    size: int
    known: Expression
    parts: tuple[tuple[int, Expression], ...]
    given: tuple[Expression, ...] = ()


@dataclass(frozen=True)
class Solution:
    """The unknowns u, and the multipliers of each statement."""

    unknowns: tuple[float, ...]
    multipliers: tuple[tuple[float, ...], ...]


def solve(statements: Sequence[Statement], cost: Sequence[int]) -> Solution | None:
    """Unknowns with the least sum cost*u, not yet to be trusted; None when the solver finds none."""
    try:
        import clarabel
        import numpy as np
        from scipy import sparse
    except ImportError as error:
        raise NoSolverError(INSTALL) from error

    width = len(cost) + sum(len(statement.given) for statement in statements)
    # rows*x + slack = right, the slack in the cones: equalities, then multipliers, then a form a statement.
    rows: list[dict[int, float]] = []
    right: list[float] = []
    forms: list[tuple[dict[int, float], float]] = []
    sizes = [clarabel.PSDTriangleConeT(statement.size) for statement in statements]
    column = len(cost)
    for statement in statements:
        terms = [*statement.parts, *((column + i, -given) for i, given in enumerate(statement.given))]
        column += len(statement.given)
        for i in {i for _, term in terms for i in term.values} | {*statement.known.values}:
            rows.append({k: -float(term.values[i]) for k, term in terms if i in term.values})
            right.append(float(statement.known.values.get(i, 0)))
        for place in ((i, j) for j in range(statement.size) for i in range(j + 1)):
            scale = 1.0 if place[0] == place[1] else sqrt(2)
            row = {k: -scale * float(term.form[place]) for k, term in terms if place in term.form}
            forms.append((row, scale * float(statement.known.form.get(place, 0))))
    cones = [clarabel.ZeroConeT(len(rows)), clarabel.NonnegativeConeT(width - len(cost)), *sizes]
    rows += [{k: -1.0} for k in range(len(cost), width)]
    right += [0.0] * (width - len(cost))
    rows += [row for row, _ in forms]
    right += [value for _, value in forms]
    entries = [(i, k, value) for i, row in enumerate(rows) for k, value in row.items()]
    down, across, values = (list(part) for part in zip(*entries, strict=True))
    matrix = sparse.csc_matrix((values, (down, across)), shape=(len(rows), width))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    settings.max_iter = 100
    objective = np.array([*map(float, cost), *[0.0] * (width - len(cost))])
    none = sparse.csc_matrix((width, width))
    found = clarabel.DefaultSolver(none, objective, matrix, np.array(right), cones, settings).solve()
    solution = [float(x) for x in found.x]
    if str(found.status) not in USABLE or not all(map(isfinite, solution)):
        return None
    multipliers = []
    column = len(cost)
    for statement in statements:
        multipliers.append(tuple(solution[column : column + len(statement.given)]))
        column += len(statement.given)
    return Solution(tuple(solution[: len(cost)]), tuple(multipliers))


# --- checked ---------------------------------------------------------------------------------------


def holds(statement: Statement, unknowns: Sequence[Fraction], multipliers: Sequence[float]) -> bool:
    """Whether the statement follows, strictly, for rational unknowns and these multipliers, rounded."""
    rest = statement.known
    for k, part in statement.parts:
        rest = rest + part * unknowns[k]
    factors = [max(NONE, rounded(value)) for value in multipliers]
    for factor, given in zip(factors, statement.given, strict=True):
        rest = rest - given * factor
    # What rounding left of the function values is taken up by what is given of one value alone.
    for i, value in rest.values.items():
        single = next((given for given in statement.given if _only(given, i, value)), None)
        if single is None:
            return False
        rest = rest - single * (value / single.values[i])
    return not rest.values and _positive_definite(statement.size, rest)


def rounded(value: float) -> Fraction:
    return Fraction(round(value * ROUNDED), ROUNDED)


def _only(given: Expression, i: int, value: Fraction) -> bool:
    """Whether it has the i-th function value and no other, with the sign of `value`."""
    return given.values.keys() == {i} and given.values[i] * value > 0


def _positive_definite(size: int, expression: Expression) -> bool:
    """Whether every pivot of Gauss's elimination is positive, for sure."""
    before, ctx.prec = ctx.prec, BITS
    try:
        rows = [[arb(0)] * size for _ in range(size)]
        for (i, j), x in expression.form.items():
            rows[i][j] = rows[j][i] = arb(fmpq(x.numerator, x.denominator))
        for i, row in enumerate(rows):
            if not row[i] > 0:
                return False
            for below in rows[i + 1 :]:
                factor = below[i] / row[i]
                for k in range(i + 1, size):
                    below[k] -= factor * row[k]
        return True
    finally:
        ctx.prec = before
