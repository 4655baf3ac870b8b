"""What loading does to dtypes: torch casts all state to the parameter's, and here some of it stays wider.

In: a state dict on its way into an optimizer. Out: its tensors as copies, in the dtype in which state is
kept: float32 for float16 and bfloat16 parameters, else the parameter's; the counter as it was saved, and
scalar states as they were or wider. `keep_dtypes` hides tensors from torch's cast, `kept` brings them back.
NOT done: any check of what is loaded (`torch_state`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from optdsl.runtime.layout import Layout, State
from optdsl.runtime.torch.checks import COMPUTED_IN, kept_in
from optdsl.runtime.torch.state import CPU, STEP, number_keys, state_specs
from optdsl.runtime.torch.storage import dtype_of


def sent_home(layout: Layout, groups: Sequence[Mapping[str, Any]], state: Any) -> None:
    """Counters and scalar states go to where steps keep them, as torch's go: with `capturable` to the
    parameter's device. `state` is by parameter, and changed.
    """
    keys = {STEP, *number_keys(layout)}
    for group in groups:
        for p in group["params"]:
            home = p.device if group["capturable"] else CPU
            for key in keys & state.get(p, {}).keys():
                if isinstance(state[p][key], Tensor) and state[p][key].device != home:
                    state[p][key] = state[p][key].to(home)


@dataclass(frozen=True)
class _Hidden:
    """A tensor that torch does not know as one."""

    tensor: Tensor


def keep_dtypes(_: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The last hook before a state dict is loaded."""
    return {**state_dict, "state": {key: _hidden(entry) for key, entry in state_dict["state"].items()}}


def _hidden(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {name: _Hidden(x) if isinstance(x, Tensor) else x for name, x in entry.items()}


def kept(layout: Layout, state: Any) -> Any:
    """`state` with what `keep_dtypes` hid, by parameter."""
    numbers, specs = number_keys(layout), state_specs(layout)
    found: defaultdict[Any, Any] = defaultdict(dict)
    for p, entry in state.items():
        found[p] = entry
        if isinstance(entry, dict):
            taken = (
                (name, _taken(x.tensor, p, name, numbers, specs.get(name)) if isinstance(x, _Hidden) else x)
                for name, x in entry.items()
            )
            found[p] = dict(taken)
    return found


def _taken(x: Tensor, p: Any, name: str, numbers: frozenset[str], spec: State | None) -> Tensor:
    if name == STEP or not isinstance(p, Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x.clone()
    if name in numbers:
        return x.to(torch.promote_types(x.dtype, COMPUTED_IN.get(p.dtype, x.dtype)), copy=True)
    dtype = kept_in(p.dtype) if spec is None else dtype_of(spec, p)
    return x.to(p.device, dtype if dtype.is_floating_point or dtype.is_complex else x.dtype, copy=True)
