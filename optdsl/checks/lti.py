"""Linear, time-invariant specs as matrices: x[t] = A x[t-1] + B g, the gradient taken at C x[t-1].

In: the quantities of one general step (t >= 2) in `algebra`. Out: coefficients, which hold neither states
nor t. Raises `NotLinearError` naming what is not linear; a spec that is linear in pieces (max, abs, a
condition on a state) is not linear. First-step cases are the caller's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optdsl.checks.algebra import Algebra
from optdsl.checks.rational import ONE, ZERO, Poly, Rational, used
from optdsl.checks.walk import GRADIENT, THETA, TIME, Key
from optdsl.language.optimizer import Age, Optimizer

Row = list[Rational]
Matrix = list[Row]


class NotLinearError(Exception):
    """`names`: the states (or theta) whose new value is not linear, or depends on t."""

    def __init__(self, names: tuple[str, ...], reason: str) -> None:
        self.names, self.reason = names, reason
        super().__init__(f"{', '.join(names)}: {reason}")


def refuse_inputs(optimizer: Optimizer) -> None:
    """An input is new in every step: nothing that is multiplied by it has a coefficient."""
    if optimizer.inputs:
        raise NotLinearError(optimizer.inputs, "given anew in every step")


@dataclass(frozen=True)
class System:
    """`names` are theta and the states, in the order of rows and columns."""

    names: tuple[str, ...]
    a: Matrix
    b: Row
    c: Row


def system(optimizer: Optimizer, algebra: Algebra, values: Mapping[Key, Rational], query: Rational) -> System:
    """`values` are of a step from symbols for theta, states, g and t."""
    names = ("theta", *(state.name for state in optimizer.states))
    keys = [THETA, *((name, Age.OLD) for name in names[1:]), GRADIENT]
    variables = [algebra.index(algebra.symbol(key)) for key in keys]
    timed = algebra.index(algebra.symbol(TIME))
    rows: Matrix = []
    bad: dict[str, list[str]] = {}
    for name in names:
        row = linear(algebra, values[name, Age.NEW], variables, timed)
        if isinstance(row, str):
            bad.setdefault(row, []).append(name)
        else:
            rows.append(row)
    point = linear(algebra, query, variables, timed)
    if isinstance(point, str):
        bad.setdefault(point, []).append("the gradient's point")
    pieces = {
        algebra.names[i]
        for poly in algebra.asked.values()
        for i in used(poly)
        if changes(algebra, i, (*variables, timed))
    }
    if pieces and not bad:
        bad["only linear in pieces"] = sorted(pieces)
    if bad:
        reason = next(iter(bad))
        raise NotLinearError(tuple(bad[reason]), reason)
    assert not isinstance(point, str)
    return System(names, [row[:-1] for row in rows], [row[-1] for row in rows], point[:-1])


def linear(algebra: Algebra, value: Rational, variables: Sequence[int], timed: int) -> Row | str:
    """The coefficients of the variables, or what is in the way."""
    others = value.generators() - set(variables)
    if any(changes(algebra, i, variables) for i in others | (set(used(value.den)) & set(variables))):
        return "not linear in theta and the states"
    if any(changes(algebra, i, (timed,)) for i in others):
        return "it depends on t"
    found: dict[int | None, Poly] = {}
    for monomial, coefficient in value.num.to_dict().items():
        powers = [(i, int(monomial[i])) for i in variables if monomial[i]]
        if sum(power for _, power in powers) > 1:
            return "not linear in theta and the states"
        rest = tuple(0 if i in variables else int(e) for i, e in enumerate(monomial))
        which = powers[0][0] if powers else None
        found[which] = found.get(which, ZERO) + value.num.context().from_dict({rest: coefficient})
    if None in found:
        return "it moves without a gradient from zero"
    return [Rational.make(found.get(i, ZERO), value.den) for i in variables]


def changes(algebra: Algebra, index: int, variables: Sequence[int]) -> bool:
    """Whether an atom is, or is made of, one of the variables."""
    if index in variables:
        return True
    match algebra.definitions[index]:
        case "input", _:
            return False
        case "sqrt", poly:
            parts = set(used(poly))  # type: ignore[arg-type]
        case "power", base, exponents:
            parts = {*used(base), *(i for i, _ in exponents)}  # type: ignore[arg-type, attr-defined]
        case _, *args:
            parts = set().union(*(arg.generators() for arg in args))  # type: ignore[attr-defined]
    return any(changes(algebra, part, variables) for part in parts)


def characteristic(matrix: Matrix) -> Row:
    """The coefficients of det(z - A), constant first, the leading 1 last (Faddeev and LeVerrier)."""
    n = len(matrix)
    zero, one = Rational.of(0), Rational(ONE, ONE)
    found = [one]
    m = [[zero] * n for _ in range(n)]
    for k in range(1, n + 1):
        m = product(matrix, m)
        for i in range(n):
            m[i][i] = m[i][i] + found[-1]
        trace = zero
        for i, row in enumerate(product(matrix, m)):
            trace = trace + row[i]
        found.append(trace * Rational.of(-1) / Rational.of(k))
    return found[::-1]


def product(x: Matrix, y: Matrix) -> Matrix:
    return [[dot(row, [other[j] for other in y]) for j in range(len(y[0]))] for row in x]


def dot(x: Row, y: Row) -> Rational:
    total = Rational.of(0)
    for a, b in zip(x, y, strict=True):
        total = total + a * b
    return total


def solve(matrix: Matrix, right: Row) -> Row:
    """x with matrix*x = right, by elimination; raises `ZeroDivisionError` for a singular matrix."""
    n = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(n):
        pivot = next((k for k in range(i, n) if not rows[k][i].is_zero), None)
        if pivot is None:
            raise ZeroDivisionError
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(n):
            if k != i and not rows[k][i].is_zero:
                factor = rows[k][i]
                rows[k] = [x - factor * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [row[n] for row in rows]
