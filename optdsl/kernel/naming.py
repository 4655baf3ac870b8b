"""The names of a kernel's quantities, before a line is lowered: columns of hypers, sums, buffers, locals.

In: an optimizer, the plan of its step, and which kernel it is for. Out: one name for each quantity, the same
in every kernel of a program where it is a column or a buffer. Nothing is lowered here (`lowering`).
"""

from optdsl.kernel import ir
from optdsl.kernel.ir import (
    ALL_ELEMENTS,
    COLUMN_COUNT,
    DIRECTION,
    ELEMENTS,
    ROW_COUNT,
    TIME,
    Let,
    Local,
    Op,
    Precision,
    Type,
)
from optdsl.kernel.names import Namer
from optdsl.kernel.stored import Stored
from optdsl.language import optimizer as meaning
from optdsl.language.inputs import inputs_by_shape
from optdsl.language.optimizer import Age, Optimizer, Role, Shape
from optdsl.language.stages import Plan


def buffer_name(expr: meaning.Expr, kind: str) -> str:
    match expr:
        case meaning.Ref(name=name) | meaning.Apply(op=name):
            return f"{name}_{kind}"
        case _:
            return kind


class Naming:
    """What `Lowering` begins with."""

    def __init__(
        self,
        optimizer: Optimizer,
        precision: Precision,
        plan: Plan,
        number: int,
        only: Shape | None = None,
    ) -> None:
        self.only = only
        self.plan = plan
        self.stage = number  # the first stage that is still to come
        found = plan.totals
        self.matrix = plan.by_rows
        self.optimizer = optimizer
        self.precision = precision
        self.number = number
        self.namer = Namer()
        self.stored = Stored(optimizer, precision)
        self.names: dict[tuple[str, Age], str] = {}
        self.prologue: list[Let] = []
        self.body: list[ir.Stmt] = []
        self.scalars: dict[str, None] = {}  # prologue names that the phase reads
        self.scalar_names: set[str] = {TIME, DIRECTION}
        self.loaded: dict[str, str] = {}
        hypers = tuple(self._named(hyper.name, Age.NOW, hyper.name) for hyper in optimizer.hypers)
        self.totals = {total.reduction: total for total in found}
        self.sums = {
            total.reduction: self.namer.fresh(f"{total.reduction.op}{column}")
            for column, total in enumerate(found)
        }
        counted = (("", ELEMENTS), ("all", ALL_ELEMENTS), ("rows", ROW_COUNT), ("cols", COLUMN_COUNT))
        self.counts = {
            over: self.namer.fresh(name) for over, name in counted[: 4 if self.matrix else 2] if plan.passes
        }
        self.lines = {self.sums[total.reduction]: total.reduction for total in found if total.of_lines}
        summed = (name for name in self.sums.values() if name not in self.lines)
        numbers, self.arrays = inputs_by_shape(optimizer.inputs)
        given = {name: self.namer.fresh(f"{name}_given") for name in numbers}
        self.hypers = (*hypers, *given.values(), *self.counts.values(), *summed)
        self.scalar_names.update(self.hypers)
        for name, column in given.items():
            signed = Op("mul", (Local(DIRECTION, Type.F64), Local(column, Type.F64)), Type.F64)
            self.prologue.append(Let(self._named(name, Age.NOW, name), signed))
            self.scalar_names.add(self.names[name, Age.NOW])
        self.unknown: set[str] = set()
        self.summed: dict[str, ir.Total] = {}
        self.known: dict[str, str] = {}  # sums, and the prologue's names for what follows from them
        scalar_states = [state for state in optimizer.states if state.shape <= Shape.TENSOR]
        for state in optimizer.states:
            self._named(state.name, Age.NEW, state.name)
        for line in optimizer.lines:
            if line.target.role is Role.VALUE:
                self._named(line.target.name, Age.NOW, line.target.name)
        self._named("theta", Age.NEW, "theta")
        for name in ("theta", *(state.name for state in optimizer.states)):
            self._named(name, Age.OLD, f"{name}_old")
        for name in ("g", *self.arrays):
            self._named(name, Age.NOW, name)
        self.scalar_states = tuple(self.names[state.name, Age.OLD] for state in scalar_states)
        self.scalar_updates = tuple(self.names[state.name, Age.NEW] for state in scalar_states)
        self.scalar_names.update(self.scalar_states)
        self.stored_states = [state for state in optimizer.states if state.shape > Shape.TENSOR]
        self.optimizer_buffers = ("theta", "g", *(state.name for state in self.stored_states))
        self.shapes = {state.name: state.shape for state in self.stored_states}
        self.shapes |= {name: reduction.shape for name, reduction in self.lines.items()}
        self.operands = {expr: self.namer.fresh(buffer_name(expr, "operand")) for expr in plan.operands}
        wanted = (expr for expr in plan.results if expr.shape >= Shape.ELEMENT)
        self.results = {expr: self.namer.fresh(buffer_name(expr, "result")) for expr in wanted}
        self.made: dict[tuple[str, Age], str] = {}
        for line in optimizer.lines:
            key = line.target.name, line.target.age
            to_load = line.target.role is Role.STATE or not line.target.shape.is_whole
            if key in plan.lines and key not in plan.chosen and (to_load or key in plan.kept):
                self.made[key] = self.namer.fresh(f"{line.target.name}_result")
                self.shapes[self.made[key]] = line.target.shape
        self.kept = {
            buffer: name
            for (name, _), buffer in self.made.items()
            if self.shapes.get(name, Shape.SCALAR).is_whole
        }
        for expr, buffer in self.operands.items():  # the newest of what is remembered
            if isinstance(expr, meaning.Ref) and self.shapes.get(expr.name) is Shape.PAST:
                self.kept[buffer] = expr.name
        self.shapes |= {name: expr.shape for expr, name in self.results.items()}

    def _named(self, name: str, age: Age, wanted: str) -> str:
        self.names[name, age] = self.namer.fresh(wanted)
        return self.names[name, age]
