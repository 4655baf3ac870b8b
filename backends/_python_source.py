"""Kernel to the text of two Python functions: the prologue, and a phase over chunks of many tensors.

Assumes a verified kernel, whose names are safe in Python (`kernel.names.Namer`). Deterministic; every
value is computed with the kernel's operations in the kernel's order, nothing more. Comments, when asked
for, are the spec's own lines.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    Loop,
    Op,
    Phase,
    Stmt,
    Total,
    Type,
)
from optdsl.kernel.walk import loads_in, locals_in, used_buffers
from optdsl.language.operators import ATOM, COMPARE, NEGATION, OPERATORS
from optdsl.language.optimizer import Shape
from optdsl.portable.functions import SHORT
from optdsl.runtime.batch import MAX_BUFFERS

from ._stored_source import (
    address_lines,
    by_blocks,
    coded,
    in_blocks,
    key_lines,
    loaded,
    noise_lines,
    scale_lines,
    stored_lines,
)

_INDENT = "    "
_VECTORS = {
    "exp": "vector_exp",
    "log": "vector_log",
    "tanh": "vector_tanh",
    "sigmoid": "vector_sigmoid",
    "cbrt": "vector_cbrt",
    "pow": "vector_power",
    "short_cbrt": "vector_short_cbrt",
    "short_pow": "vector_short_power",
}
"""Of elements: what the C library does one by one. In a prologue, its function is the more exact one."""
_SCRATCH = MAX_BUFFERS - 1  # the number of the buffer of the first sum; the next have the numbers below


@dataclass(frozen=True)
class _Place:
    """Where a value is computed: what names are called there, and whether there is one for each element."""

    names: Mapping[str, str]
    of_elements: bool


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
    place = _Place({TIME: "t[row]", DIRECTION: "direction[row]"}, of_elements=False)
    lines = [
        "@prologue",
        f"def {name}(hypers, t, direction, states, scalars):",
        f'{_INDENT}"""Step scalars, in float64: once a step for each row of hyperparameters."""',
        f"{_INDENT}for row in range(t.size):",
    ]
    body = [f"{given} = {where}" for given, where in inputs.items() if given in needed and given not in bound]
    for let in kernel.prologue:
        body += commented(_let(let, kernel, place), let.span, source)
    body += [
        f"scalars[row, {column}] = {place.names.get(scalar, scalar)}"
        for column, scalar in enumerate(kernel.scalars)
    ]
    body += [f"states[row, {column}] = {new}" for column, new in enumerate(kernel.scalar_updates)]
    lines += [f"{_INDENT}{_INDENT}{line}" for line in body or ["pass"]]
    return "\n".join(lines)


def phase_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    """`name(addresses, chunks, first, last, scalars)`: the kernel's one phase, in place.

    A phase that sums is `name(addresses, chunks, first, last, scalars, scratch, partials)`: what is
    summed goes to `scratch`, a block at a time, and from there to `partials`, chunk by chunk. One that goes
    through rows of matrices is given `columns`, too: where to add up what it sums for each column.
    """
    (phase,) = kernel.phases
    precision = kernel.precision
    sums = any(isinstance(stmt, Total) for stmt in phase.body)
    matrix = kernel.loop is Loop.MATRIX
    arguments = "addresses, chunks, first, last, scalars" + (", scratch, partials" if sums else "")
    arguments += ", columns" if sums and matrix else ""
    decorator = ("matrix_reduction" if matrix else "reduction") if sums else "kernel"
    does = "only reads: computes" if sums else "in place: computes"
    to = "sums in f64" if sums else f"stores {precision.storage}"
    if any(kernel.buffer(name).stage for name in kernel.written):
        does, to = "only reads: computes", "sums and lays out in f64" if sums else "lays out in f64"
    head = [
        f"@{decorator}",
        f"def {name}({arguments}):",
        f'{_INDENT}"""Chunks first..last, {does} in {precision.compute}, {to}."""',
        f"{_INDENT}for chunk in range(first, last):",
    ]
    if matrix:
        scalars = [f"{_INDENT * 2}{line}" for line in _scalars(kernel)]
        return "\n".join([*head, f"{_INDENT * 2}{_MATRIX_CHUNK} = chunks[chunk]", *scalars,
                          *_by_rows(kernel, source)])  # fmt: skip
    head += [
        f"{_INDENT * 2}tensor, start, size, row = chunks[chunk]",
        *(f"{_INDENT * 2}{line}" for line in address_lines(kernel)),
        *(f"{_INDENT * 2}{line}" for line in _scalars(kernel)),
        *(f"{_INDENT * 2}{line}" for line in key_lines(kernel)),
    ]
    body = [line for stmt in phase.body for line in _phase_lines(stmt, kernel, source)]
    body = [*noise_lines(kernel, of_blocks=False), *body]
    if sums:
        return "\n".join([*head, *_summing(phase, body, scale_lines(kernel))])
    blocks = in_blocks(kernel, body) if by_blocks(kernel) else _plain(body)
    return "\n".join([*head, *blocks])


_MATRIX_CHUNK = "tensor, start, size, row, height, width, first_column"
_START = {Shape.ELEMENT: "line * width", Shape.ROWS: "line", Shape.COLS: "column"}


def _by_rows(kernel: Kernel, source: Source | None) -> list[str]:
    """Row by row: first what has one value for the row, then its elements, then the row's sums.

    A chunk is whole rows, so the sum of a row is whole; those of columns are added up for each chunk.
    """
    (phase,) = kernel.phases
    totals = [stmt for stmt in phase.body if isinstance(stmt, Total)]
    scalar = [column for column, total in enumerate(totals) if total.shape is Shape.TENSOR]
    down = [column for column, total in enumerate(totals) if total.shape is Shape.COLS]
    used = used_buffers(kernel)
    of_row, of_element = _levels(kernel)
    per_chunk = [f"partials[chunk, {place}] = 0.0" for place in range(len(scalar))]
    columns = any(buffer.shape is Shape.COLS for _, buffer in used)
    if down:
        per_chunk.append("skipped = start // (height * width) * width")
    per_row = []
    if down or columns:
        per_row.append("column = line // height * width")
    per_row += [
        f"{buffer.name}_at = addresses[tensor, {column}] + {buffer.type}_bytes({_START[buffer.shape]})"
        for column, buffer in used
    ]
    per_row += [
        f"columns{column} = columns[{place}] + f64_bytes(first_column + column - skipped)"
        for place, column in enumerate(down)
    ]
    per_row += [line for stmt in of_row for line in _phase_lines(stmt, kernel, source)]
    elements = [line for stmt in of_element for line in _phase_lines(stmt, kernel, source)]
    after: list[str] = []
    folds: list[str] = []
    for column, total in enumerate(totals):
        fold = f"block_{'max' if total.largest else 'sum'}{column}({_scratch(column)}, count)"
        if total.shape is Shape.TENSOR:
            place = f"partials[chunk, {scalar.index(column)}]"
            folds.append(f"{place} = {place} + {fold}")
        elif total.shape is Shape.ROWS:
            start, joined = ("-math.inf", "maximum({}, {})") if total.largest else ("0.0", "{} + {}")
            per_row.append(f"sum{column} = {start}")
            folds.append(f"sum{column} = {joined.format(f'sum{column}', fold)}")
            buffer = _column(kernel, total.name)
            at = f"addresses[tensor, {buffer}] + f64_bytes(line)"
            after.append(f"write_f64({at}, 0, sum{column}, {buffer})")
    if folds:
        inner = [
            "for block in range(0, width, BLOCK):",
            f"{_INDENT}count = min(BLOCK, width - block)",
            f"{_INDENT}for j in range(count):",
            f"{_INDENT * 2}i = block + j",
            *(f"{_INDENT * 2}{line}" for line in elements),
            *(f"{_INDENT}{line}" for line in folds),
        ]
    else:
        inner = ["for i in range(width):", *(f"{_INDENT}{line}" for line in elements)]
    return [
        *(f"{_INDENT * 2}{line}" for line in per_chunk),
        f"{_INDENT * 2}for line in range(start // width, (start + size) // width):",
        *(f"{_INDENT * 3}{line}" for line in (*per_row, *inner, *after)),
    ]


def _levels(kernel: Kernel) -> tuple[list[Stmt], list[Stmt]]:
    """The statements that are the same for all elements of a row, and the others."""
    (phase,) = kernel.phases
    shapes = {buffer.name: buffer.shape for buffer in kernel.buffers}
    known = set(kernel.scalars)
    rows: list[Stmt] = []
    elements: list[Stmt] = []
    for stmt in phase.body:
        by_row = all(shapes[name] is Shape.ROWS for name in loads_in(stmt.value))
        if isinstance(stmt, Let) and by_row and known.issuperset(locals_in(stmt.value)):
            known.add(stmt.name)
            rows.append(stmt)
        else:
            elements.append(stmt)
    return rows, elements


def _plain(body: list[str]) -> list[str]:
    return [f"{_INDENT * 2}for i in range(size):", *(f"{_INDENT * 3}{line}" for line in body)]


def _summing(phase: Phase, body: list[str], scales: list[str]) -> list[str]:
    """Blocks of elements whose summands are folded in halves: fast, and the same sum on every machine."""
    count = sum(isinstance(stmt, Total) for stmt in phase.body)
    length = "CODED" if scales else "BLOCK"
    return [
        *(f"{_INDENT * 2}partials[chunk, {column}] = 0.0" for column in range(count)),
        f"{_INDENT * 2}for block in range(0, size, {length}):",
        f"{_INDENT * 3}count = min({length}, size - block)",
        *(f"{_INDENT * 3}{line}" for line in scales),
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


def _phase_lines(stmt: Stmt, kernel: Kernel, source: Source | None) -> list[str]:
    place = _Place({TIME: "now"}, of_elements=True)
    if isinstance(stmt, Let):
        return commented(_let(stmt, kernel, place), stmt.span, source)
    if isinstance(stmt, Total):
        (phase,) = kernel.phases
        column = [each for each in phase.body if isinstance(each, Total)].index(stmt)
        value = _print(stmt.value, kernel, place)[0]
        if stmt.shape is Shape.COLS:
            so_far = f"read_f64(columns{column}, i, {_SCRATCH - column})"
            joined = f"maximum({so_far}, {value})" if stmt.largest else f"{so_far} + {value}"
            return [f"write_f64(columns{column}, i, {joined}, {_SCRATCH - column})"]
        return [f"write_f64({_scratch(column)}, j, {value}, {_SCRATCH - column})"]
    column = _column(kernel, stmt.buffer)
    type_ = kernel.buffer(stmt.buffer).type
    if coded(type_):
        assert isinstance(stmt.value, Cast)
        value = _print(stmt.value.operand, kernel, place)[0]
        value = value if kernel.precision.compute is Type.F32 else f"f32({value})"
        return stored_lines(kernel, stmt.buffer, stmt.value, value)
    return [f"write_{type_}({stmt.buffer}_at, i, {_print(stmt.value, kernel, place)[0]}, {column})"]


def _let(let: Let, kernel: Kernel, place: _Place) -> str:
    return f"{let.name} = {_print(let.value, kernel, place)[0]}"


def _column(kernel: Kernel, buffer: str) -> int:
    return [each.name for each in kernel.buffers].index(buffer)


def commented(text: str, span: Span | None, source: Source | None) -> list[str]:
    """The line, with the spec's line above it."""
    if span is None or source is None:
        return [text]
    line = source.line(source.position(span.start)[0]).split("#", 1)[0].strip()
    return ["# " + "".join(char if char.isprintable() else "?" for char in line), text]


