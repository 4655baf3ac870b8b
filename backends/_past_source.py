"""A stage of loops over what is remembered to the text of a Python function, on coefficients of vectors.

Assumes a verified kernel with `Loop.PAST`. `name(past, scalars)` takes a `runtime.past.math.Past`, which
knows the products of all vectors, and the prologue's scalars, a column of numbers for each; it gives the
coefficients of the vectors that the stage makes, in its order. Comments, when asked for, are the spec's.
"""

from optdsl.diagnostics import Source
from optdsl.kernel.ir import Expr, Kernel, Let, Op, Type
from optdsl.kernel.stage_facts import vectors_of

from ._matrix_source import commented, local_name, printed

IMPORTS = """from optdsl.runtime.past.math import past_dot, past_dot_all, past_given, past_norm, past_norm_all
from optdsl.runtime.past.math import past_rounds, past_state
"""

_INDENT = "    "


def past_source(kernel: Kernel, name: str, source: Source | None = None) -> str:
    (phase,) = kernel.phases
    states, operands = vectors_of(kernel)
    lines = [f"{state}_at = past_state(past, {place})" for place, state in enumerate(states)]
    lines += [f"{operand}_at = past_given(past, {place})" for place, operand in enumerate(operands)]
    conditions = {let.name for let in kernel.prologue if let.value.type is Type.BOOL}
    for place, scalar in enumerate(kernel.scalars):
        value = f"scalars[{place}]" + (" != 0.0" if scalar in conditions else "")
        lines.append(f"{local_name(scalar)} = {value}")
    results = []
    for stmt in phase.body:
        if isinstance(stmt, Let):
            lines += commented(_set(stmt.name, stmt.value), stmt.span, source)
        else:
            results.append(printed(stmt.value))
    lines.append(f"return ({', '.join(results)}{',' * (len(results) == 1)})")
    head = [
        f"def {name}(past, scalars):",
        f'{_INDENT}"""On coefficients: every vector is a sum of what is remembered and given."""',
    ]
    return "\n".join([*head, *(f"{_INDENT}{line}" for line in lines)])


def _set(name: str, value: Expr) -> list[str]:
    match value:
        case Op("sweep", (first, last, count, around, start, *bound, new)):
            local, k = printed(around), printed(count)
            kept = (target.args[0] for target in bound[::2] if isinstance(target, Op))
            return [
                f"{local} = {printed(start)}",
                *(f"{printed(each)} = {{}}" for each in kept),
                f"for {k} in past_rounds({printed(first)}, {printed(last)}):",
                *(
                    f"{_INDENT}{printed(x)} = {printed(y)}"
                    for x, y in zip(bound[::2], bound[1::2], strict=True)
                ),
                f"{_INDENT}{local} = {printed(new)}",
                f"{name} = {local}",
            ]
        case _:
            return [f"{name} = {printed(value)}"]
