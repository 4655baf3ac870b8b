"""How a list of tensors lies in memory, in a few loops of C: asked at every step of hundreds of tensors.

In: tensors. Out: whether they lie as others did, or where they did. Only looks, never writes.
"""

from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_numel, _contiguous, _pointer = Tensor.numel, Tensor.is_contiguous, Tensor.data_ptr


def same(these: Any, those: Sequence[Any]) -> bool:
    """The very same objects; never compares tensors."""
    these = these if isinstance(these, list) else list(these)
    return len(these) == len(those) and all(map(is_, these, those))


class Trusted:
    """Tensors that a plan knows by their addresses; `changed` are those of them that autograd is told of."""

    def __init__(self, tensors: list[Tensor], changed: list[Tensor]) -> None:
        self.tensors = tensors
        self.lines: NDArray[np.uint64] = np.empty(0, np.uint64)  # what `fetch` is asked for before a step
        self._pointers = list(map(_pointer, tensors))
        # Held so that no other memory can come to these addresses while they are trusted.
        self._storages = [tensor.untyped_storage() for tensor in tensors]
        self._changed = tuple(
            tensor for tensor in changed if not tensor.is_inference()
        )  # these have no version

    def hold(self) -> bool:
        """Whether all are where they were."""
        return list(map(_pointer, self.tensors)) == self._pointers

    def bump(self) -> None:
        """Tells autograd that they are written to."""
        torch.autograd.graph.increment_version(self._changed)


class Layouts:
    """How tensors lie in memory: for contiguous ones their number of elements, for others the strides too."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.sizes = list(map(_numel, tensors))
        self._contiguous = list(map(_contiguous, tensors))
        self._others = [index for index, is_contiguous in enumerate(self._contiguous) if not is_contiguous]
        self._strides = [tensors[index].stride() for index in self._others]

    def hold(self, tensors: list[Tensor]) -> bool:
        return (
            list(map(_contiguous, tensors)) == self._contiguous
            and list(map(_numel, tensors)) == self.sizes
            and [tensors[index].stride() for index in self._others] == self._strides
        )
