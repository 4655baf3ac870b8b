"""What can be proved or refuted about an objective: where its gradient is zero, and what is there.

In: an `Objective`. Out: verdicts, as for an optimizer.
    well_defined                                    no division by zero at any point
    critical_points                                 all of them, with their class (hypers at their defaults)
    minimum(P), maximum(P), saddle(P), degenerate(P)   of a point P, for all values of the hypers
    critical_points = N, minima = N, maxima = N, saddles = N     how many there are
A minimum is a local one: no point nearby is lower. A degenerate point is a critical one whose Hessian has
determinant zero; it can be a minimum too. Everything is derived from our own tree (`derivatives`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

from optdsl.checks.context import interval_of
from optdsl.checks.critical import Class, Critical, CriticalSet, Landscape, landscape
from optdsl.checks.interval import EVERYTHING
from optdsl.checks.intervals_of import Intervals
from optdsl.checks.objective_point import PointClaim, decide_point
from optdsl.checks.pairing import claim_text
from optdsl.checks.polynomials import NotPolynomialError, polynomial, shown_equation, shown_value
from optdsl.checks.rational import BudgetError, Poly
from optdsl.checks.trace import EXACT, IllDefinedError, UndecidedError
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import Key
from optdsl.language import syntax
from optdsl.language.derivatives import TooLargeError
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Age

COUNTS: dict[str, Class | None] = {
    "critical_points": None,
    "minima": Class.MINIMUM,
    "maxima": Class.MAXIMUM,
    "saddles": Class.SADDLE,
}


def check_objective(objective: Objective) -> tuple[Verdict, ...]:
    """The default checks, then the file's claims in their order."""
    about = About(objective)
    return (
        _guarded(lambda: well_defined(objective), "well_defined"),
        _guarded(about.critical_points, "critical_points"),
        *(
            replace(
                _guarded(lambda claim=claim: about.claim(claim), ""),  # type: ignore[misc]
                claim=claim_text(claim),
                declared=True,
                expected_refuted=claim.refuted,
                span=claim.span,
            )
            for claim in objective.claims
        ),
    )


def _guarded(run: Callable[[], Verdict], claim: str) -> Verdict:
    """What is too large, or not decided, is unknown: never an exception, never a guess."""
    try:
        return run()
    except (UndecidedError, NotPolynomialError) as error:
        residual = str(error) or "a sign is not decided"
    except (BudgetError, TooLargeError, RecursionError, OverflowError) as error:
        residual = f"past the budget: {error or type(error).__name__}"
    return Verdict(claim, Outcome.UNKNOWN, residual=residual)


def well_defined(objective: Objective) -> Verdict:
    """Whether the objective has a value at every point; refuted at its own start alone."""
    arithmetic = Intervals()
    around = {(hyper.name, Age.NOW): interval_of(hyper.domain) for hyper in objective.hypers}
    around |= {(variable.name, Age.NOW): EVERYTHING for variable in objective.variables}
    for line in objective.lines:
        around[line.target.name, Age.NOW] = arithmetic.evaluate(line.value, around)
    if not arithmetic.open:
        return Verdict("well_defined", Outcome.PROVED, f"{len(arithmetic.kept)} divisions, roots and powers")
    point = {variable.name: variable.start for variable in objective.variables}
    point |= {hyper.name: hyper.default for hyper in objective.hypers}
    values: dict[Key, Fraction | object] = {(name, Age.NOW): value for name, value in point.items()}
    try:
        for line in objective.lines:
            values[line.target.name, Age.NOW] = EXACT.evaluate(line.value, values)  # type: ignore[arg-type]
    except IllDefinedError as error:
        witness = Witness(point, found=f"{error.reason} at the start")
        return Verdict("well_defined", Outcome.REFUTED, error.reason, witness=witness, span=error.expr.span)
    source = objective.source
    texts = [source.slice(expr.span) for expr in arithmetic.open.values()] if source else []
    return Verdict("well_defined", Outcome.UNKNOWN, residual=f"not shown to have a value: {', '.join(texts)}")


