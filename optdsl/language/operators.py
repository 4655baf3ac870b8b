"""The operator table: a new operator is one row of `OPERATORS`.

A row says how an operator is written in a spec, what it takes and gives, what it *is* (`exact`, on
mpmath numbers: the oracle) and how Python code says it (`python`, over already printed operands;
`maximum`, `sign` and the like are functions of `optdsl.runtime.scalar_math`).
IEEE meaning everywhere: nothing raises, NaN goes through.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath

from optdsl.language.optimizer import Kind, Shape

REAL, BOOL = Kind.REAL, Kind.BOOL


@dataclass(frozen=True)
class Operator:
    """`infix`: how a spec writes it between its operands; None for `name(x, y)` and special forms.

    `python_precedence` is Python's own for the printed form (see `ATOM`), for parentheses.
    """

    name: str
    takes: tuple[Kind, ...]
    gives: Kind
    python: str
    python_precedence: int
    exact: Callable[..., Any]
    infix: str | None = None
    callable: bool = True  # may be written as `name(...)`

    @property
    def arity(self) -> int:
        return len(self.takes)


# Python's precedences, low to high; ATOM binds like a name or a call.
OR, AND, NOT, COMPARE, SUM, PRODUCT, NEGATION, ATOM = range(8)


def _divide(x: Any, y: Any) -> Any:
    if y == 0:
        return mpmath.nan if x == 0 or mpmath.isnan(x) else mpmath.inf * mpmath.sign(x)
    return x / y


def _power(x: Any, y: Any) -> Any:
    if y == 0:
        return mpmath.mpf(1)
    if x == 0:
        return mpmath.mpf(0) if y > 0 else mpmath.inf
    if x < 0 and y != mpmath.floor(y):
        return mpmath.nan
    return mpmath.power(x, y)


def _real(function: Callable[[Any], Any], low: float) -> Callable[[Any], Any]:
    """Where a real function of one argument has no real value, NaN."""
    return lambda x: mpmath.nan if x < low else function(x)


def _maximum(x: Any, y: Any) -> Any:
    return mpmath.nan if mpmath.isnan(x) or mpmath.isnan(y) else max(x, y)


def _minimum(x: Any, y: Any) -> Any:
    return mpmath.nan if mpmath.isnan(x) or mpmath.isnan(y) else min(x, y)


def _clip(x: Any, low: Any, high: Any) -> Any:
    return _minimum(_maximum(x, low), high)


def _sign(x: Any) -> Any:
    return mpmath.nan if mpmath.isnan(x) else mpmath.mpf((x > 0) - (x < 0))


def _cbrt(x: Any) -> Any:
    return _sign(x) * mpmath.cbrt(abs(x))


def _log(x: Any) -> Any:
    if x == 0:
        return -mpmath.inf
    return mpmath.log(x)


def _modulo(x: Any, y: Any) -> Any:
    return mpmath.nan if y == 0 else x - y * mpmath.floor(x / y)


def _row(
    name: str,
    takes: tuple[Kind, ...],
    gives: Kind,
    exact: Callable[..., Any],
    python: str,
    precedence: int = ATOM,
    infix: str | None = None,
    *,
    callable: bool = True,
) -> Operator:
    return Operator(name, takes, gives, python, precedence, exact, infix, callable and infix is None)


_ONE, _TWO, _THREE = (REAL,), (REAL, REAL), (REAL, REAL, REAL)

OPERATORS: dict[str, Operator] = {
    row.name: row
    for row in (
        _row("add", _TWO, REAL, lambda x, y: x + y, "{} + {}", SUM, "+"),
        _row("sub", _TWO, REAL, lambda x, y: x - y, "{} - {}", SUM, "-"),
        _row("mul", _TWO, REAL, lambda x, y: x * y, "{} * {}", PRODUCT, "*"),
        _row("div", _TWO, REAL, _divide, "{} / {}", PRODUCT, "/"),
        _row("pow", _TWO, REAL, _power, "power({}, {})", infix="^"),
        _row("mod", _TWO, REAL, _modulo, "modulo({}, {})", infix="mod"),
        _row("neg", _ONE, REAL, lambda x: -x, "-{}", NEGATION, callable=False),
        _row("sqrt", _ONE, REAL, _real(mpmath.sqrt, 0), "math.sqrt({})"),
        _row("exp", _ONE, REAL, mpmath.exp, "math.exp({})"),
        _row("log", _ONE, REAL, _real(_log, 0), "math.log({})"),
        _row("abs", _ONE, REAL, abs, "abs({})"),
        _row("sign", _ONE, REAL, _sign, "sign({})"),
        _row("cbrt", _ONE, REAL, _cbrt, "cbrt({})"),
        _row("sigmoid", _ONE, REAL, lambda x: 1 / (1 + mpmath.exp(-x)), "sigmoid({})"),
        _row("tanh", _ONE, REAL, mpmath.tanh, "math.tanh({})"),
        _row("cos", _ONE, REAL, mpmath.cos, "math.cos({})"),
        _row("sin", _ONE, REAL, mpmath.sin, "math.sin({})"),
        _row("floor", _ONE, REAL, mpmath.floor, "floor({})"),
        _row("min", _TWO, REAL, _minimum, "minimum({}, {})"),
        _row("max", _TWO, REAL, _maximum, "maximum({}, {})"),
        _row("clip", _THREE, REAL, _clip, "minimum(maximum({}, {}), {})"),
        _row("where", (BOOL, REAL, REAL), REAL, lambda c, x, y: x if c else y, "where({}, {}, {})"),
        _row("eq", _TWO, BOOL, lambda x, y: x == y, "{} == {}", COMPARE, "=="),
        _row("le", _TWO, BOOL, lambda x, y: x <= y, "{} <= {}", COMPARE, "<="),
        _row("ge", _TWO, BOOL, lambda x, y: x >= y, "{} >= {}", COMPARE, ">="),
        _row("lt", _TWO, BOOL, lambda x, y: x < y, "{} < {}", COMPARE, "<"),
        _row("gt", _TWO, BOOL, lambda x, y: x > y, "{} > {}", COMPARE, ">"),
        _row("and", (BOOL, BOOL), BOOL, lambda x, y: x and y, "{} and {}", AND, "and"),
        _row("or", (BOOL, BOOL), BOOL, lambda x, y: x or y, "{} or {}", OR, "or"),
        _row("not", (BOOL,), BOOL, lambda x: not x, "not {}", NOT, callable=False),
    )
}

INFIX: dict[str, Operator] = {row.infix: row for row in OPERATORS.values() if row.infix}


@dataclass(frozen=True)
class Reduction:
    """Many values to one: `norm(x)` of a tensor, `norm(x over all)` of every parameter that is stepped,
    `norm(x over cols)` along each row of a matrix, `norm(x over rows)` down each column,
    `norm(x over fan_in)` along all dimensions but the first.

    It is made of a sum over the elements in float64 (`max`: of the largest of them): `norm` is the root of
    the sum of x*x, `mean` the sum through the number of elements. `of_one` is its value on a single
    element, on which every witness of the checks is computed. `over`: "", "all", "rows", "cols" or "fan_in".
    """

    spelled: str  # what a spec calls it
    over: str
    arity: int
    of_one: Callable[..., Any]

    @property
    def name(self) -> str:
        return reduction_name(self.spelled, self.over)

    @property
    def over_all(self) -> bool:
        return self.over == "all"

    @property
    def shape(self) -> Shape:
        return _SHAPES[self.over]


FAN_IN = "fan_in"
"""What a tensor is reduced over that is a matrix by its first dimension: the others are its columns."""
_SHAPES = {"": Shape.TENSOR, "all": Shape.GLOBAL, "rows": Shape.COLS, "cols": Shape.ROWS, FAN_IN: Shape.ROWS}


def reduction_name(function: str, over: str | None) -> str:
    """The name that the meaning has for a reduction: `dot_all` is written `dot(x, y over all)`."""
    return f"{function}_{over}" if over else function


_REDUCED: dict[str, tuple[int, tuple[str, ...], Callable[..., Any]]] = {
    "norm": (1, tuple(_SHAPES), abs),
    "sum": (1, tuple(_SHAPES), lambda x: x),
    "mean": (1, tuple(_SHAPES), lambda x: x),
    "dot": (2, tuple(_SHAPES), lambda x, y: x * y),
    "max": (1, ("rows", "cols", FAN_IN), lambda x: x),
}
REDUCTIONS: dict[str, Reduction] = {
    reduction_name(spelled, over): Reduction(spelled, over, arity, of_one)
    for spelled, (arity, overs, of_one) in _REDUCED.items()
    for over in overs
}
"""By `reduction_name`."""

# Written in a spec, and no values of their own, or not yet compiled.
RESERVED_FUNCTIONS = frozenset("rank normal uniform rademacher grad hvp".split())
