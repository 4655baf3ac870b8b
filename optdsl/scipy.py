"""Every spec as a method of `scipy.optimize.minimize`.

    from scipy.optimize import minimize, rosen, rosen_der
    minimize(rosen, [-1.2, 1.0], jac=rosen_der, method=optdsl.scipy.method("adam", lr=0.01))

A first-order method with a fixed rate: it stops when the gradient is small, or after `maxiter` steps.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, approx_fprime

from optdsl.library import load_class

__all__ = ["method"]

Vector = NDArray[np.float64]
MAXITER = 10_000
GTOL = 1e-5
"""Defaults: scipy's own for its first-order methods is 1e-5, in the largest element of the gradient."""

_STOPPED = {0: "the gradient is small", 1: "maxiter was reached", 2: "the callback asked to stop",
            3: "the gradient or the loss is not finite"}  # fmt: skip


def method(target: str | PathLike[str], **options: Any) -> Callable[..., OptimizeResult]:
    """What `minimize(method=...)` takes: the spec of a library name, a path or a composition.

    `options` are the spec's (`lr`, `betas`...); `maxiter` and `gtol` go to `minimize(options=...)`, and
    `tol` is `gtol`. Without `jac` the gradient is taken by differences, as scipy does; a spec that reads the
    Hessian's diagonal takes it from `hess`. The answer is the second view of a spec that has one. Raises
    `optdsl.OptdslError` when the spec is wrong; the returned function raises `ValueError` for bounds and
    constraints, which no spec keeps, and for options that are out of their domain.
    """
    make: Any = load_class(target, "numpy", "accurate")
    elsewhere = any(variant.query for variant in make.layout.variants.values())

    def minimize(
        fun: Callable[..., Any],
        x0: Any,
        args: tuple[Any, ...] = (),
        jac: Callable[..., Any] | None = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Callable[..., Any] | None = None,
        maxiter: int = MAXITER,
        gtol: float = GTOL,
        tol: float | None = None,
        disp: bool = False,
        **unknown: Any,
    ) -> OptimizeResult:
        _refuse(bounds, constraints, unknown)
        problem = _Problem(fun, jac, args, hess)
        reads = [each.name for each in make.layout.inputs if not each.made]
        if "hvp" in reads and not callable(hess):
            raise ValueError(f"{make.layout.name} reads the Hessian's diagonal: pass hess=, a function")
        if "loss" in reads and elsewhere:
            raise ValueError(f"{make.layout.name} reads the loss at another point, which no method is given")
        x = np.array(x0, np.float64)  # ours: what the caller holds is not written to
        optimizer = make(x, **options)
        limit = gtol if tol is None else tol
        loss, gradient, status, steps = problem.loss(x), problem.gradient(x), 1, 0
        while True:
            if not (np.isfinite(loss) and np.all(np.isfinite(gradient))):
                status = 3
            elif gradient.size == 0 or float(np.max(np.abs(gradient))) <= limit:
                status = 0
            if status in (0, 3) or steps >= maxiter:
                break
            given = {name: loss if name == "loss" else problem.diagonal(x) for name in reads}
            optimizer.step(problem.gradient if elsewhere else gradient, **given)
            steps += 1
            loss, gradient = problem.loss(x), problem.gradient(x)
            if _asked_to_stop(callback, x, loss):
                status = 2
                break
        if steps and make.layout.views:  # the answer is what such a spec is evaluated with
            optimizer.eval()
            loss, gradient = problem.loss(x), problem.gradient(x)
        result = OptimizeResult(
            x=x,
            fun=loss,
            jac=gradient,
            nit=steps,
            nfev=problem.losses,
            njev=problem.gradients,
            success=status == 0,
            status=status,
            message=f"{_STOPPED[status]}, after {steps} steps",
        )
        if disp:
            print(f"{result.message}: {loss:.6g}")
        return result

    minimize.__name__ = make.__name__
    return minimize


class _Problem:
    """The function and its gradient, counted."""

    def __init__(
        self, fun: Callable[..., Any], jac: Callable[..., Any] | None, args: tuple[Any, ...], hess: Any
    ) -> None:
        self._fun, self._jac, self._args, self._hess = fun, jac, args, hess
        self.losses = self.gradients = 0

    def loss(self, x: Vector) -> float:
        self.losses += 1
        return float(self._fun(x.copy(), *self._args))

    def gradient(self, x: Vector) -> Vector:
        self.gradients += 1
        if callable(self._jac):
            return np.asarray(self._jac(x.copy(), *self._args), np.float64)
        # scipy hands None to methods of others for jac="2-point" and the like
        self.losses += 1 + x.size
        found: Vector = approx_fprime(x, lambda y: self._fun(y, *self._args))
        return found

    def diagonal(self, x: Vector) -> Vector:
        """Of the Hessian, dense or sparse."""
        found: Vector = self._hess(x.copy(), *self._args).diagonal()
        return found


def _refuse(bounds: Any, constraints: Any, unknown: Mapping[str, Any]) -> None:
    if bounds is not None:
        raise ValueError("bounds are not kept by a first-order step: use method='L-BFGS-B'")
    if not isinstance(constraints, Sequence) or len(constraints):
        raise ValueError("constraints are not kept by a first-order step: use method='SLSQP'")
    if unknown:
        words = ", ".join(sorted(unknown))
        raise ValueError(f"unknown options: {words}; there are maxiter, gtol and disp")


def _asked_to_stop(callback: Callable[..., Any] | None, x: Vector, loss: float) -> bool:
    """Both of scipy's forms: `callback(xk)` and `callback(intermediate_result)`; StopIteration stops."""
    if callback is None:
        return False
    try:
        try:
            names = callback.__code__.co_varnames[: callback.__code__.co_argcount]
        except AttributeError:
            names = ()
        if names == ("intermediate_result",):
            return bool(callback(intermediate_result=OptimizeResult(x=x.copy(), fun=loss)))
        return bool(callback(x.copy()))
    except StopIteration:
        return True
