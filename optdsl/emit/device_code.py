"""What GPUs run in the place of an optimizer's kernels, compiled when a parameter on a GPU asks for it.

In: what the functions of a module are, by their names (`kernels_by_name`). Out: a function from these names
to `DeviceCode`. It raises `NotImplementedError` for kernels that a GPU does not have, and says why.
"""

from collections.abc import Callable, Mapping
from functools import cache

from optdsl.backend import DEFAULT_GPU_BACKEND, Program, get_gpu_writer
from optdsl.kernel.ir import Total, Type
from optdsl.runtime.cuda.kernel import DeviceCode

Kernels = Mapping[str, tuple[Program, int]]


def device_code(
    kernels: Callable[[], Kernels], target: str = DEFAULT_GPU_BACKEND
) -> Callable[[str], DeviceCode]:
    """Nothing is asked for or compiled before the function is called, and each program once."""
    known, texts = cache(kernels), dict[int, str]()

    def code(name: str) -> DeviceCode:
        program, place = known()[name]
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
