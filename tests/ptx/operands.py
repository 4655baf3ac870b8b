"""Operands of PTX as functions of a block: registers, literals, addresses, conditions.

In: an `Entry` and the text of an operand. Out: what reads it for the active threads, an element for each.
Raises `ValueError` for what is not understood, and `KeyError` for names that are not there.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .arithmetic import Array
from .text import Entry

if TYPE_CHECKING:
    from .machine import Block

Reader = Callable[["Block"], Array]


def _number(entry: Entry, text: str, dtype: Any) -> Array:
    """A literal, or the place of a shared variable, as one element of `dtype`."""
    if (found := re.fullmatch(r"0[fFdD]([0-9a-fA-F]{8}|[0-9a-fA-F]{16})", text)) is not None:
        bits = np.array(int(found[1], 16), f"u{len(found[1]) // 2}")
        if bits.dtype.itemsize != dtype.itemsize:
            raise ValueError(f"{text} as {dtype}")
        return bits.view(dtype)
    value = entry.shared[text] if text in entry.shared else int(text.rstrip("U"), 0)
    if dtype.kind == "f":
        raise ValueError(f"{text} as {dtype}")
    return np.array(value % (1 << 8 * dtype.itemsize), f"u{dtype.itemsize}").view(dtype)


def operand_of(entry: Entry, text: str, dtype: Any) -> Reader:
    if text.startswith("%"):
        return lambda block: block.read(text, dtype)
    value = _number(entry, text, dtype)
    return lambda block: np.broadcast_to(value, block.active.shape)


def condition_of(text: str) -> Reader:
    if text.startswith("!"):
        return lambda block: ~block.read_predicate(text[1:])
    if not text.startswith("%"):
        truth = int(text, 0) != 0  # libNVVM writes 0 and -1
        return lambda block: np.full(block.active.shape, truth)
    return lambda block: block.read_predicate(text)


def address_of(entry: Entry, text: str) -> Reader:
    found = re.fullmatch(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\w+))?\s*\]", text)
    if found is None:
        raise ValueError(text)
    base = operand_of(entry, found[1], np.dtype(np.int64))
    offset = np.int64(int(found[2], 0) if found[2] else 0)
    return lambda block: base(block) + offset


def names_in(text: str) -> list[str]:
    return [each.strip() for each in text.strip("{}").split(",")]
