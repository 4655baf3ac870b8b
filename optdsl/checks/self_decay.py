"""What a step does to a state by itself: s[t] = keeps*s[t-1] + adds*abs(g)^power, at the default hypers.

In: a context. Out: the `Recursion`s of each element-wise state, one for each case of signs (those that decide
between the operands of a maximum, say) in which it is so; what is added is told when it is so in all.
Found in the algebra, with the hypers as numbers; numbers that are kept once per tensor are not looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.interval import Interval
from optdsl.checks.rational import ONE, BudgetError, Rational, coefficients
from optdsl.checks.relation import Lazy
from optdsl.checks.walk import GRADIENT, TIME, Key, inputs
from optdsl.language.optimizer import Age, Number, Ref, Shape, State


@dataclass(frozen=True)
class Recursion:
    """`power` is None where what is added is not a number times a power of the gradient (or is nothing)."""

    state: str
    start: Fraction | None  # None: as theta begins
    keeps: Fraction
    adds: Fraction = Fraction(0)
    power: int | None = None


def recursions(context: Context) -> Iterator[Recursion]:
    for state in context.optimizer.states:
        if state.shape is not Shape.SCALAR:
            yield from sorted(_of(state, context), key=lambda found: found.keeps)


def _of(state: State, context: Context) -> set[Recursion]:
    found: set[Recursion] = set()
    everywhere = True
    kept: dict[int, dict[Key, Rational]] = {}

    def build(algebra: Algebra) -> Rational:
        known = {key: algebra.symbol(key) for key in inputs(context.optimizer)}
        known |= {(name, Age.NOW): Rational.of(value) for name, value in context.defaults.items()}
        kept[id(algebra)] = known
        return Lazy(context.optimizer, algebra, known, first=False)[state.name, Age.NEW]

    facts = {TIME: Interval(Fraction(2), None, False, True)}
    try:
        for algebra, new in cases(facts, build):
            known = kept[id(algebra)]
            split = _split(new, algebra.index(known[state.name, Age.OLD]), algebra.index(known[GRADIENT]))
            if split is not None:
                found.add(Recursion(state.name, _start(state, context), *split))
            everywhere = everywhere and split is not None
    except (BudgetError, NoFormError, RecursionError):
        return set()
    if everywhere and len(found) == 1:
        return found
    return {replace(each, adds=Fraction(0), power=None) for each in found}


def _split(new: Rational, old: int, g: int) -> tuple[Fraction, Fraction, int | None] | None:
    """The parts of a new value; None where it is not a number times the old one, and something else."""
    parts = coefficients(new.num, old)
    if set(parts) - {0, 1} or old in Rational(new.den, ONE).generators() or 1 not in parts:
        return None
    keeps = Rational.make(parts[1], new.den).value
    if keeps is None:
        return None
    terms = coefficients(parts[0], g) if 0 in parts else {}
    if len(terms) == 1:
        ((power, weight),) = terms.items()
        adds = Rational.make(weight, new.den).value
        if adds is not None and power > 0:
            return keeps, abs(adds), power
    return keeps, Fraction(0), None


def _start(state: State, context: Context) -> Fraction | None:
    match state.initial:
        case Number(value=value):
            return value
        case Ref(name=name):
            return context.defaults.get(name)
        case _:
            return None
