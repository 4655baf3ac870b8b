"""Who of torch is asking: two of its tools use optimizers in ways that only the caller's name tells.

Distributed checkpoints have an optimizer make its state by a step that is none (`torch_idle`).
ZeroRedundancyOptimizer gives each process some of the parameters, and tells nobody.
"""

import sys

from optdsl.runtime.layout import Layout, Variant

_CHECKPOINT = "torch.distributed.checkpoint.state_dict", "_init_optim_state"
_ZERO = "torch.distributed.optim.zero_redundancy_optimizer", "_init_local_optimizer"
_DEPTH = 12  # frames: hooks, schedulers and subclasses wrap steps and constructors


def only_state_is_wanted() -> bool:
    """Whether a distributed checkpoint is taking its step that is to change nothing."""
    return _called_from(*_CHECKPOINT)


def refuse_some_of_all(layout: Layout) -> None:
    """Raises `RuntimeError` for sums over all parameters where each process is given some of them."""
    if any(map(_sums_over_all, layout.variants.values())) and _called_from(*_ZERO):
        raise RuntimeError(
            f"{layout.name} sums over all parameters, and ZeroRedundancyOptimizer gives each process some of "
            "them; use fully_shard, or, to clip, torch.nn.utils.clip_grad_norm_ before the step"
        )


def _sums_over_all(variant: Variant) -> bool:
    inner = (each for each in (variant.below, variant.query) if each is not None)
    own = any(reduction.keys_over_all for reduction in variant.reductions_float32)
    return own or any(map(_sums_over_all, inner))


def _called_from(module: str, function: str) -> bool:
    if module not in sys.modules:
        return False
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        if frame.f_back is None:
            return False
        frame = frame.f_back
        if frame.f_code.co_name == function and frame.f_globals.get("__name__") == module:
            return True
    return False
