"""A stage of whole matrices to the text of a function in jax.numpy.

Assumes a verified kernel with `Loop.WHOLE`. `name(arrays, scalars)` has the arrays of a leaf by the number of
the buffer, shaped (..., rows, columns), and the prologue's scalars; it gives the arrays and numbers that the
stage makes, in its order. Loops and choices by a number are functions inside of it, since JAX traces them.
"""

from collections.abc import Callable

from optdsl.diagnostics import Source
from optdsl.kernel.ir import Expr, Kernel, Let, Load, Local, Op
from optdsl.kernel.stage_facts import loaded
from optdsl.kernel.walk import nodes
from optdsl.language.matrices import loop_parts_of

IMPORTS = """from optdsl.runtime.jax.jnp_matrices import chosen, dot_of, eigenvectors, identity, inverse_root
from optdsl.runtime.jax.jnp_matrices import mean_of, norm_of, orthonormal, polar, repeated, spectral_norm
from optdsl.runtime.jax.jnp_matrices import sum_of, transpose
"""
WHOLE = {name: f"{name}_of" for name in ("norm", "dot", "sum", "mean")}
"""Reductions of a spec, of a whole tensor at once."""

_INDENT = "    "
Print = Callable[[Expr], str]
Comment = Callable[[str, Let, Source | None], list[str]]


def stage_body(kernel: Kernel, show: Print, source: Source | None, comment: Comment) -> list[str]:
    """The lines behind those that name the scalars; `show` prints a value."""
    numbers = {buffer.name: number for number, buffer in enumerate(kernel.buffers)}
    (phase,) = kernel.phases
    writer = _Writer(kernel, show)
    lines = [f"{name}_at = arrays[{numbers[name]}]" for name in loaded(kernel)]
    results = []
    for stmt in phase.body:
        if isinstance(stmt, Let):
            first, *rest = writer.set(stmt.name, stmt.value)
            lines += [*comment(first, stmt, source), *rest]
        else:
            results.append(show(stmt.value))
    return [*lines, f"return ({', '.join(results)}{',' * (len(results) == 1)})"]


class _Writer:
    """Statements that give a name its value."""

    def __init__(self, kernel: Kernel, show: Print) -> None:
        self.show = show
        self.scalars = frozenset(kernel.scalars)
        body = [stmt for phase in kernel.phases for stmt in phase.body]
        known = (node.name for stmt in body for node in nodes(stmt.value) if isinstance(node, Local))
        self.used = {*known, *(stmt.name for stmt in body if isinstance(stmt, Let)), *kernel.scalars}

    def set(self, name: str, value: Expr) -> list[str]:
        match value:
            case Op("repeat", args):
                count, ((around, start), *inner), new = loop_parts_of(args)
                local, turn = self.show(around), self._fresh(f"turn_of_{name}")
                return [
                    *self.set(local, start),
                    f"def {turn}({local}):",
                    *(f"{_INDENT}{self.show(x)} = {self.show(y)}" for x, y in inner),
                    *(f"{_INDENT}{line}" for line in (*self.set(local, new), f"return {local}")),
                    f"{name} = repeated({self.show(count)}, {turn}, {local})",
                ]
            case Op("where", (test, x, y)) if self._is_scalar(test):
                this, other = self._fresh(f"then_{name}"), self._fresh(f"else_{name}")
                lines = []
                for function, branch in ((this, x), (other, y)):
                    lines.append(f"def {function}():")
                    lines += [f"{_INDENT}{line}" for line in (*self.set(name, branch), f"return {name}")]
                return [*lines, f"{name} = chosen({self.show(test)}, {this}, {other})"]
            case _:
                return [f"{name} = {self.show(value)}"]

    def _fresh(self, name: str) -> str:
        while name in self.used:
            name += "x"
        self.used.add(name)
        return name

    def _is_scalar(self, expr: Expr) -> bool:
        """Whether it is one number, or one condition, of the prologue."""
        leaves = [node for node in nodes(expr) if isinstance(node, Local | Load)]
        return all(isinstance(leaf, Local) and leaf.name in self.scalars for leaf in leaves)
