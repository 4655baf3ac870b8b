"""The few ways in which everything walks over kernel expressions."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from optdsl.kernel.ir import Buffer, Cast, Expr, Kernel, Let, Load, Local, Op, Phase, Stmt


def children(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Op(args=args):
            return args
        case Cast(operand=operand, at=at):
            return (operand,) if at is None else (operand, at)
        case _:
            return ()


def nodes(expr: Expr) -> Iterator[Expr]:
    """The expression and everything in it, parents first."""
    yield expr
    for child in children(expr):
        yield from nodes(child)


def locals_in(expr: Expr) -> Iterator[str]:
    return (node.name for node in nodes(expr) if isinstance(node, Local))


def loads_in(expr: Expr) -> set[str]:
    """The buffers that it reads."""
    return {node.buffer for node in nodes(expr) if isinstance(node, Load)}


def used_buffers(kernel: Kernel) -> list[tuple[int, Buffer]]:
    """What the phases read or write, with its column in the table of addresses."""
    touched: set[str] = set(kernel.written)
    for phase in kernel.phases:
        for stmt in phase.body:
            touched |= loads_in(stmt.value)
    touched |= {buffer.more for buffer in kernel.buffers if buffer.name in touched}
    return [(column, buffer) for column, buffer in enumerate(kernel.buffers) if buffer.name in touched]


def rebuilt(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The expression with `change` applied to every node, children first."""
    match expr:
        case Op(args=args):
            return change(replace(expr, args=tuple(rebuilt(arg, change) for arg in args)))
        case Cast(operand=operand, at=at):
            step = None if at is None else rebuilt(at, change)
            return change(replace(expr, operand=rebuilt(operand, change), at=step))
        case _:
            return change(expr)


def map_values(kernel: Kernel, change: Callable[[Expr], Expr]) -> Kernel:
    """The kernel with `change` applied to the value of every statement, the prologue's too."""
    return replace(
        kernel,
        prologue=tuple(Let(let.name, change(let.value), let.span) for let in kernel.prologue),
        phases=tuple(
            Phase(phase.name, tuple(with_value(stmt, change(stmt.value)) for stmt in phase.body))
            for phase in kernel.phases
        ),
    )


def with_value(stmt: Stmt, value: Expr) -> Stmt:
    return replace(stmt, value=value)
