"""jax.numpy: every kernel as pure functions of arrays, for `optdsl.optax`.

A kernel is a prologue and a body, both straight lines of assignments; what is computed once a step stays a
scalar. The text does not know of dtypes: it computes in what it is given, float32 unless JAX has 64 bits
switched on, and XLA fuses it. Arrays have the shapes of the parameters; what has one value for each row or
column has a dimension of size 1. Nothing is in place, nothing is compiled here.
"""

from fractions import Fraction

from optdsl.backend import Backend, Program, Step
from optdsl.diagnostics import InternalError, OptdslError, Source, Span
from optdsl.diagnostics.catalogue import NotYet
from optdsl.kernel.ir import (
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
    Stmt,
    Total,
)
from optdsl.kernel.walk import locals_in, nodes
from optdsl.language.operators import ATOM, COMPARE, NEGATION, OPERATORS, PRODUCT
from optdsl.language.optimizer import Shape
from optdsl.runtime.batch import Batch

from ._jnp_stage import IMPORTS as STAGE_IMPORTS
from ._jnp_stage import WHOLE, stage_body

IMPORTS = """from optdsl.runtime.jax.jnp_math import both, cbrt, cos, either, exp, floor, log, maximum
from optdsl.runtime.jax.jnp_math import minimum, modulo, neither, one_less_power, power, sigmoid, sign, sin
from optdsl.runtime.jax.jnp_math import largest_of_columns, largest_of_rows, sqrt, tanh, total
from optdsl.runtime.jax.jnp_math import total_of_columns, total_of_rows, where
"""
SPELLED = {"and": "both({}, {})", "or": "either({}, {})", "not": "neither({})"}
"""Operators that JAX writes in another way than Python; all of them calls."""

TOTALS = {
    (Shape.TENSOR, False): "total",
    (Shape.ROWS, False): "total_of_rows",
    (Shape.COLS, False): "total_of_columns",
    (Shape.ROWS, True): "largest_of_rows",
    (Shape.COLS, True): "largest_of_columns",
}
"""What reduces, by the shape of its result, and whether it is the largest."""

_INDENT = "    "
_RENAME = {TIME: "now"}


class Jnp:
    name = "jnp"
    modes: tuple[str, ...] = ("fast", "accurate")
    imports = IMPORTS + STAGE_IMPORTS

    def source(self, program: Program, phase: str = "update", *, comments: bool = True) -> str:
        optimizer = program.optimizer
        if any(state.shape is Shape.PAST for state in optimizer.states):
            problem = NotYet(span=optimizer.span, what="a loop over what is remembered, for JAX,")
            raise OptdslError([problem.diagnostic()], optimizer.source)
        source = optimizer.source if comments else None
        (kernel,) = (kernel for kernel in program.kernels if kernel.name == phase)
        return "\n\n\n".join(self.functions(kernel, "prepare", phase, source)) + "\n"

    def functions(
        self, kernel: Kernel, prologue: str, phase: str, source: Source | None = None
    ) -> tuple[str, str]:
        return prologue_source(kernel, prologue, source), phase_source(kernel, phase, source)

    def load(self, program: Program, phase: str = "update") -> Step:
        """For tests, one operation at a time; with 64 bits where the kernel computes in them."""
        import jax

        from ._jnp_batch import run, variant_of

        variant = variant_of(program, self)

        def step(batch: Batch) -> None:
            with jax.enable_x64(True):
                run(program, variant, batch, phase)

        return step


def prologue_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    """`name(hypers, now, direction, numbers)`: what the phase reads, and the new numbers that are kept."""
    rename = _RENAME
    needed = {*kernel.scalars, *kernel.scalar_updates}
    for let in kernel.prologue:
        needed.update(locals_in(let.value))
    bound = {let.name for let in kernel.prologue}
    inputs = {hyper: f"hypers[{i}]" for i, hyper in enumerate(kernel.hypers)}
    inputs |= {state: f"numbers[{i}]" for i, state in enumerate(kernel.scalar_states)}
    body = [f"{x} = {where}" for x, where in inputs.items() if x in needed and x not in bound]
    for let in kernel.prologue:
        body += _commented(f"{let.name} = {_print(let.value, kernel)[0]}", let.span, source)
    scalars = ", ".join(rename.get(scalar, scalar) for scalar in kernel.scalars)
    numbers = ", ".join(kernel.scalar_updates)
    body.append(f"return ({scalars}{',' * (len(kernel.scalars) == 1)}), "
                f"({numbers}{',' * (len(kernel.scalar_updates) == 1)})")  # fmt: skip
    head = [f"def {name}(hypers, now, direction, numbers):", f'{_INDENT}"""Once a step."""']
    return "\n".join([*head, *(f"{_INDENT}{line}" for line in body)])


