"""What a backend is, and how one is found: by the name of its file in `backends/`.

A backend module ends in `BACKEND: Backend = ...`, which is where the type checker compares it with
this protocol. Nothing in `optdsl/` names a backend.
"""

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol

from optdsl.kernel.ir import Kernel
from optdsl.language.optimizer import Optimizer
from optdsl.runtime.batch import Batch


@dataclass(frozen=True)
class Program:
    """One optimizer with its flags chosen, as meaning and as kernels of one precision.

    `query` is the kernel that moves theta to the point where the gradient is taken, None for
    theta[t-1]; it has the buffers and inputs of `update`, and stores to theta only.
    """

    optimizer: Optimizer
    update: Kernel
    query: Kernel | None = None


class Step(Protocol):
    """Takes one step in place, all tensors of the batch at once; never allocates per element."""

    def __call__(self, batch: Batch) -> None: ...


class Backend(Protocol):
    name: str

    def source(self, program: Program, phase: str = "update") -> str:
        """The text that the backend runs or would run; deterministic to the byte."""
        ...

    def load(self, program: Program, phase: str = "update") -> Step:
        """A step for `program.update`, or for `program.query` when `phase` is "query"."""
        ...


class UnknownBackendError(LookupError):
    """No file of that name in `backends/`, or the package it needs is not installed."""


def available_backends() -> tuple[str, ...]:
    package = import_module("optdsl.backends")
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_")))


@cache
def get_backend(name: str) -> Backend:
    if name not in available_backends():
        raise UnknownBackendError(f"no backend `{name}`; there are {', '.join(available_backends())}")
    backend: Backend = import_module(f"optdsl.backends.{name}").BACKEND
    return backend
