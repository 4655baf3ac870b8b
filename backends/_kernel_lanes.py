"""A kernel's statements on lanes: what the LLVM emitter and the interpreter of kernels share.

In: a verified kernel, and a `Machine` that loads, stores and sums. Out: its calls, in the order of the
kernel. What an operator is made of is decided here and in `optdsl.portable` alone, so backends of this kind
cannot differ in a bit. In the mode `fma`, a float32 product that is added to something is not rounded before;
nothing else is contracted.
What is kept in 16 bits is float32 on lanes (`_stored_lanes`).
NOT done: loops over rows, columns and whole matrices; what is kept in 8 bits (`unsupported` says so).
"""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Protocol

from optdsl.kernel.ir import (
    BY_BLOCKS,
    DIRECTION,
    IN_16_BITS,
    TIME,
    Buffer,
    Cast,
    Const,
    Expr,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Op,
    Store,
    Total,
    Type,
)
from optdsl.kernel.walk import nodes
from optdsl.portable.functions import ONLY_DOUBLE, SHORT
from optdsl.portable.lanes import Lane, Maker, Sort, select

from ._stored_lanes import Coded, Codes


class Machine(Codes, Protocol):
    """What a phase runs on: lanes are elements that follow each other."""

    def maker(self, type: Type) -> Maker:
        """For floats of a type, which may not be BOOL."""
        ...

    def scalar(self, number: int, name: str, type: Type) -> Lane:
        """One that the prologue hands over; `compute`, or a condition."""
        ...

    def load(self, buffer: Buffer) -> Lane: ...

    def store(self, buffer: Buffer, value: Lane) -> None: ...

    def total(self, number: int, value: Lane) -> None: ...

    def cast(self, value: Lane, type: Type) -> Lane: ...

    def fma(self, x: Lane, y: Lane, z: Lane) -> Lane:
        """x*y + z, rounded once; float32."""
        ...

    def call(self, function: str, arguments: list[Lane]) -> Lane:
        """One of `optdsl.portable.functions.FUNCTIONS`."""
        ...


OPERATORS: Mapping[str, Callable[..., Lane]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "neg": lambda x: -x,
    "sqrt": lambda x: x.sqrt(),
    "abs": abs,
    "where": select,
    "eq": lambda x, y: x.equals(y),
    "le": lambda x, y: x <= y,
    "ge": lambda x, y: x >= y,
    "lt": lambda x, y: x < y,
    "gt": lambda x, y: x > y,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "not": lambda x: ~x,
}


def unsupported(kernel: Kernel) -> str | None:
    """Why a kernel cannot run on lanes, as the end of a sentence; None if it can."""
    if kernel.loop is not Loop.ELEMENTS:
        return "what is for rows or columns, multiplied as a matrix or remembered has no kernel there yet"
    if any(buffer.type in BY_BLOCKS for buffer in kernel.buffers):
        return "what is kept in 8 bits has no kernel there yet"
    for phase in kernel.phases:
        for stmt in phase.body:
            for node in nodes(stmt.value):
                if isinstance(node, Op) and node.name in ONLY_DOUBLE and node.type is Type.F32:
                    return f"`{node.name}` of elements is only there in float64: choose the accurate mode"
    return None


class _Values:
    """Expressions under what is bound so far."""

    def __init__(self, machine: Machine, bound: dict[str, Lane], *, contracts: bool) -> None:
        self.machine = machine
        self.bound = bound
        self.contracts = contracts

    def of(self, expr: Expr) -> Lane:
        match expr:
            case Const(value=bool() as truth):
                maker = self.machine.maker(Type.F64)
                return Lane(maker, maker.truth(truth), Sort.BOOL)
            case Const(value=Fraction() as value, type=type_):
                maker = self.machine.maker(type_)
                return Lane(maker, maker.number(float(value)), Sort.FLOAT)
            case Local(name=name):
                return self.bound[name]
            case Cast(operand=operand, type=type_):
                return self.machine.cast(self.of(operand), type_)
            case Op(name, (left, right), type_) if (
                self.contracts and type_ is Type.F32 and name in ("add", "sub")
            ):
                return self._sum(left, right, minus=name == "sub")
            case Op(name=name, args=args):
                values = [self.of(arg) for arg in args]
                return OPERATORS[name](*values) if name in OPERATORS else self.call(name, values)
        raise AssertionError(expr)

    def call(self, name: str, values: list[Lane]) -> Lane:
        return self.machine.call(name, values)

    def _sum(self, left: Expr, right: Expr, *, minus: bool) -> Lane:
        """Of two products, the first is rounded."""
        match left, right:
            case _, Op("mul", (x, y)):
                other = self.of(left)
                factor = self.of(x)
                return self.machine.fma(-factor if minus else factor, self.of(y), other)
            case Op("mul", (x, y)), _:
                other = self.of(right)
                return self.machine.fma(self.of(x), self.of(y), -other if minus else other)
        return self.of(left) - self.of(right) if minus else self.of(left) + self.of(right)


