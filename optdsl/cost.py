"""What a step costs in memory: the passes over it, and the bytes of state, for each parameter.

In: an `Optimizer` and its flags. Out: counts, exact. They are read off the kernels that are run: a buffer
counts once in a pass that loads it and once in a pass that stores to it. What the processor does beyond that
(a line that is read because a part of it is written) is not counted.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from optdsl import driver
from optdsl.backend import Program
from optdsl.kernel.ir import BY_BLOCKS, IN_16_BITS, Kernel, Load, Loop, Precision, Store, Type
from optdsl.kernel.stage_facts import over_all, vectors_of
from optdsl.kernel.storing import bits
from optdsl.kernel.walk import nodes
from optdsl.language.history import lengths
from optdsl.language.inputs import FIRST_GRADIENT, drawn
from optdsl.language.optimizer import Optimizer, Shape

FLOAT32_BYTES, FLOAT64_BYTES = 4, 8
ELEMENTWISE, MATRIX, PER_TENSOR, GLOBAL = "elementwise", "matrix", "per-tensor", "global"
CLASSES = (ELEMENTWISE, MATRIX, PER_TENSOR, GLOBAL)
"""What has to be on one device, if none is to ask another: an element, a matrix (or its rows and columns), a
tensor, all tensors. The default of a rule by rank is the one for matrices.
"""


@dataclass(frozen=True)
class Pass:
    """One pass over memory: the buffers of the parameters' size that it reads, and those that it writes."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    sizes: Mapping[str, float] = field(default_factory=dict)  # bytes of those that are not float32
    stage: str = ""  # what is done with whole matrices behind it, or with what is remembered
    past: int = 0  # the bytes that the latter takes

    def _bytes(self, names: tuple[str, ...]) -> float:
        return sum(self.sizes.get(name, FLOAT32_BYTES) for name in names)

    @property
    def bytes_moved(self) -> float:
        """For one parameter; without what a stage of matrices moves."""
        return self._bytes(self.reads) + self._bytes(self.writes) + self.past

    def __str__(self) -> str:
        parts = [
            f"{verb} {', '.join(names)} ({self._bytes(names):g} B)"
            for verb, names in (("reads", self.reads), ("writes", self.writes))
            if names
        ]
        return f"{self.name}: {', '.join(parts) or 'nothing'}{self.stage}"


@dataclass(frozen=True)
class Cost:
    """What is kept and moved for one parameter: float32, unless another precision is asked about.

    `numbers` are kept once for each tensor, `lines` for each row or column of a matrix, `squares` for each
    pair of its rows, or of its columns: these, passes over nothing else and what products and factors of
    matrices move are not counted in bytes.
    """

    state_bytes: float
    numbers: int
    lines: int
    squares: int
    passes: tuple[Pass, ...]
    sharding: str

    @property
    def bytes_moved(self) -> float:
        return sum(each.bytes_moved for each in self.passes)


FLOAT32 = Precision("accurate", Type.F32)


def cost(optimizer: Optimizer, flags: Mapping[str, bool], precision: Precision = FLOAT32) -> Cost:
    """The cost with these flags, and the others at their defaults; numbers of 8 bits make bytes fractions."""
    program = driver.build(optimizer, precision, flags)
    shapes = Counter(state.shape for state in program.optimizer.states)
    lines = shapes[Shape.ROWS] + shapes[Shape.COLS]
    squares = shapes[Shape.LEFT] + shapes[Shape.RIGHT]
    elements = shapes[Shape.ELEMENT] + shapes[Shape.FLIPPED]
    numbers = shapes.total() - elements - lines - squares - shapes[Shape.PAST]
    elements += sum(_kept(program.optimizer).values())
    moved, sharding = _passes(program), _sharding(program)
    kept = FLOAT32_BYTES * elements + _less(program)
    return Cost(kept, numbers, lines, squares, moved, sharding)


