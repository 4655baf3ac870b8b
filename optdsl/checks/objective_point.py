"""`minimum(1, 1)`, `saddle(0, 0)` ...: what an objective has at a point that the claim names.

In: the objective, and the point as expressions over its hypers. Proved for every value of the hypers in their
domains, by a gradient that is zero and the signs of the Hessian's leading minors there, or (a minimum) since
the value is nowhere lower, by intervals. Refuted at the hypers' defaults, by a gradient that is not zero, or
by a Hessian that forbids it: exact numbers, which can be worked out again. Else unknown.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import TypeVar

from flint import arb

from optdsl.checks.algebra import Algebra, NeedCaseError, NoFormError, VacuousError
from optdsl.checks.context import interval_of
from optdsl.checks.critical import Class, class_of, leading_minors
from optdsl.checks.interval import EVERYTHING
from optdsl.checks.intervals_of import Intervals
from optdsl.checks.invariants import known_sign
from optdsl.checks.pairing import UnreadableError, meaning
from optdsl.checks.rational import Rational
from optdsl.checks.trace import EXACT, IllDefinedError, Real, UndecidedError, as_ball, sign_or_none
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import Arithmetic, Key
from optdsl.language import syntax
from optdsl.language.derivatives import Function, derivative, first_kink
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Age, Apply, Expr, Role, references
from optdsl.language.printer import print_expr


@dataclass(frozen=True)
class PointClaim:
    kind: Class
    arguments: tuple[syntax.Argument, ...]


@dataclass(frozen=True)
class _Found:
    """What is known at a point. Signs are None where they are not known.

    `bends` are the signs of d'Hd that were met along some directions d; texts are for the reader.
    """

    value: Fraction | None
    gradient: tuple[int | None, ...]
    minors: tuple[int | None, ...]
    bends: frozenset[int]
    gradient_text: tuple[str, ...]
    minor_text: str

    @property
    def critical(self) -> bool:
        return all(sign == 0 for sign in self.gradient)

    @property
    def kind(self) -> Class | None:
        return class_of(self.minors)


def decide_point(objective: Objective, claim: PointClaim, names: Sequence[str]) -> Verdict:
    """Raises `UndecidedError` and `BudgetError`."""
    if len(claim.arguments) != len(names) or any(each.name for each in claim.arguments):
        return _unknown(f"the form is `{claim.kind}({', '.join(names)})`, with a number for each variable")
    kink = first_kink(objective.function)
    if kink is not None:
        return _unknown(f"`{kink}` is outside of what is differentiated for proofs")
    try:
        point = [meaning(each.value, [hyper.name for hyper in objective.hypers]) for each in claim.arguments]
    except UnreadableError as error:
        return _unknown(str(error))
    if any(ref.role is not Role.HYPER for each in point for ref in references(each)):
        return _unknown("a point is made of numbers and hyperparameters")
    shown = ", ".join(print_expr(each.value) for each in claim.arguments)
    try:
        numbers, here = _at_defaults(objective, point)
    except (IllDefinedError, UndecidedError):
        return _unknown(f"the value, or a derivative, at ({shown}) is not worked out exactly")
    refuted = _refuted(claim.kind, here, names)
    if refuted is not None:
        return Verdict(
            "", Outcome.REFUTED, refuted.found, witness=Witness(numbers, (), refuted.found, refuted.expected)
        )
    general = here if not objective.hypers else _for_all(objective, point)
    if general is not None and general.critical and _shown(claim.kind, general):
        gradient = f"the gradient at ({shown}) is zero"
        minors = f"leading minors of the Hessian there: {general.minor_text}"
        return Verdict("", Outcome.PROVED, _reason(claim.kind, general), (gradient, minors))
    if claim.kind is Class.MINIMUM and general is not None and _nowhere_lower(objective, general.value):
        lowest = f"the value at ({shown}) is {general.value}, and it is nowhere lower, by intervals"
        return Verdict("", Outcome.PROVED, "no point is lower", (lowest,))
    return _unknown(
        f"minors of the Hessian at ({shown}): {here.minor_text}; higher derivatives would be needed"
    )


def _unknown(reason: str) -> Verdict:
    return Verdict("", Outcome.UNKNOWN, residual=reason)


def _shown(kind: Class, found: _Found) -> bool:
    return found.kind is kind or (kind is Class.SADDLE and found.bends >= {1, -1})


def _reason(kind: Class, found: _Found) -> str:
    match kind:
        case Class.DEGENERATE:
            return "the Hessian has determinant 0"
        case Class.SADDLE:
            return "the Hessian is indefinite"
        case _:
            return f"the Hessian is {'positive' if kind is Class.MINIMUM else 'negative'} definite"


def _refuted(kind: Class, found: _Found, names: Sequence[str]) -> Witness | None:
    for name, sign, text in zip(names, found.gradient, found.gradient_text, strict=True):
        if sign in (1, -1):
            return Witness({}, (), f"the derivative by {name} is {text}", "0")
    if not found.critical:
        return None
    what = f"the leading minors of the Hessian are {found.minor_text}"
    if kind is Class.DEGENERATE:
        return Witness({}, (), what, "a determinant of 0") if found.minors[-1] in (1, -1) else None
    against = {Class.MINIMUM: {-1}, Class.MAXIMUM: {1}, Class.SADDLE: set()}[kind]
    if found.kind in set(Class) - {kind, Class.DEGENERATE}:
        return Witness({}, (), f"{what}: a {found.kind}", f"a {kind}")
    if against & found.bends:
        return Witness({}, (), f"{what}, and it curves {'down' if -1 in against else 'up'}", f"a {kind}")
    return None


# --- numbers at the defaults ---------------------------------------------------------------------


def _at_defaults(objective: Objective, point: Sequence[Expr]) -> tuple[dict[str, Fraction], _Found]:
    """The point with its hypers, as numbers, and what is there."""
    known: dict[str, Fraction] = {hyper.name: hyper.default for hyper in objective.hypers}
    values: dict[Key, Real | bool] = {(name, Age.NOW): value for name, value in known.items()}
    coordinates = [EXACT.evaluate(each, values) for each in point]
    for variable, value in zip(objective.variables, coordinates, strict=True):
        if not isinstance(value, Fraction):
            raise UndecidedError
        known[variable.name] = values[variable.name, Age.NOW] = value

    def number(function: Function) -> Real:
        found = _run(EXACT, function, values)
        assert not isinstance(found, bool)
        return found

    value = number(objective.function)
    gradient = [number(each) for each in objective.derivatives]
    matrix = [
        [number(derivative(each, v.name)) for v in objective.variables] for each in objective.derivatives
    ]
    exact = [[entry for entry in row if isinstance(entry, Fraction)] for row in matrix]
    minors: Sequence[Real]
    if exact == matrix:
        minors, bends = (
            leading_minors(exact, lambda entry: entry == 0),
            list(map(sign_or_none, _bends(exact))),
        )
    else:
        balls = [[as_ball(entry) for entry in row] for row in matrix]
        minors = leading_minors(balls, lambda entry: bool(entry.is_zero()))
        bends = list(map(sign_or_none, _bends(balls)))
    return known, _Found(
        value if isinstance(value, Fraction) else None,
        tuple(map(sign_or_none, gradient)),
        tuple(map(sign_or_none, minors)),
        frozenset(sign for sign in bends if sign is not None),
        tuple(map(_text, gradient)),
        ", ".join(map(_text, minors)),
    )


N = TypeVar("N", Fraction, arb)


def _bends(matrix: Sequence[Sequence[N]]) -> Iterator[N]:
    """d'Hd for d along an axis, or along the diagonal of two."""
    for i in range(len(matrix)):
        yield matrix[i][i]
    for i, j in combinations(range(len(matrix)), 2):
        both = matrix[i][i] + matrix[j][j]
        mixed = matrix[i][j] + matrix[j][i]
        yield both + mixed
        yield both - mixed


