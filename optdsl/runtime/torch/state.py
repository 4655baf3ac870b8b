"""A parameter's state under torch's keys, and the keys of groups that torch's own classes know.

In: state dicts and groups as torch holds them. Out: the tensors that a variant needs, made where missing,
and refusals of what would change the maths unseen. Never changes what is given: new entries are returned,
for the caller to put in once everything is known to be right.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from optdsl.runtime.hypers import Left, Options, read_options
from optdsl.runtime.layout import Layout, State, Variant
from optdsl.runtime.torch.checks import DTYPES, check_state
from optdsl.runtime.torch.storage import check_kept, check_order, dtype_of, initial, initial_value, states_of

STEP = "step"

CPU = torch.device("cpu")

INERT: dict[str, Any] = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
"""How torch's classes run, not what they compute: carried along so that torch can load our groups."""

NEUTRAL: dict[str, Any] = {
    "weight_decay": 0,
    "decoupled_weight_decay": False,
    "amsgrad": False,
    "momentum": 0,
    "dampening": 0,
    "nesterov": False,
    "centered": False,
    "lr_decay": 0,
    "differentiable": False,
}
"""Options of torch's classes, for specs without them: the values that leave the maths alone."""

MADE_FOR = {"momentum_buffer": "momentum", "max_exp_avg_sq": "amsgrad", "grad_avg": "centered"}
"""States that torch's classes make only where this option is not 0 or False."""


@cache
def _torch_class(name: str) -> type | None:
    """torch's own class of that name, if there is one; `RMSProp` is `RMSprop`."""
    classes = {known.lower(): c for known, c in vars(torch.optim).items() if isinstance(c, type)}
    return classes.get(name.lower())


@cache
def _carried(name: str) -> dict[str, Any]:
    """Options that torch's class of that name looks for in a group, with neutral values."""
    torch_class = _torch_class(name)
    options = inspect.signature(torch_class).parameters if torch_class else ()
    return INERT | {key: NEUTRAL[key] for key in options if key in NEUTRAL}


def carried_options(layout: Layout) -> dict[str, Any]:
    """What groups hold beyond the spec's own options."""
    return _carried(layout.name)


