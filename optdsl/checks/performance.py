"""What linear steps do in the worst case to smooth convex functions: statements for `semidefinite`.

In: steps as matrices over rationals. Out: a rate, or a bound on the loss after n steps, with a certificate
that was checked; None when none was found, which says nothing about the optimizer.
Lengths are from the minimiser, function values from the minimum; the function is scaled to L = 1, so that
gradients are g/L. All that is used of an m-strongly convex function with 1-Lipschitz gradients is what any
two of its points satisfy (Taylor, Hendrickx & Glineur, "Smooth strongly convex interpolation and exact
worst-case performance of first-order methods", 2017): it holds in every dimension, and nothing better holds.
So for n steps the bound is the least there is; a rate is by a quadratic in the states, the gradient and the
loss that falls in every step (Taylor, Van Scoy & Lessard, ICML 2018), the best of that kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from math import ceil, floor, log10

from optdsl.checks.semidefinite import Expression, Statement, holds, rounded, solve

ONE, ZERO = Fraction(1), Fraction(0)
DIGITS = 6

Vector = tuple[Fraction, ...]
"""Over a basis of starts and gradients."""


@dataclass(frozen=True)
class Step:
    """x[t] = a x[t-1] + b g, g taken at c x[t-1]; theta is the first of x."""

    a: tuple[Vector, ...]
    b: Vector
    c: Vector


@dataclass(frozen=True)
class Rate:
    """Every step shrinks V = z' p z + weight*f by rho^2; z is x and g."""

    rho: Fraction
    p: tuple[tuple[Fraction, ...], ...]
    weight: Fraction


