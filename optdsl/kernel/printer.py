"""A kernel as text, for people: what `optdsl show --stage kernel` prints and golden files keep."""

from fractions import Fraction

from optdsl.kernel.ir import Buffer, Cast, Const, Expr, Kernel, Let, Load, Local, Op, Stmt, Total
from optdsl.language.operators import OPERATORS, PRODUCT, SUM, Operator
from optdsl.language.optimizer import Shape


def print_kernel(kernel: Kernel) -> str:
    precision = kernel.precision
    lines = [
        f"kernel {kernel.name}  "
        f"({precision.mode}: computes in {precision.compute}, stores {precision.storage})",
        f"hypers   {', '.join(kernel.hypers) or '-'}",
        *(f"buffer   {_buffer(buffer)}" for buffer in kernel.buffers),
        "",
        "prologue (host, f64, once a step)",
        *(f"  {name} = scalar state, old" for name in kernel.scalar_states),
        *(_statement(let) for let in kernel.prologue),
        *(
            f"  scalar state {old} <- {new}"
            for old, new in zip(kernel.scalar_states, kernel.scalar_updates, strict=True)
        ),
        f"  hand over {', '.join(kernel.scalars) or 'nothing'}",
    ]
    for phase in kernel.phases:
        lines += ["", f"phase {phase.name} ({kernel.loop})", *(_statement(stmt) for stmt in phase.body)]
    return "\n".join(lines)


def _buffer(buffer: Buffer) -> str:
    shape = "" if buffer.shape is Shape.ELEMENT else f", {_EACH[buffer.shape]}"
    stage = f", {buffer.stage} of a stage" if buffer.stage else ""
    more = f", with {buffer.more}" if buffer.more else ""
    return f"{buffer.name}: {buffer.type}, {buffer.access}{shape}{stage}{more}"


_EACH = {
    Shape.ROWS: "one for each of rows",
    Shape.COLS: "one for each of cols",
    Shape.LEFT: "rows x rows",
    Shape.RIGHT: "cols x cols",
    Shape.FLIPPED: "cols x rows",
    Shape.PAST: "of some steps",
}


def _statement(stmt: Stmt) -> str:
    if isinstance(stmt, Let):
        return f"  {stmt.name}: {stmt.value.type} = {print_value(stmt.value)}"
    if isinstance(stmt, Total):
        sign = "max=" if stmt.largest else "+="
        return f"  total {stmt.name} {sign} {print_value(stmt.value)}"
    return f"  store {stmt.buffer} <- {print_value(stmt.value)}"


def print_value(expr: Expr) -> str:
    """An expression with brackets around every operand that is an operation of another precedence."""
    match expr:
        case Const(value=Fraction() as value):
            return str(value)
        case Const(value=truth):
            return "true" if truth else "false"
        case Local(name=name):
            return name
        case Load(buffer=buffer):
            return f"load {buffer}"
        case Cast(operand=operand, type=type_, at=at):
            dithered = "" if at is None else f", at random by {print_value(at)}"
            return f"{type_}({print_value(operand)}{dithered})"
        case Op(name="repeat", args=(count, *bound, new)):
            inner = (
                f"{print_value(x)} = {print_value(y)}" for x, y in zip(bound[::2], bound[1::2], strict=True)
            )
            return f"repeat({', '.join((print_value(count), *inner, print_value(new)))})"
        case Op(name="sweep", args=(first, last, count, *bound, new)):
            counts = " to ".join(map(print_value, (first, last)))
            inner = (
                f"{print_value(x)} = {print_value(y)}" for x, y in zip(bound[::2], bound[1::2], strict=True)
            )
            return f"repeat({', '.join((f'{print_value(count)} = {counts}', *inner, print_value(new)))})"
        case Op(name="entry" | "round", args=(x, count, *_)):
            return f"{print_value(x)}[{print_value(count)}]"
        case Op(name="matmul", args=(x, y)):
            factors = (f"({print_value(z)})" if isinstance(z, Op) else print_value(z) for z in (x, y))
            return " @ ".join(factors)
        case Op(name=name, args=args) if name not in OPERATORS:
            return f"{name}({', '.join(map(print_value, args))})"
        case Op(name=name, args=args):
            row = OPERATORS[name]
            if row.infix is None:
                return f"{name}({', '.join(map(print_value, args))})"
            left, right = args
            return f"{_operand(left, row, right=False)} {row.infix} {_operand(right, row, right=True)}"


def _operand(expr: Expr, parent: Operator, *, right: bool) -> str:
    text = print_value(expr)
    if not isinstance(expr, Op) or expr.name not in OPERATORS or OPERATORS[expr.name].infix is None:
        return f"({text})" if isinstance(expr, Op) and expr.name == "matmul" else text
    own, outer = OPERATORS[expr.name].python_precedence, parent.python_precedence
    bare = own in (SUM, PRODUCT) and outer in (SUM, PRODUCT) and (own > outer or (own == outer and not right))
    return text if bare else f"({text})"
