"""Specs as methods of scipy.optimize.minimize, with everything that scipy hands to a method of others."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import OptimizeResult, minimize, rosen, rosen_der

import optdsl


def quadratic(x: Any, scale: float = 1.0) -> float:
    return float(scale * np.sum((np.asarray(x) - 3) ** 2))


def slope(x: Any, scale: float = 1.0) -> Any:
    return 2 * scale * (np.asarray(x) - 3)


def test_rosenbrock() -> None:
    method = optdsl.scipy.method("adam", lr=0.01)
    found = minimize(rosen, [-1.2, 1.0], jac=rosen_der, method=method, tol=1e-6, options={"maxiter": 20_000})
    assert found.success
    np.testing.assert_allclose(found.x, [1, 1], atol=1e-4)
    assert found.njev == found.nit + 1  # each is looked at, and then stepped with


@pytest.mark.parametrize("name", ["gd", "nesterov", "extragradient", "rmsprop", "adadelta", "lamb", "rprop"])
def test_a_quadratic_by_every_kind_of_spec(name: str) -> None:
    """Two points of a gradient (Nesterov), reductions (LAMB), states that begin at lr (Rprop)."""
    lr = {"adadelta": 10.0, "lamb": 0.01, "rmsprop": 0.01}.get(name, 0.1)
    found = minimize(quadratic, np.zeros(4), jac=slope, method=optdsl.scipy.method(name, lr=lr), tol=1e-2)
    np.testing.assert_allclose(found.x, np.full(4, 3.0), atol=0.1)


def test_specs_that_read_more_or_are_evaluated_elsewhere() -> None:
    """Polyak's step solves a quadratic: its gap over |slope|^2 is a quarter of 1/curvature."""
    polyak = optdsl.scipy.method("polyak_sgd", max_learning_rate=10.0)
    found = minimize(quadratic, np.zeros(3), jac=slope, method=polyak, options={"maxiter": 1})
    np.testing.assert_allclose(found.x, np.full(3, 1.5))  # 27/(4*27) of a slope of -6, by hand
    newton = optdsl.scipy.method("sophia", lr=3.0, betas=(0.0, 0.0), gamma=1.0, weight_decay=0.0, eps=1e-12)
    with pytest.raises(ValueError, match="pass hess="):
        minimize(quadratic, np.zeros(3), jac=slope, method=newton)
    curvature: list[float] = []

    def hess(x: Any) -> Any:
        curvature.append(float(x[0]))
        return np.diag([8.0, 6.0, 3.0])

    found = minimize(quadratic, np.zeros(3), jac=slope, hess=hess, method=newton, options={"maxiter": 1})
    np.testing.assert_allclose(found.x, [3 * 6 / 8, 3.0, 3.0])  # -slope/h is no more than 1
    assert curvature == [0.0]
    free = optdsl.scipy.method("schedule_free_sgd", lr=0.1)
    found = minimize(quadratic, np.zeros(2), jac=slope, method=free, options={"maxiter": 3})
    ours = np.zeros(2)
    optimizer = optdsl.numpy.load("schedule_free_sgd")(ours, lr=0.1)
    for _ in range(3):
        optimizer.step(slope(ours))
    with optimizer.view("x"):
        np.testing.assert_array_equal(found.x, ours)
        assert found.fun == quadratic(ours)
    assert not np.array_equal(found.x, ours)


def test_what_scipy_hands_over() -> None:
    method, start = optdsl.scipy.method("gd", lr=0.05), np.array([0.0, 1.0])
    by_differences = minimize(quadratic, start, args=(2.0,), method=method)
    np.testing.assert_allclose(by_differences.x, [3, 3], atol=1e-4)
    assert by_differences.nfev > 3 * by_differences.nit  # two more for each gradient of two elements
    both = minimize(lambda x: (quadratic(x), slope(x)), start, jac=True, method=method)
    np.testing.assert_allclose(both.x, [3, 3], atol=1e-4)
    two_point = minimize(quadratic, start, jac="2-point", method=method)
    np.testing.assert_allclose(two_point.x, [3, 3], atol=1e-4)
    np.testing.assert_array_equal(start, [0.0, 1.0])


def test_callbacks_stop() -> None:
    seen: list[Any] = []

    def old(xk: Any) -> None:
        seen.append(xk)
        if len(seen) == 3:
            raise StopIteration

    def new(intermediate_result: OptimizeResult) -> None:
        seen.append(intermediate_result.fun)
        if len(seen) == 5:
            raise StopIteration

    method = optdsl.scipy.method("gd", lr=0.05)
    assert minimize(quadratic, [0.0], jac=slope, method=method, callback=old).nit == 3
    assert minimize(quadratic, [0.0], jac=slope, method=method, callback=new).nit == 2
    # theta: 0, 0.3, 0.57, 0.813: by (1 - 2*lr) = 0.9 nearer to 3
    np.testing.assert_allclose([float(x[0]) for x in seen[:3]], [0.3, 0.57, 0.813], rtol=1e-12)


def test_how_it_ends() -> None:
    method = optdsl.scipy.method("gd", lr=0.05)
    short = minimize(quadratic, [0.0], jac=slope, method=method, options={"maxiter": 2})
    assert (short.success, short.status, short.nit) == (False, 1, 2)
    with np.errstate(over="ignore"):
        away = minimize(quadratic, [0.0], jac=slope, method=optdsl.scipy.method("gd", lr=1e200))
    assert (away.success, away.status) == (False, 3)


def test_what_is_refused() -> None:
    method = optdsl.scipy.method("adam")
    with pytest.raises(ValueError, match="bounds are not kept"):
        minimize(quadratic, [0.0], jac=slope, method=method, bounds=[(0, 1)])
    with pytest.raises(ValueError, match="constraints are not kept"):
        minimize(quadratic, [0.0], jac=slope, method=method, constraints={"type": "eq", "fun": sum})
    with pytest.raises(ValueError, match="unknown options: ftol"):
        minimize(quadratic, [0.0], jac=slope, method=method, options={"ftol": 1})
    with pytest.raises(ValueError, match="Invalid"):
        minimize(quadratic, [0.0], jac=slope, method=optdsl.scipy.method("adam", lr=-1.0))
