"""Meaning to Kernel IR, operation for operation in the author's order.

In: a specialised `Optimizer` (no flags) and a `Precision`. Out: a `Program`: the update kernel, one kernel
for each pass of reductions before it, the query's when the gradient is taken elsewhere, and one for each
output. Legal (`verify` passes), not yet optimized.

What is decided here:
- A line of one value per step or tensor goes to the prologue; one of one value per element to the phase, and
  so do lines of one value per row or column: they are computed again wherever they are read, and states of
  these shapes are written by kernels of their own after the update.
- A pass that reduces only reads: it computes again what it needs, and nothing is written until the update,
  so that what is reduced has not been rounded, and a step is all or nothing.
- Old values are loaded once, first; stores come last. What a line reads as `m[t]` is the value that was
  just computed, in the compute type: it is rounded when it is stored, not before it is used.
- `x^2`, `x^3` and `x^4` are products, `x^0.5` a square root and `x^-1` a division: IEEE rounds each of
  them at least as well as any `pow`, and only they vectorise. Every other power is `pow`.
- The gradient and the inputs are multiplied by `direction`, which is +1, or -1 to maximize: exact either
  way. Where the loss was scaled (a power of 2, nearly always) it is divided by that.
Not done here: hoisting, folding, common subexpressions, what a pass does not need (see `passes`).
"""

from dataclasses import replace

from optdsl.backend import Program
from optdsl.diagnostics import InternalError
from optdsl.kernel.ir import Kernel, Precision
from optdsl.kernel.lowering import Lowering
from optdsl.kernel.past_lowering import PastLowering
from optdsl.kernel.stage_lowering import StageLowering
from optdsl.language.history import sweeps
from optdsl.language.optimizer import Age, Assign, Optimizer, Ref, Role, Shape
from optdsl.language.stages import plan


def lower(optimizer: Optimizer, precision: Precision) -> Program:
    """The kernels of an optimizer whose flags are chosen."""
    if optimizer.flags:
        raise InternalError("lower takes a specialised optimizer")
    found = plan(optimizer.lines)

    def stage(number: int) -> Kernel | None:
        if number not in found.stages:
            return None
        if next(sweeps(optimizer.lines), None) is not None:
            return PastLowering(optimizer, precision, found, number).recursion()
        return StageLowering(optimizer, precision, found, number).matrices()

    query = _query(optimizer, precision) if optimizer.query is not None else None
    shapes = {state.shape for state in optimizer.states}
    return Program(
        optimizer,
        Lowering(optimizer, precision, found, found.passes).update(),
        query,
        tuple(Lowering(optimizer, precision, found, number).reduction() for number in range(found.passes)),
        tuple(total for total in found.totals if not total.of_lines),
        tuple(
            Lowering(optimizer, precision, found, found.passes, shape).vector(shape)
            for shape in (Shape.ROWS, Shape.COLS)
            if shape in shapes
        ),
        tuple(Lowering(optimizer, precision, found, 0).view(output) for output in optimizer.outputs),
        tuple(map(stage, range(found.passes))),
    )


def _query(optimizer: Optimizer, precision: Precision) -> Program:
    """The step to the point where the gradient is taken: it keeps nothing, and reduces for itself."""
    assert optimizer.query is not None
    theta = Ref(Role.THETA, "theta", Age.NEW, Shape.ELEMENT)
    lines = (*optimizer.query_lines, Assign(theta, optimizer.query, span=optimizer.query.span))
    moving = replace(optimizer, lines=lines, query=None, query_lines=(), outputs=())
    found = plan(lines)
    reductions = (Lowering(moving, precision, found, number).reduction() for number in range(found.passes))
    named = tuple(replace(kernel, name=f"query_{kernel.name}") for kernel in reductions)
    return Program(
        moving,
        Lowering(moving, precision, found, found.passes).query(),
        reductions=named,
        totals=tuple(found.totals),
    )