def phase_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    """`name(arrays, scalars)`: the new arrays of the buffers that are written, or the sums."""
    if kernel.loop is Loop.WHOLE:
        return _stage_source(kernel, name, source)
    (phase,) = kernel.phases
    loaded = {node.buffer for stmt in phase.body for node in nodes(stmt.value) if isinstance(node, Load)}
    body = [f"{_at(b.name)} = arrays[{i}]" for i, b in enumerate(kernel.buffers) if b.name in loaded]
    body += _scalars(kernel)
    results: list[str] = []
    for stmt in phase.body:
        body += _line(stmt, kernel, source, results)
    body.append(f"return ({', '.join(results)}{',' * (len(results) == 1)})")
    doc = "Sums over all elements." if any(isinstance(s, Total) for s in phase.body) else "All elements."
    head = [f"def {name}(arrays, scalars):", f'{_INDENT}"""{doc}"""']
    return "\n".join([*head, *(f"{_INDENT}{line}" for line in body)])


def _stage_source(kernel: Kernel, name: str, source: Source | None) -> str:
    def show(value: Expr) -> str:
        return _print(value, kernel)[0]

    def commented(line: str, stmt: Let, source: Source | None) -> list[str]:
        return _commented(line, stmt.span, source)

    body = [*_scalars(kernel), *stage_body(kernel, show, source, commented)]
    head = [f"def {name}(arrays, scalars):", f'{_INDENT}"""The matrices of a leaf, whole."""']
    return "\n".join([*head, *(f"{_INDENT}{line}" for line in body)])


def _scalars(kernel: Kernel) -> list[str]:
    return [f"{_RENAME.get(scalar, scalar)} = scalars[{i}]" for i, scalar in enumerate(kernel.scalars)]


def _line(stmt: Stmt, kernel: Kernel, source: Source | None, results: list[str]) -> list[str]:
    value = _print(stmt.value, kernel)[0]
    if isinstance(stmt, Let):
        return _commented(f"{stmt.name} = {value}", stmt.span, source)
    if isinstance(stmt, Total):
        value = f"{TOTALS[stmt.shape, stmt.largest]}({value}, arrays[0])"
    results.append(value)
    return []


def _at(buffer: str) -> str:
    return f"{buffer}_at"


def _commented(text: str, span: Span | None, source: Source | None) -> list[str]:
    if span is None or source is None:
        return [text]
    line = source.line(source.position(span.start)[0]).split("#", 1)[0].strip()
    return ["# " + "".join(char if char.isprintable() else "?" for char in line), text]


def _print(expr: Expr, kernel: Kernel) -> tuple[str, int]:
    """The text of a value, and how tightly it binds."""
    match expr:
        case Const(value=bool() as truth):
            return str(truth), ATOM
        case Const(value=Fraction() as value):
            return repr(float(value)), NEGATION if value < 0 else ATOM
        case Local(name=name):
            return _RENAME.get(name, name), ATOM
        case Load(buffer=buffer):
            return _at(buffer), ATOM
        case Cast(operand=operand):
            return _print(operand, kernel)
        case Op("sub", (Const(value=one), Op("pow", (base, exponent)))) if one == 1:
            parts = ", ".join(_print(part, kernel)[0] for part in (base, exponent))
            return f"one_less_power({parts})", ATOM
        case Op("matmul", (x, y)):
            (left, own), (right, other) = _print(x, kernel), _print(y, kernel)
            left, right = left if own >= PRODUCT else f"({left})", right if other > PRODUCT else f"({right})"
            return f"{left} @ {right}", PRODUCT
        case Op(name=name, args=args) if name not in OPERATORS or (
            name in WHOLE and kernel.loop is Loop.WHOLE
        ):
            inside = ", ".join(_print(arg, kernel)[0] for arg in args)
            return f"{WHOLE.get(name, name)}({inside})", ATOM
        case Op(name=name, args=args):
            row = OPERATORS[name]
            template = SPELLED.get(name, row.python).removeprefix("math.")
            own = ATOM if name in SPELLED else row.python_precedence
            printed = []
            for place, arg in enumerate(args):
                text, level = _print(arg, kernel)
                tight = own == ATOM or level > own or (level == own and place == 0 and own != COMPARE)
                printed.append(text if tight else f"({text})")
            return template.format(*printed), own
    raise InternalError(f"no text for {expr}")


BACKEND: Backend = Jnp()
