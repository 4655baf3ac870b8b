"""What a plan is made of: parameters that take part in a step, and tables of those that are alike.

Plain data; who makes it (`torch.plan`) has checked it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from optdsl.runtime.layout import Variant
from optdsl.runtime.memory import Memory
from optdsl.runtime.sharded_sums import Share
from optdsl.runtime.table import Table
from optdsl.runtime.torch.checks import memory_of
from optdsl.runtime.torch.state import ParameterState
from optdsl.runtime.torch.storage import worked_on_in


@dataclass
class Member:
    """A parameter that takes part in a step: `p` and `g` are what is here of `whole` and its gradient.

    `model` is `p`, or memory for all of it, where the whole is put together for the step.
    """

    whole: Tensor
    share: Share | None
    p: Tensor
    model: Tensor
    g: Tensor | None  # None: the plan is for a query or a view, which read no gradient
    group: int
    what: str
    variant: Variant
    state: ParameterState
    index: int  # among all parameters
    counted: bool = False  # on the GPU: its counter and scalar states are there


@dataclass
class Part:
    """One table, and which of the plan's members are its rows."""

    table: Table
    members: NDArray[np.int64]
    keys: tuple[str, ...]
    dicts: list[dict[str, Any]] = field(default_factory=list)
    values: list[list[Tensor]] = field(default_factory=list)


def of_a_kind(members: list[Member]) -> list[list[int]]:
    """Which of the members are stepped together."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for index, member in enumerate(members):
        dtype = worked_on_in(member.model.dtype, member.variant)
        kind = id(member.variant), dtype, member.p.device, member.counted
        found.setdefault(kind, []).append(index)
    return list(found.values())


def numbers_of(members: list[Member]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Addresses and bytes (T, 1 + K) of the counter and scalar states of each, 0 for one that is not kept."""
    found = [
        (0, 0) if number is None else (number.data_ptr(), number.element_size())
        for member in members
        for number in member.state.numbers
    ]
    table = np.array(found, np.uint64).reshape(len(members), -1, 2)
    return table[:, :, 0].copy(), table[:, :, 1].astype(np.int64)


def state_tensors(member: Member) -> list[Tensor]:
    return [*member.state.elements, *(number for number in member.state.numbers if number is not None)]


def memories(member: Member) -> list[Memory]:
    states = (memory_of(x, f"a state of {member.what}") for x in state_tensors(member))
    return [memory_of(member.p, member.what), *states]
