"""The idle step that distributed checkpoints take to see what state there is.

`torch.distributed.checkpoint.state_dict` calls `step()` on an optimizer without state, with gradients of
zero and `lr = 0`. A rule may move the parameters even then, need a loss or a closure, or divide by its rate,
and counters would begin at 1: the state is made that the first step would begin with, and no step is taken.
"""

from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optdsl.runtime.torch.callers import only_state_is_wanted
from optdsl.runtime.torch.plan import Plan
from optdsl.runtime.torch.shards import local, local_gradient
from optdsl.runtime.torch.state import check_group

if TYPE_CHECKING:
    from optdsl.runtime.torch.optimizer import FusedOptimizer

Made = Sequence[tuple[Tensor, int]]
"""Tensors of a state, and their versions: whoever writes to one moves its version on."""


def is_idle() -> bool:
    """Whether `step` was called for such a step."""
    return only_state_is_wanted()


def make_state(optimizer: "FusedOptimizer") -> Made:
    """What every parameter with a gradient begins with. Raises what a step raises for these."""
    layout, groups = optimizer.layout, optimizer.param_groups
    rate = {key: optimizer.defaults[key] for key in ("lr",) if key in optimizer.defaults}
    options = [check_group(layout, {**group, **rate}) for group in groups]
    with torch.no_grad():
        gradients = [local_gradient(p.grad, p) for group in groups for p in group["params"]]
        plan = Plan.build(layout, groups, options, optimizer.state, gradients)
        plan.commit(optimizer.state)
    made = [local(x) for part in plan.parts for values in part.values for x in values]
    return [(x, x._version) for x in made if not x.is_inference()]


def forget(state: MutableMapping[Tensor, Any], made: Made) -> None:
    """Clears a state that was only made, and not written to: the first step makes its own.

    Rules that know their first step by the state that it leaves would take this for a later one.
    """
    if made and all(x._version == version for x, version in made):
        state.clear()
