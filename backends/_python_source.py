"""Kernel to the text of two Python functions: the prologue, and a phase over chunks of many tensors.

Assumes a verified kernel, whose names are safe in Python (`kernel.names.Namer`). Deterministic; every
value is computed with the kernel's operations in the kernel's order, nothing more. Comments, when asked
for, are the spec's own lines.
"""

from collections.abc import Iterator
from fractions import Fraction

from optdsl.diagnostics import Source, Span
from optdsl.kernel.ir import (
    DIRECTION,
    TIME,
    Cast,
    Const,
    Expr,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Phase,
    Stmt,
    Store,
    Total,
    Type,
)
from optdsl.kernel.walk import locals_in
from optdsl.language.operators import ATOM, COMPARE, NEGATION, OPERATORS
from optdsl.runtime.batch import MAX_BUFFERS

_INDENT = "    "
_SCRATCH = MAX_BUFFERS - 1  # the number of the buffer of the first sum; the next have the numbers below


def prologue_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    """`name(hypers, t, direction, states, scalars)`: rows of hyperparameters to rows of step scalars.

    `source` is given for comments.
    """
    needed = {*kernel.scalars, *kernel.scalar_updates}
    for let in kernel.prologue:
        needed.update(locals_in(let.value))
    bound = {let.name for let in kernel.prologue}
    inputs = {hyper: f"hypers[row, {i}]" for i, hyper in enumerate(kernel.hypers)}
    inputs |= {state: f"states[row, {i}]" for i, state in enumerate(kernel.scalar_states)}
    rename = {TIME: "t[row]", DIRECTION: "direction[row]"}
    lines = [
        "@prologue",
        f"def {name}(hypers, t, direction, states, scalars):",
        f'{_INDENT}"""Step scalars, in float64: once a step for each row of hyperparameters."""',
        f"{_INDENT}for row in range(t.size):",
    ]
    body = [f"{given} = {where}" for given, where in inputs.items() if given in needed and given not in bound]
    for let in kernel.prologue:
        body += _commented(_let(let, kernel, rename), let.span, source)
    body += [
        f"scalars[row, {column}] = {rename.get(scalar, scalar)}"
        for column, scalar in enumerate(kernel.scalars)
    ]
    body += [f"states[row, {column}] = {new}" for column, new in enumerate(kernel.scalar_updates)]
    lines += [f"{_INDENT}{_INDENT}{line}" for line in body or ["pass"]]
    return "\n".join(lines)


def phase_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    """`name(addresses, chunks, first, last, scalars)`: the kernel's one phase, in place.

    A phase that sums is `name(addresses, chunks, first, last, scalars, scratch, partials)`: what is
    summed goes to `scratch`, a block at a time, and from there to `partials`, chunk by chunk.
    """
    (phase,) = kernel.phases
    precision = kernel.precision
    storage = str(precision.storage)
    sums = any(isinstance(stmt, Total) for stmt in phase.body)
    arguments = "addresses, chunks, first, last, scalars" + (", scratch, partials" if sums else "")
    does = "only reads: computes" if sums else "in place: computes"
    to = "sums in f64" if sums else f"stores {storage}"
    head = [
        "@reduction" if sums else "@kernel",
        f"def {name}({arguments}):",
        f'{_INDENT}"""Chunks first..last, {does} in {precision.compute}, {to}."""',
        f"{_INDENT}for chunk in range(first, last):",
        f"{_INDENT * 2}tensor, start, size, row = chunks[chunk]",
        f"{_INDENT * 2}offset = {storage}_bytes(start)",
        *(
            f"{_INDENT * 2}{buffer}_at = addresses[tensor, {column}] + offset"
            for column, buffer in _used_buffers(kernel)
        ),
        *(f"{_INDENT * 2}{line}" for line in _scalars(kernel)),
    ]
    body = [line for stmt in phase.body for line in _phase_lines(stmt, kernel, source)]
    return "\n".join([*head, *(_summing(phase, body) if sums else _plain(body))])


def _plain(body: list[str]) -> list[str]:
    return [f"{_INDENT * 2}for i in range(size):", *(f"{_INDENT * 3}{line}" for line in body)]


