"""`scalar_math` against NumPy, on ordinary and on special numbers, in both types."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numba import njit

from optdsl.runtime import scalar_math, vector_math

SPECIAL = [-np.inf, -1e30, -2.5, -1.0, -0.3, -0.0, 0.0, 1e-30, 0.3, 1.0, 1.5, 2.0, 7.0, 1e30, np.inf, np.nan]

ONE: list[tuple[Any, Any]] = [
    (scalar_math.sign, np.sign),
    (scalar_math.floor, np.floor),
    (scalar_math.cbrt, np.cbrt),
    (scalar_math.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
]
TWO: list[tuple[Any, Any]] = [
    (scalar_math.maximum, np.maximum),
    (scalar_math.minimum, np.minimum),
    (scalar_math.power, np.power),
    (scalar_math.modulo, np.mod),
]


def compile(function: Callable[..., float], arity: int) -> Any:
    if arity == 1:
        return njit(error_model="numpy")(lambda x: function(x))
    return njit(error_model="numpy")(lambda x, y: function(x, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("ours", "theirs"), ONE + TWO, ids=lambda f: getattr(f, "__name__", ""))
def test_as_numpy_has_it(ours: Any, theirs: Any, dtype: Any) -> None:
    arity = 1 if (ours, theirs) in ONE else 2
    run, rtol = compile(ours, arity), 4 * np.finfo(dtype).eps
    others = [()] if arity == 1 else [(y,) for y in SPECIAL]
    for x in SPECIAL:
        for rest in others:
            arguments = [dtype(value) for value in (x, *rest)]
            with np.errstate(all="ignore"):
                expected = theirs(*arguments)
            found = run(*arguments)
            np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=f"{ours.__name__}{arguments}")
    assert run.nopython_signatures[0].return_type.bitwidth == np.dtype(dtype).itemsize * 8


VECTORS: list[tuple[Any, Any, float, Any]] = [
    (vector_math.vector_exp, np.exp, 8, (np.float32, np.float64)),
    (vector_math.vector_log, np.log, 8, (np.float32, np.float64)),
    (vector_math.vector_tanh, np.tanh, 8, (np.float32, np.float64)),
    (vector_math.vector_sigmoid, lambda x: 1 / (1 + np.exp(-x)), 8, (np.float32, np.float64)),
    (vector_math.vector_cbrt, np.cbrt, 8, (np.float32, np.float64)),
    (vector_math.vector_power, np.power, 8, (np.float32, np.float64)),
    (vector_math.vector_short_cbrt, np.cbrt, 1e-12 * 2**52, (np.float64,)),
    (vector_math.vector_short_power, np.power, 1e-12 * 2**52, (np.float64,)),
]


@pytest.mark.parametrize(("ours", "theirs", "units", "dtypes"), VECTORS)
def test_compiled_functions_of_elements(ours: Any, theirs: Any, units: float, dtypes: Any) -> None:
    """Compiled, a product and what it is added to are rounded once: no less exact than one by one."""
    arity = 2 if theirs is np.power else 1
    run = compile(ours, arity)
    rng = np.random.default_rng(0)
    ordinary = [*rng.uniform(-20, 20, 300), *np.exp(rng.uniform(-60, 60, 300))]
    pairs = [*zip(ordinary, rng.uniform(-0.7, 0.7, 600), strict=True), *product(SPECIAL, SPECIAL)]
    for dtype in dtypes:
        for pair in pairs:
            arguments = [dtype(x) for x in pair[:arity]]
            with np.errstate(all="ignore"):
                expected = theirs(*arguments)
            rtol = units * np.finfo(dtype).eps
            found = run(*arguments)
            np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=f"{arguments}")


def test_where_chooses() -> None:
    run = njit(lambda c, x, y: scalar_math.where(c, x, y))
    assert run(True, np.float32(1), np.float32(np.nan)) == 1
    assert run(False, np.float32(np.nan), np.float32(2)) == 2
