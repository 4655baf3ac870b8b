"""Critical points of polynomials: all of them, exactly, with their class; against literature and floats."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import polynomial
from numpy.typing import NDArray

import optdsl
from optdsl.checks.algebraic import Root, ball_at, precision, sign_at
from optdsl.checks.critical import Class, Critical, Landscape, landscape
from optdsl.checks.objective import About
from optdsl.checks.rational import BudgetError, generator
from optdsl.checks.trace import UndecidedError
from optdsl.language.derivatives import derivative
from tests.support.objectives import objective

Floats = NDArray[np.float64]


def of(name: str) -> Landscape:
    return About(optdsl.load(name).objective).landscape


def near(found: Landscape, kind: Class) -> list[tuple[float, ...]]:
    return [coordinates(point) for point in found.points if point.kind is kind]


def coordinates(point: Critical) -> tuple[float, ...]:
    return tuple(float(root.ball(64).mid()) for root in point.coordinates)


def test_himmelblau() -> None:
    """The points of the literature, to the digits that are printed there."""
    found = of("himmelblau")
    expected = {
        Class.MINIMUM: [(-3.779310, -3.283186), (-2.805118, 3.131312), (3, 2), (3.584428, -1.848126)],
        Class.MAXIMUM: [(-0.270845, -0.923039)],
        Class.SADDLE: [
            (-3.073026, -0.081353),
            (-0.127961, -1.953715),
            (0.086678, 2.884255),
            (3.385154, 0.073852),
        ],
    }
    for kind, points in expected.items():
        assert np.array(near(found, kind)) == pytest.approx(np.array(points), abs=1e-6)
    assert len(found.points) == 9
    (maximum,) = (point for point in found.points if point.kind is Class.MAXIMUM)
    assert float(maximum.value.mid()) == pytest.approx(181.617, abs=1e-3)  # type: ignore[union-attr]


def test_rosenbrock_and_beale() -> None:
    assert [(point.coordinates, point.kind) for point in of("rosenbrock").points] == [
        ((Root((-1, 1)), Root((-1, 1))), Class.MINIMUM)
    ]
    beale = of("beale")
    assert near(beale, Class.MINIMUM) == [(3, 0.5)]
    assert np.array(near(beale, Class.SADDLE)) == pytest.approx(
        np.array([(0, 1), (0.100538, -2.644513)]), abs=1e-6
    )
    gradient = optdsl.load("beale").objective.gradient  # the third one, by the float gradient
    assert gradient(near(beale, Class.SADDLE)[1]) == pytest.approx((0, 0), abs=1e-9)


def test_factored() -> None:
    """(0, 0) is a saddle with eigenvalues -2 and 2; the rest is a curve, on which the value is 0."""
    found = of("factored")
    assert [(point.coordinates, point.kind) for point in found.points] == [
        ((Root((0, 1)), Root((0, 1))), Class.SADDLE)
    ]
    (curve,) = found.sets
    assert (curve.family.dimension, curve.value) == (1, Fraction(0))
    x, y = generator(0), generator(1)
    assert [str(equation) for equation in curve.family.equations] == [str(x * y - 1)]
    saddle = optdsl.load("factored").objective
    rows = [derivative(first, name) for first in saddle.derivatives for name in ("w1", "w2")]
    matrix = np.reshape(saddle.numbers(rows, (0.0, 0.0), {}), (2, 2))
    assert np.linalg.eigvalsh(matrix) == pytest.approx([-2, 2])


@pytest.mark.parametrize(
    ("variables", "value", "expected"),
    [
        ("x", "x^3", "1 degenerate point"),
        ("x", "x^4 - 3*x^2 + x", "2 minima, 1 maximum"),
        ("x", "x^2 + x^3/3 + 5*x", "no critical point"),  # x^2 + 2*x + 5 = (x + 1)^2 + 4
        ("x, y", "x*y", "1 saddle"),  # the first minor is 0
        ("x, y", "x^4 + y^4 - 4*x*y", "2 minima, 1 saddle"),
        ("x, y", "(x^2 + y^2)^2", "1 degenerate point"),
        ("x, y", "(x^2 + y^2 - 1)^2", "1 maximum, a curve of degenerate points"),
        ("x, y", "x^2*y^2", "a curve of degenerate points, a curve of degenerate points"),  # both axes
        ("x, y", "(x^2 - 2)^4 + (y^2 - 3)^2", "1 maximum, 2 saddles, 6 degenerate points"),
        ("x, y", "x^3 - 3*x*y^2", "1 degenerate point"),  # the monkey saddle
        ("x, y, z", "x^2 + y^2 + z^2 + x*y*z", "1 minimum, 4 saddles"),
        ("x, y, z", "(x^2 + y^2 + z^2 - 1)^2", "1 maximum, a surface of degenerate points"),
        ("x, y, z", "x^2 + (y - z)^2", "a curve of degenerate points"),
        ("a, b, c", "100*(b - a^2)^2 + (1 - a)^2 + 100*(c - b^2)^2 + (1 - b)^2", "1 minimum"),
        ("x, y", "(x^3 - 2)^2 + (y - x)^2", "1 minimum, 1 degenerate point"),  # y is put in, and irrational
        ("x, y", "(x^2 + y - 11)^2*(x + y^2 - 7)^2", None),  # curves that cross: not decided
    ],
)
def test_landscapes(variables: str, value: str, expected: str | None) -> None:
    about = About(objective(variables, f"out = {value}"))
    if expected is None:
        with pytest.raises(UndecidedError):
            about.critical_points()
    else:
        assert about.critical_points().summary == expected


NEXT = st.integers(-3, 3)


@settings(deadline=None)
@given(st.lists(NEXT, min_size=9, max_size=9), st.integers(-2, 2), st.integers(-2, 2))
def test_points_that_are_put_in_are_found(numbers: list[int], a: int, b: int) -> None:
    """p = q^2 + r^2 with q, r zero at (a, b): it is critical, with value 0, and a minimum or degenerate."""
    x, y = generator(0) - a, generator(1) - b
    c = numbers
    q = c[0] * x + c[1] * y + c[2] * x * y + c[3] * x * x
    r = c[4] * x + c[5] * y + c[6] * y * y + c[7] * x * y + c[8] * x * x
    try:
        found = landscape(q * q + r * r, (0, 1))
    except (BudgetError, UndecidedError):
        return
    here = {0: Root((-a, 1)), 1: Root((-b, 1))}
    on_a_set = any(all(sign_at(e, here) == 0 for e in each.family.equations) for each in found.sets)
    kinds = [point.kind for point in found.points if point.coordinates == (here[0], here[1])]
    regular = c[0] * c[5] != c[1] * c[4]  # the Hessian is twice J'J
    assert on_a_set or kinds == [Class.MINIMUM if regular else Class.DEGENERATE]
    for point in found.points:  # and none is found that is not one
        with precision(128):
            balls = {i: root.ball(128) for i, root in enumerate(point.coordinates)}
            assert all(ball_at((q * q + r * r).derivative(i), balls).contains(0) for i in (0, 1))


def test_roots_are_equal_as_data() -> None:
    two = Root((-2, 0, 1), 1)
    assert two == Root((-2, 0, 1), 1) != Root((-2, 0, 1), 0)
    assert float(two.ball(64).mid()) == pytest.approx(math.sqrt(2))
    x, y = generator(0), generator(1)
    assert sign_at(x * x - 2, {0: two}) == 0
    assert sign_at(x * x * y - 2 * y, {0: two, 1: two}) == 0
    assert sign_at(x - 1, {0: two}) == 1
    assert sign_at(y - x, {0: two, 1: Root((-2, 0, 1), 0)}) == -1
    assert sign_at(y - x, {0: two, 1: two}) is None  # zero, which is not shown: never a guess


@settings(max_examples=60, deadline=None)
@given(st.lists(NEXT, min_size=15, max_size=15))
def test_no_critical_point_is_missed(numbers: list[int]) -> None:
    """What Newton's method finds from a grid, in floats, is in the list: polynomials of degree 4."""
    powers = [(i, j) for i in range(5) for j in range(5 - i)]
    terms = list(zip(numbers, powers, strict=True))
    x, y = generator(0), generator(1)
    try:
        found = landscape(sum((c * x**i * y**j for c, (i, j) in terms), 0 * x), (0, 1))
    except (BudgetError, UndecidedError):
        return
    if found.sets:
        return
    known = np.reshape([coordinates(point) for point in found.points], (-1, 2))
    table = np.zeros((5, 5))
    for c, place in terms:
        table[place] = c
    at = np.array(list(product((-2.1, -0.6, 0.7, 1.9), repeat=2)))
    with np.errstate(all="ignore"):
        for _ in range(60):
            gradient, hessian = along(table, at)
            regular = np.abs(np.linalg.det(hessian)) > 1e-3
            regular &= np.isfinite(hessian).all((1, 2)) & np.isfinite(gradient).all(1)
            at, gradient, hessian = at[regular], gradient[regular], hessian[regular]
            step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
            at = at - step
    for point in at[np.abs(step).max(1, initial=0) < 1e-12 * (1 + np.abs(at).max(1, initial=0))]:
        assert np.abs(known - point).max(1).min(initial=1) < 1e-6 * (1 + np.abs(point).max())


def along(table: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Gradients and Hessians at rows of points, of the polynomial with this table of coefficients."""

    def partial(i: int, j: int) -> Floats:
        derived = polynomial.polyder(polynomial.polyder(table, i, axis=0), j, axis=1)
        return np.asarray(polynomial.polyval2d(at[:, 0], at[:, 1], derived))

    gradient = np.stack([partial(1, 0), partial(0, 1)], 1)
    hessian = np.stack([partial(2, 0), partial(1, 1), partial(1, 1), partial(0, 2)], 1)
    return gradient, hessian.reshape(-1, 2, 2)