# --- functions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A point where the function is looked at, over the basis; `value` is which of the function values it
    has, None at the minimiser."""

    point: Vector
    gradient: Vector
    value: int | None


def interpolation(samples: Sequence[Sample], m: Fraction) -> tuple[Expression, ...]:
    """What is nonnegative for every pair of samples of an m-strongly convex function, L = 1."""
    found = []
    for i, j in permutations(samples, 2):
        dx, dg = _minus(i.point, j.point), _minus(i.gradient, j.gradient)
        curved = _times(dg, dg) + _times(dx, dx) * m - _times(dg, dx) * (2 * m)
        values = Expression(_value(i)) - Expression(_value(j))
        found.append(values - _times(j.gradient, dx) - curved * (1 / (2 * (1 - m))))
    return tuple(found)


def _value(sample: Sample) -> dict[int, Fraction]:
    return {} if sample.value is None else {sample.value: ONE}


def _minus(x: Vector, y: Vector) -> Vector:
    return tuple(a - b for a, b in zip(x, y, strict=True))


def _times(x: Vector, y: Vector) -> Expression:
    """The product of two vectors of the basis."""
    found: dict[tuple[int, int], Fraction] = {}
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            if a and b:
                place = (min(i, j), max(i, j))
                found[place] = found.get(place, ZERO) + (a * b if i == j else a * b / 2)
    return Expression({}, {place: value for place, value in found.items() if value})


def _unit(size: int, place: int) -> Vector:
    return tuple(ONE if i == place else ZERO for i in range(size))


def _identity(size: int) -> Expression:
    return Expression({}, {(i, i): ONE for i in range(size)})


# --- rates -----------------------------------------------------------------------------------------


def rate(step: Step, m: Fraction) -> Rate | None:
    """The least rho, to six digits, that was certified; 0 < m < 1."""
    low, high = 0, 10**DIGITS
    best = None
    while high - low > 1:
        middle = (low + high) // 2
        found = certified(step, m, Fraction(middle, 10**DIGITS))
        if found is None:
            low = middle
        else:
            high, best = middle, found
    return best


def certified(step: Step, m: Fraction, rho: Fraction) -> Rate | None:
    """A quadratic that falls by rho^2 in every step, checked."""
    n = len(step.b)
    size = n + 2  # the basis: x, its gradient, the next one's
    x = [_unit(size, i) for i in range(n)]
    g, g_next = _unit(size, n), _unit(size, n + 1)
    after = [_combined((*row, b), (*x, g)) for row, b in zip(step.a, step.b, strict=True)]
    minimiser = Sample((ZERO,) * size, (ZERO,) * size, None)
    here = Sample(_combined(step.c, x), g, 0)
    there = Sample(_combined(step.c, after), g_next, 1)
    # Unknown: the entries of P, the weight of f, and the margin, which is made as large as can be.
    places = [(i, j) for j in range(n + 1) for i in range(j + 1)]
    weight, margin = len(places), len(places) + 1

    def lyapunov(z: Sequence[Vector], value: int) -> list[tuple[int, Expression]]:
        parts = [(k, _times(z[i], z[j]) * Fraction(1 if i == j else 2)) for k, (i, j) in enumerate(places)]
        return [*parts, (weight, Expression({value: ONE}))]

    falls = Statement(
        size,
        Expression(),
        (
            *(
                (k, old * rho**2 - new)
                for (k, old), (_, new) in zip(
                    lyapunov((*x, g), 0), lyapunov((*after, g_next), 1), strict=True
                )
            ),
            (margin, -_identity(size)),
        ),
        interpolation((here, there, minimiser), m),
    )
    small = [_unit(n + 1, i) for i in range(n + 1)]
    now = Sample(_combined(step.c, small[:n]), small[n], 0)
    at_rest = Sample((ZERO,) * (n + 1), (ZERO,) * (n + 1), None)
    own = lyapunov(small, 0)
    positive = Statement(
        n + 1,
        Expression(),
        (*own, (margin, -_identity(n + 1))),
        interpolation((now, at_rest), m),
    )
    # All of this may be multiplied by any number: P and the weight are kept within one.
    one = _identity(1)
    bounds = [
        statement
        for sign in (ONE, -ONE)
        for statement in (
            Statement(n + 1, _identity(n + 1), tuple((k, part * sign) for k, part in own[:-1])),
            Statement(1, one, ((weight, one * sign),)),
        )
    ]
    cost = [0] * (margin + 1)
    cost[margin] = -1
    found = solve((falls, positive, *bounds), cost)
    if found is None:
        return None
    unknowns = (*map(rounded, found.unknowns[:margin]), ZERO)
    if not (holds(falls, unknowns, found.multipliers[0]) and holds(positive, unknowns, found.multipliers[1])):
        return None
    p = [[ZERO] * (n + 1) for _ in range(n + 1)]
    for (i, j), value in zip(places, unknowns, strict=False):
        p[i][j] = p[j][i] = value
    return Rate(rho, tuple(map(tuple, p)), unknowns[weight])


def _combined(factors: Sequence[Fraction], vectors: Sequence[Vector]) -> Vector:
    return tuple(
        sum((f * x for f, x in zip(factors, column, strict=True)), ZERO)
        for column in zip(*vectors, strict=True)
    )


# --- finitely many steps ---------------------------------------------------------------------------


def worst_case(steps: Sequence[Step], m: Fraction, starts: Vector) -> Fraction | None:
    """tau: f(theta[n]) - f* <= tau*L*|theta[0] - x*|^2, certified, and least but for rounding; 0 <= m < 1.

    `starts` is 1 for what begins as theta[0] and 0 for what begins as zero.
    """
    n = len(steps)
    size = n + 2  # the basis: theta[0], the gradients of the steps, that of theta[n]
    x = [tuple(start * e for e in _unit(size, 0)) for start in starts]
    samples = []
    for k, step in enumerate(steps):
        g = _unit(size, k + 1)
        samples.append(Sample(_combined(step.c, x), g, k))
        x = [_combined((*row, b), (*x, g)) for row, b in zip(step.a, step.b, strict=True)]
    samples += [
        Sample(x[0], _unit(size, n + 1), n),
        Sample((ZERO,) * size, (ZERO,) * size, None),
    ]
    given = interpolation(samples, m)
    start, last = _times(_unit(size, 0), _unit(size, 0)), Expression({n: ONE})
    least = solve([Statement(size, -last, ((0, start),), given)], [1])
    if least is None:
        return None
    # The least leaves no room to round in: a little more, and then as much room as there is.
    for slack in (10**-6, 10**-5, 10**-4):
        tau = _up(least.unknowns[0] * (1 + slack) + 1e-9)
        bound = Statement(size, start * tau - last, ((0, -_identity(size)),), given)
        found = solve([bound], [-1])
        if found is not None and holds(bound, (ZERO,), found.multipliers[0]):
            return tau
    return None


def _up(value: float) -> Fraction:
    """To six digits, upwards."""
    exponent = max(0, DIGITS - 1 - floor(log10(value))) if value > 0 else DIGITS
    return Fraction(ceil(Fraction(value) * 10**exponent), 10**exponent)
