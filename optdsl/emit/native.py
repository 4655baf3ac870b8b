"""A layout with the kernels of another compiler than Numba, made when the first step asks for them.

In: a layout as a generated module has it, and what its kernels are. Out: the same layout, whose pairs are
those of a backend that compiles in this process, for arithmetic that Numba's kernels do not promise: in the
modes `fma` and `strict` every processor, GPUs among them, has the same bits. Raises `UnsupportedKernelError`
for kernels that the backend has not got, before anything is compiled.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optdsl.backend import DEFAULT_GPU_BACKEND, PairBackend, Program, get_pair_backend
from optdsl.diagnostics import InternalError
from optdsl.kernel.ir import Kernel
from optdsl.runtime.layout import Layout
from optdsl.runtime.numba_kernel import Kernel as NumbaKernel

Kernels = Mapping[str, tuple[Program, int]]


def native(layout: Layout, kernels: Kernels, backend: str = DEFAULT_GPU_BACKEND) -> Layout:
    """`kernels`: by the names of the functions in the module, as `kernels_by_name` has them."""
    compiler = get_pair_backend(backend)
    for program, place in kernels.values():
        compiler.check(program.kernels[place])
    made: dict[str, _Both] = {}

    def pair(phase: NumbaKernel) -> tuple[NativeKernel, NativeKernel]:
        name = phase.__name__
        if name not in made:
            program, place = kernels[name]
            made[name] = _Both(compiler, program.kernels[place])
        return NativeKernel(f"prepare_{name}", made[name].prologue), NativeKernel(name, made[name].phase)

    def with_pairs(x: Any) -> Any:
        match x:
            case (NumbaKernel(), NumbaKernel() as phase):
                return pair(phase)
            case tuple():
                return tuple(map(with_pairs, x))
            case Mapping():
                return {key: with_pairs(value) for key, value in x.items()}
            case _ if is_dataclass(x) and not isinstance(x, type):
                return replace(x, **{each.name: with_pairs(getattr(x, each.name)) for each in fields(x)})
            case _:
                return x

    return replace(layout, variants=with_pairs(layout.variants))


class NativeKernel:
    """Stands where a `runtime.numba_kernel.Kernel` does; `compiled` compiles, once."""

    def __init__(self, name: str, made: Callable[[], Callable[..., None]]) -> None:
        self.__name__ = name
        self._made = made

    @property
    def compiled(self) -> Callable[..., None]:
        return self._made()

    def __call__(self, *arguments: Any) -> None:
        self.compiled(*arguments)


class _Both:
    """Prologue and phase of a kernel. Their tables have the columns of this kernel; the layout's have as many
    as the largest that may use them.
    """

    def __init__(self, compiler: PairBackend, kernel: Kernel) -> None:
        self._compiler, self._kernel = compiler, kernel
        self._pair: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    def _compiled(self) -> tuple[Any, Any]:
        with self._lock:
            if self._pair is None:
                self._pair = self._compiler.pair(self._kernel)
            return self._pair

    def prologue(self) -> Callable[..., None]:
        run, count = self._compiled()[0].compiled, len(self._kernel.scalars)

        def prepare(
            hypers: NDArray[np.float64],
            t: NDArray[np.float64],
            direction: NDArray[np.float64],
            states: NDArray[np.float64],
            scalars: NDArray[np.float64],
        ) -> None:
            if hypers.shape[1] != len(self._kernel.hypers):
                raise InternalError(f"{self._kernel.name} was given {hypers.shape[1]} hyperparameters")
            own = scalars if scalars.shape[1] == count else np.empty((t.size, count))
            run(hypers, t, direction, states, own)
            scalars[:, :count] = own

        return prepare

    def phase(self) -> Callable[..., None]:
        run, count = self._compiled()[1].compiled, len(self._kernel.scalars)

        def go_through(addresses: Any, chunks: Any, first: int, last: int, scalars: Any, *more: Any) -> None:
            own = scalars if scalars.shape[1] == count else np.ascontiguousarray(scalars[:, :count])
            run(addresses, chunks, first, last, own, *more)

        return go_through
