"""A step made of pairs of prologue and phase that take chunks of many tensors, as Numba's kernels do.

For backends whose kernels go through every element; see `_kernel_lanes.unsupported` for what those are.
"""

from collections.abc import Callable
from typing import Any

from optdsl.backend import Program, Step, UnsupportedKernelError
from optdsl.kernel.ir import Kernel
from optdsl.runtime.batch import Batch

from ._kernel_lanes import unsupported


def checked(kernel: Kernel, backend: str) -> None:
    """Raises `UnsupportedKernelError` for a kernel that does not run on lanes."""
    reason = unsupported(kernel)
    if reason is not None:
        raise UnsupportedKernelError(backend, reason)


def chunked_step(
    program: Program, phase: str, backend: str, pair: Callable[[Kernel], tuple[Any, Any]]
) -> Step:
    """`pair` makes what stands for a prologue and a phase, with the arguments of `runtime.numba_kernel`'s."""
    from optdsl.runtime.layout import Reduction, Total
    from optdsl.runtime.lines import update_lines
    from optdsl.runtime.reduce import reduce_batches

    if phase == "query" and program.query is not None:
        program = program.query
    for kernel in program.kernels:
        checked(kernel, backend)
    passes = [
        Reduction(
            None if kernel.is_empty else pair(kernel),
            len(kernel.scalars),
            tuple(Total(column, total.key, total.over_all) for column, total in program.summed(kernel)),
            (),
            None,
            kernel.sums,
        )
        for kernel in program.reductions
    ]
    update = program.kernel(phase)
    chosen = pair(update)

    def step(batch: Batch) -> None:
        if passes:
            reduce_batches([(batch, passes)])
        update_lines(chosen, [], batch, len(update.scalars))

    return step
