"""What generated code for JAX calls: the operators of specs on JAX arrays, with IEEE meaning.

The same names as `scalar_math` has for the CPU; everything can be traced, batched and differentiated.
"""

import math
from typing import Any

import jax.numpy as jnp

sqrt, exp, log, tanh, floor, cbrt = jnp.sqrt, jnp.exp, jnp.log, jnp.tanh, jnp.floor, jnp.cbrt
cos, sin = jnp.cos, jnp.sin
maximum, minimum, sign, where = jnp.maximum, jnp.minimum, jnp.sign, jnp.where
both, either, neither = jnp.logical_and, jnp.logical_or, jnp.logical_not


def power(x: Any, y: Any) -> Any:
    """Products for a whole y, as XLA has it; else exp(y*log(x))."""
    return jnp.power(jnp.asarray(x, jnp.result_type(float)) if isinstance(x, int) else x, y)


def one_less_power(x: Any, y: Any) -> Any:
    """1 - x^y without what cancels: in float32, 1 - 0.999^1 is otherwise wrong in its fifth digit."""
    if isinstance(x, int | float) and 0 < x < 1:
        return -jnp.expm1(y * math.log(x))
    return 1.0 - power(x, y)


def modulo(x: Any, y: Any) -> Any:
    return x - y * jnp.floor(x / y)


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + jnp.exp(-x))


def total(x: Any, like: Any) -> Any:
    """Over all elements of a tensor shaped as `like`, to which x is spread."""
    return jnp.sum(jnp.broadcast_to(x, like.shape))


def total_of_rows(x: Any, like: Any) -> Any:
    """One sum for each row of the matrices that the last two dimensions are."""
    return jnp.sum(jnp.broadcast_to(x, like.shape), -1, keepdims=True)


def total_of_columns(x: Any, like: Any) -> Any:
    return jnp.sum(jnp.broadcast_to(x, like.shape), -2, keepdims=True)


def largest_of_rows(x: Any, like: Any) -> Any:
    return jnp.max(jnp.broadcast_to(x, like.shape), -1, keepdims=True, initial=-math.inf)


def largest_of_columns(x: Any, like: Any) -> Any:
    return jnp.max(jnp.broadcast_to(x, like.shape), -2, keepdims=True, initial=-math.inf)
