"""Reads hyperparameters and flags from a group, as they are now, and refuses what is out of domain.

In: a group, a mapping of options to numbers, tuples of numbers or one-element tensors. Out: floats in the
layout's order, the chosen variant, the direction. Messages are torch's own, word for word.
NOT done: remembering anything; schedulers and users change groups between steps.
"""

from collections.abc import Callable, Mapping
from math import nan
from typing import Any, NamedTuple

from optdsl.runtime.layout import Flag, Hyper, Layout, Variant

# As torch words them; anything else is "Invalid NAME value".
_WORDING = {"lr": "learning rate", "eps": "epsilon value"}


# Where torch's class of that name has words of its own: by class, option and place in it; {0} is the value,
# {1} the whole option.
_OF_CLASS = {
    ("Adafactor", "lr", None): "Learning rate should be >= 0 but is: {0}",
    ("Adafactor", "beta2_decay", None): "beta2_decay should be <= 0 but is: {0}",
    ("Adafactor", "eps", 0): "epsilon1 should be >= 0 but is: {0} (and 0 is not taken here)",
    ("Adafactor", "eps", 1): "epsilon2 should be >= 0 but is: {0}",
    ("Adafactor", "d", None): "Clipping threshold d should be >= 1 but is: {0}",
    ("Adafactor", "weight_decay", None): "weight_decay should be >= 0 but is: {0}",
    ("Muon", "adjust_lr_fn", None): "Adjust learning rate function {0} is not supported",
    ("Rprop", "etas", 0): "Invalid eta values: {1[0]}, {1[1]}",
    ("Rprop", "etas", 1): "Invalid eta values: {1[0]}, {1[1]}",
}


class Options(NamedTuple):
    """A group's options at one step."""

    hypers: tuple[float, ...]
    variant: Variant
    direction: float


Left = Callable[[Mapping[str, Any], object], bool]
"""Whether an option of a group is left to where it is; it is NaN here then."""


def read_options(layout: Layout, group: Mapping[str, Any], left: Left | None = None) -> Options:
    """Raises what `read_hypers` and `read_variant` raise."""
    return Options(read_hypers(layout, group, left), read_variant(layout, group), read_direction(group))


def read_hypers(layout: Layout, group: Mapping[str, Any], left: Left | None = None) -> tuple[float, ...]:
    """The values of `layout.hypers`. Raises `ValueError` out of domain, `TypeError` for no number."""
    values = []
    for hyper in layout.hypers:
        raw = group[hyper.option]
        if hyper.index is not None:
            raw = _element(raw, hyper, layout)
            if raw is None:  # as in torch's Adafactor, eps = (None, 1e-3): the default
                raw = hyper.default
        if type(raw) is not float and left is not None and left(group, raw):
            values.append(nan)
            continue
        value = raw if type(raw) is float else _to_float(raw, hyper)
        if not hyper.contains(value):
            own = _OF_CLASS.get((layout.name, hyper.option, hyper.index))
            raise ValueError(
                own.format(raw, group[hyper.option]) if own else f"Invalid {_wording(hyper)}: {raw}"
            )
        values.append(value)
    return tuple(values)


def read_variant(layout: Layout, group: Mapping[str, Any]) -> Variant:
    """The kernels for the flags of a group. Raises `ValueError` for a flag that is no truth value."""
    values = []
    for flag in layout.flags:
        raw = group[flag.option]
        if flag.option in layout.words:
            values.append(chosen(raw, flag, layout.words[flag.option], layout.name))
            continue
        if raw is not True and raw is not False and raw not in (0, 1):
            raise ValueError(f"Invalid {flag.option} value: {raw} (must be True or False)")
        values.append(bool(raw))
    return layout.variants[tuple(values)]


def chosen(raw: Any, flag: Flag, words: tuple[Flag, ...], name: str) -> bool:
    """Whether the option is this word; None is the default. Raises `ValueError` for another word."""
    if raw is None:
        return flag.default
    known = [each.name for each in words]
    if raw not in known:
        own = _OF_CLASS.get((name, flag.option, None), "Invalid {1} value: {0}").format(raw, flag.option)
        raise ValueError(f"{own} (must be one of {', '.join(known)}, or None)")
    return bool(raw == flag.name)


def read_direction(group: Mapping[str, Any]) -> float:
    """What the gradient is multiplied by: -1 to maximize."""
    return -1.0 if group.get("maximize", False) else 1.0


def defaults_of(layout: Layout) -> dict[str, Any]:
    """Every option with its default: numbers, tuples of numbers, truth values."""
    options: dict[str, Any] = {}
    for hyper in layout.hypers:
        if hyper.index is None:
            options[hyper.option] = hyper.default
        else:
            options[hyper.option] = (*options.get(hyper.option, ()), hyper.default)
    switches = {flag.option: None if flag.option in layout.words else flag.default for flag in layout.flags}
    return options | switches


def _element(raw: Any, hyper: Hyper, layout: Layout) -> Any:
    length = layout.lengths[hyper.option]
    try:
        count = len(raw)
    except TypeError:
        count = -1
    if count != length:
        raise ValueError(f"{hyper.option} must hold {length} numbers, got {raw!r}")
    return raw[hyper.index]


def _label(hyper: Hyper) -> str:
    return hyper.option if hyper.index is None else f"{hyper.option}[{hyper.index}]"


def _wording(hyper: Hyper) -> str:
    if hyper.index is not None:
        name = "epsilon" if hyper.option == "eps" else hyper.option.removesuffix("s")
        return f"{name} parameter at index {hyper.index}"
    return _WORDING.get(hyper.option, f"{hyper.option} value")


def _to_float(raw: Any, hyper: Hyper) -> float:
    if hasattr(raw, "numel"):  # a tensor, without importing torch
        if raw.numel() != 1:
            raise ValueError(f"Tensor {_label(hyper)} must be 1-element")
        raw = raw.item()
    if isinstance(raw, str | bytes) or not hasattr(raw, "__float__"):
        raise TypeError(f"{_label(hyper)} must be a number, not {type(raw).__name__}")
    try:
        return float(raw)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{_label(hyper)} must be a number, not {raw!r}") from None
