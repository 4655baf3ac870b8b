"""What a legal kernel is. Runs after lowering and after every pass; a failure is a bug of ours."""

from collections.abc import Iterator, Mapping

from optdsl.diagnostics import InternalError
from optdsl.kernel.ir import (
    BY_BLOCKS,
    DIRECTION,
    PARAMETER,
    TIME,
    WITH_MORE,
    Access,
    Cast,
    Const,
    Expr,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Op,
    Phase,
    Stmt,
    Total,
    Type,
)
from optdsl.kernel.walk import locals_in, nodes
from optdsl.language.history import ENTRY, PRODUCTS, ROUND, SWEEP
from optdsl.language.matrices import MATRIX, REPEAT
from optdsl.language.operators import OPERATORS, REDUCTIONS
from optdsl.language.optimizer import Kind, Shape

# The buffers that a loop may load from; it stores to the first.
_SHAPES = {
    Loop.ELEMENTS: (Shape.ELEMENT,),
    Loop.MATRIX: (Shape.ELEMENT, Shape.ROWS, Shape.COLS),
    Loop.ROWS: (Shape.ROWS,),
    Loop.COLS: (Shape.COLS,),
    Loop.WHOLE: (Shape.ELEMENT, Shape.LEFT, Shape.RIGHT, Shape.FLIPPED),
    Loop.PAST: (Shape.ELEMENT, Shape.PAST),
}


class IllegalKernelError(InternalError):
    """A kernel that no pass should have left behind."""


def verify(kernel: Kernel) -> None:
    """Raise `IllegalKernelError` unless the kernel keeps every rule below."""
    bound = dict.fromkeys((*kernel.hypers, *kernel.scalar_states, TIME, DIRECTION), Type.F64)
    _require(len(bound) == len(kernel.hypers) + len(kernel.scalar_states) + 2, "an input has two meanings")
    for let in kernel.prologue:
        _expression(let.value, bound, kernel, in_prologue=True)
        _bind(let, bound)
    for name in (*kernel.scalars, *kernel.scalar_updates):
        _require(name in bound, f"`{name}` is handed over and never set")
    _require(len(kernel.scalar_updates) == len(kernel.scalar_states), "a scalar state has no new value")
    _require(len(set(kernel.scalars)) == len(kernel.scalars), "a scalar is handed over twice")
    handed = {
        name: Type.BOOL if bound[name] is Type.BOOL else kernel.precision.compute for name in kernel.scalars
    }
    read = {name for phase in kernel.phases for stmt in phase.body for name in locals_in(stmt.value)}
    _require(set(kernel.scalars) <= read, "a scalar is handed over and never read")
    _require(len({buffer.name for buffer in kernel.buffers}) == len(kernel.buffers), "a buffer stands twice")
    _require([buffer.name for buffer in kernel.buffers[:2]] == ["theta", "g"], "theta and g come first")
    types = {buffer.name: buffer.type for buffer in kernel.buffers}
    for buffer in kernel.buffers:
        rest = types.get(buffer.more)
        _require(
            rest is WITH_MORE.get(buffer.type), f"`{buffer.name}` has no buffer for what it does not hold"
        )
        by_rows = kernel.loop is not Loop.ELEMENTS and buffer.type in BY_BLOCKS
        _require(not by_rows, f"`{buffer.name}` is in blocks, and rows are not")
    for phase in kernel.phases:
        _phase(phase, dict(handed), kernel)


def _phase(phase: Phase, bound: dict[str, Type], kernel: Kernel) -> None:
    stored: set[str] = set()
    summed: set[str] = set()
    lines: set[str] = set()  # what is summed for each row or column
    for stmt in phase.body:
        for part in _summands(stmt):
            _expression(part, bound, kernel, in_prologue=False)
        for node in nodes(stmt.value):
            if isinstance(node, Load):
                _require(node.buffer not in stored, f"`{node.buffer}` is loaded after it was stored")
        if isinstance(stmt, Let):
            _bind(stmt, bound)
            if kernel.loop is Loop.PAST:  # later loops read what this one keeps of each round
                bound.update((name, Type.F64) for node in nodes(stmt.value) for name in _bound_in(node))
            continue
        if isinstance(stmt, Total):
            _require(stmt.value.type is Type.F64, f"`{stmt.name}` is not summed in float64")
            _require(stmt.name not in summed, f"`{stmt.name}` is summed twice")
            summed.add(stmt.name)
            if stmt.shape is Shape.TENSOR:
                _require(stmt.name in kernel.hypers, f"no column takes the sum `{stmt.name}`")
                _require(not stmt.largest, f"no pass finds the largest of a tensor, `{stmt.name}`")
            else:
                kept = [buffer.shape for buffer in kernel.buffers if buffer.name == stmt.name]
                _require(kept == [stmt.shape], f"no buffer takes the sums `{stmt.name}`")
                _require(kernel.loop is Loop.MATRIX, f"`{stmt.name}` is summed by a pass that knows no rows")
                lines.add(stmt.name)
            continue
        names = [buffer.name for buffer in kernel.buffers]
        _require(stmt.buffer in names, f"there is no buffer `{stmt.buffer}`")
        buffer = kernel.buffer(stmt.buffer)
        _require(buffer.access is not Access.READ, f"`{stmt.buffer}` is stored and only to be read")
        seen = buffer.type in (Type.PAIR, Type.SPLIT) and stmt.value.type is Type.BF16  # no more than that
        _require(seen or stmt.value.type is buffer.type, f"`{stmt.buffer}` is stored in another type")
        _require(stmt.buffer not in stored, f"`{stmt.buffer}` is stored twice")
        shapes = _SHAPES[kernel.loop] if kernel.loop is Loop.WHOLE else _SHAPES[kernel.loop][:1]
        in_stage = kernel.loop in (Loop.WHOLE, Loop.PAST)
        _require(buffer.shape in shapes, f"`{stmt.buffer}` is stored by another kernel")
        made = "result" if in_stage else "operand"
        _require(not summed or buffer.stage == made, "a pass that sums also stores")
        _require(not in_stage or buffer.stage == made, "a stage writes to what is kept")
        stored.add(stmt.buffer)
    held = {buffer.more for buffer in kernel.buffers}
    declared = {buffer.name for buffer in kernel.buffers if buffer.access is not Access.READ}
    _require(declared - held == stored | lines, "a buffer that is to be written is not stored")


