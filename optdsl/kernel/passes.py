"""Kernel to kernel: each pass leaves a legal kernel behind, and `run_passes` has it checked.

Every pass keeps the value of every result, `reciprocals` but for one rounding in the compute type; none
reorders the author's sums and products.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from optdsl.backend import Program
from optdsl.kernel.ir import Cast, Const, Expr, Kernel, Let, Load, Local, Loop, Op, Phase, Stmt, Type
from optdsl.kernel.names import Namer
from optdsl.kernel.verify import verify
from optdsl.kernel.walk import children, locals_in, map_values, nodes, rebuilt, with_value

Pass = Callable[[Kernel], Kernel]


def run_passes(program: Program, after: Callable[[str, Kernel], None] | None = None) -> Program:
    """All kernels through all `PASSES`, verified at the start and after each; `after` sees every form."""

    def run(kernel: Kernel) -> Kernel:
        verify(kernel)
        for each in PASSES:
            kernel = each(kernel)
            verify(kernel)
            if after is not None:
                after(each.__name__, kernel)
        return kernel

    query = run_passes(program.query, after) if program.query else None
    reductions = tuple(map(run, program.reductions))
    vectors = tuple(map(run, program.vectors))
    views = tuple(map(run, program.views))
    stages = tuple(stage and run(stage) for stage in program.stages)
    return replace(
        program,
        update=run(program.update),
        query=query,
        reductions=reductions,
        vectors=vectors,
        views=views,
        stages=stages,
    )


# --- fold ----------------------------------------------------------------------------------------


def fold(kernel: Kernel) -> Kernel:
    """Sums, products and quotients of constants become constants, exactly. Leaves all else alone."""
    return map_values(kernel, lambda value: rebuilt(value, _folded))


def _folded(expr: Expr) -> Expr:
    match expr:
        case Op("neg", (Const(value=Fraction() as x),), type_):
            return Const(-x, type_)
        case Op(name, (Const(value=Fraction() as x), Const(value=Fraction() as y)), type_):
            if name == "add":
                return Const(x + y, type_)
            if name == "sub":
                return Const(x - y, type_)
            if name == "mul":
                return Const(x * y, type_)
            if name == "div" and y != 0:
                return Const(x / y, type_)
    return expr


# --- hoist ---------------------------------------------------------------------------------------


def hoist(kernel: Kernel) -> Kernel:
    """What a phase computes from scalars alone moves to the prologue, where it is done once, in float64.

    Assumes that a phase's scalars are the prologue's. Takes the largest such parts; the same part twice
    gets one name.
    """
    hoisting = _Hoisting(kernel)
    phases = tuple(Phase(phase.name, tuple(map(hoisting.statement, phase.body))) for phase in kernel.phases)
    return _with_scalars(replace(kernel, prologue=(*kernel.prologue, *hoisting.moved), phases=phases))


class _Hoisting:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.scalars = set(kernel.scalars)
        self.namer = Namer(_names(kernel))
        self.names: dict[Expr, str] = {}
        self.moved: list[Let] = []
        self.copies: dict[str, Local] = {}

    def statement(self, stmt: Stmt) -> Stmt:
        """A name for what is a scalar stands for it in what follows."""
        value = rebuilt(stmt.value, lambda x: self.copies.get(x.name, x) if isinstance(x, Local) else x)
        value = self.expression(value)
        if isinstance(stmt, Let) and isinstance(value, Local) and value.name in self.scalars:
            self.copies[stmt.name] = value
        return with_value(stmt, value)

    def expression(self, expr: Expr) -> Expr:
        if isinstance(expr, Op) and self._scalar(expr):
            name = self.name(rebuilt(expr, _in_prologue))
            self.scalars.add(name)
            return Local(name, expr.type)
        if isinstance(expr, Op):
            return replace(expr, args=tuple(map(self.expression, expr.args)))
        return expr

    def name(self, value: Expr) -> str:
        """The prologue's name for a value; the value of a `Let` that is there already keeps its name."""
        if not self.names:
            self.names = {let.value: let.name for let in self.kernel.prologue}
        if value not in self.names:
            self.names[value] = self.namer.numbered("k")
            self.moved.append(Let(self.names[value], value))
        return self.names[value]

    def _scalar(self, expr: Expr) -> bool:
        leaves = [node for node in nodes(expr) if not children(node)]
        return all(isinstance(x, Const) or (isinstance(x, Local) and x.name in self.scalars) for x in leaves)


