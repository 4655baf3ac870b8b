"""Inequalities that follow from others by nonnegative multipliers: found in floats, checked in balls.

In: `Statement`s over function values f and a Gram matrix, with unknown numbers in them. Out: unknowns and
multipliers for which what is stated, minus the multiples of what is given, is a positive definite quadratic
form without function values. The search is a semidefinite programme, by clarabel (`optdsl[rates]`; imported
on use); `holds` then rounds it to rationals and bounds every pivot of the form away from zero in ball
arithmetic, so that no solver's tolerance is trusted.
Not done here: which inequalities and statements; see `performance`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from flint import arb, ctx, fmpq

Vector = tuple[Fraction, ...]
Form = tuple[Vector, ...]

INSTALL = "worst-case rates need an SDP solver: pip install 'optdsl[rates]'"
ROUNDED = 2**60  # denominators of what the solver found
BITS = 256
NONE = Fraction(0)


class NoSolverError(Exception):
    """`optdsl[rates]` is not installed."""


@dataclass(frozen=True)
class Expression:
    """values . f + z' form z, over a fixed number of function values and a basis z."""

    values: Vector
    form: Form

    def __add__(self, other: "Expression") -> "Expression":
        values = tuple(x + y for x, y in zip(self.values, other.values, strict=True))
        rows = zip(self.form, other.form, strict=True)
        return Expression(values, tuple(tuple(x + y for x, y in zip(*row, strict=True)) for row in rows))

    def __mul__(self, factor: Fraction) -> "Expression":
        return Expression(
            tuple(x * factor for x in self.values), tuple(tuple(x * factor for x in row) for row in self.form)
        )

    def __sub__(self, other: "Expression") -> "Expression":
        return self + other * Fraction(-1)


@dataclass(frozen=True)
class Statement:
    """known + sum u[i]*parts[i] >= 0, wherever every one of `given` is nonnegative."""

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
    rows: list[list[float]] = []  # rows*x + slack = right, the slack in the cone
    right: list[float] = []
    equal, cones = [], []
    column = len(cost)
    forms = []
    for statement in statements:
        terms = [*statement.parts]
        terms += [(column + i, given * Fraction(-1)) for i, given in enumerate(statement.given)]
        column += len(statement.given)
        for i, value in enumerate(statement.known.values):
            equal.append(_row(width, {k: -float(term.values[i]) for k, term in terms}))
            right.append(float(value))
        forms.append((statement.known, terms))
    rows += equal
    cones.append(clarabel.ZeroConeT(len(equal)))
    for k in range(len(cost), width):
        rows.append(_row(width, {k: -1.0}))
        right.append(0.0)
    cones.append(clarabel.NonnegativeConeT(width - len(cost)))
    for known, terms in forms:
        size = len(known.form)
        for j in range(size):
            for i in range(j + 1):
                scale = 1.0 if i == j else sqrt(2)
                rows.append(_row(width, {k: -scale * float(term.form[i][j]) for k, term in terms}))
                right.append(scale * float(known.form[i][j]))
        cones.append(clarabel.PSDTriangleConeT(size))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    settings.max_iter = 100
    objective = np.array([*map(float, cost), *[0.0] * (width - len(cost))])
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix((width, width)), objective, sparse.csc_matrix(np.array(rows)), np.array(right),
        cones, settings,
    )  # fmt: skip
    found = solver.solve()
    values = [float(x) for x in found.x]
    if str(found.status) not in ("Solved", "AlmostSolved", "InsufficientProgress", "MaxIterations"):
        return None
    multipliers = []
    column = len(cost)
    for statement in statements:
        multipliers.append(tuple(values[column : column + len(statement.given)]))
        column += len(statement.given)
    return Solution(tuple(values[: len(cost)]), tuple(multipliers))


def _row(width: int, entries: dict[int, float]) -> list[float]:
    row = [0.0] * width
    for k, entry in entries.items():
        row[k] += entry
    return row


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
    for i, value in enumerate(rest.values):
        if not value:
            continue
        single = next((given for given in statement.given if _only(given, i, value)), None)
        if single is None:
            return False
        rest = rest - single * (value / single.values[i])
    return not any(rest.values) and _positive_definite(rest.form)


def rounded(value: float) -> Fraction:
    return Fraction(round(value * ROUNDED), ROUNDED)


def _only(given: Expression, i: int, value: Fraction) -> bool:
    """Whether it has the i-th function value and no other, with the sign of `value`."""
    others = any(x for k, x in enumerate(given.values) if k != i)
    return not others and given.values[i] * value > 0


def _positive_definite(form: Form) -> bool:
    """Whether every pivot of Gauss's elimination is positive, for sure."""
    before, ctx.prec = ctx.prec, BITS
    try:
        rows = [[arb(fmpq(x.numerator, x.denominator)) for x in row] for row in form]
        for i, row in enumerate(rows):
            if not row[i] > 0:
                return False
            for below in rows[i + 1 :]:
                factor = below[i] / row[i]
                for k in range(i + 1, len(row)):
                    below[k] -= factor * row[k]
        return True
    finally:
        ctx.prec = before