def check_torch_options(name: str, known: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raises `TypeError` for an option that nobody knows, `RuntimeError` or `ValueError` for some together.

    Messages are Python's and torch's own.
    """
    for key in options:
        if key not in known:
            raise TypeError(f"{name}.__init__() got an unexpected keyword argument {key!r}")
    plain = not options.get("momentum") or options.get("dampening")
    if name == "SGD" and options.get("nesterov") and plain:
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    if options.get("fused"):
        if options.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if options.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def _variants(layout: Layout) -> list[Variant]:
    return [each for own in layout.variants.values() for each in (own, own.below) if each is not None]


def number_keys(layout: Layout) -> frozenset[str]:
    """The keys of scalar states: what is one number for each parameter, beside the counter."""
    return frozenset(spec.key for each in _variants(layout) for spec in each.scalar_states)


def state_specs(layout: Layout) -> dict[str, State]:
    """The other states by their keys."""
    return {spec.key: spec for each in _variants(layout) for spec in each.states}


def check_group(layout: Layout, group: Mapping[str, Any], left: Left | None = None) -> Options:
    """Raises `ValueError` or `TypeError` if a group asks for something that this optimizer does not do."""
    _check_neutral(layout, group)
    return read_options(layout, group, left)


def _check_neutral(layout: Layout, group: Mapping[str, Any]) -> None:
    for key, neutral in _foreign_options(layout.options):
        value = group.get(key, neutral)
        if value is None or value == neutral:
            continue
        if key == "decoupled_weight_decay" and not _decoupling_matters(layout, group):
            continue
        raise ValueError(
            f"{layout.name} has no {key}, and the value {value!r} would be ignored; "
            f"set it to {neutral!r}, or compile a spec that has it"
        )


@cache
def _foreign_options(own: tuple[str, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, neutral) for key, neutral in NEUTRAL.items() if key not in own)


def _decoupling_matters(layout: Layout, group: Mapping[str, Any]) -> bool:
    """Only where there is decay, and torch's class of this name has both kinds."""
    torch_class = _torch_class(layout.name)
    both = torch_class is not None and "decoupled_weight_decay" in inspect.signature(torch_class).parameters
    return both and bool(group.get("weight_decay", 0))


@dataclass(frozen=True)
class ParameterState:
    """What one parameter brings to a step: `numbers` are the counter (if kept) and the scalar states.

    `new` are the entries that its state dict has not got yet; `t` is the step for variants without a counter.
    """

    elements: list[Tensor]
    numbers: list[Tensor | None]
    new: dict[str, Any]
    t: float


def complete_state(
    layout: Layout,
    variant: Variant,
    p: Tensor,
    state: Mapping[str, Any],
    hypers: tuple[float, ...],
    what: str,
    home: torch.device = CPU,
) -> ParameterState:
    """The tensors that `variant` needs for `p`; numbers are on `home`. Raises what `check_state` raises."""
    new: dict[str, Any] = {}
    began = _began(variant, state)
    elements = []
    check_kept(variant.states, p, what)
    for spec in states_of(variant, p):
        if state.get(spec.key) is None:
            new[spec.key] = initial(layout, spec, p, hypers)
        found, shape = {**state, **new}[spec.key], spec.shape(tuple(p.shape), hypers)
        elements.append(check_state(found, p, shape, dtype_of(spec, p), f"state {spec.key} of {what}"))
        check_order(spec, found, p, f"state {spec.key} of {what}")
    numbers: list[Tensor | None] = [None]
    if variant.keeps_step:
        if began and variant.uses_time and state.get(STEP) is None:
            raise RuntimeError(
                f"the state of {what} has no {STEP}, so nobody knows how many steps it took; "
                "load a whole state_dict, or clear the state"
            )
        step = state.get(STEP)
        numbers[0] = _number(0.0 if step is None else step, STEP, new, what, home)
    for spec in variant.scalar_states:
        value = state.get(spec.key)
        if value is None:
            value = initial_value(layout, spec, hypers)
        exact = _torch_class(layout.name) is None
        numbers.append(_number(value, spec.key, new, what, home, exact=exact))
    return ParameterState(elements, numbers, new, t=2.0 if began else 1.0)


def check_loaded_state(
    variant: Variant,
    p: Tensor,
    state: Mapping[str, Any],
    group: Mapping[str, Any],
    hypers: tuple[float, ...],
    what: str,
) -> None:
    """Raises `ValueError` or `TypeError` for a state that is there in part, or is for another parameter.

    A state that torch has not made because its option is off may be missing: `complete_state` makes it.
    """
    if not any(value is not None for value in state.values()):
        return
    kept = states_of(variant, p)
    needed = [spec.key for spec in (*kept, *variant.scalar_states)]
    missing = [key for key in needed if state.get(key) is None and group.get(MADE_FOR.get(key, ""), True)]
    began = _began(variant, state)
    if began and variant.keeps_step and variant.uses_time and state.get(STEP) is None:
        missing.append(STEP)
    if missing and (began or not variant.first_step_only):
        raise ValueError(f"the loaded state of {what} lacks {', '.join(missing)}; nothing was loaded")
    for spec in kept:
        if state.get(spec.key) is not None:
            shape, dtype = spec.shape(tuple(p.shape), hypers), dtype_of(spec, p)
            check_state(state[spec.key], p, shape, dtype, f"the loaded state {spec.key} of {what}")
            check_order(spec, state[spec.key], p, f"the loaded state {spec.key} of {what}")
    for key in (STEP, *(spec.key for spec in variant.scalar_states)):
        if state.get(key) is not None:
            _number(state[key], key, {}, what)


def _began(variant: Variant, state: Mapping[str, Any]) -> bool:
    """Whether a first step has been taken, by what it left behind."""
    return any(state.get(spec.key) is not None for spec in (*variant.states, *variant.scalar_states))


def _number(
    value: Any, key: str, new: dict[str, Any], what: str, home: torch.device = CPU, *, exact: bool = False
) -> Tensor:
    """A 0-d tensor that can be counted in; anything else of one number becomes one, under `key` in `new`.

    As torch has it, in the default dtype; `exact`, where torch has no such class, in float64.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"state {key} of {what} has {value.numel()} elements, not one; clear the state")
        if value.device == home and value.dtype in DTYPES:
            return value
        value = value.item()
    if not isinstance(value, int | float):
        raise TypeError(f"state {key} of {what} is a {type(value).__name__}, not a number; clear the state")
    wide = exact or torch.get_default_dtype() == torch.float64
    new[key] = torch.full((), float(value), dtype=torch.float64 if wide else torch.float32, device=home)
    number: Tensor = new[key]
    return number
