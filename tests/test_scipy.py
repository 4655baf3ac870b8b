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


@pytest.mark.parametrize("name", ["gd", "nesterov", "rmsprop", "adadelta", "lamb", "rprop"])
def test_a_quadratic_by_every_kind_of_spec(name: str) -> None:
    """Two points of a gradient (Nesterov), reductions (LAMB), states that begin at lr (Rprop)."""
    lr = {"adadelta": 10.0, "lamb": 0.01, "rmsprop": 0.01}.get(name, 0.1)
    found = minimize(quadratic, np.zeros(4), jac=slope, method=optdsl.scipy.method(name, lr=lr), tol=1e-2)
    np.testing.assert_allclose(found.x, np.full(4, 3.0), atol=0.1)


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
