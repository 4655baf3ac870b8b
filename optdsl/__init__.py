"""optdsl: equations in, proved and fused optimizer kernels out.

    spec = optdsl.load("adam")            # a library name or a path
    from optdsl.torch import Adam         # a torch.optim.Optimizer with fused kernels
    opt = optdsl.numpy.load("adam")(x)    # in-place NumPy arrays

Importing this imports none of SymPy, Numba, torch or JAX: everything is loaded on use.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from optdsl.api import Spec, load
    from optdsl.diagnostics import OptdslError

__all__ = ["OptdslError", "Spec", "__version__", "load"]

_HOMES = {"Spec": "optdsl.api", "load": "optdsl.api", "OptdslError": "optdsl.diagnostics"}
_MODULES = ("numpy", "optax", "scipy", "torch")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"optdsl.{name}")
    raise AttributeError(f"module 'optdsl' has no attribute {name!r}")
