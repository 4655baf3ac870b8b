"""Puts a second view of the parameters into them: an average to evaluate with, say.

In: an optimizer whose layout has views, and the name of one. Out: the parameters moved, and copies of what
they were. Parameters that have taken no step stay as they are. State and counters are read, not changed.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optdsl.runtime.inputs import unknown_numbers
from optdsl.runtime.torch.plan import Plan
from optdsl.runtime.torch.state import check_group

if TYPE_CHECKING:
    from optdsl.runtime.torch.optimizer import FusedOptimizer

Saved = list[tuple[Tensor, Tensor]]


def show(optimizer: "FusedOptimizer", name: str, threads: int) -> Saved:
    """(parameter, what it was), for `restore`."""
    layout, groups = optimizer.layout, optimizer.param_groups
    options = [check_group(layout, group) for group in groups]
    moving = []
    for group, option in zip(groups, options, strict=True):
        needed = option.variant.keeps_state
        moving += [p if not needed or optimizer.state.get(p) else None for p in group["params"]]
    with torch.no_grad():
        plan = Plan.build(layout, groups, options, optimizer.state, moving, for_view=True)
        plan.gather(options, unknown_numbers(layout))
        for part in plan.parts:
            part.table.compile_view(name)
        saved = [(p, p.detach().clone()) for p in plan.active]
        plan.load_copies()
        for part in plan.parts:
            part.table.run(part.table.views[name], threads)
        plan.store_copies()
        torch.autograd.graph.increment_version(tuple(p for p in plan.active if not p.is_inference()))
    return saved


def restore(saved: Saved) -> None:
    """Bit for bit what they were."""
    with torch.no_grad():
        for p, old in saved:
            p.copy_(old)
