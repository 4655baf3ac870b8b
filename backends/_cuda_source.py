"""Kernel to the text of Python functions that Numba compiles for GPUs: a phase, its prologue, its totals.

    update(addresses_at, chunks_at, scalars_at)                a block of THREADS for each chunk
    reduce0(addresses_at, chunks_at, scalars_at, partials_at)
    prepare_update(hypers_at, t_at, direction_at, states_at, scalars_at, count)   a thread for each row
    totals_reduce0(partials_at, first_at, count, hypers_at)  a thread for each tensor

Arguments and arrays are those of `_llvm_ptx`. What is done with one element is written once, as a function
inside of the kernel, and called for those of a vector of 16 bytes and for those that are left.
Assumes a verified kernel, whose names are safe in Python. Comments, when asked for, are the spec's lines.
"""

import textwrap
from collections.abc import Iterator, Mapping
from fractions import Fraction

from optdsl.backend import Program
from optdsl.diagnostics import Source
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
    Store,
    Total,
    Type,
)
from optdsl.kernel.walk import loads_in, locals_in, used_buffers
from optdsl.language.operators import ATOM, COMPARE, NEGATION, OPERATORS
from optdsl.portable.functions import SHORT

from ._python_source import commented

_INDENT = "    "
_MOST = 88  # characters of a line, before it is indented
_LANES = {Type.F32: 4, Type.F64: 2}
_FUNCTIONS = {"pow": "power", "mod": "modulo", "max": "maximum", "min": "minimum"}
_OWN = (
    "sqrt",
    "exp",
    "log",
    "tanh",
    "sigmoid",
    "cbrt",
    "short_cbrt",
    "sin",
    "cos",
    "sign",
    "floor",
    "clip",
    "where",
)
"""Operators that are functions of `optdsl.runtime.cuda.numba_words` under their own names."""


def _indented(lines: Iterator[str] | list[str], depth: int = 1) -> list[str]:
    return [_INDENT * depth + line for line in lines]


def decorator(kernel: Kernel) -> str:
    return "@fast_kernel" if kernel.precision.mode == "fast" else "@kernel"


def phase_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    """The kernel's one phase."""
    precision, sums = kernel.precision, kernel.sums
    columns = {buffer.name: column for column, buffer in used_buffers(kernel)}
    width = len(kernel.buffers)
    does = "only reads: computes" if sums else "in place: computes"
    to = "sums in f64" if sums else f"stores {precision.storage}"
    arguments = "addresses_at, chunks_at, scalars_at" + (", partials_at" if sums else "")
    head = [
        "chunk, thread = this_block(), this_thread()",
        "tensor, start, size, row = read4_i64(chunks_at, 4 * chunk)",
        f"offset = {precision.storage}_bytes(start)",
        *(
            f"{buffer}_at = read_address(addresses_at, {_row(width, 'tensor', column)}) + offset"
            for buffer, column in columns.items()
        ),
        *_scalars(kernel),
        f"aligns = aligned({' | '.join(f'{buffer}_at' for buffer in columns)})",
    ]
    names = _Names(kernel)
    element = ["", *_element(kernel, names, source), ""]
    body = _summing(kernel, names) if sums else _plain(kernel, names)
    return "\n".join([
        decorator(kernel),
        f"def {name}({arguments}):",
        f'{_INDENT}"""A block of threads for each chunk, {does} in {precision.compute}, {to}."""',
        *(line.rstrip() for line in _indented([*head, *element, *body])),
    ])  # fmt: skip


def _row(width: int, row: str, column: int) -> str:
    """The index of an element of a table."""
    return f"{width} * {row} + {column}" if width > 1 else row


def _scalars(kernel: Kernel) -> Iterator[str]:
    conditions = {let.name for let in kernel.prologue if let.value.type is Type.BOOL}
    compute = kernel.precision.compute
    for column, scalar in enumerate(kernel.scalars):
        value = f"read_{compute}(scalars_at, {_row(len(kernel.scalars), 'row', column)})"
        yield f"{scalar} = {value}" + (f" != {compute}(0.0)" if scalar in conditions else "")


