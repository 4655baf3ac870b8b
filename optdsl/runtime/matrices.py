"""Stages of a step: the matrices of one tensor after the other, as a whole, between passes over elements.

In: batches with `dims`, whose tables of addresses end in float64 buffers for what passes lay out (operands)
and for what stages make (results, which have no memory of their own). Out: results, whose addresses are put
into the table and whose memory the batch holds until the step is over; numbers, in the columns of totals; and
after the update the states that stages have made. Until then nothing that is kept is written.
"""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.batch import Batch
from optdsl.runtime.launch import prepared
from optdsl.runtime.layout import Kept, Matrices, Whole

_TYPES = {4: ctypes.c_float, 8: ctypes.c_double}


def run_stage(batch: Batch, stage: Matrices, first_total: int) -> None:
    """Makes what later passes read. Raises `numpy.linalg.LinAlgError` where LAPACK gives up."""
    scalars = prepared(stage.pair[0], batch, stage.scalar_count)
    for tensor, row in enumerate(batch.rows.tolist()):
        arrays = [_array(batch, tensor, each).astype(np.float64, copy=False) for each in stage.reads]
        with np.errstate(all="ignore"):
            made = stage.pair[1](arrays, scalars[row].tolist())
        for each, x in zip(stage.writes, made, strict=False):
            whole = np.ascontiguousarray(np.broadcast_to(x, _shape(batch, tensor, each.per)))
            batch.made.append(whole)
            batch.addresses[tensor, each.buffer] = whole.ctypes.data
        for total, number in zip(stage.totals, made[len(stage.writes) :], strict=True):
            batch.hypers[row, first_total + total.column] = number


def keep(batch: Batch, kept: Sequence[Kept]) -> None:
    """States that stages have made go to where they are kept, rounded to its type."""
    for each in kept:
        for tensor in range(batch.sizes.size):
            made = _array(batch, tensor, Whole(each.result, each.per, 8))
            with np.errstate(all="ignore"):
                _array(batch, tensor, Whole(each.state, each.per, each.width))[...] = made


def _array(batch: Batch, tensor: int, each: Whole) -> NDArray[np.floating]:
    """A buffer of one tensor, where it lies."""
    shape = _shape(batch, tensor, each.per)
    if not np.prod(shape):
        return np.zeros(shape)
    pointer = ctypes.cast(int(batch.addresses[tensor, each.buffer]), ctypes.POINTER(_TYPES[each.width]))
    return np.ctypeslib.as_array(pointer, shape)


def _shape(batch: Batch, tensor: int, per: str) -> tuple[int, int, int]:
    assert batch.dims is not None
    rows, columns = batch.dims[tensor].tolist()
    count = int(batch.sizes[tensor]) // max(rows * columns, 1)
    sides = {"element": (rows, columns), "left": (rows, rows), "right": (columns, columns)}
    return (count, *sides.get(per, (columns, rows)))
