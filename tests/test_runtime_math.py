"""`scalar_math` against NumPy, on ordinary and on special numbers, in both types."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from optdsl.runtime import scalar_math

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


def test_where_chooses() -> None:
    run = njit(lambda c, x, y: scalar_math.where(c, x, y))
    assert run(True, np.float32(1), np.float32(np.nan)) == 1
    assert run(False, np.float32(np.nan), np.float32(2)) == 2
