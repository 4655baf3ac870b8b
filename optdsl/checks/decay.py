"""How quantities go on when no more gradients come: which die away geometrically, which stay in bounds.

In: an optimizer whose gradient is zero (and whose decay is). Out: for every quantity what holds of it from
some step on, for fixed hypers in their domains, with constants that depend on them and on where the run was.
A state gets a property only from those that are proved already: that it dies away if the others do is
no proof, since both may wait for each other. Not seen: what two quantities have in common, and what the
condition of a branch says of its values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction

from optdsl.checks.interval import EVERYTHING, Interval
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, TIME, Arithmetic, Key, inputs, run_step
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Expr, Number, Optimizer, Ref


class Share(IntEnum):
    """How much of a state's old value is in something: |x| <= share*|old| + what dies away."""

    NONE = 0
    SMALL = 1  # a factor below 1
    ONE = 2
    OPEN = 3


@dataclass(frozen=True)
class Course:
    """`decays`: |x| <= C*r^t with r < 1; `tame`: |x| <= C*t^k; `away`: |x| >= c > 0; `nonnegative`;
    `unit`: 0 <= x <= 1; `small`: 0 <= x <= c < 1; `still`: theta[t-1] plus what dies away.
    """

    decays: bool = False
    tame: bool = False
    away: bool = False
    nonnegative: bool = False
    unit: bool = False
    small: bool = False
    still: bool = False
    share: Share = Share.OPEN

    @property
    def positive(self) -> bool:
        return self.nonnegative and self.away


NOTHING = Course()
_GONE = Course(decays=True, tame=True, nonnegative=True, unit=True, small=True, share=Share.NONE)


class Courses(Arithmetic[Course]):
    def number(self, value: Fraction) -> Course:
        return constant(Interval(value, value, False, False))

    def truth(self, value: bool) -> Course:
        return NOTHING

    def evaluate(self, expr: Expr, values: Mapping[Key, Course]) -> Course:
        match expr:
            case Apply(op="sub", args=(Number(value=one), y)) if one == 1:
                other = self.evaluate(y, values)
                if other.small:
                    return Course(tame=True, away=True, nonnegative=True, unit=True)
                if other.unit:
                    return Course(tame=True, nonnegative=True, unit=True)
            case Apply(op="pow", args=(x, y)):
                return _power(self.evaluate(x, values), y, self.evaluate(y, values))
        return super().evaluate(expr, values)

    def apply(self, expr: Apply, args: tuple[Course, ...]) -> Course:
        match expr.op, args:
            case op, (x,) if op in REDUCTIONS:
                positive = x.nonnegative or op.startswith("norm")
                return Course(decays=x.decays, tame=x.tame, nonnegative=positive, share=_shared(x))
            case op, (x, y) if op in REDUCTIONS:
                z = _product(x, y)
                return Course(decays=z.decays, tame=z.tame, share=_shared(z))
            case "add", (x, y):
                return _sum(x, y)
            case "sub", (x, y):
                return replace(_sum(x, _negative(y)), still=x.still and y.decays)
            case "neg", (x,):
                return _negative(x)
            case "mul", (x, y):
                return _product(x, y)
            case "div", (x, y):
                return _product(x, _reciprocal(y))
            case "abs", (x,):
                return replace(x, nonnegative=True, unit=x.unit, still=False)
            case "sqrt", (x,):
                return Course(x.decays, x.tame, x.away, True, x.unit, x.small, False, _shared(x))
            case (("max" | "min"), (x, y)):
                return _either(x, y, larger=expr.op == "max")
            case "clip", (x, low, high):
                held = _either(_either(x, low, larger=True), high, larger=False)
                return replace(held, tame=held.tame or (low.tame and high.tame))
            case "where", (_, x, y):
                return _one_of(x, y)
            case "sign", (x,):
                return Course(tame=True)
            case _:
                return NOTHING


def courses(optimizer: Optimizer, facts: Mapping[Key, Interval]) -> dict[Key, Course]:
    """The course of every line; `facts` say where hypers and states are."""
    known: dict[Key, Course] = {key: constant(facts.get(key, EVERYTHING)) for key in inputs(optimizer)}
    known[TIME] = Course(tame=True, away=True, nonnegative=True)
    known[THETA] = Course(still=True)
    known[GRADIENT] = _GONE
    for state in optimizer.states:
        around = facts.get((state.name, Age.OLD), EVERYTHING)
        bounded = around.low is not None and around.high is not None
        known[state.name, Age.OLD] = replace(constant(around), tame=bounded, away=False, small=False)
    learned = True
    while learned:
        learned = False
        values = run_step(optimizer, Courses(), dict(known))
        for state in optimizer.states:
            old, new = known[state.name, Age.OLD], values[state.name, Age.NEW]
            shared = {**known, (state.name, Age.OLD): replace(old, share=Share.ONE)}
            share = run_step(optimizer, Courses(), shared)[state.name, Age.NEW].share
            decays = old.decays or share <= Share.SMALL
            tame = old.tame or decays or share <= Share.ONE or new.tame
            if (decays, tame) != (old.decays, old.tame):
                known[state.name, Age.OLD] = replace(
                    old, decays=decays, tame=tame, share=Share.NONE if decays else Share.OPEN
                )
                learned = True
    return values


