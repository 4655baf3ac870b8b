"""Objectives: derivatives, critical points, claims on both sides, and what the front door makes of them."""

import json
import math
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import optdsl
from optdsl import cli, driver
from optdsl.checks.algebraic import Root, ball_at, precision, sign_at
from optdsl.checks.critical import Class, Landscape, landscape
from optdsl.checks.objective import About
from optdsl.checks.rational import generator
from optdsl.diagnostics import OptdslError, Source
from optdsl.files import objective_names, read_library
from optdsl.language.derivatives import derivative
from optdsl.language.objective import Objective
from optdsl.library import library_classes, lookup


def objective(variables: str, *lines: str) -> Objective:
    start = ", ".join(f"{name.strip()} = 1" for name in variables.split(","))
    text = f"objective Test({variables})\n" + "\n".join(lines) + f"\nstart {start}\n"
    found, _ = driver.meaning(Source("test.opt", text))
    assert isinstance(found, Objective)
    return found


def verdicts(spec: str, *claims: str) -> dict[str, str]:
    """What is said of the claims, appended to a spec of the library or to `variables: value`."""
    if ":" in spec:
        variables, value = spec.split(":")
        start = ", ".join(f"{name} = 1" for name in variables.split(", "))
        text = f"objective Test({variables})\nout = {value}\nstart {start}\n"
    else:
        text = read_library(spec).text
    text += "".join(f"prove {claim}\n" for claim in claims)
    _, _, found = driver.check(Source("test.opt", text), lookup)
    for verdict in found:
        assert (verdict.witness is not None) == (verdict.verdict == "refuted")
        assert verdict.residual or verdict.verdict != "unknown"
    return {verdict.claim: verdict.verdict for verdict in found}


# --- derivatives ---------------------------------------------------------------------------------

RULES = [
    "x*y + x/y - -x", "x^3*y^2 - x^-2", "x^y", "2^x*y^0.5", "sqrt(x^2 + y)", "exp(x*y)/log(x + 3)",
    "abs(x - y)*sign(x)", "cbrt(x - 2*y)", "sigmoid(x*y) - tanh(x/y)", "floor(x)*y^2",
    "min(x^2, y)*max(x, 2*y)",
    "clip(x*y, -1, 1) + clip(x^2, 0, 100)", "(5*x) mod (y + 1)", "if x > y then x^2*y else y^3",
    "(x + y)/(1 + exp(-x))^2", "0*x + 3 - (x - x)*y",
]  # fmt: skip


@pytest.mark.parametrize("value", RULES)
@pytest.mark.parametrize("point", [(0.8, 1.7), (1.3, 0.6)])
def test_gradients_are_those_of_differences(value: str, point: tuple[float, float]) -> None:
    """Against mpmath's derivative of the value, worked out by the operator table in 30 digits."""
    from optdsl.backend import get_backend
    from optdsl.language.operators import OPERATORS
    from optdsl.language.optimizer import Apply, Expr, Number, Ref, Truth

    get_backend("reference")
    found = objective("x, y", f"u = {value}", "out = u + x*u")

    def exact(expr: Expr, values: dict[str, object]) -> object:
        match expr:
            case Number(value=number):
                return mpmath.mpf(number.numerator) / number.denominator
            case Truth(value=truth):
                return truth
            case Ref(name=name):
                return values[name]
            case Apply(op=op, args=args):
                return OPERATORS[op].exact(*(exact(arg, values) for arg in args))

    def out(x: object, y: object) -> object:
        values = {"x": x, "y": y}
        for line in found.lines:
            values[line.target.name] = exact(line.value, values)
        return values["out"]

    with mpmath.workdps(30):
        expected = [float(mpmath.diff(out, point, order)) for order in ((1, 0), (0, 1))]
        assert found.value(point) == pytest.approx(float(out(*map(mpmath.mpf, point))), rel=1e-13)  # type: ignore[arg-type]
    assert found.gradient(point) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_hessians_by_hand() -> None:
    """Rosenbrock: (2 - 400*(y - 3*x^2), -400*x; -400*x, 200); shared lines are differentiated once."""
    for lines in (
        ("out = (1 - x)^2 + 100*(y - x^2)^2",),
        ("u = y - x^2", "v = 100*u^2", "out = (1 - x)^2 + v"),
    ):
        found = objective("x, y", *lines)
        x, y = 0.3, -1.7
        rows = []
        for first in found.derivatives:
            rows += [derivative(first, name) for name in ("x", "y")]
        numbers = found._numbers(rows, (x, y), {})
        assert numbers == pytest.approx((2 - 400 * (y - 3 * x * x), -400 * x, -400 * x, 200))


