"""What an objective means: a function of a few numbers, which has a value, a start and a gradient.

Comes from `resolve_objective`; goes to the checks, which find its critical points, and to whoever wants
numbers (`value`, `gradient`, `hessian`: floats, or arrays that are broadcast). Every variable is one number.
Not done here: nothing is minimised or decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from optdsl.diagnostics import Source, Span
from optdsl.language.derivatives import Function, derivative
from optdsl.language.optimizer import Age, Assign, Hyper, Ref, Role
from optdsl.language.syntax import Claim

VALUE = "out"
"""The name of the line that is the value."""


@dataclass(frozen=True)
class Variable:
    """One number, and where it is at the start."""

    name: str
    start: Fraction
    span: Span = field(default=Span(0, 0), compare=False, repr=False)


@dataclass(frozen=True)
class Objective:
    """The meaning of one `objective` definition; `lines` run from top to bottom, and one of them is `out`."""

    name: str
    doc: str
    variables: tuple[Variable, ...]
    hypers: tuple[Hyper, ...]
    lines: tuple[Assign, ...]
    claims: tuple[Claim, ...] = ()
    source: Source | None = field(default=None, compare=False, repr=False)
    span: Span = field(default=Span(0, 0), compare=False, repr=False)  # its name

    @property
    def start(self) -> tuple[Fraction, ...]:
        return tuple(variable.start for variable in self.variables)

    @cached_property
    def function(self) -> Function:
        return Function(self.lines, Ref(Role.VALUE, VALUE))

    @cached_property
    def derivatives(self) -> tuple[Function, ...]:
        """The partial derivatives, in the order of the variables. Raises `TooLargeError`."""
        return tuple(derivative(self.function, variable.name) for variable in self.variables)

    def value(self, point: Sequence[Any], **hypers: float) -> Any:
        """In float64, by IEEE's rules. `point` has a number, or an array, for each variable."""
        return self.numbers((self.function,), point, hypers)[0]

    def gradient(self, point: Sequence[Any], **hypers: float) -> tuple[Any, ...]:
        """In float64: a number, or an array, for each variable. Where the value has a kink, one side's."""
        return self.numbers(self.derivatives, point, hypers)

    @cached_property
    def second_derivatives(self) -> tuple[Function, ...]:
        """The upper half of the Hessian, row by row. Raises `TooLargeError`."""
        names = [variable.name for variable in self.variables]
        return tuple(
            derivative(first, name) for i, first in enumerate(self.derivatives) for name in names[i:]
        )

    def hessian(self, point: Sequence[Any], **hypers: float) -> Any:
        """In float64: an array (n, n) of the second derivatives, with what `point` broadcasts to behind."""
        import numpy as np

        n = len(self.variables)
        found = np.broadcast_arrays(*self.numbers(self.second_derivatives, point, hypers))
        hessian = np.empty((n, n, *found[0].shape))
        for i, j, value in zip(*np.triu_indices(n), found, strict=True):
            hessian[i, j] = hessian[j, i] = value
        return hessian

    def curvature(self, point: Sequence[float], **hypers: float) -> float:
        """The largest eigenvalue of the Hessian at a point, beta: gradient descent takes steps of 1/beta."""
        import numpy as np

        return float(np.linalg.eigvalsh(self.hessian(point, **hypers))[-1])

    def newton(self, point: Sequence[float], **hypers: float) -> tuple[float, ...]:
        """Where a step of Newton's method leads: the critical point of the quadratic that fits best there.

        That may be a maximum or a saddle. Raises `ValueError` where the Hessian has no inverse.
        """
        import numpy as np

        gradient = np.array(self.gradient(point, **hypers), np.float64)
        try:
            step = np.linalg.solve(self.hessian(point, **hypers), gradient)
        except np.linalg.LinAlgError:
            shown = ", ".join(f"{x:g}" for x in point)
            raise ValueError(f"the Hessian of {self.name} has no inverse at ({shown})") from None
        return tuple(float(x - dx) for x, dx in zip(point, step, strict=True))

    def numbers(
        self, functions: Sequence[Function], point: Sequence[Any], hypers: Mapping[str, float]
    ) -> tuple[Any, ...]:
        """What functions of the variables and hypers are at a point: derivatives of any order."""
        import numpy as np

        from optdsl.language.float64 import evaluate

        if len(point) != len(self.variables):
            names = ", ".join(variable.name for variable in self.variables)
            raise ValueError(f"{self.name} takes a number for each of {names}, not {len(point)}")
        given = {hyper.name: float(hyper.default) for hyper in self.hypers}
        if unknown := hypers.keys() - given.keys():
            raise TypeError(f"{self.name} has no hyperparameter {sorted(unknown)[0]!r}")
        named = {v.name: np.asarray(x, np.float64)[()] for v, x in zip(self.variables, point, strict=True)}
        found = []
        with np.errstate(all="ignore"):
            for function in functions:
                values = {(name, Age.NOW): x for name, x in {**given, **hypers, **named}.items()}
                for line in function.lines:
                    values[line.target.name, Age.NOW] = evaluate(line.value, values)
                found.append(evaluate(function.value, values))
        return tuple(found)
