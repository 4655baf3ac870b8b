"""The processes that step together, because each of them holds a part of the same parameters.

In: the parameters of an optimizer. Out: who belongs together; an agreement, before anything is written, that
all of them can take the step and see the same one; sums over all of them. Parameters whose parts were
stepped on some processes only would be of no use to anybody, and a process that waits for a message of one
that has failed would wait for half an hour.
Assumed: a process that does not come to a step at all has ended, or `init_process_group` was given a time
limit. NOT done: optimizers without sharded parameters, which ask nobody (`sums_over` apart).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optdsl.runtime.batch import Batch
from optdsl.runtime.torch.shards import any_sharded, is_sharded


class Prepared(Protocol):
    """What a step was worked out to be."""

    def facts(self) -> Mapping[str, float]:
        """What all processes have to see alike, by the words of `FACTS`."""
        ...


_P = TypeVar("_P", bound=Prepared)

STRUCTURE = "the parameters, or which of them have gradients,"
OPTIONS = "the options of groups, or the loss that step() was given,"
COUNTERS = "the step counters"
FACTS = (STRUCTURE, OPTIONS, COUNTERS)

_TOLERANCE = 1e-12  # schedules may be computed on processors that round a cosine differently
_NAN = -1.25e300  # is equal to itself


class Team:
    """The processes of `mesh`, the largest of the meshes that parameters are on."""

    def __init__(self, mesh: Any) -> None:
        from torch import distributed

        self._mesh, self._distributed = mesh, distributed

    @classmethod
    def of(cls, parameters: Sequence[Tensor]) -> "Team | None":
        """None where no parameter is sharded. Raises `TypeError` for meshes that nobody sees all of."""
        if not any_sharded(parameters):
            return None
        meshes = dict.fromkeys(cast(Any, p).device_mesh for p in parameters if is_sharded(p))
        largest = max(meshes, key=lambda mesh: cast(int, mesh.size()))
        known = set(largest.mesh.flatten().tolist())
        for mesh in meshes:
            if not known.issuperset(mesh.mesh.flatten().tolist()):
                raise TypeError(
                    f"parameters are sharded over {largest} and {mesh}, and neither has all processes of the "
                    "other, so that none can tell whether a step may be taken; use an optimizer for each"
                )
        return cls(largest)

    def together(self, work: Callable[[], _P]) -> _P:
        """`work()`, once it has succeeded on all processes and they see the same facts.

        Raises what `work` raises, and `RuntimeError` on all others.
        """
        failure: Exception | None = None
        facts: Mapping[str, float] = {}
        try:
            prepared = work()
            facts = prepared.facts()
        except Exception as error:
            failure = error
        try:
            self._agree(failure is not None, facts)
        except RuntimeError:
            if failure is None:
                raise
        if failure is not None:
            raise failure
        return prepared

    def any(self, here: bool) -> bool:
        """Whether it is so on any process."""
        message = np.array([float(here)])
        self._combine(self._mesh, message, self._distributed.ReduceOp.MAX)
        return bool(message[0])

    def _agree(self, failed: bool, facts: Mapping[str, float]) -> None:
        count, rank = self._distributed.get_world_size(), self._distributed.get_rank()
        own = [facts[words] if facts[words] == facts[words] else _NAN for words in ([] if failed else FACTS)]
        # The largest of each, and of each turned round, which is the smallest.
        values = [-np.inf] * (2 * len(FACTS)) if failed else [*own, *(-x for x in own)]
        message = np.array([count - rank if failed else 0.0, *values])
        self._combine(self._mesh, message, self._distributed.ReduceOp.MAX)
        if message[0] > 0:
            raise RuntimeError(
                f"process {count - int(message[0])} could not take this step, and its own error says why; "
                "no parameter and no state was changed on any process"
            )
        for words, high, low in zip(FACTS, message[1:], message[1 + len(FACTS) :], strict=False):
            if high != -low and not abs(high + low) <= _TOLERANCE * abs(high):
                raise RuntimeError(
                    f"{words} differ between processes that hold parts of the same parameters; "
                    "no parameter and no state was changed"
                )

    def send(self, group: Hashable, message: NDArray[np.float64]) -> None:
        """Adds up the messages of the processes of a mesh, in place."""
        self._combine(group, message, self._distributed.ReduceOp.SUM)

    def _combine(self, mesh: Any, message: NDArray[np.float64], operation: Any) -> None:
        """In one message where the mesh is all there is, else in one for each of its dimensions."""
        if not message.size:
            return
        tensor = torch.from_numpy(message)
        if mesh.size() == self._distributed.get_world_size():
            self._distributed.all_reduce(tensor, operation)
            return
        for dim in range(mesh.ndim):
            if mesh.size(dim) > 1:
                self._distributed.all_reduce(tensor, operation, group=mesh.get_group(dim))


def facts(
    parameters: Sequence[Tensor],
    missing: Sequence[bool],
    numbers: Sequence[NDArray[np.float64]],
    batches: Iterable[Batch],
) -> dict[str, float]:
    """`FACTS` of a step: which parameters take part, what the groups say, which step it is for each."""
    seen = [
        (tuple(p.shape), str(p.dtype), absent, str(cast(Any, p).placements) if is_sharded(p) else "")
        for p, absent in zip(parameters, missing, strict=True)
    ]
    said = [x * weight for array in numbers for weight, x in enumerate(array.ravel().tolist(), 1)]
    counted = [batch.t[batch.rows].tobytes() for batch in batches]
    return {STRUCTURE: crc32(repr(seen).encode()), OPTIONS: sum(said), COUNTERS: crc32(b"".join(counted))}
