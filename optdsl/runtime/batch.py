"""One step's work as plain arrays: what every backend's step takes, whatever framework holds the tensors.

Nothing here knows of specs: generated modules import this package and nothing else of optdsl.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from optdsl.runtime.past.loops import Memory

MAX_BUFFERS = 32
"""Buffers are numbered below this: those of a kernel from 0, what it sums from the other end."""
MAX_SUMS = 8  # in one pass
BLOCK = 1024  # elements that are summed as one, a power of 2: their summands stay in the fastest cache
CODED = 256  # numbers of 8 bits that have one scale; BLOCK is a multiple


@dataclass
class Batch:
    """All parameter tensors of one dtype that are stepped together: T tensors, B buffers, R rows.

    addresses      (T, B) uint64   first element of each buffer of each tensor, in `buffers` order: theta,
                                   g, states, inputs
    sizes          (T,)   int64    elements per tensor; every buffer of a tensor has the same layout
    rows           (T,)   int64    which row of hyperparameters a tensor uses
    hypers         (R, H) float64  in the kernel's order; behind them inputs of one number, then, for what
                                   reduces, the elements of the tensor, of all, and a column for each
                                   total; with these R = T, in order
    t              (R,)   float64  the step that is being taken, from 1
    direction      (R,)   float64  +1, or -1 to maximize; divided by the scale of the loss, if it was scaled
    scalar_states  (R, K) float64  old values on entry, new values on return
    dims           (T, 2) int64    rows and columns of a tensor's matrices, for what reduces over them: two
                                   more counts stand before the totals, and buffers of states with a value
                                   for each row or column are shorter; behind the states come float64
                                   buffers for what is reduced, and what stages take and make
    memory                         what loops over the past keep for the next step, if there is to be one
    made                           what stages have made, held as long as its addresses are in the table
    """

    addresses: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    rows: NDArray[np.int64]
    hypers: NDArray[np.float64]
    t: NDArray[np.float64]
    direction: NDArray[np.float64]
    scalar_states: NDArray[np.float64]
    dims: NDArray[np.int64] | None = None
    memory: "Memory | None" = None
    made: list[NDArray[np.float64]] = field(default_factory=list)
