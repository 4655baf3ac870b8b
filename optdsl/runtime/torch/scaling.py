"""What `torch.amp.GradScaler` tells an optimizer that divides by the scale itself.

Before a step it sets `grad_scale`, a tensor or None where the gradients have been divided already, and
`found_inf`, a tensor that is not 0 after an overflow; it takes both away afterwards. What overflows in the
part of one process overflows for all.
"""

from typing import Any

from optdsl.runtime.torch.team import Team


def loss_scale(optimizer: Any) -> float | None:
    """What to divide the gradients by; None when no step may be taken, since they have overflowed."""
    found_inf = getattr(optimizer, "found_inf", None)
    if found_inf is not None:
        overflow = float(found_inf) != 0.0
        team = Team.of([p for group in optimizer.param_groups for p in group["params"]])
        if overflow if team is None else team.any(overflow):
            return None
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else float(scale)
