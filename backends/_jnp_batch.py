"""Kernels in jax.numpy on a batch of memory: how tests hold the backend `jnp` against all others.

In: a program and its batch. Out: the batch, stepped by what steps the leaves of a tree in `optdsl.optax`.
NOT done: speed; every tensor is copied, every operation compiled for its shape.
"""

import ctypes
from typing import Any

import jax.numpy as jnp
import numpy as np

from optdsl.backend import KernelWriter, Program
from optdsl.emit.loading import load_generated
from optdsl.kernel.ir import Kernel, Type
from optdsl.kernel.stage_facts import kept_by_stages
from optdsl.language.optimizer import Shape
from optdsl.runtime.batch import Batch
from optdsl.runtime.jax.jnp_step import Functions, JaxKernel, JaxReduction, JaxVariant, Leaf, stepped, viewed
from optdsl.runtime.layout import Total


def variant_of(program: Program, writer: KernelWriter) -> JaxVariant:
    """What `emit.optax_module` writes out, without the names of states."""

    def functions(kernel: Kernel) -> Functions:
        text = "\n\n\n".join((writer.imports, *writer.functions(kernel, "prepare", kernel.name)))
        module = load_generated(f"{text}\n", f"optdsl_jnp_{program.optimizer.name}")
        return module.prepare, getattr(module, kernel.name)

    def reduction(kernel: Kernel) -> JaxReduction:
        results = (
            each if isinstance(each, int) else Total(each[0], each[1].key, each[1].over_all)
            for each in program.results(kernel)
        )
        return JaxReduction(functions(kernel), tuple(results))

    return JaxVariant(
        reductions=tuple(map(reduction, program.passes)),
        update=JaxKernel(functions(program.update), program.update.stored),
        vectors=tuple(JaxKernel(functions(kernel), kernel.stored) for kernel in program.vectors),
        lines=len(program.update.line_sums),
        kept=tuple((made, state) for made, state, *_ in kept_by_stages(program)),
        query=variant_of(program.query, writer) if program.query else None,
        views=tuple(functions(kernel) for kernel in program.views),
    )


def run(program: Program, variant: JaxVariant, batch: Batch, phase: str) -> None:
    kernel = next(kernel for kernel in program.kernels if kernel.name == phase)
    if phase == "query":
        assert variant.query is not None
        variant = variant.query
    given = batch.hypers.shape[1] - variant.extra_columns
    memory, leaves = [], []
    for tensor, row in enumerate(batch.rows.tolist()):
        memory.append(_arrays(batch, tensor, kernel))
        copies = [jnp.array(x, _dtype(kernel.precision.compute)) for x in memory[-1]]
        hypers = [jnp.asarray(x) for x in batch.hypers[row, :given]]
        numbers = [jnp.asarray(x) for x in batch.scalar_states[row]]
        now, direction = jnp.asarray(batch.t[row]), jnp.asarray(batch.direction[row])
        leaves.append(Leaf(variant, copies, hypers, numbers, now, direction))
    if kernel in program.views:
        for leaf in leaves:
            leaf.arrays[0] = viewed(leaf, variant.views[program.views.index(kernel)])
    else:
        stepped(leaves)
        for row, leaf in zip(batch.rows.tolist(), leaves, strict=True):
            batch.scalar_states[row] = leaf.numbers
    for own, leaf in zip(memory, leaves, strict=True):
        for array, value in zip(own, leaf.arrays, strict=False):
            array[...] = np.asarray(value)


def _arrays(batch: Batch, tensor: int, kernel: Kernel) -> list[Any]:
    """The memory of what is kept or given, in their shapes: batches of matrices where `dims` says so."""
    size, shape, found = int(batch.sizes[tensor]), tuple[int, ...](), []
    for buffer, address in zip(kernel.buffers, batch.addresses[tensor].tolist(), strict=True):
        if buffer.summed or buffer.stage:
            continue
        shape = (size,)
        if batch.dims is not None:
            rows, columns = batch.dims[tensor].tolist()
            count = size // max(rows * columns, 1)
            shape = {
                Shape.ROWS: (count, rows, 1),
                Shape.COLS: (count, 1, columns),
                Shape.LEFT: (count, rows, rows),
                Shape.RIGHT: (count, columns, columns),
                Shape.FLIPPED: (count, columns, rows),
            }.get(buffer.shape, (count, rows, columns))
        kind = ctypes.c_float if buffer.type is Type.F32 else ctypes.c_double
        empty = np.empty(shape, _dtype(buffer.type))
        at = ctypes.cast(address, ctypes.POINTER(kind))
        found.append(np.ctypeslib.as_array(at, shape) if empty.size else empty)
    return found


def _dtype(of: Type) -> Any:
    return np.float32 if of is Type.F32 else np.float64