def _less(program: Program) -> float:
    """What states have less than float32, and more: the rest of a parameter is kept, too."""
    halves = {buffer.more for buffer in program.update.buffers}
    stored = (buffer for buffer in program.update.buffers if buffer.type in (*IN_16_BITS, *BY_BLOCKS))
    buffers = [buffer for buffer in stored if buffer.name not in halves]
    states = [buffer for buffer in buffers if buffer.name not in ("theta", "g", *program.optimizer.inputs)]
    rest = sum(bits(buffer.type) / 8 - 2 for buffer in buffers if buffer.name == "theta")
    return rest + sum(bits(buffer.type) / 8 - FLOAT32_BYTES for buffer in states)


def _kept(optimizer: Optimizer) -> dict[str, int]:
    """How many values of each remembered state there are, with the hypers at their defaults."""
    defaults = {hyper.name: float(hyper.default) for hyper in optimizer.hypers}
    return {name: length.of(defaults) for name, length in lengths(optimizer).items()}


def _passes(program: Program) -> tuple[Pass, ...]:
    pairs = zip_longest(program.reductions, program.stages)
    found = [*(_with_past(_pass(*pair), program, pair[1]) for pair in pairs), _pass(program.update)]
    if program.query is not None:  # theta is kept aside while the gradient is taken elsewhere
        aside = Pass("keep theta aside", ("theta",), ("its copy",))
        back = Pass("put theta back", ("its copy",), ("theta",))
        found = [aside, *_passes(program.query), back, *found]
        if FIRST_GRADIENT in program.optimizer.inputs:
            found.insert(0, Pass("keep the first gradient", ("g",), (FIRST_GRADIENT,)))
    draws = tuple(name for name in program.optimizer.inputs if drawn(name))
    found.insert(0, Pass("draw", (), draws))
    return tuple(each for each in found if each.bytes_moved or each.stage)


def _pass(kernel: Kernel, stage: Kernel | None = None) -> Pass:
    body = [stmt for phase in kernel.phases for stmt in phase.body]
    read = {node.buffer for stmt in body for node in nodes(stmt.value) if isinstance(node, Load)}
    written = {stmt.buffer for stmt in body if isinstance(stmt, Store)}
    names = [buffer.name for buffer in kernel.buffers if buffer.shape is Shape.ELEMENT]
    whole = stage is not None and stage.loop is Loop.WHOLE
    made = stage.written if stage is not None and whole else ()
    return Pass(
        kernel.name,
        tuple(name for name in names if name in read),
        tuple(name for name in names if name in written),
        {each.name: bits(each.type) / 8 for each in kernel.buffers if each.type is not Type.F32},
        f"; then whole matrices: {', '.join(made) or 'numbers'}" if whole else "",
    )


def _with_past(found: Pass, program: Program, stage: Kernel | None) -> Pass:
    """With the two passes over what is remembered, one for products and one for sums; the newest of it, what
    is given besides, and the sums are float64. Its new values are kept after the update.
    """
    if stage is None or stage.loop is not Loop.PAST:
        return found
    kept, given = _kept(program.optimizer), len(vectors_of(stage)[1])
    read = FLOAT32_BYTES * (sum(kept.values()) - len(kept)) + FLOAT64_BYTES * (len(kept) + given)
    made, to_keep = stage.written, (FLOAT64_BYTES + FLOAT32_BYTES) * len(kept)
    moved = read * (1 + len(made)) + FLOAT64_BYTES * len(made) + to_keep
    text = f"; then what is remembered, {', '.join(kept)}: {', '.join(made)} ({moved} B)"
    return replace(found, stage=text, past=moved)


def _sharding(program: Program) -> str:
    totals = (*program.totals, *(program.query.totals if program.query else ()))
    stages = [stage for stage in program.stages if stage is not None and stage.loop is Loop.PAST]
    if any(total.over_all for total in totals) or any(map(over_all, stages)):
        return GLOBAL
    if any(program.stages):
        return MATRIX
    if totals:
        return PER_TENSOR
    kernels = (*program.reductions, program.update)
    by_lines = any(buffer.shape is not Shape.ELEMENT for each in kernels for buffer in each.buffers)
    return MATRIX if by_lines else ELEMENTWISE