def _summing(phase: Phase, body: list[str]) -> list[str]:
    """Blocks of elements whose summands are folded in halves: fast, and the same sum on every machine."""
    count = sum(isinstance(stmt, Total) for stmt in phase.body)
    return [
        *(f"{_INDENT * 2}partials[chunk, {column}] = 0.0" for column in range(count)),
        f"{_INDENT * 2}for block in range(0, size, BLOCK):",
        f"{_INDENT * 3}count = min(BLOCK, size - block)",
        f"{_INDENT * 3}for j in range(count):",
        f"{_INDENT * 4}i = block + j",
        *(f"{_INDENT * 4}{line}" for line in body),
        *(
            f"{_INDENT * 3}partials[chunk, {column}] = partials[chunk, {column}] "
            f"+ block_sum{column}({_scratch(column)}, count)"
            for column in range(count)
        ),
    ]


def _scratch(column: int) -> str:
    offset = "BLOCK" if column == 1 else f"{column} * BLOCK"
    return f"scratch + f64_bytes({offset})" if column else "scratch"


def _scalars(kernel: Kernel) -> Iterator[str]:
    conditions = {let.name for let in kernel.prologue if let.value.type is Type.BOOL}
    for column, scalar in enumerate(kernel.scalars):
        value = f"scalars[row, {column}]"
        if scalar in conditions:
            value = f"{value} != 0.0"
        elif kernel.precision.compute is Type.F32:
            value = f"f32({value})"
        yield f"{_scalar_name(scalar)} = {value}"


def _scalar_name(scalar: str) -> str:
    return "now" if scalar == TIME else scalar


def _used_buffers(kernel: Kernel) -> list[tuple[int, str]]:
    (phase,) = kernel.phases
    touched: set[str] = {stmt.buffer for stmt in phase.body if isinstance(stmt, Store)}
    for stmt in phase.body:
        touched |= _loads(stmt.value)
    return [(column, buffer.name) for column, buffer in enumerate(kernel.buffers) if buffer.name in touched]


def _loads(expr: Expr) -> set[str]:
    match expr:
        case Load(buffer=buffer):
            return {buffer}
        case Cast(operand=operand):
            return _loads(operand)
        case Op(args=args):
            return set().union(*map(_loads, args))
        case _:
            return set()


def _phase_lines(stmt: Stmt, kernel: Kernel, source: Source | None) -> list[str]:
    rename = {TIME: "now"}
    if isinstance(stmt, Let):
        return _commented(_let(stmt, kernel, rename), stmt.span, source)
    if isinstance(stmt, Total):
        (phase,) = kernel.phases
        column = [each for each in phase.body if isinstance(each, Total)].index(stmt)
        value = _print(stmt.value, kernel, rename)[0]
        return [f"write_f64({_scratch(column)}, j, {value}, {_SCRATCH - column})"]
    column = _column(kernel, stmt.buffer)
    type_ = kernel.precision.storage
    return [f"write_{type_}({stmt.buffer}_at, i, {_print(stmt.value, kernel, rename)[0]}, {column})"]


def _let(let: Let, kernel: Kernel, rename: dict[str, str]) -> str:
    return f"{let.name} = {_print(let.value, kernel, rename)[0]}"


def _column(kernel: Kernel, buffer: str) -> int:
    return [each.name for each in kernel.buffers].index(buffer)


def _commented(text: str, span: Span | None, source: Source | None) -> list[str]:
    """The line, with the spec's line above it."""
    if span is None or source is None:
        return [text]
    line = source.line(source.position(span.start)[0]).split("#", 1)[0].strip()
    return ["# " + "".join(char if char.isprintable() else "?" for char in line), text]


def _print(expr: Expr, kernel: Kernel, rename: dict[str, str]) -> tuple[str, int]:
    """The text of a value, and how tightly it binds."""
    match expr:
        case Const(value=bool() as truth):
            return str(truth), ATOM
        case Const(value=Fraction() as value, type=type_):
            text = repr(float(value))
            if type_ is Type.F32:
                return f"f32({text})", ATOM
            return text, NEGATION if value < 0 else ATOM
        case Local(name=name):
            return rename.get(name, name), ATOM
        case Load(buffer=buffer, type=type_):
            return f"read_{type_}({buffer}_at, i, {_column(kernel, buffer)})", ATOM
        case Cast(operand=operand, type=type_):
            return f"{type_}({_print(operand, kernel, rename)[0]})", ATOM
        case Op(name=name, args=args):
            row = OPERATORS[name]
            own = row.python_precedence
            if own == ATOM:
                return row.python.format(*(_print(arg, kernel, rename)[0] for arg in args)), ATOM
            printed = []
            for place, arg in enumerate(args):
                text, level = _print(arg, kernel, rename)
                tight = level > own or (level == own and place == 0 and own != COMPARE)
                printed.append(text if tight else f"({text})")
            return row.python.format(*printed), own
    raise AssertionError(expr)