def _in_prologue(expr: Expr) -> Expr:
    return expr if expr.type is Type.BOOL else replace(expr, type=Type.F64)


def _names(kernel: Kernel) -> Iterator[str]:
    yield from (*kernel.hypers, *kernel.scalar_states, *(let.name for let in kernel.prologue))
    for phase in kernel.phases:
        yield from (stmt.name for stmt in phase.body if isinstance(stmt, Let))


def _with_scalars(kernel: Kernel) -> Kernel:
    """The kernel with `scalars` set to what its phases read, in the order of the prologue."""
    inputs = (*kernel.hypers, *kernel.scalar_states, "t", "direction", *(let.name for let in kernel.prologue))
    read = {name for phase in kernel.phases for stmt in phase.body for name in locals_in(stmt.value)}
    return replace(kernel, scalars=tuple(name for name in inputs if name in read))


# --- reciprocals ---------------------------------------------------------------------------------


def reciprocals(kernel: Kernel) -> Kernel:
    """Division of an element by a scalar becomes multiplication by the scalar's reciprocal.

    Only where that cannot be seen: when the compute type is wider than the storage, the second rounding
    of `x * (1/s)` is some 2**-29 of what the store rounds away; and in the modes fast and fma, which promise
    nothing about how near the last bit is. With float64 storage in the accurate mode, divisions stay
    divisions. A division takes four to eight times as long, and is what keeps a kernel from the speed of
    memory.
    """
    precision = kernel.precision
    if precision.mode == "strict" or (
        precision.mode == "accurate" and precision.compute is precision.storage
    ):
        return kernel
    scalars = set(kernel.scalars)
    namer = Namer(_names(kernel))
    names: dict[str, str] = {}

    def change(expr: Expr) -> Expr:
        match expr:
            case Op("div", (x, Local(name=divisor)), type_) if divisor in scalars:
                if divisor not in names:
                    names[divisor] = namer.fresh(f"{divisor}_inverse")
                return Op("mul", (x, Local(names[divisor], type_)), type_)
        return expr

    phases = tuple(
        Phase(phase.name, tuple(with_value(stmt, rebuilt(stmt.value, change)) for stmt in phase.body))
        for phase in kernel.phases
    )
    one = Const(Fraction(1), Type.F64)
    added = tuple(
        Let(inverse, Op("div", (one, Local(divisor, Type.F64)), Type.F64))
        for divisor, inverse in names.items()
    )
    return _with_scalars(replace(kernel, prologue=(*kernel.prologue, *added), phases=phases))


# --- common subexpressions -----------------------------------------------------------------------


def share(kernel: Kernel) -> Kernel:
    """What is computed twice is computed once and given a name, in the prologue and in each phase.

    Assumes single assignment, so that equal expressions have equal values; loads are not shared (lowering
    has bound them already). Stages are left alone: what stands in a loop changes in every round.
    """
    if kernel.loop in (Loop.WHOLE, Loop.PAST):
        return kernel
    namer = Namer(_names(kernel))
    prologue = _shared(kernel.prologue, namer)
    assert all(isinstance(stmt, Let) for stmt in prologue)
    lets = tuple(stmt for stmt in prologue if isinstance(stmt, Let))
    phases = tuple(Phase(phase.name, _shared(phase.body, namer)) for phase in kernel.phases)
    return _with_scalars(replace(kernel, prologue=lets, phases=phases))


