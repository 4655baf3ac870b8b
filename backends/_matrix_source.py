"""A stage of whole matrices to the text of a Python function: NumPy, and through it BLAS and LAPACK.

Assumes a verified kernel with `Loop.WHOLE`. `name(arrays, scalars)` takes what the stage loads, in the order
of the buffers, as float64 arrays of shape (matrices, rows, columns), and the prologue's scalars of this
tensor; it gives the arrays and numbers that the stage makes, in its order. Comments, when asked for, are the
spec's own lines. A choice by a number is Python's `if`: the other branch is not computed.
"""

import re
from fractions import Fraction

from optdsl.diagnostics import InternalError, Source, Span
from optdsl.kernel.ir import TIME, Cast, Const, Expr, Kernel, Let, Load, Local, Op, Type
from optdsl.kernel.stage_facts import loaded
from optdsl.kernel.walk import nodes
from optdsl.language.matrices import loop_parts_of
from optdsl.language.operators import ATOM, COMPARE, NEGATION, OPERATORS, PRODUCT

SPELLED = {"and": "np_both({}, {})", "or": "np_either({}, {})", "not": "np_neither({})", "sum": "total({})"}
SPELLED |= {"entry": "{}[{}]"} | {
    f"past_dot{over}": f"past_dot{over}(past, {{}}, {{}})" for over in ("", "_all")
}
SPELLED |= {f"past_norm{over}": f"past_norm{over}(past, {{}})" for over in ("", "_all")}
"""What is not called what Python, or a spec, calls it."""

_INDENT = "    "
IMPORTS = """from optdsl.runtime.matrix_math import dot, eigenvectors, identity, inverse_root, mean, norm
from optdsl.runtime.matrix_math import orthonormal, polar, rounds, spectral_norm, total, transpose
from optdsl.runtime.matrix_math import np_abs, np_both, np_cbrt, np_cos, np_either, np_exp, np_floor, np_log
from optdsl.runtime.matrix_math import np_maximum, np_minimum, np_modulo, np_neither, np_power, np_sigmoid
from optdsl.runtime.matrix_math import np_sign, np_sin, np_sqrt, np_tanh, np_where
"""

_RENAME = {TIME: "now"}
_CHOICE = -1  # binds less than anything else


def matrix_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    (phase,) = kernel.phases
    conditions = {let.name for let in kernel.prologue if let.value.type is Type.BOOL}
    scalars = frozenset(kernel.scalars)
    lines = [f"{_at(buffer)} = arrays[{place}]" for place, buffer in enumerate(loaded(kernel))]
    for place, scalar in enumerate(kernel.scalars):
        value = f"scalars[{place}]" + (" != 0.0" if scalar in conditions else "")
        lines.append(f"{_RENAME.get(scalar, scalar)} = {value}")
    results = []
    for stmt in phase.body:
        if not isinstance(stmt, Let):
            results.append(_print(stmt.value, scalars)[0])
        else:
            lines += commented(_set(stmt.name, stmt.value, scalars), stmt.span, source)
    lines.append(f"return ({', '.join(results)}{',' * (len(results) == 1)})")
    head = [
        f"def {name}(arrays, scalars):",
        f'{_INDENT}"""The matrices of one tensor, whole, in float64: BLAS and LAPACK."""',
    ]
    return "\n".join([*head, *(f"{_INDENT}{line}" for line in lines)])


def _set(name: str, value: Expr, scalars: frozenset[str]) -> list[str]:
    """The statements that give a name its value."""
    match value:
        case Op("repeat", args):
            count, ((around, start), *inner), new = loop_parts_of(args)
            (local, _) = _print(around, scalars)
            return [
                *_set(local, start, scalars),
                f"for turn in range(rounds({_print(count, scalars)[0]})):",
                *(f"{_INDENT}{_print(x, scalars)[0]} = {_print(y, scalars)[0]}" for x, y in inner),
                *(f"{_INDENT}{line}" for line in _set(local, new, scalars)),
                f"{name} = {local}",
            ]
        case Op("where", (test, x, y)) if _is_scalar(test, scalars):
            return [
                f"if {_print(test, scalars)[0]}:",
                *(f"{_INDENT}{line}" for line in _set(name, x, scalars)),
                "else:",
                *(f"{_INDENT}{line}" for line in _set(name, y, scalars)),
            ]
        case _:
            return [f"{name} = {_print(value, scalars)[0]}"]


def _at(buffer: str) -> str:
    return f"{buffer}_at"


def commented(lines: list[str], span: Span | None, source: Source | None) -> list[str]:
    if span is None or source is None:
        return lines
    line = source.line(source.position(span.start)[0]).split("#", 1)[0].strip()
    return ["# " + "".join(char if char.isprintable() else "?" for char in line), *lines]


def printed(expr: Expr) -> str:
    """The text of a value that is no choice of Python's."""
    return _print(expr, frozenset())[0]


def local_name(scalar: str) -> str:
    return _RENAME.get(scalar, scalar)


def _print(expr: Expr, scalars: frozenset[str]) -> tuple[str, int]:
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
            return _print(operand, scalars)
        case Op("where", (test, x, y)) if _is_scalar(test, scalars):
            parts = (_tight(part, _CHOICE + 1, scalars) for part in (x, test, y))
            return "{} if {} else {}".format(*parts), _CHOICE
        case Op("round", (numbers, count, *_)):
            return f"{_print(numbers, scalars)[0]}[{_print(count, scalars)[0]}]", ATOM
        case Op("matmul", (x, y)):
            return f"{_tight(x, PRODUCT, scalars)} @ {_tight(y, PRODUCT + 1, scalars)}", PRODUCT
        case Op(name=name, args=args) if name in SPELLED or name not in OPERATORS:
            template = SPELLED.get(name, f"{name}({', '.join('{}' for _ in args)})")
            return template.format(*(_print(arg, scalars)[0] for arg in args)), ATOM
        case Op(name=name, args=args):
            row = OPERATORS[name]
            own = row.python_precedence
            template = re.sub(r"(?:math\.)?([a-z]+)\(", r"np_\1(", row.python)
            places = enumerate(args)
            inside = [0 if own == ATOM else own + (place > 0 or own == COMPARE) for place, _ in places]
            printed = (_tight(x, level, scalars) for x, level in zip(args, inside, strict=True))
            return template.format(*printed), own
    raise InternalError(f"no text for {expr}")


def _tight(expr: Expr, level: int, scalars: frozenset[str]) -> str:
    """In brackets where it binds less than the level."""
    text, own = _print(expr, scalars)
    return text if own >= level else f"({text})"


def _is_scalar(expr: Expr, scalars: frozenset[str]) -> bool:
    """Whether it is one number, or one condition, of the prologue."""
    leaves = [node for node in nodes(expr) if isinstance(node, Local | Load)]
    return all(isinstance(leaf, Local) and leaf.name in scalars for leaf in leaves)