def _print(expr: Expr, kernel: Kernel, place: _Place) -> tuple[str, int]:
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
            return place.names.get(name, name), ATOM
        case Load(buffer=buffer, type=type_):
            of_row = kernel.loop is Loop.MATRIX and kernel.buffer(buffer).shape is Shape.ROWS
            index = "0" if of_row else "i"
            if coded(type_):
                return loaded(kernel, kernel.buffer(buffer)), ATOM
            return f"read_{type_}({buffer}_at, {index}, {_column(kernel, buffer)})", ATOM
        case Cast(operand=Load(type=given) as load, type=Type.F32) if coded(given):
            return _print(load, kernel, place)
        case Cast(operand=operand, type=type_):
            return f"{type_}({_print(operand, kernel, place)[0]})", ATOM
        case Op(name=name, args=args, type=type_) if name in _VECTORS and place.of_elements:
            half = kernel.precision.compute is not kernel.precision.storage
            function = _VECTORS[SHORT.get(name, name) if half else name]
            return f"{function}({', '.join(_print(arg, kernel, place)[0] for arg in args)})", ATOM
        case Op(name=name, args=args):
            row = OPERATORS[name]
            own = row.python_precedence
            if own == ATOM:
                return row.python.format(*(_print(arg, kernel, place)[0] for arg in args)), ATOM
            printed = []
            for position, arg in enumerate(args):
                text, level = _print(arg, kernel, place)
                tight = level > own or (level == own and position == 0 and own != COMPARE)
                printed.append(text if tight else f"({text})")
            return row.python.format(*printed), own
    raise AssertionError(expr)