class _Names:
    """Of what is loaded for an element, and of what generated code needs beside the spec's names."""

    def __init__(self, kernel: Kernel) -> None:
        (phase,) = kernel.phases
        body = phase.body
        self._taken = {*kernel.scalars, *(buffer.name for buffer in kernel.buffers)}
        self._taken.update(stmt.name for stmt in body if isinstance(stmt, Let))
        loaded = dict.fromkeys(name for stmt in body for name in sorted(loads_in(stmt.value)))
        order = [buffer.name for buffer in kernel.buffers if buffer.name in loaded]
        as_they_are = {
            stmt.value.buffer: stmt.name
            for stmt in body
            if isinstance(stmt, Let) and isinstance(stmt.value, Load)
        }
        self.loaded = {buffer: as_they_are.get(buffer) or self.fresh(f"{buffer}_read") for buffer in order}
        self.vectors = {buffer: self.fresh(f"{buffer}_all") for buffer in order}
        self.element, self.new = self.fresh("element"), self.fresh("new")
        lanes = _LANES[kernel.precision.storage]
        self.lanes = [self.fresh(f"new{lane}") for lane in range(lanes)]

    def fresh(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _element(kernel: Kernel, names: _Names, source: Source | None) -> list[str]:
    """What is computed for one element: from what its buffers hold to what is stored or summed."""
    (phase,) = kernel.phases
    summed = [stmt.name for stmt in phase.body if isinstance(stmt, Total)]
    what = ", ".join(summed or kernel.written)
    lines = [f'"""What one element {"adds to" if summed else "stores as"} {what}."""']
    results: list[str] = []
    for stmt in phase.body:
        if isinstance(stmt, Let):
            if not (isinstance(stmt.value, Load) and names.loaded[stmt.value.buffer] == stmt.name):
                text = _print(stmt.value, kernel, names.loaded)[0]
                lines += commented(f"{stmt.name} = {text}", stmt.span, source)
        else:
            text = _print(stmt.value, kernel, names.loaded)[0]
            results.append(text)
    given = ", ".join(names.loaded.values())
    returned = ", ".join(results) + ("," if len(results) == 1 else "")
    return [f"def {names.element}({given}):", *_indented([*lines, f"return {returned}"])]


def _elements(kernel: Kernel, names: _Names, count: str, first: str) -> list[str]:
    """All of so many: vectors, then what is left; the thread takes every THREADS-th."""
    storage = kernel.precision.storage
    lanes, (phase,) = _LANES[storage], kernel.phases
    counter, place = ("j", [f"i = {first} + j"]) if first else ("i", [])
    vectors = [f"{name} = read{lanes}_{storage}({buffer}_at, i)" for buffer, name in names.vectors.items()]
    calls = [
        _call(f"{new} = {names.element}", [f"{vector}[{lane}]" for vector in names.vectors.values()])
        for lane, new in enumerate(names.lanes)
    ]
    wide: list[str] = []
    narrow: list[str] = []
    stored = [stmt for stmt in phase.body if isinstance(stmt, Store | Total)]
    for number, stmt in enumerate(stored):
        if isinstance(stmt, Store):
            values = ", ".join(f"{new}[{number}]" for new in names.lanes)
            wide.append(f"write{lanes}_{storage}({stmt.buffer}_at, i, {values})")
            narrow.append(f"write_{storage}({stmt.buffer}_at, i, {names.new}[{number}])")
        else:
            wide += [
                f"write_summand({number}, {_plus(counter, lane)}, {new}[{number}])"
                for lane, new in enumerate(names.lanes)
            ]
            narrow.append(f"write_summand({number}, {counter}, {names.new}[{number}])")
    call = _call(f"{names.new} = {names.element}", [f"read_{storage}({each}_at, i)" for each in names.loaded])
    return [
        f"in_vectors = {count} // {lanes} * {lanes} if aligns else 0",
        f"for {counter} in range({lanes} * thread, in_vectors, {lanes} * THREADS):",
        *_indented([*place, *vectors, *(line for call in calls for line in call), *wide]),
        f"for {counter} in range(in_vectors + thread, {count}, THREADS):",
        *_indented([*place, *call, *narrow]),
    ]


def _call(head: str, arguments: list[str]) -> list[str]:
    """A call, on lines of its own where it is long."""
    line = f"{head}({', '.join(arguments)})"
    if len(line) <= _MOST:
        return [line]
    return [f"{head}(", *_indented(textwrap.wrap(f"{', '.join(arguments)},", _MOST)), ")"]


def _plus(counter: str, lane: int) -> str:
    return f"{counter} + {lane}" if lane else counter


def _plain(kernel: Kernel, names: _Names) -> list[str]:
    return _elements(kernel, names, "size", "")


def _summing(kernel: Kernel, names: _Names) -> list[str]:
    """Block by block: summands to memory that all threads share, which they fold in halves, as everywhere."""
    sums = range(sum(isinstance(stmt, Total) for phase in kernel.phases for stmt in phase.body))
    partial = [_row(len(sums), "chunk", column) for column in sums]
    return [
        "if thread == 0:",
        *_indented([f"write_f64(partials_at, {at}, 0.0)" for at in partial]),
        "for first in range(0, size, BLOCK):",
        *_indented([
            "count = size - first if size - first < BLOCK else BLOCK",
            *_elements(kernel, names, "count", "first"),
            "for j in range(count + thread, BLOCK, THREADS):",
            *_indented([f"write_summand({column}, j, 0.0)" for column in sums]),
            "width = BLOCK",
            "for halving in range(HALVINGS):",
            *_indented([
                "width = width // 2",
                "barrier()",
                "for j in range(thread, width, THREADS):",
                *_indented([
                    f"write_summand({k}, j, read_summand({k}, j) + read_summand({k}, j + width))"
                    for k in sums
                ]),
            ]),
            "barrier()",
            "if thread == 0:",
            *_indented([
                f"write_f64(partials_at, {at}, read_f64(partials_at, {at}) + read_summand({column}, 0))"
                for column, at in enumerate(partial)
            ]),
            "barrier()",
        ]),
    ]  # fmt: skip


def prologue_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    """Rows of hyperparameters to rows of step scalars, in float64."""
    needed = {*kernel.scalars, *kernel.scalar_updates}
    for let in kernel.prologue:
        needed.update(locals_in(let.value))
    bound = {let.name for let in kernel.prologue}
    wanted = needed - bound
    inputs = {
        hyper: f"hypers_at, {_row(len(kernel.hypers), 'row', i)}" for i, hyper in enumerate(kernel.hypers)
    }
    states = kernel.scalar_states
    inputs |= {state: f"states_at, {_row(len(states), 'row', i)}" for i, state in enumerate(states)}
    inputs |= {TIME: "t_at, row", DIRECTION: "direction_at, row"}
    lines = [f"{given} = read_f64({where})" for given, where in inputs.items() if given in wanted]
    for let in kernel.prologue:
        lines += commented(f"{let.name} = {_print(let.value, kernel, None)[0]}", let.span, source)
    conditions = {let.name for let in kernel.prologue if let.value.type is Type.BOOL}
    compute = kernel.precision.compute
    for column, scalar in enumerate(kernel.scalars):
        value = f"where({scalar}, 1.0, 0.0)" if scalar in conditions else scalar
        value = f"f32({value})" if compute is Type.F32 else value
        lines.append(f"write_{compute}(scalars_at, {_row(len(kernel.scalars), 'row', column)}, {value})")
    for column, new in enumerate(kernel.scalar_updates):
        value = f"where({new}, 1.0, 0.0)" if new in conditions else new
        lines.append(f"write_f64(states_at, {_row(len(states), 'row', column)}, {value})")
    return "\n".join([
        "@kernel",
        f"def {name}(hypers_at, t_at, direction_at, states_at, scalars_at, count):",
        f'{_INDENT}"""Step scalars, in float64: a thread for each row of hyperparameters."""',
        f"{_INDENT}row = this_block() * THREADS + this_thread()",
        f"{_INDENT}if row < count:",
        *_indented(lines or ["pass"], 2),
    ])  # fmt: skip


def totals_source(program: Program, kernel: Kernel, name: str) -> str:
    """Sums of chunks to sums of tensors, in the order of the chunks, and where later prologues read them."""
    columns = [column for column, _ in program.summed(kernel)]
    before = len(kernel.hypers) - len(program.totals)
    hypers = len(kernel.hypers)
    return "\n".join([
        "@kernel",
        f"def {name}(partials_at, first_at, count, hypers_at):",
        f'{_INDENT}"""The sums of all chunks of a tensor: a thread for each."""',
        f"{_INDENT}tensor = this_block() * THREADS + this_thread()",
        f"{_INDENT}if tensor < count:",
        *_indented([
            *(f"sum{number} = 0.0" for number in range(len(columns))),
            "for chunk in range(read_i64(first_at, tensor), read_i64(first_at, tensor + 1)):",
            *_indented([
                f"sum{number} = sum{number} + read_f64(partials_at, {_row(len(columns), 'chunk', number)})"
                for number in range(len(columns))
            ]),
            *(
                f"write_f64(hypers_at, {_row(hypers, 'tensor', before + column)}, sum{number})"
                for number, column in enumerate(columns)
            ),
        ], 2),
    ])  # fmt: skip


def _print(expr: Expr, kernel: Kernel, loaded: Mapping[str, str] | None) -> tuple[str, int]:
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
            return name, ATOM
        case Load(buffer=buffer):
            assert loaded is not None, "a prologue loads nothing"
            return loaded[buffer], ATOM
        case Cast(operand=operand, type=type_):
            return f"{type_}({_print(operand, kernel, loaded)[0]})", ATOM
        case Op(name=name, args=(left, right), type=Type.F32) if (
            kernel.precision.mode == "fma" and name in ("add", "sub") and (_factors(left) or _factors(right))
        ):
            return _joined(left, right, kernel, loaded, minus=name == "sub"), ATOM
        case Op(name=name, args=args):
            if loaded is not None and kernel.precision.compute is not kernel.precision.storage:
                name = SHORT.get(name, name)  # what it is less exact by is rounded away
            called = {**_FUNCTIONS, "short_pow": "short_power"}.get(name, name if name in _OWN else None)
            if called is not None:
                return f"{called}({', '.join(_print(arg, kernel, loaded)[0] for arg in args)})", ATOM
            row = OPERATORS[name]
            own = row.python_precedence
            printed = []
            for position, arg in enumerate(args):
                text, level = _print(arg, kernel, loaded)
                tight = own == ATOM or level > own or (level == own and position == 0 and own != COMPARE)
                printed.append(text if tight else f"({text})")
            return row.python.format(*printed), own
    raise AssertionError(expr)


def _factors(expr: Expr) -> tuple[Expr, ...]:
    return expr.args if isinstance(expr, Op) and expr.name == "mul" else ()


def _joined(left: Expr, right: Expr, kernel: Kernel, loaded: Mapping[str, str] | None, *, minus: bool) -> str:
    """A product and a sum that are rounded once, as `_kernel_lanes` has it: of two products, the second."""

    def text(value: Expr, *, negative: bool = False) -> str:
        said, level = _print(value, kernel, loaded)
        return said if not negative else f"-{said}" if level > NEGATION else f"-({said})"

    if _factors(right):
        x, y = _factors(right)
        return f"fma({text(x, negative=minus)}, {text(y)}, {text(left)})"
    x, y = _factors(left)
    return f"fma({text(x)}, {text(y)}, {text(right, negative=minus)})"
