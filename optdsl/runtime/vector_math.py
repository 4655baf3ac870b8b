"""`optdsl.portable.functions` for Numba's kernels: straight lines of instructions, which become vectors.

In and out: float32 or float64 scalars, of one type per call; the result has that type. The C library's
functions, which `scalar_math` calls, take one element at a time.
"""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from optdsl.portable.functions import FUNCTIONS
from optdsl.runtime.lane_calls import lane_call

CONTRACTED = frozenset({"exp", "log", "tanh", "sigmoid", "cbrt", "short_cbrt", "short_pow"})
"""Nothing in these is a rounding error that is computed, so fewer roundings only make them more exact."""

_BITS = {types.float32: 32, types.float64: 64}


def _function(function: str, arity: int) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = _BITS[signature.return_type]
        made, kinds = FUNCTIONS[function], "f" * (1 + arity)
        contract = function in CONTRACTED
        name = f"optdsl.{function}.{bits}"
        return lane_call(context, builder, name, made, kinds, bits, arguments, contract=contract)

    def typed(*given: Any) -> tuple[Any, Callable[..., Any]]:
        if any(each not in _BITS for each in given) or len(set(given)) > 1:
            raise TypeError(f"{function} is of floats of one type, not {given}")
        return given[0](*given), generate

    if arity == 1:
        return intrinsic(lambda typing_context, x: typed(x))
    return intrinsic(lambda typing_context, x, y: typed(x, y))


vector_exp, vector_log, vector_tanh, vector_sigmoid, vector_cbrt, vector_short_cbrt = (
    _function(name, 1) for name in ("exp", "log", "tanh", "sigmoid", "cbrt", "short_cbrt")
)
vector_power, vector_short_power = (_function(name, 2) for name in ("pow", "short_pow"))