def test_gradient_of_the_tutorial() -> None:
    """PyTorch's autograd tutorial prints 4.5 four times."""
    found = optdsl.load("shifted_mean").objective
    assert found.gradient([float(x) for x in found.start]) == (4.5, 4.5, 4.5, 4.5)
    assert found.value((1, 1, 1, 1)) == 27


def test_values_of_arrays_and_hypers() -> None:
    found = optdsl.load("quadratic").objective
    x, y = np.array([1.0, 2.0]), np.array([[3.0], [4.0]])
    np.testing.assert_array_equal(found.value((x, y), kappa=2), (x**2 + 2 * y**2) / 2)
    assert found.gradient((1.0, 3.0)) == (1.0, 30.0)
    with pytest.raises(TypeError, match="no hyperparameter 'lr'"):
        found.value((1.0, 3.0), lr=1.0)
    with pytest.raises(ValueError, match="x, y"):
        found.value((1.0,))


@pytest.mark.parametrize("name", ["Adam", "GradientDescent"])
def test_the_librarys_optimizers_minimise(name: str) -> None:
    """Rosenbrock from its start: Adam gets to the minimum, gradient descent comes near."""
    from optdsl import numpy as arrays

    found = optdsl.load("rosenbrock").objective
    theta = np.array([float(x) for x in found.start])
    make: Any = arrays.load(library_classes()[name])
    optimizer = make([theta], lr=0.02 if name == "Adam" else 1e-3)
    for _ in range(6000):
        optimizer.step([np.array(found.gradient(theta.tolist()))])
    assert theta == pytest.approx([1, 1], abs=1e-6 if name == "Adam" else 0.1)


# --- critical points -----------------------------------------------------------------------------


def of(name: str) -> Landscape:
    return About(optdsl.load(name).objective).landscape


def near(found: Landscape, kind: Class) -> list[tuple[float, ...]]:
    return [
        tuple(float(root.ball(64).mid()) for root in point.coordinates)
        for point in found.points
        if point.kind is kind
    ]


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
    matrix = np.reshape(saddle._numbers(rows, (0.0, 0.0), {}), (2, 2))
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
    verdict = About(objective(variables, f"out = {value}"))
    if expected is None:
        assert verdicts(f"{variables}: {value}")["critical_points"] == "unknown"
    else:
        assert verdict.critical_points().summary == expected


NEXT = st.integers(-3, 3)


@given(st.lists(NEXT, min_size=9, max_size=9), st.integers(-2, 2), st.integers(-2, 2))
def test_points_that_are_put_in_are_found(numbers: list[int], a: int, b: int) -> None:
    """p = q^2 + r^2 with q, r zero at (a, b): it is critical, with value 0, and a minimum or degenerate."""
    x, y = generator(0) - a, generator(1) - b
    c = numbers
    q = c[0] * x + c[1] * y + c[2] * x * y + c[3] * x * x
    r = c[4] * x + c[5] * y + c[6] * y * y + c[7] * x * y + c[8] * x * x
    from optdsl.checks.rational import BudgetError
    from optdsl.checks.trace import UndecidedError

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


@given(st.lists(NEXT, min_size=15, max_size=15))
def test_no_critical_point_is_missed(numbers: list[int]) -> None:
    """What Newton's method finds from a grid, in floats, is in the list: polynomials of degree 4."""
    from optdsl.checks.rational import BudgetError
    from optdsl.checks.trace import UndecidedError

    powers = [(i, j) for i in range(5) for j in range(5 - i)]
    x, y = generator(0), generator(1)
    poly = sum((c * x**i * y**j for c, (i, j) in zip(numbers, powers, strict=True)), 0 * x)
    try:
        found = landscape(poly, (0, 1))
    except (BudgetError, UndecidedError):
        return
    if found.sets:
        return
    known = [tuple(float(root.ball(64).mid()) for root in point.coordinates) for point in found.points]
    names = (
        "x, y",
        "out = " + " + ".join(f"({c})*x^{i}*y^{j}" for c, (i, j) in zip(numbers, powers, strict=True)),
    )
    floats = objective(*names)
    rows = [derivative(first, name) for first in floats.derivatives for name in ("x", "y")]
    for start in product((-2.1, -0.6, 0.7, 1.9), repeat=2):
        at = np.array(start)
        for _ in range(60):
            gradient = np.array(floats.gradient(at.tolist()), float)
            hessian = np.array(floats._numbers(rows, at.tolist(), {}), float).reshape(2, 2)
            if not np.isfinite(hessian).all() or abs(np.linalg.det(hessian)) < 1e-3:
                break
            step = np.linalg.solve(hessian, gradient)
            at = at - step
            if abs(step).max() < 1e-12 * (1 + abs(at).max()):
                assert any(abs(at - np.array(point)).max() < 1e-6 * (1 + abs(at).max()) for point in known)
                break


