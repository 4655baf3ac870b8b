"""The idle step that distributed checkpoints take to see what state there is.

`torch.distributed.checkpoint.state_dict` calls `step()` on an optimizer without state, with gradients of
zero and `lr = 0`. Most optimizers take it as any other step. One that reads the loss, needs a closure or
divides by its rate would refuse: it makes the state that it begins with, and takes no step.
"""

from typing import TYPE_CHECKING

from optdsl.runtime.layout import Layout
from optdsl.runtime.torch_checks import check_parameter
from optdsl.runtime.torch_state import check_group, complete_state

if TYPE_CHECKING:
    from optdsl.runtime.torch_optimizer import FusedOptimizer


def is_idle(optimizer: "FusedOptimizer") -> bool:
    """Whether this is such a step, and the optimizer one that would refuse it."""
    if optimizer.state or not _would_refuse(optimizer.layout):
        return False
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    still = all(float(group.get("lr", 1.0)) == 0.0 for group in optimizer.param_groups)
    return still and bool(gradients) and not any(bool(g.any()) for g in gradients)


def _would_refuse(layout: Layout) -> bool:
    moves = any(variant.query is not None for variant in layout.variants.values())
    divides = any(hyper.option == "lr" and not hyper.contains(0.0) for hyper in layout.hypers)
    return bool(layout.inputs) or moves or divides


def make_state(optimizer: "FusedOptimizer") -> None:
    """What every parameter with a gradient begins with. Raises what a step raises for these."""
    layout = optimizer.layout
    made = []
    for number, group in enumerate(optimizer.param_groups):
        options = check_group(layout, {**group, "lr": optimizer.defaults["lr"]})
        for position, p in enumerate(group["params"]):
            if p.grad is not None:
                what = f"parameter {position} of group {number}"
                check_parameter(p, what)
                variant = options.variant.of_rank(p.dim())
                made.append((p, complete_state(layout, variant, p, {}, options.hypers, what).new))
    for p, new in made:
        optimizer.state[p].update(new)
