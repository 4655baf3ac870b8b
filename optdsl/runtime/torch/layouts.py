"""How a list of tensors lies in memory, in a few loops of C: asked at every step of hundreds of tensors.

In: tensors. Out: whether they lie as others did. Only looks, never writes.
"""

from torch import Tensor

_numel, _contiguous = Tensor.numel, Tensor.is_contiguous


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
