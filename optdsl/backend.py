"""What a backend is, and how one is found: by the name of its file in `backends/`.

A backend module ends in `BACKEND: Backend = ...`, which is where the type checker compares it with
this protocol. Nothing in `optdsl/` names a backend.
"""

import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import zip_longest
from typing import Any, Protocol, cast

from optdsl.diagnostics import InternalError, Source
from optdsl.kernel import ir
from optdsl.kernel.ir import Kernel
from optdsl.language.optimizer import Optimizer
from optdsl.language.reductions import Total
from optdsl.runtime.batch import Batch


@dataclass(frozen=True)
class Program:
    """One optimizer with its flags chosen, as meaning and as kernels of one precision.

    `query` moves theta to the point where the gradient is taken, None for theta[t-1]: a program of its own,
    with the buffers of this one, whose `update` is called "query" and stores to theta only. `reductions` run
    before `update`, in this order, and only read; behind each of them runs the one of `stages`, if it is not
    None; `totals` are what they sum for whole tensors, in the order
    of the columns. `vectors` run after `update`: states with one value for each row or column. `views` put
    outputs into theta, between steps.
    """

    optimizer: Optimizer
    update: Kernel
    query: "Program | None" = None
    reductions: tuple[Kernel, ...] = ()
    totals: tuple[Total, ...] = ()
    vectors: tuple[Kernel, ...] = ()
    views: tuple[Kernel, ...] = ()
    stages: tuple[Kernel | None, ...] = ()

    def summed(self, kernel: Kernel) -> Iterator[tuple[int, Total]]:
        """What a pass sums, in its order: the column among the totals, and which it is."""
        names = kernel.hypers[len(kernel.hypers) - len(self.totals) :]
        for phase in kernel.phases:
            for stmt in phase.body:
                if isinstance(stmt, ir.Total) and stmt.name in names:
                    yield names.index(stmt.name), self.totals[names.index(stmt.name)]

    def results(self, kernel: Kernel) -> Iterator[tuple[int, Total] | int]:
        """What a pass or a stage gives, in its order: as `summed`, or the number of the buffer."""
        summed = self.summed(kernel)
        numbers = {buffer.name: number for number, buffer in enumerate(kernel.buffers)}
        for phase in kernel.phases:
            for stmt in phase.body:
                if isinstance(stmt, ir.Total):
                    yield numbers[stmt.name] if stmt.name in numbers else next(summed)
                elif isinstance(stmt, ir.Store):
                    yield numbers[stmt.buffer]

    def kernel(self, name: str) -> Kernel:
        """The one of that name, among all of them."""
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        raise InternalError(f"{self.optimizer.name} has no {name} kernel")

    def stage(self, number: int) -> Kernel | None:
        """What is done with whole matrices behind the pass of that number."""
        return self.stages[number] if number < len(self.stages) else None

    @property
    def passes(self) -> tuple[Kernel, ...]:
        """What runs before `update`, in order: passes over elements, and stages behind them."""
        pairs = zip_longest(self.reductions, self.stages)
        return tuple(each for pair in pairs for each in pair if each is not None and not each.is_empty)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All of them, in the order in which a step runs them; last those that no step runs."""
        moving = self.query.kernels if self.query else ()
        return (*moving, *self.passes, self.update, *self.vectors, *self.views)


class Step(Protocol):
    """Takes one step in place, all tensors of the batch at once; never allocates per element."""

    def __call__(self, batch: Batch) -> None: ...


class Backend(Protocol):
    name: str
    modes: tuple[str, ...]  # of `ir.MODES`, the one that is meant when none is named first

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        """The text that the backend runs; the same to the byte for the same program."""
        ...

    def load(self, program: Program, phase: str = "update") -> Step:
        """A step for `program.update`, or for the kernel whose name `phase` is; "query" reduces first."""
        ...


class KernelWriter(Backend, Protocol):
    """A backend whose kernels can be written into a module that needs only `optdsl.runtime`."""

    imports: str

    def functions(
        self, kernel: Kernel, prologue: str, phase: str, source: Source | None = None
    ) -> tuple[str, str]:
        """The text of a kernel's prologue and of its phase, as functions of the given names.

        With `source`, the spec's lines stand in comments.
        """
        ...


class FileWriter(Backend, Protocol):
    """A backend that compiles ahead of time: to libraries, objects, and the text on the way to them."""

    forms: tuple[str, ...]

    def files(
        self, programs: Sequence[Program], form: str, by: str, *, on_gpu: bool = True
    ) -> dict[str, bytes]:
        """Names and contents of files, in one of `forms`; `by`: what they say after `compiled by optdsl`;
        `on_gpu`: with PTX, in what carries it beside other code.

        programs: one optimizer with its flags chosen, for every type that its parameters may have.

        Raises `UnsupportedKernelError` for a spec, `FileNotFoundError` where a tool is missing.
        """
        ...


class UnsupportedKernelError(NotImplementedError):
    """A backend has no kernel for a spec; `reason` ends a sentence."""

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(f"{backend}: {reason}")
        self.backend, self.reason = backend, reason


DEFAULT_BACKEND = "numba_cpu"
DEFAULT_GPU_BACKEND = "llvm"


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


def get_writer(name: str) -> KernelWriter:
    """A backend that can write modules; raises `UnknownBackendError` for the others."""
    backend = get_backend(name)
    if not hasattr(backend, "functions"):
        raise UnknownBackendError(f"the backend `{name}` cannot write a module")
    return cast(KernelWriter, backend)


def get_file_writer(name: str) -> FileWriter:
    """A backend that can write files; raises `UnknownBackendError` for the others."""
    backend = get_backend(name)
    if not hasattr(backend, "files"):
        raise UnknownBackendError(f"the backend `{name}` makes no files")
    return cast(FileWriter, backend)


class PairBackend(Backend, Protocol):
    """A backend whose kernels the runtime can call in the place of Numba's."""

    def check(self, kernel: Kernel) -> None:
        """Raises `UnsupportedKernelError`."""
        ...

    def pair(self, kernel: Kernel) -> tuple[Any, Any]:
        """A kernel's prologue and phase, compiled, with the arguments of `runtime.numba_kernel`'s."""
        ...


def get_pair_backend(name: str) -> PairBackend:
    """Raises `UnknownBackendError` for a backend that has none."""
    backend = get_backend(name)
    if not hasattr(backend, "pair"):
        raise UnknownBackendError(f"the backend `{name}` has no kernels for the runtime")
    return cast(PairBackend, backend)


class GpuWriter(Backend, Protocol):
    """A backend that has kernels for NVIDIA's GPUs."""

    def ptx(self, program: Program) -> str:
        """PTX with an entry `NAME_STORAGE` for every kernel of the program, as `runtime.cuda_kernel` has it.

        Raises `NotImplementedError` for what has no kernel there, with the reason.
        """
        ...


def get_gpu_writer(name: str) -> GpuWriter:
    """Raises `UnknownBackendError` for a backend that has no kernels for GPUs."""
    backend = get_backend(name)
    if not hasattr(backend, "ptx"):
        raise UnknownBackendError(f"the backend `{name}` has no kernels for GPUs")
    return cast(GpuWriter, backend)