def run_phase(kernel: Kernel, machine: Machine) -> None:
    """The one phase of a kernel, for the elements that the machine's lanes are."""
    (phase,) = kernel.phases
    conditions = {let.name for let in kernel.prologue if let.value.type is Type.BOOL}
    compute = kernel.precision.compute
    bound = {
        name: machine.scalar(number, name, Type.BOOL if name in conditions else compute)
        for number, name in enumerate(kernel.scalars)
    }
    values = _Phase(machine, bound, kernel)
    totals = 0
    for stmt in phase.body:
        match stmt:
            case Store(buffer=name, value=Cast(operand=operand, type=type_) as cast) if type_ in IN_16_BITS:
                single = machine.cast(values.of(operand), Type.F32)
                values.coded.store(kernel.buffer(name), cast, single)
                continue
        value = values.of(stmt.value)
        match stmt:
            case Let(name=name):
                bound[name] = value
            case Store(buffer=name):
                machine.store(kernel.buffer(name), value)
            case Total():
                machine.total(totals, value)
                totals += 1


class _Phase(_Values):
    def __init__(self, machine: Machine, bound: dict[str, Lane], kernel: Kernel) -> None:
        super().__init__(machine, bound, contracts=kernel.precision.mode == "fma")
        self.kernel = kernel
        self.coded = Coded(kernel, machine)
        self.loaded: dict[str, Lane] = {}

    def call(self, name: str, values: list[Lane]) -> Lane:
        precision = self.kernel.precision
        if precision.compute is not precision.storage:
            name = SHORT.get(name, name)  # what it is less exact by is rounded away
        return super().call(name, values)

    def of(self, expr: Expr) -> Lane:
        if isinstance(expr, Load):
            if expr.buffer not in self.loaded:
                buffer = self.kernel.buffer(expr.buffer)
                coded = buffer.type in IN_16_BITS
                self.loaded[expr.buffer] = self.coded.load(buffer) if coded else self.machine.load(buffer)
            return self.loaded[expr.buffer]
        return super().of(expr)


def run_prologue(
    kernel: Kernel, machine: Machine, given: Callable[[str], Lane], one: Callable[[Lane], Lane]
) -> tuple[list[Lane], list[Lane]]:
    """Step scalars in the order of their columns, and new scalar states.

    given: the value of a hyper (or what stands behind them), of a scalar state, of `t` or `direction`; one: 1
    where a condition holds, else 0, as conditions are handed over.
    """
    bound: dict[str, Lane] = {}
    for name in _read(kernel):
        bound[name] = given(name)
    values = _Values(machine, bound, contracts=False)
    for let in kernel.prologue:
        bound[let.name] = values.of(let.value)

    def handed(name: str) -> Lane:
        value = bound[name]
        return one(value) if value.sort is Sort.BOOL else value

    return [handed(name) for name in kernel.scalars], [handed(name) for name in kernel.scalar_updates]


def _read(kernel: Kernel) -> Iterator[str]:
    """The prologue's inputs that are read, once each."""
    inputs = (*kernel.hypers, *kernel.scalar_states, TIME, DIRECTION)
    read = {node.name for let in kernel.prologue for node in nodes(let.value) if isinstance(node, Local)}
    read.update(kernel.scalars, kernel.scalar_updates)
    bound = {let.name for let in kernel.prologue}
    return (name for name in inputs if name in read and name not in bound)
