"""The state of an `ArrayOptimizer` in a dict and in an `.npz` file.

In and out: `{"optimizer": name, "hyper": options, "state": [{key: array or number}]}`. Files hold plain
arrays only (nothing is pickled), and are written whole or not at all. What is read is checked against the
layout and the parameters before anything is taken over.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.atomic import atomic_file
from optdsl.runtime.hypers import read_options
from optdsl.runtime.layout import Layout
from optdsl.runtime.numpy.plan import STEP, Structure

Array = NDArray[Any]
FORMAT = 1


def copy_states(
    layout: Layout,
    state_dict: Mapping[str, Any],
    hyper: Mapping[str, Any],
    arrays: Sequence[Array],
    structure: Structure,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """New options and states, as copies. Raises `ValueError` for what does not fit."""
    try:
        name, loaded, states = state_dict["optimizer"], dict(state_dict["hyper"]), list(state_dict["state"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("this is no state_dict of an optimizer; nothing was loaded") from None
    if name != layout.name:
        raise ValueError(f"this is the state of {name}, not of {layout.name}; nothing was loaded")
    if unknown := sorted(loaded.keys() - hyper.keys()):
        raise ValueError(f"{layout.name} has no {', '.join(unknown)}; nothing was loaded")
    if len(states) != len(arrays):
        count = f"{len(states)} arrays, not of {len(arrays)}"
        raise ValueError(f"this is the state of {count}; nothing was loaded")
    merged = {**hyper, **loaded}
    options = read_options(layout, merged)
    chosen = options.variant
    copies: list[dict[str, Any]] = []
    for index, (state, array) in enumerate(zip(states, arrays, strict=True)):
        if not state:
            copies.append({})
            continue
        what = structure.words(index)
        variant = chosen.of_rank(array.ndim)
        elements = {spec.key: spec.shape(array.shape, options.hypers) for spec in variant.states}
        numbers = {spec.key for spec in variant.scalar_states} | ({STEP} if variant.keeps_step else set())
        if missing := sorted((elements.keys() | numbers) - state.keys()):
            raise ValueError(f"the state of {what} lacks {', '.join(missing)}; nothing was loaded")
        copies.append(
            {key: _copy(value, array, elements.get(key), f"{key} of {what}") for key, value in state.items()}
        )
    return merged, copies


def _copy(value: Any, model: Array, shape: tuple[int, ...] | None, what: str) -> Array:
    found = np.asarray(value)
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{what} is {found.dtype}, not real numbers; nothing was loaded")
    if shape is None and found.ndim == 0:
        return np.array(found, np.float64)
    wanted = model.shape if shape is None else shape
    if found.shape != wanted:
        raise ValueError(f"{what} has shape {found.shape}, not {wanted}; nothing was loaded")
    if wanted != model.shape:
        return np.array(found, model.dtype, order="C")
    copy = np.empty_like(model, subok=False)
    copy[...] = found
    return copy


def write_file(path: Path, state_dict: Mapping[str, Any]) -> None:
    """Raises `OSError`."""
    entries = {"format": np.array(FORMAT), "optimizer": np.array(state_dict["optimizer"])}
    entries["count"] = np.array(len(state_dict["state"]))
    for key, value in state_dict["hyper"].items():
        entries[f"hyper/{key}"] = np.array(json.dumps(value, default=_plain))  # None has no array
    for index, state in enumerate(state_dict["state"]):
        for key, value in state.items():
            entries[f"state/{index}/{key}"] = np.asarray(value)
    with atomic_file(path) as file:
        np.savez(file, **entries)  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    return value.item()


def read_file(path: Path) -> dict[str, Any]:
    """A state dict. Raises `OSError`, or `ValueError` for a file of another kind or a damaged one."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            entries = {key: file[key] for key in file.files}
        if entries["format"] != FORMAT:
            raise ValueError(f"format {entries['format']}")
        states: list[dict[str, Any]] = [{} for _ in range(int(entries["count"]))]
        hyper: dict[str, Any] = {}
        for name, value in entries.items():
            place, _, key = name.partition("/")
            if place == "hyper":
                option = json.loads(str(value))
                hyper[key] = tuple(option) if isinstance(option, list) else option
            elif place == "state":
                index, _, key = key.partition("/")
                states[int(index)][key] = value if value.ndim else value.item()
        return {"optimizer": str(entries["optimizer"]), "hyper": hyper, "state": states}
    except OSError:
        raise
    except Exception as error:  # whatever zip files and array headers raise when bytes are wrong
        raise ValueError(f"{path} is not a whole state file of an optdsl optimizer ({error})") from None
