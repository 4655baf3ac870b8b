"""Objectives: derivatives, critical points, claims on both sides, and what the front door makes of them."""

import json
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest

import optdsl
from optdsl import cli, driver
from optdsl.checks.catalogue import NoSpecError
from optdsl.diagnostics import OptdslError, Source
from optdsl.files import objective_names, read_library
from optdsl.language.derivatives import derivative
from optdsl.library import library_classes, lookup
from tests.support.objectives import objective, text


def verdicts(spec: str, *claims: str) -> dict[str, str]:
    """What is said of the claims, appended to a spec of the library or to `variables: value`."""
    if ":" in spec:
        variables, value = spec.split(": ")
        body = text(variables, f"out = {value}")
    else:
        body = read_library(spec).text
    body += "".join(f"prove {claim}\n" for claim in claims)
    _, _, found = driver.check(Source("test.opt", body), lookup)
    for verdict in found:
        assert (verdict.witness is not None) == (verdict.verdict == "refuted")
        assert verdict.residual or verdict.verdict != "unknown"
    return {verdict.claim: verdict.verdict for verdict in found}


# --- derivatives ---------------------------------------------------------------------------------

RULES = [
    "x*y + x/y - -x", "x^3*y^2 - x^-2", "x^y", "2^x*y^0.5", "sqrt(x^2 + y)", "exp(x*y)/log(x + 3)",
    "abs(x - y)*sign(x)", "cbrt(x - 2*y)", "sigmoid(x*y) - tanh(x/y)", "cos(x*y) - y*sin(x)", "floor(x)*y^2",
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
        numbers = found.numbers(rows, (x, y), {})
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
        ("x: x^2", "minimum(t)", "unknown"),
        ("quadratic", "minimum(sqrt(kappa - 6), 0)", "refuted"),
        ("quadratic", "minimum(0*sqrt(kappa - 6), 0)", "unknown"),
        ("quadratic", "minimum(0*abs(kappa - 6), 0)", "unknown"),
        ("quadratic", "minimum((kappa - 10)/(kappa - 6), 0)", "unknown"),
        ("x: x^2", "minimum(0) when x > 0", "unknown"),
    ],
)
def test_claims(spec: str, claim: str, outcome: str) -> None:
    assert verdicts(spec, claim)[claim] == outcome


def test_claims_hold_for_all_hypers_or_are_refuted_at_the_defaults() -> None:
    bowl = "objective Bowl(x, y)\nhyper a = 1 in (-1, 3)\nout = x^2 + a*y^2\nstart x = 1, y = 1\n"
    found = {}
    for low in ("(-1", "(0"):
        source = Source("t.opt", bowl.replace("(-1", low) + "prove minimum(0, 0)\nprove saddle(0, 0)\n")
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
    zeros = ", ".join("0" for _ in variables.split(", "))
    claims = f"prove minimum({zeros})\nprove minima = 1\n"
    _, _, found = driver.check(Source("big.opt", text(variables, *lines) + claims))
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
    code, shown, _ = run("explain", name)
    assert code == 0
    for section in ("Equations", "Gradient", "Hessian", "Critical points", "Claims"):
        assert f"\n{section}" in shown
    code, shown, _ = run("show", name, "--stage", "syntax")
    assert code == 0
    assert driver.meaning(Source("again.opt", shown))[0] == spec.objective
    for command in (("compile", name), ("show", name, "--stage", "kernel"), ("diff", name, "adam")):
        code, _, message = run(*command)
        assert (code, "OD804" in message) == (1, True)
    with pytest.raises(OptdslError):
        _ = spec.optimizer
    with pytest.raises(NoSpecError):
        lookup(name)


def test_objectives_are_listed_apart(run: Run) -> None:
    entries = [json.loads(line) for line in run("list", "--format", "json")[1].splitlines()]
    assert [entry["name"] for entry in entries if "variables" in entry] == list(objective_names())
    assert "\n\nobjective " in run("list")[1]
    assert "Rosenbrock" not in library_classes()
    with pytest.raises(AttributeError):
        _ = optdsl.load("adam").objective