def _text(value: Real) -> str:
    return str(value) if isinstance(value, Fraction) else f"≈ {float(value.mid()):.6g}"


# --- all values of the hypers --------------------------------------------------------------------


class _Defined(Algebra):
    """Refuses a division by what may be zero."""

    def apply(self, expr: Apply, args: tuple[Rational, ...]) -> Rational:
        match expr.op, args:
            case "div", (_, y):
                self._must_not_vanish(y)
            case "pow", (x, y) if y.value is None or y.value < 0:
                self._must_not_vanish(x)
        return super().apply(expr, args)

    def _must_not_vanish(self, x: Rational) -> None:
        if known_sign(self, x, strict=True) is None:
            raise NoFormError("a division by what may be zero")


def _for_all(objective: Objective, point: Sequence[Expr]) -> _Found | None:
    if any(first_kink(Function((), each)) is not None for each in point):
        return None  # the point itself may have no value for some hypers
    algebra = _Defined({(hyper.name, Age.NOW): interval_of(hyper.domain) for hyper in objective.hypers})
    values: dict[Key, Rational] = {key: algebra.symbol(key) for key in algebra.facts}
    try:
        coordinates = [algebra.evaluate(each, values) for each in point]
        for variable, coordinate in zip(objective.variables, coordinates, strict=True):
            values[variable.name, Age.NOW] = coordinate
        value = _run(algebra, objective.function, values)
        gradient = [_run(algebra, each, values) for each in objective.derivatives]
        matrix = [
            [_run(algebra, derivative(each, v.name), values) for v in objective.variables]
            for each in objective.derivatives
        ]
    except (NoFormError, NeedCaseError, VacuousError):
        return None
    minors = leading_minors(matrix, algebra.vanishes)
    return _Found(
        value.value,
        tuple(map(_sign_in(algebra), gradient)),
        tuple(map(_sign_in(algebra), minors)),
        frozenset(),
        tuple(map(algebra.text, gradient)),
        ", ".join(map(algebra.text, minors)),
    )


def _sign_in(algebra: Algebra) -> Callable[[Rational], int | None]:
    return lambda x: 0 if algebra.vanishes(x) else known_sign(algebra, x, strict=True)


T = TypeVar("T")


def _run(arithmetic: Arithmetic[T], function: Function, inputs: dict[Key, T]) -> T:
    values = dict(inputs)
    for line in function.lines:
        values[line.target.name, line.target.age] = arithmetic.evaluate(line.value, values)
    return arithmetic.evaluate(function.value, values)


def _nowhere_lower(objective: Objective, value: Fraction | None) -> bool:
    """Whether the objective, wherever it has a value, is at least this; with every value of the hypers."""
    arithmetic = Intervals()
    around = {(hyper.name, Age.NOW): interval_of(hyper.domain) for hyper in objective.hypers}
    around |= {(variable.name, Age.NOW): EVERYTHING for variable in objective.variables}
    whole = _run(arithmetic, objective.function, around)
    return value is not None and whole.low is not None and value <= whole.low