def _shared(body: tuple[Stmt, ...], namer: Namer) -> tuple[Stmt, ...]:
    repeated = _repeated(body)
    names: dict[Expr, Local] = {}
    result: list[Stmt] = []

    def visit(expr: Expr, *, whole: str | None) -> Expr:
        if expr in names:
            return names[expr]
        key = expr
        if isinstance(expr, Op):
            expr = replace(expr, args=tuple(visit(arg, whole=None) for arg in expr.args))
        if key in repeated:
            if whole is None:
                name = namer.numbered("s")
                result.append(Let(name, expr))
                names[key] = Local(name, expr.type)
                return names[key]
            names[key] = Local(whole, expr.type)
        return expr

    for stmt in body:
        value = visit(stmt.value, whole=stmt.name if isinstance(stmt, Let) else None)
        result.append(with_value(stmt, value))
    return tuple(result)


def _repeated(body: tuple[Stmt, ...]) -> set[Expr]:
    """Operations that occur more than once outside of larger ones that do."""
    counts = Counter(node for stmt in body for node in nodes(stmt.value) if _sharable(node))
    sizes = {expr: sum(1 for _ in nodes(expr)) for expr in counts}
    found: set[Expr] = set()
    for expr in sorted(sizes, key=lambda each: -sizes[each]):
        if counts[expr] > 1:
            found.add(expr)
            inside = Counter(node for node in nodes(expr) if node != expr and _sharable(node))
            for part, times in inside.items():
                counts[part] -= (counts[expr] - 1) * times
    return found


def _sharable(expr: Expr) -> bool:
    """Not a product that is summed: it is wider than what a phase may bind."""
    if not isinstance(expr, Op) or any(isinstance(arg, Cast) for arg in expr.args):
        return False
    return not any(isinstance(node, Load) for node in nodes(expr))


# --- copies --------------------------------------------------------------------------------------


def forward_copies(kernel: Kernel) -> Kernel:
    """A name that is only another name for something is replaced by it; the dead `Let` stays for now."""
    originals: dict[str, Local] = {}

    def original(expr: Expr) -> Expr:
        return (
            replace(originals[expr.name], type=expr.type)
            if isinstance(expr, Local) and expr.name in originals
            else expr
        )

    def forwarded(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
        for stmt in body:
            stmt = with_value(stmt, rebuilt(stmt.value, original))
            if isinstance(stmt, Let) and isinstance(stmt.value, Local):
                originals[stmt.name] = stmt.value
            yield stmt

    prologue = tuple(stmt for stmt in forwarded(kernel.prologue) if isinstance(stmt, Let))
    updates = tuple(originals[name].name if name in originals else name for name in kernel.scalar_updates)
    phases = tuple(Phase(phase.name, tuple(forwarded(phase.body))) for phase in kernel.phases)
    return _with_scalars(replace(kernel, prologue=prologue, scalar_updates=updates, phases=phases))


# --- dead code -----------------------------------------------------------------------------------


def drop_dead(kernel: Kernel) -> Kernel:
    """Lets that reach no store, no scalar and no scalar state go, in the phases and then in the prologue."""
    phases = tuple(Phase(phase.name, tuple(_alive(phase.body, roots=frozenset()))) for phase in kernel.phases)
    kernel = _with_scalars(replace(kernel, phases=phases))
    alive = _alive(kernel.prologue, roots=frozenset((*kernel.scalars, *kernel.scalar_updates)))
    return replace(kernel, prologue=tuple(stmt for stmt in alive if isinstance(stmt, Let)))


def _alive(body: tuple[Stmt, ...], roots: frozenset[str]) -> list[Stmt]:
    needed = set(roots)
    kept: list[Stmt] = []
    for stmt in reversed(body):
        if not isinstance(stmt, Let) or stmt.name in needed:
            kept.append(stmt)
            needed.update(locals_in(stmt.value))
    return kept[::-1]


PASSES: tuple[Pass, ...] = (fold, hoist, reciprocals, share, forward_copies, drop_dead)
"""In this order: folding makes constants that hoisting need not move, hoisting makes the scalars that
reciprocals are taken of, and both leave doubles for `share` and leavings for `drop_dead`."""