def _summands(stmt: Stmt) -> tuple[Expr, ...]:
    """A product that is summed is made in float64, whatever the compute type."""
    match stmt:
        case Total(value=Op("mul", args=args, type=Type.F64)):
            _require(all(arg.type is Type.F64 for arg in args), "a product that is summed is not of float64")
            return args
        case _:
            return (stmt.value,)


def _bind(let: Let, bound: dict[str, Type]) -> None:
    _require(let.name not in bound, f"`{let.name}` is set twice")
    bound[let.name] = let.value.type


def _expression(expr: Expr, bound: Mapping[str, Type], kernel: Kernel, *, in_prologue: bool) -> None:
    real = Type.F64 if in_prologue else kernel.precision.compute
    inside = {name for node in nodes(expr) for name in _bound_in(node)}
    for node in nodes(expr):
        match node:
            case Const(value=value):
                _require(isinstance(value, bool) == (node.type is Type.BOOL), "a constant of the wrong type")
            case Local(name=name):
                if name in inside:
                    continue
                _require(name in bound, f"`{name}` is read before it is set")
                _require(bound[name] is node.type, f"`{name}` is read in another type")
            case Load(buffer=name):
                _require(not in_prologue, "the prologue loads from a buffer")
                _require(
                    any(name == buffer.name for buffer in kernel.buffers), f"there is no buffer `{name}`"
                )
                buffer = kernel.buffer(name)
                _require(buffer.access is not Access.WRITE, f"`{name}` is loaded and only to be written")
                _require(node.type is buffer.type, f"`{name}` is loaded in another type")
                _require(buffer.shape in _SHAPES[kernel.loop], f"`{name}` is loaded and has another shape")
            case Cast(operand=operand, at=at):
                _require(not in_prologue, "the prologue casts")
                known = at is None or any(buffer.name == PARAMETER for buffer in kernel.buffers)
                _require(known, "what is rounded at random does not know which parameter it is of")
                _require(
                    operand.type is not Type.BOOL and node.type is not Type.BOOL, "a cast of a condition"
                )
            case Op(name=name) if kernel.loop is Loop.PAST and name not in OPERATORS:
                _require(not in_prologue, "the prologue knows nothing of the past")
                known = name in (SWEEP, ENTRY, ROUND) or name in PRODUCTS.values()
                _require(known, f"there is no operator `{name}` of vectors")
            case Op(name=name, args=args) if kernel.loop is Loop.WHOLE and name not in OPERATORS:
                _require(not in_prologue, "the prologue knows no matrices")
                known = name in MATRIX or name in REDUCTIONS or name == REPEAT
                _require(known, f"there is no operator `{name}` of matrices")
                _require(name != REPEAT or len(args) % 2 == 0, "a loop has the wrong number of parts")
            case Op(name=name, args=args):
                _require(name in OPERATORS, f"there is no operator `{name}`")
                row = OPERATORS[name]
                _require(len(args) == row.arity, f"`{name}` has the wrong number of operands")
                for arg, kind in zip(args, row.takes, strict=True):
                    wanted = Type.BOOL if kind is Kind.BOOL else real
                    _require(arg.type is wanted, f"an operand of `{name}` has the wrong type")
                _require(
                    node.type is (Type.BOOL if row.gives is Kind.BOOL else real),
                    f"`{name}` has the wrong type",
                )


def _bound_in(node: Expr) -> Iterator[str]:
    """The names that a loop binds."""
    if isinstance(node, Op) and node.name == REPEAT:
        yield from (arg.name for arg in node.args[1:-1:2] if isinstance(arg, Local))
    if isinstance(node, Op) and node.name == SWEEP:
        targets = (arg.args[0] if isinstance(arg, Op) else arg for arg in (node.args[2], *node.args[3:-1:2]))
        yield from (target.name for target in targets if isinstance(target, Local))


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise IllegalKernelError(f"illegal kernel: {otherwise}")
