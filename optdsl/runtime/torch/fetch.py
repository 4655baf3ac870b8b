"""Gets tensors near: what is asked of each of them at every step lies all over memory.

In: tensors, and the dicts that their states are in. Out: the lines of memory that these objects and what
they point to are in, asked for all at once. A model's forward and backward pass has emptied the caches: one
tensor after the other would wait for memory several times, which over hundreds of small tensors takes as
long as the arithmetic of the step.
Assumed: the objects are alive when `lines` looks at them. Those that are gone later are asked for in vain.
NOT done: gradients that are new tensors at every step; they are near, having just been made.
"""

from collections.abc import Sequence

import numpy as np
from numba import types
from numpy.typing import NDArray
from torch import Tensor

from optdsl.runtime.numba_kernel import compiled, prefetch, read_u64

LINE = 64  # bytes that come together on x86 and most ARM
TENSOR = 3  # lines of torch's object behind a tensor
POINTING = 8  # its first words, among which are its storage, what autograd knows, and its version
DICT = 6  # words of a dict, the last of which are where its entries are
POINTED = 2  # lines of each of these

_U64_1D = types.Array(types.uint64, 1, "C")


def lines(tensors: Sequence[Tensor], dicts: Sequence[object]) -> NDArray[np.uint64]:
    """(N,) uint64: addresses, in ascending order. What a word adds that is no pointer is in vain."""
    objects = np.array([id(x) for x in tensors], np.uint64)
    behind = np.array([x._cdata for x in tensors], np.uint64)
    numbers = np.array([x.data_ptr() for x in tensors if not x.dim()], np.uint64)
    holders = np.array([id(x) for x in dicts], np.uint64)
    found = [objects, numbers, holders, *(behind + np.uint64(LINE * line) for line in range(TENSOR))]
    for places, count in ((behind, POINTING), (holders, DICT)):
        words = np.empty((places.size, count), np.uint64)
        _read.compiled(places, words)
        found += [words.ravel() + np.uint64(LINE * line) for line in range(POINTED)]
    line = np.unique(np.concatenate(found) // np.uint64(LINE))
    return line * np.uint64(LINE)


@compiled(_U64_1D, types.Array(types.uint64, 2, "C"))
def _read(places, words):  # type: ignore[no-untyped-def]
    for place in range(places.size):
        for word in range(words.shape[1]):
            words[place, word] = read_u64(places[place], word, 0)


@compiled(_U64_1D)
def fetch(addresses):  # type: ignore[no-untyped-def]
    for place in range(addresses.size):
        prefetch(addresses[place])  # type: ignore[call-arg]
