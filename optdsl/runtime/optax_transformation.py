"""What generated modules for optax are made of: a table, and a pure `GradientTransformationExtraArgs`.

In: the functions of a spec (`backends/jnp.py`) and its options, which may be numbers, JAX arrays that are
traced, or schedules (functions of optax's count). Out: `init` and `update` without side effects, which can be
compiled, mapped, scanned and differentiated. State is kept in the dtype of the parameters, as optax does.

`update` needs the parameters, and returns their new values less the old, to be added by
`optax.apply_updates`. NOT done: a gradient that is taken at another point.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optdsl.runtime.layout import THETA_0, Flag, Hyper, State, Total

Functions = tuple[Callable[..., Any], Callable[..., Any]]
"""(prologue, body)."""


@dataclass(frozen=True)
class JaxReduction:
    functions: Functions
    totals: tuple[Total, ...]


@dataclass(frozen=True)
class JaxVariant:
    """`states` have a value for each element, `numbers` one for each tensor; `written` is what `functions`
    give anew, in order."""

    states: tuple[State, ...]
    numbers: tuple[State, ...]
    reductions: tuple[JaxReduction, ...]
    functions: Functions
    written: tuple[str, ...]


@dataclass(frozen=True)
class JaxLayout:
    """`variants` by the values of the flags, in the order of `flags`."""

    name: str
    hypers: tuple[Hyper, ...]
    flags: tuple[Flag, ...]
    variants: Mapping[tuple[bool, ...], JaxVariant]


class OptdslState(NamedTuple):
    """`count`: steps taken; `states` and `numbers` by key, each in the structure of the parameters."""

    count: Any
    states: dict[str, Any]
    numbers: dict[str, Any]


def transformation(
    layout: JaxLayout, given: Mapping[str, Any], maximize: bool
) -> optax.GradientTransformationExtraArgs:
    """Raises `ValueError` for a number outside of its domain, and `TypeError` for a flag that is traced."""
    hypers = [_value(hyper, given[hyper.option]) for hyper in layout.hypers]
    for hyper, value in zip(layout.hypers, hypers, strict=True):
        if isinstance(value, int | float) and not hyper.contains(float(value)):
            raise ValueError(f"Invalid {hyper.name} value: {value}")
    flags = tuple(given[flag.option] for flag in layout.flags)
    if any(not isinstance(flag, bool) for flag in flags):
        raise TypeError(f"the switches of {layout.name} are True or False, and cannot be traced")
    variant = layout.variants[flags]
    direction = -1.0 if maximize else 1.0

    def init(params: Any) -> OptdslState:
        concrete = [value(0) if callable(value) else value for value in hypers]
        start = {hyper.name: value for hyper, value in zip(layout.hypers, concrete, strict=True)}
        states = {
            spec.key: jax.tree.map(lambda p, spec=spec: _initial(spec, start, p), params)
            for spec in variant.states
        }
        numbers = {
            spec.key: jax.tree.map(lambda p, spec=spec: _number(spec, start, p), params)
            for spec in variant.numbers
        }
        return OptdslState(jnp.zeros([], jnp.int32), states, numbers)

    def update(updates: Any, state: OptdslState, params: Any = None, **_: Any) -> tuple[Any, OptdslState]:
        if params is None:
            raise ValueError(f"{layout.name} needs the parameters: update(gradients, state, params)")
        values = [value(state.count) if callable(value) else value for value in hypers]
        now = jnp.asarray(state.count + 1, jnp.result_type(float))
        theta: list[Any]
        structure: Any
        theta, structure = jax.tree.flatten(params)
        gradients = structure.flatten_up_to(updates)
        states = [structure.flatten_up_to(state.states[spec.key]) for spec in variant.states]
        kept = [structure.flatten_up_to(state.numbers[spec.key]) for spec in variant.numbers]
        arrays = [list(each) for each in zip(theta, gradients, *states, strict=True)]
        numbers = [[each[i] for each in kept] for i in range(len(theta))]
        inputs = _reduced(variant, values, now, direction, arrays, numbers)
        names = ("theta", "g", *(spec.name for spec in variant.states))
        prepare, body = variant.functions
        steps = []
        for i, own in enumerate(arrays):
            scalars, numbers[i] = prepare(inputs[i], now, direction, numbers[i])
            results = body(own, _like(scalars, own[0]))
            for name, value in zip(variant.written, results, strict=True):
                old = own[names.index(name)]
                own[names.index(name)] = jnp.broadcast_to(value, old.shape).astype(old.dtype)
            steps.append(own[0] - theta[i])
        elements = {
            spec.key: structure.unflatten([own[k] for own in arrays])
            for k, spec in enumerate(variant.states, start=2)
        }
        others = {
            spec.key: structure.unflatten(
                [jnp.asarray(own[k], x.dtype) for own, x in zip(numbers, kept[k], strict=True)]
            )
            for k, spec in enumerate(variant.numbers)
        }
        new = OptdslState(optax.safe_increment(state.count), elements, others)
        return structure.unflatten(steps), new

    return optax.GradientTransformationExtraArgs(init, update)


def _value(hyper: Hyper, option: Any) -> Any:
    return option if hyper.index is None else option[hyper.index]


def _reduced(
    variant: JaxVariant,
    values: list[Any],
    now: Any,
    direction: float,
    arrays: list[list[Any]],
    numbers: list[list[Any]],
) -> list[list[Any]]:
    """The hypers for each tensor, with counts and totals behind them where anything is reduced."""
    count = sum(len(each.totals) for each in variant.reductions)
    if not count:
        return [values] * len(arrays)
    elements = sum(own[0].size for own in arrays)
    inputs = [[*values, own[0].size, elements, *([0.0] * count)] for own in arrays]
    first = len(values) + 2
    for reduction in variant.reductions:
        prepare, sums = reduction.functions
        found = []
        for own, row, kept in zip(arrays, inputs, numbers, strict=True):
            scalars, _ = prepare(row, now, direction, kept)
            found.append(sums(own, _like(scalars, own[0])))
        for place, total in enumerate(reduction.totals):
            column = [each[place] for each in found]
            everything = sum(column[1:], column[0]) if column else 0.0
            for row, own_sum in zip(inputs, column, strict=True):
                row[first + total.column] = everything if total.over_all else own_sum
    return inputs


def _like(scalars: Any, array: Any) -> list[Any]:
    """Scalars that JAX has made, in the dtype of the array: a wider one would widen all elements."""
    return [
        x.astype(array.dtype) if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating) else x
        for x in scalars
    ]


def _initial(spec: State, hypers: Mapping[str, Any], p: Any) -> Any:
    if spec.initial == THETA_0:
        return jnp.array(p)
    return jnp.full_like(p, _start(spec, hypers))


def _number(spec: State, hypers: Mapping[str, Any], p: Any) -> Any:
    return jnp.asarray(_start(spec, hypers), jnp.result_type(p))


def _start(spec: State, hypers: Mapping[str, Any]) -> Any:
    return hypers[spec.initial] if isinstance(spec.initial, str) else spec.initial
