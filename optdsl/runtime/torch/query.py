"""Evaluates a closure with the parameters moved to the point where the gradient is taken.

In: an optimizer with a variant that has a query, and the closure. Out: the closure's loss and the gradients
that it left; the parameters are bit for bit what they were, also when the closure raises. Where the point
needs a gradient, the closure is evaluated at the parameters first. State, counters and scalar states are read
and not changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optdsl.runtime.inputs import unknown_numbers
from optdsl.runtime.layout import FIRST_GRADIENT
from optdsl.runtime.torch.checks import check_gradient, check_parameter, words
from optdsl.runtime.torch.plan import Plan
from optdsl.runtime.torch.shards import local, local_gradient
from optdsl.runtime.torch.state import check_group
from optdsl.runtime.torch.team import Team

if TYPE_CHECKING:
    from optdsl.runtime.torch.optimizer import FusedOptimizer


@dataclass(frozen=True)
class Found:
    """`loss` belongs to the gradients; `shown` is the one at the parameters where that is known, or the same.

    `first`: the gradients at the parameters, zeros where there was none; None where none is taken.
    """

    loss: Any
    shown: Any
    first: list[Tensor] | None


def at_query_point(optimizer: "FusedOptimizer", closure: Callable[[], Any], threads: int) -> Found:
    """`closure()` at the query point of every parameter that could get a gradient."""
    layout, groups = optimizer.layout, optimizer.param_groups
    options = [check_group(layout, group) for group in groups]
    parameters = [p for group in groups for p in group["params"]]
    first, shown = None, None
    takes_part = [p.requires_grad or p.grad is not None for p in parameters]
    if layout.two_gradients:
        with torch.enable_grad():
            shown = closure()
        takes_part = [p.grad is not None for p in parameters]
        first = [_kept(p, what) for p, what in zip(parameters, words(groups), strict=True)]
    moves = [option.variant.query is not None for option in options]
    of = [place for place, group in enumerate(groups) for _ in group["params"]]
    moving = [
        p if moves[group] and takes else None
        for p, group, takes in zip(parameters, of, takes_part, strict=True)
    ]
    team = Team.of(parameters)

    def prepare() -> Plan:
        plan = Plan.build(layout, groups, options, optimizer.state, moving, for_query=True)
        plan.gather(options, unknown_numbers(layout))
        if first is not None:
            plan.place_inputs({FIRST_GRADIENT: first})
        return plan

    with torch.no_grad():
        plan = prepare() if team is None else team.together(prepare)
        saved = [p.detach().clone() for p in plan.active]
        try:
            plan.move(threads, None if team is None else team.send)
            torch.autograd.graph.increment_version(tuple(p for p in plan.active if not p.is_inference()))
            with torch.enable_grad():
                loss = closure()
        finally:
            for p, old in zip(plan.active, saved, strict=True):
                p.copy_(old)
    return Found(loss, loss if first is None else shown, first)


def _kept(p: Tensor, what: str) -> Tensor:
    """A copy of the gradient, which the closure is about to clear."""
    if p.grad is None:
        return torch.zeros_like(p).detach()
    with torch.no_grad():
        here = local_gradient(p.grad, p)
    assert here is not None
    check_parameter(local(p), what)
    check_gradient(here, local(p), what)
    return p.grad.detach().clone()