def test_explained_as_mathematics(run: Run) -> None:
    shown = run("explain", "rosenbrock")[1]
    assert "  ∂out/∂x = 400·x³ − 400·x·y + 2·x − 2\n  ∂out/∂y = 200·(y − x²)\n" in shown
    assert "  ∂²out/∂x² = 1200·x² − 400·y + 2\n  ∂²out/∂x∂y = −400·x\n  ∂²out/∂y² = 200\n" in shown
    assert "  minimum: x = 1, y = 1, value 0\n" in shown
    assert "  degenerate: a curve w1*w2 = 1, value 0\n" in run("explain", "factored")[1]
    assert "Critical points, at kappa = 10\n" in run("explain", "quadratic")[1]
    assert optdsl.load("rosenbrock").objective.start == (Fraction(-6, 5), Fraction(1))


# --- second derivatives, and what is done with them ----------------------------------------------


@pytest.mark.parametrize("value", RULES)
def test_hessians_are_those_of_differences(value: str) -> None:
    """Against central differences of the gradient, which `RULES` compare with mpmath's."""
    found, h = objective("x, y", f"out = {value}"), 1e-6
    point: Any = np.array([0.8, 1.7])
    columns = [
        (np.array(found.gradient(point + step)) - np.array(found.gradient(point - step))) / (2 * h)
        for step in h * np.eye(2)
    ]
    np.testing.assert_allclose(found.hessian(point), np.array(columns), rtol=1e-6, atol=1e-6)


def test_hessian_of_rosenbrock() -> None:
    """(1 - x)^2 + 100*(y - x^2)^2, by hand; and of many points at once."""
    f = optdsl.load("rosenbrock").objective
    x, y = np.array([1.0, -1.5, 0.3]), np.array([1.0, 2.0, -0.7])
    expected = [[2 - 400 * y + 1200 * x**2, -400 * x], [-400 * x, 200 + 0 * x]]
    np.testing.assert_allclose(f.hessian((x, y)), np.array(expected), rtol=1e-14)


def test_scipy_takes_the_hessian() -> None:
    from scipy.optimize import minimize

    f = optdsl.load("rosenbrock").objective
    found = minimize(
        f.value, [float(x) for x in f.start], jac=lambda x: np.array(f.gradient(x)), hess=f.hessian,
        method="trust-exact",
    )  # fmt: skip
    assert found.success
    np.testing.assert_allclose(found.x, [1, 1], rtol=1e-6)


def test_newton() -> None:
    """One step for a quadratic, a few for Rosenbrock's, none at a flat place."""
    bowl = objective("x, y", "out = 3*x^2 + x*y + 5*y^2 - x + 2")
    np.testing.assert_allclose(np.array(bowl.gradient(bowl.newton((7.0, -3.0)))), 0, atol=1e-13)
    f = optdsl.load("rosenbrock").objective
    point: tuple[float, ...] = (-1.2, 1.0)
    for _ in range(7):
        point = f.newton(point)
    np.testing.assert_allclose(point, (1, 1), rtol=1e-14)
    with pytest.raises(ValueError, match="no inverse at \\(0, 2\\)"):
        objective("x, y", "out = x^4 + y").newton((0.0, 2.0))


def test_steps_of_one_through_the_curvature() -> None:
    """beta of x^2/2 + 10*y^2/2 is 10; the rate 2/beta is where gradient descent stops to come in."""
    f = objective("x, y", "out = (x^2 + 10*y^2)/2")
    assert f.curvature((3.0, -4.0)) == pytest.approx(10, rel=1e-14)

    def distance(rate: float) -> float:
        x: Any = np.array([1.0, 1.0])
        make: Any = optdsl.numpy.load("gd")
        optimizer = make(x, lr=rate / f.curvature(x))
        for _ in range(200):
            optimizer.step(np.array(f.gradient(x)))
        return float(np.linalg.norm(x))

    assert distance(1) < 1e-8
    assert distance(2.1) > 1e6