class About:
    """One objective, and what has been found out about it."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.names = [variable.name for variable in objective.variables]

    @cached_property
    def polynomial(self) -> Poly:
        """With the hypers at their defaults; generator i is variable i."""
        return polynomial(self.objective)

    @cached_property
    def landscape(self) -> Landscape:
        return landscape(self.polynomial, range(len(self.names)))

    @property
    def at_defaults(self) -> tuple[str, ...]:
        """What the list of critical points rests on."""
        return tuple(f"{hyper.name} = {hyper.default}" for hyper in self.objective.hypers)

    def critical_points(self) -> Verdict:
        found = self.landscape
        return Verdict(
            "critical_points",
            Outcome.PROVED,
            told(found),
            tuple(lines(found, self.names)),
            assumptions=self.at_defaults,
        )

    def claim(self, claim: syntax.Claim) -> Verdict:
        if claim.iff or claim.when or claim.free or claim.substitution:
            return _unreadable("claims about an objective take no conditions")
        match claim.left, claim.right:
            case syntax.Call(function, arguments), None if function in set(Class):
                return decide_point(self.objective, PointClaim(Class(function), arguments), self.names)
            case syntax.Name(name), syntax.Number(text) if name in COUNTS and text.isdigit():
                return self._count(name, text)
        points = ", ".join(f"{kind}({', '.join(self.names)})" for kind in Class)
        return _unreadable(f"there is no claim of this form; there are {points}, {' = N, '.join(COUNTS)} = N")

    def _count(self, name: str, text: str) -> Verdict:
        found, kind = self.landscape, COUNTS[name]
        if self.objective.hypers:
            return _unreadable(f"points are counted for {', '.join(self.at_defaults)} alone")
        if found.sets:
            shown = "; ".join(_equations(each, self.names) for each in found.sets)
            return _unreadable(f"there are infinitely many critical points: {shown}")
        if kind is not None and found.count(Class.DEGENERATE):
            return _unreadable("a degenerate point can be one too")
        number = len(found.points) if kind is None else found.count(kind)
        steps = tuple(lines(found, self.names))
        if str(number) == text:
            return Verdict(name, Outcome.PROVED, told(found), steps)
        witness = Witness({name: Fraction(number)}, found=told(found), expected=f"{name} = {text}")
        return Verdict(name, Outcome.REFUTED, told(found), steps, witness)


def _unreadable(reason: str) -> Verdict:
    return Verdict("", Outcome.UNKNOWN, residual=reason)


# --- text ----------------------------------------------------------------------------------------

_PLURAL = {Class.MINIMUM: "minima", Class.MAXIMUM: "maxima", Class.SADDLE: "saddles"}
_SHAPE = {1: "a curve", 2: "a surface"}


def told(found: Landscape) -> str:
    """`4 minima, 1 maximum, 4 saddles`."""
    parts = []
    for kind in Class:
        if number := found.count(kind):
            word = "degenerate points" if kind is Class.DEGENERATE else _PLURAL[kind]
            singular = "degenerate point" if kind is Class.DEGENERATE else str(kind)
            parts.append(f"{number} {singular if number == 1 else word}")
    parts += [f"{_SHAPE.get(each.family.dimension, 'a set')} of degenerate points" for each in found.sets]
    return ", ".join(parts) or "no critical point"


def lines(found: Landscape, names: list[str]) -> Iterator[str]:
    """One line for each point or set."""
    for point in found.points:
        yield _point(point, names)
    for each in found.sets:
        value = f", value {each.value}" if each.value is not None else ""
        yield f"degenerate: {_SHAPE.get(each.family.dimension, 'the set')} {_equations(each, names)}{value}"


def _point(point: Critical, names: list[str]) -> str:
    places = zip(names, point.coordinates, strict=True)
    where = ", ".join(f"{name} = {root}".replace("= ≈", "≈ ") for name, root in places)
    return f"{point.kind}: {where}, value {shown_value(point.value)}"


def _equations(each: CriticalSet, names: list[str]) -> str:
    return ", ".join(shown_equation(equation, names) for equation in each.family.equations)
