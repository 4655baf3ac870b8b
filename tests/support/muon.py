"""torch.optim.Muon as its formulas are: torch's own code, without its rounding to bfloat16.

torch iterates in bfloat16, eight bits of which hardly tell one formula from another. The text of its function
is taken as it is installed, and the one conversion left out.
"""

import inspect
from typing import Any

import torch
from torch.optim import _muon

_TEXT = inspect.getsource(_muon._zeropower_via_newtonschulz)
_ROUNDING = "grad.bfloat16()"
assert _TEXT.count(_ROUNDING) == 1
_SPACE = dict(vars(_muon))
exec(_TEXT.replace(_ROUNDING, "grad.clone()"), _SPACE)


class Muon(torch.optim.Muon):
    """`step` with the iteration in the precision of the gradient."""

    def step(self, closure: Any = None) -> Any:
        rounding = _muon._zeropower_via_newtonschulz
        _muon._zeropower_via_newtonschulz = _SPACE["_zeropower_via_newtonschulz"]
        try:
            return super().step(closure)  # type: ignore[no-untyped-call]
        finally:
            _muon._zeropower_via_newtonschulz = rounding
