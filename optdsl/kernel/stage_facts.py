"""What the runtime has to know of stages: which buffers they take and make, and which of these are kept.

In: kernels with `Loop.WHOLE`, and the program that they are of. Out: plain tuples, for tables in generated
modules (`emit`) and for backends that run kernels themselves.
"""

from collections.abc import Iterator

from optdsl.backend import Program
from optdsl.kernel.ir import Kernel, Load, Op, Type
from optdsl.kernel.walk import nodes
from optdsl.language.history import PRODUCTS, lengths
from optdsl.language.optimizer import Optimizer, Shape

Whole = tuple[int, str, int]
"""The number of a buffer, its shape, and the bytes of each of its numbers."""

Ring = tuple[int, int, int, tuple[int, int, int]]
"""Of a state that is remembered: the number of the buffer of its new value, its own, the bytes of each of its
numbers, and how many values are kept: the column of the hyper that says so, or -1, what is added to it, and
how many at least.
"""

_BYTES = {Type.F32: 4, Type.F64: 8}


def loaded(kernel: Kernel) -> list[str]:
    """The buffers that a stage reads, in their order."""
    body = [stmt for phase in kernel.phases for stmt in phase.body]
    read = {node.buffer for stmt in body for node in nodes(stmt.value) if isinstance(node, Load)}
    return [buffer.name for buffer in kernel.buffers if buffer.name in read]


def wholes(kernel: Kernel) -> tuple[list[Whole], list[Whole]]:
    """What a stage reads, and what it makes, each in its order."""
    return [_whole(kernel, name) for name in loaded(kernel)], [
        _whole(kernel, name) for name in kernel.written
    ]


def _whole(kernel: Kernel, name: str) -> Whole:
    place = [buffer.name for buffer in kernel.buffers].index(name)
    buffer = kernel.buffers[place]
    return place, buffer.shape.name.lower(), _BYTES[buffer.type]


def kept_by_stages(program: Program) -> Iterator[tuple[int, int, str, int]]:
    """Of each state that a stage makes whole: the buffer of the new value, its own, its shape, its bytes."""
    kernel = program.update
    for buffer in kernel.buffers:
        if buffer.state and kernel.buffer(buffer.state).shape is not Shape.PAST:
            state, per, width = _whole(kernel, buffer.state)
            yield _whole(kernel, buffer.name)[0], state, per, width


def vectors_of(kernel: Kernel) -> tuple[list[str], list[str]]:
    """What a loop over the past knows: the states that are remembered, and what is laid out besides."""
    states = [buffer.name for buffer in kernel.buffers if buffer.shape is Shape.PAST]
    laid_out = [buffer.name for buffer in kernel.buffers if buffer.stage == "operand" and not buffer.state]
    return states, laid_out


def length_of(optimizer: Optimizer, state: str) -> tuple[int, int, int]:
    """How many values of it are kept, as in `Ring`."""
    length = lengths(optimizer)[state]
    names = [hyper.name for hyper in optimizer.hypers]
    return -1 if length.hyper is None else names.index(length.hyper), length.offset, length.least


def rings(program: Program) -> Iterator[Ring]:
    """Of each state that is remembered, in their order."""
    kernel = program.update
    new = {buffer.state: place for place, buffer in enumerate(kernel.buffers) if buffer.state}
    for place, buffer in enumerate(kernel.buffers):
        if buffer.shape is Shape.PAST:
            length = length_of(program.optimizer, buffer.name)
            yield new[buffer.name], place, _BYTES[buffer.type], length


def recursion(kernel: Kernel) -> tuple[list[int], list[int]]:
    """The numbers of the buffers that are laid out besides, and of those that a stage makes."""
    places = {buffer.name: place for place, buffer in enumerate(kernel.buffers)}
    return [places[name] for name in vectors_of(kernel)[1]], [places[name] for name in kernel.written]


def per_tensor(kernel: Kernel) -> bool:
    """Whether a loop over the past has products of each tensor alone."""
    return bool({"dot", "norm"} & _products(kernel))


def over_all(kernel: Kernel) -> bool:
    """Whether it has products over all tensors."""
    return bool({"dot_all", "norm_all"} & _products(kernel))


def _products(kernel: Kernel) -> set[str]:
    found = (node for phase in kernel.phases for stmt in phase.body for node in nodes(stmt.value))
    used = {node.name for node in found if isinstance(node, Op)}
    return {name for name, called in PRODUCTS.items() if called in used}
