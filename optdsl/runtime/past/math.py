"""What the loops of generated modules over what is remembered call: vectors as coefficients, and products.

In: the products of all known vectors. Out: a vector is the coefficients of its sum of known ones, (B,) or
(C, B) for C kinds of tensors, which share all numbers; a number has one row for each kind, or one for all.
Plain NumPy, not BLAS: the same bits for any number of threads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Past:
    """products (C, B, B): of all pairs of vectors, summed over the tensors of each kind. The vectors are as
    many of each remembered state as `lengths` says, the newest first, and then what is given besides.
    """

    products: Array
    lengths: Sequence[int]


@dataclass(frozen=True)
class Remembered:
    """`s[k]` is the vector of k steps ago."""

    start: int
    length: int
    count: int

    def __getitem__(self, steps: float) -> Array:
        if not 0 <= steps < self.length:
            raise RuntimeError(f"{steps} steps ago is not remembered; {self.length} values are kept")
        return _unit(self.start + int(steps), self.count)


def _unit(place: int, count: int) -> Array:
    found = np.zeros(count)
    found[place] = 1.0
    return found


def past_state(past: Past, number: int) -> Remembered:
    return Remembered(sum(past.lengths[:number]), past.lengths[number], past.products.shape[1])


def past_given(past: Past, number: int) -> Array:
    return _unit(sum(past.lengths) + number, past.products.shape[1])


def past_rounds(first: Any, last: Any) -> range:
    """From the whole part of one to that of the other, up or down.

    Raises `RuntimeError` where it is not one for all.
    """
    ends = [np.unique(np.trunc(np.asarray(end, np.float64))) for end in (first, last)]
    if any(each.size != 1 or not np.isfinite(each).all() for each in ends):
        raise RuntimeError("a loop over what is remembered has to be as long for all parameters")
    start, end = (int(each[0]) for each in ends)
    step = 1 if start <= end else -1
    return range(start, end + step, step)


def past_dot(past: Past, x: Array, y: Array) -> Array:
    """The product of two vectors in each tensor, (C, 1)."""
    x, y = (np.broadcast_to(each, past.products.shape[:2]) for each in (x, y))
    rows = np.einsum("cij,cj->ci", past.products, y)
    return np.asarray(np.sum(x * rows, axis=1)[:, None])


def past_dot_all(past: Past, x: Array, y: Array) -> Array:
    """The same over all tensors, (1, 1)."""
    values = past_dot(past, x, y).ravel().tolist()
    return np.array([[fsum(values) if np.isfinite(values).all() else sum(values)]])


def past_norm(past: Past, x: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(past_dot(past, x, x), 0.0)))


def past_norm_all(past: Past, x: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(past_dot_all(past, x, x), 0.0)))
