"""The operators of specs that Python has no function for, as generated kernels call them.

In and out: float32 or float64 scalars, of one type per call; the result has that type. IEEE meaning:
nothing raises, and NaN goes through (`maximum(nan, 1)` is NaN). The functions are compiled into the
kernel that calls them; `maximum`, `minimum`, `sign`, `where`, `floor` become vector instructions, the
others are calls into the C library, one per element.
NOT done: mixed types (cast constants in float32 kernels), exact rounding of `cbrt`, `sigmoid`, `power`.
"""

import math

import numpy as np
from numba.extending import register_jitable

_inlined = register_jitable(error_model="numpy")


@_inlined
def maximum(x: float, y: float) -> float:
    return x if x > y or x != x else y


@_inlined
def minimum(x: float, y: float) -> float:
    return x if x < y or x != x else y


@_inlined
def where(condition: bool, x: float, y: float) -> float:
    return x if condition else y


@_inlined
def sign(x: float) -> float:
    """-1, 0 or 1; a zero keeps its sign."""
    return math.copysign(type(x)(1.0), x) if x > 0.0 or x < 0.0 else x


@_inlined
def floor(x: float) -> float:
    """As a float of the same type: `math.floor` becomes an integer, which infinity has not."""
    floored: float = np.floor(x)
    return floored


@_inlined
def cbrt(x: float) -> float:
    root: float = np.cbrt(x)
    return root


@_inlined
def sigmoid(x: float) -> float:
    return type(x)(1.0) / (type(x)(1.0) + math.exp(-x))


@_inlined
def power(x: float, y: float) -> float:
    """C's `pow`: NaN where there is no real value, 1 for the power 0."""
    result: float = x**y
    return result


@_inlined
def modulo(x: float, y: float) -> float:
    """The remainder with the sign of `y`; NaN for `y = 0`."""
    return x % y