# --- claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "claim", "outcome"),
    [
        ("rosenbrock", "minimum(1, 1)", "proved"),
        ("rosenbrock", "minimum(1, 1.001)", "refuted"),
        ("rosenbrock", "saddle(1, 1)", "refuted"),
        ("rosenbrock", "maximum(1, 1)", "refuted"),
        ("rosenbrock", "degenerate(1, 1)", "refuted"),
        ("rosenbrock", "critical_points = 2", "refuted"),
        ("rosenbrock", "minimum(1)", "unknown"),
        ("beale", "minimum(3, 1/2)", "proved"),
        ("beale", "minimum(3, 2/3)", "refuted"),
        ("himmelblau", "minima = 3", "refuted"),
        ("himmelblau", "maxima = 1", "proved"),
        ("factored", "minimum(2, 1/2)", "proved"),  # degenerate, but the value is 0 and a square
        ("factored", "maximum(2, 1/2)", "refuted"),
        ("factored", "minima = 1", "unknown"),
        ("quadratic", "minimum(0, 0)", "proved"),  # for every kappa
        ("quadratic", "minimum(kappa, 0)", "refuted"),
        ("quadratic", "minima = 1", "unknown"),
        ("x: x^3", "minimum(0)", "unknown"),
        ("x: x^3", "degenerate(0)", "proved"),
        ("x: x^3", "saddles = 0", "unknown"),
        ("x: x^4", "minimum(0)", "proved"),
        ("x: -x^4", "minimum(0)", "unknown"),
        ("x: -x^2", "maximum(0)", "proved"),
        ("x, y: x^2 - y^2 + x^2*y^2", "saddle(0, 0)", "proved"),
        ("x, y, z: x^2 - y^2", "saddle(0, 0, 0)", "proved"),  # degenerate, and it curves both ways
        ("x, y, z: x^2 - y^2", "minimum(0, 0, 0)", "refuted"),
        ("x, y, z: x^2 - y^2", "degenerate(0, 0, 5)", "proved"),
        ("x: exp(x) - x", "minimum(0)", "proved"),
        ("x: exp(x) - x", "minimum(1)", "refuted"),
        ("x: abs(x)", "minimum(0)", "unknown"),
        ("x: 1/x + x", "minimum(1)", "proved"),
        ("x: 1/x + x", "maximum(-1)", "proved"),
        ("x: 1/x + x", "minimum(0)", "unknown"),
        ("x: x^(1/2)", "minimum(0)", "unknown"),
        ("x: x^2", "convex", "unknown"),
        ("x: x^2", "minimum(0) when x > 0", "unknown"),
    ],
)
def test_claims(spec: str, claim: str, outcome: str) -> None:
    assert verdicts(spec, claim)[claim] == outcome


def test_claims_hold_for_all_hypers_or_are_refuted_at_the_defaults() -> None:
    text = "objective Bowl(x, y)\nhyper a = 1 in (-1, 3)\nout = x^2 + a*y^2\nstart x = 1, y = 1\n"
    found = {}
    for low in ("(-1", "(0"):
        source = Source("t.opt", text.replace("(-1", low) + "prove minimum(0, 0)\nprove saddle(0, 0)\n")
        *_, minimum, saddle = driver.check(source)[2]
        found[low] = minimum.verdict, saddle.verdict
    assert found == {"(-1": ("unknown", "refuted"), "(0": ("proved", "refuted")}


@pytest.mark.parametrize("value", ["1/(x - 1)", "log(x - 1)", "sqrt(-x)"])
def test_a_start_without_a_value_is_refuted(value: str) -> None:
    assert verdicts(f"x: {value}")["well_defined"] == "refuted"
    assert verdicts("x: 1/(x^2 + 1)")["well_defined"] == "proved"
    assert verdicts("x: 1/(x + 1)")["well_defined"] == "unknown"


