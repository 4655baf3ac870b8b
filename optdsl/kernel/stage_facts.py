"""What the runtime has to know of stages: which buffers they take and make, and which of these are kept.

In: kernels with `Loop.WHOLE`, and the program that they are of. Out: plain tuples, for tables in generated
modules (`emit`) and for backends that run kernels themselves.
"""

from collections.abc import Iterator

from optdsl.backend import Program
from optdsl.kernel.ir import Kernel, Load, Type
from optdsl.kernel.walk import nodes

Whole = tuple[int, str, int]
"""The number of a buffer, its shape, and the bytes of each of its numbers."""

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
        if buffer.state:
            state, per, width = _whole(kernel, buffer.state)
            yield _whole(kernel, buffer.name)[0], state, per, width
