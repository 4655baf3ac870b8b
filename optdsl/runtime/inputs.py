"""What a step is given besides the gradients, as the user passed it: `step(..., loss=value, hvp=tensors)`.

In: a layout and the keyword arguments of one call. Out: the numbers, in the order of their columns behind
the hypers, and what has one value per element, under its name. Raises `TypeError` for what the optimizer
does not read, does not get, or gets as something else. NOT done: any look at an array.
"""

from collections.abc import Mapping
from typing import Any

from optdsl.runtime.layout import Layout


def unread(layout: Layout, given: Mapping[str, Any]) -> None:
    """Raises `TypeError` for an input that the optimizer has not got."""
    known = {each.name for each in layout.inputs if not each.made}
    for name, value in given.items():
        if value is not None and name not in known:
            raise TypeError(f"{layout.name} reads no {name}; call step without it")


def numbers(layout: Layout, given: Mapping[str, Any]) -> tuple[float, ...]:
    """Raises `TypeError` when one is missing or is no number."""
    return tuple(_number(layout, each.name, given) for each in layout.inputs if not each.per_element)


def unknown_numbers(layout: Layout) -> tuple[float, ...]:
    """For what runs before they are known, and does not read them."""
    return tuple(float("nan") for each in layout.inputs if not each.per_element)


def arrays(layout: Layout, given: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `TypeError` when one is missing."""
    asked = (each.name for each in layout.inputs if each.per_element and not each.made)
    return {name: _present(layout, name, given) for name in asked}


def _present(layout: Layout, name: str, given: Mapping[str, Any]) -> Any:
    if given.get(name) is None:
        how = "or a closure that returns it" if name == "loss" else "one for each parameter, in their order"
        raise TypeError(f"{layout.name} reads the {name} of every step: pass step(..., {name}=...), {how}")
    return given[name]


def _number(layout: Layout, name: str, given: Mapping[str, Any]) -> float:
    value = _present(layout, name, given)
    if hasattr(value, "numel") or hasattr(value, "ndim"):  # a tensor or an array, without importing torch
        count = value.numel() if hasattr(value, "numel") else value.size
        if count != 1:
            raise TypeError(f"the {name} must be one number, and has {count} elements; take its mean or sum")
        value = value.item()
    if isinstance(value, str | bytes | complex) or not hasattr(value, "__float__"):
        raise TypeError(f"the {name} must be a number, not {type(value).__name__}")
    return float(value)