def comes_to_rest(optimizer: Optimizer, facts: Mapping[Key, Interval]) -> bool:
    """Whether what theta still moves dies away geometrically, so that it adds up to something finite."""
    return courses(optimizer, facts)[NEW_THETA].still


def constant(around: Interval) -> Course:
    """A number that does not change, of which this is known."""
    below = around.high is not None and (around.high < 1 or (around.high == 1 and around.high_open))
    return Course(
        decays=around.point == 0,
        tame=True,
        away=around.nonzero,
        nonnegative=around.nonnegative,
        unit=around.nonnegative and around.high is not None and around.high <= 1,
        small=around.nonnegative and below,
        share=Share.NONE if around.point == 0 else Share.OPEN,
    )


def _shared(x: Course) -> Share:
    return Share.NONE if x.decays else Share.OPEN


def _sum(x: Course, y: Course) -> Course:
    shares = sorted((x.share, y.share))
    return Course(
        decays=x.decays and y.decays,
        tame=x.tame and y.tame,
        away=x.nonnegative and y.nonnegative and (x.away or y.away),
        nonnegative=x.nonnegative and y.nonnegative,
        still=(x.still and y.decays) or (y.still and x.decays),
        share=shares[1] if shares[0] is Share.NONE else Share.OPEN,
    )


def _negative(x: Course) -> Course:
    return Course(decays=x.decays, tame=x.tame, away=x.away, share=x.share)


def _product(x: Course, y: Course) -> Course:
    decays = (x.decays and y.tame) or (y.decays and x.tame)
    return Course(
        decays=decays,
        tame=x.tame and y.tame,
        away=x.away and y.away,
        nonnegative=x.nonnegative and y.nonnegative,
        unit=x.unit and y.unit,
        small=(x.small and y.unit) or (x.unit and y.small),
        share=Share.NONE if decays else min(_scaled(x, y), _scaled(y, x)),
    )


def _scaled(x: Course, factor: Course) -> Share:
    if x.share is Share.NONE and factor.tame:
        return Share.NONE
    if x.share is Share.ONE and factor.small:
        return Share.SMALL
    return x.share if factor.unit else Share.OPEN


def _reciprocal(x: Course) -> Course:
    return Course(tame=x.away, nonnegative=x.nonnegative, away=False)


def _either(x: Course, y: Course, *, larger: bool) -> Course:
    return replace(
        _one_of(x, y),
        nonnegative=(x.nonnegative or y.nonnegative) if larger else (x.nonnegative and y.nonnegative),
        away=(x.positive or y.positive) if larger else (x.positive and y.positive),
        still=False,
    )


def _one_of(x: Course, y: Course) -> Course:
    """One of the two, it is not said which; or something between them."""
    return Course(
        x.decays and y.decays,
        x.tame and y.tame,
        x.away and y.away,
        x.nonnegative and y.nonnegative,
        x.unit and y.unit,
        x.small and y.small,
        x.still and y.still,
        max(x.share, y.share),
    )


def _power(x: Course, exponent: Expr, y: Course) -> Course:
    match exponent:
        case Number(value=n) if n.denominator == 1 and 1 <= n <= 16:
            result = x
            for _ in range(int(n) - 1):
                result = _product(result, x)
            return replace(result, nonnegative=x.nonnegative or n % 2 == 0)
        case Number(value=n) if 2 * n == 1:
            return Course(x.decays, x.tame, x.away, True, x.unit, x.small, False, _shared(x))
    if x.small and _at_least_t(exponent):
        return _GONE
    if x.unit and y.nonnegative:
        return Course(tame=True, nonnegative=True, unit=True)
    return NOTHING


def _at_least_t(exponent: Expr) -> bool:
    match exponent:
        case Ref(name="t"):
            return True
        case Apply(op="add", args=(Ref(name="t"), Number(value=n))):
            return n >= 0
        case _:
            return False