def dense(names: Sequence[str], degree: int) -> str:
    """Every monomial up to a degree, with coefficients that have nothing in common."""
    powers = [p for p in product(range(degree + 1), repeat=len(names)) if sum(p) <= degree]
    return " + ".join(
        f"{(7 * i + 3) % 11 + 1}.{i}" + "".join(f"*{name}^{n}" for name, n in zip(names, p, strict=True))
        for i, p in enumerate(powers)
    )


@pytest.mark.parametrize(
    ("variables", "lines"),
    [
        ("x, y, z, w", ["out = (x + y*z + z*w*x + 1)^60 + (x - w)^59"]),
        ("x, y", ["u0 = x*y + 1", *(f"u{i} = u{i - 1}*(u{i - 1} + x)" for i in range(1, 31)), "out = u30"]),
        ("x, y", ["out = " + "exp(" * 25 + "x*y" + ")" * 25]),
        ("x, y", [f"out = {dense('xy', 6)}"]),
        ("x, y", [f"out = {dense('xy', 8)}"]),
        ("x, y, z", [f"out = {dense('xyz', 5)}"]),
        ("x", ["out = " + "*".join(f"(x - {i})" for i in range(1, 40))]),
    ],
)
def test_cost_is_bounded(variables: str, lines: Sequence[str]) -> None:
    started = time.process_time()
    names = variables.split(", ")
    start = ", ".join(f"{name} = 1" for name in names)
    text = f"objective Big({variables})\n" + "\n".join(lines) + f"\nstart {start}\n"
    source = Source("big.opt", f"{text}prove minimum({', '.join('0' for _ in names)})\nprove minima = 1\n")
    _, _, found = driver.check(source)
    assert time.process_time() - started < 2
    assert all(verdict.residual for verdict in found if verdict.verdict == "unknown")


# --- the front door ------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        return (code, *capsys.readouterr())

    return call


@pytest.mark.parametrize("name", objective_names())
def test_library(name: str, run: Run) -> None:
    """Clean, decided as it is meant, and explained; the syntax comes back; nothing is compiled."""
    spec = optdsl.load(name)
    report = spec.check()
    assert not report.diagnostics
    assert {verdict.verdict for verdict in report.verdicts if not verdict.expected_refuted} == {"proved"}
    code, text, _ = run("explain", name)
    assert code == 0
    for section in ("Equations", "Gradient", "Hessian", "Critical points", "Claims"):
        assert f"\n{section}" in text
    code, text, _ = run("show", name, "--stage", "syntax")
    assert code == 0
    assert driver.meaning(Source("again.opt", text))[0] == spec.objective
    for command in (("compile", name), ("show", name, "--stage", "kernel"), ("diff", name, "adam")):
        code, _, message = run(*command)
        assert (code, "OD804" in message) == (1, True)
    with pytest.raises(OptdslError):
        _ = spec.optimizer
    with pytest.raises(KeyError):
        lookup(name)


def test_objectives_are_listed_apart(run: Run) -> None:
    entries = [json.loads(line) for line in run("list", "--format", "json")[1].splitlines()]
    assert [entry["name"] for entry in entries if "variables" in entry] == list(objective_names())
    assert "\n\nobjective " in run("list")[1]
    assert "Rosenbrock" not in library_classes()
    assert run("show", "quadratic")[1].splitlines()[-1].split() == ["kappa", "10", "[1,", "inf)"]
    with pytest.raises(AttributeError):
        _ = optdsl.load("adam").objective


def test_explained_as_mathematics(run: Run) -> None:
    text = run("explain", "rosenbrock")[1]
    assert "  ∂out/∂x = 400·x³ − 400·x·y + 2·x − 2\n  ∂out/∂y = 200·(y − x²)\n" in text
    assert "  ∂²out/∂x² = 1200·x² − 400·y + 2\n  ∂²out/∂x∂y = −400·x\n  ∂²out/∂y² = 200\n" in text
    assert "  minimum: x = 1, y = 1, value 0\n" in text
    assert "  degenerate: a curve w1*w2 = 1, value 0\n" in run("explain", "factored")[1]
    assert "Critical points, at kappa = 10\n" in run("explain", "quadratic")[1]
    assert optdsl.load("rosenbrock").objective.start == (Fraction(-6, 5), Fraction(1))
