"""Evaluates a closure with the parameters moved to the point where the gradient is taken.

In: an optimizer with a variant that has a query kernel, and the closure. Out: the closure's loss and the
gradients that it left; the parameters are bit for bit what they were, also when the closure raises.
State, counters and scalar states are read and not changed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from optdsl.runtime.inputs import unknown_numbers
from optdsl.runtime.torch_plan import Plan
from optdsl.runtime.torch_state import check_group

if TYPE_CHECKING:
    from optdsl.runtime.torch_optimizer import FusedOptimizer


def at_query_point(optimizer: "FusedOptimizer", closure: Callable[[], Any], threads: int) -> Any:
    """`closure()` at the query point of every parameter that could get a gradient."""
    layout, groups = optimizer.layout, optimizer.param_groups
    options = [check_group(layout, group) for group in groups]
    moving = []
    for group, option in zip(groups, options, strict=True):
        moves = option.variant.query_float32 is not None
        moving += [p if moves and (p.requires_grad or p.grad is not None) else None for p in group["params"]]
    with torch.no_grad():
        plan = Plan.build(layout, groups, options, optimizer.state, moving, for_query=True)
        plan.gather(options, unknown_numbers(layout))
        saved = [p.detach().clone() for p in plan.active]
        try:
            plan.load_copies()
            for part in plan.parts:
                assert part.table.query is not None  # only such parameters are in the plan
                part.table.run(part.table.query, threads)
            plan.store_copies()
            torch.autograd.graph.increment_version(tuple(p for p in plan.active if not p.is_inference()))
            with torch.enable_grad():
                return closure()
        finally:
            for p, old in zip(plan.active, saved, strict=True):
                p.copy_(old)
