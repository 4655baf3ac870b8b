"""What GPUs run in the place of an optimizer's kernels, compiled when a parameter on a GPU asks for it.

In: a resolved `Optimizer` and a mode. Out: a function from the names that its kernels have in a module
(`emit_module`) to `DeviceCode`. It raises `NotImplementedError` for kernels that a GPU does not have, and
says why.
"""

from collections.abc import Callable
from functools import cache

from optdsl.backend import DEFAULT_GPU_BACKEND, Program, get_gpu_writer
from optdsl.emit.module import kernels_by_name
from optdsl.kernel.ir import Total, Type
from optdsl.kernel.storing import PLAIN, Storing
from optdsl.language.optimizer import Optimizer
from optdsl.runtime.cuda.kernel import DeviceCode


def device_code(
    optimizer: Optimizer, mode: str, target: str = DEFAULT_GPU_BACKEND, *, storing: Storing = PLAIN
) -> Callable[[str], DeviceCode]:
    """Nothing is compiled before the function is called, and each program once."""

    @cache
    def kernels() -> dict[str, tuple[Program, int]]:
        return kernels_by_name(optimizer, mode, storing)

    texts: dict[int, str] = {}

    def code(name: str) -> DeviceCode:
        program, place = kernels()[name]
        if id(program) not in texts:
            texts[id(program)] = get_gpu_writer(target).ptx(program)
        kernel = program.kernels[place]
        sums = sum(isinstance(stmt, Total) for phase in kernel.phases for stmt in phase.body)
        return DeviceCode(
            ptx=texts[id(program)],
            entry=f"{kernel.name}_{kernel.precision.storage}",
            buffers=len(kernel.buffers),
            scalars=len(kernel.scalars),
            hypers=len(kernel.hypers),
            single=kernel.precision.compute is Type.F32,
            sums=sums,
        )

    return code
