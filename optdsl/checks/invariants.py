"""Intervals that states never leave, found by assuming them all and dropping what does not hold.

In: a context. Out: an interval for each state that has one: v[t-1] in [0, inf), a product of betas in
(0, 1]. Each holds at the start and, given all of them, after any step from any theta and gradient, the
first step's own case included: that is an induction over t.
Not found: what needs two states together (m^2 <= K*v).
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.interval import NONNEGATIVE, POSITIVE, Interval
from optdsl.checks.intervals_of import step_intervals
from optdsl.checks.rational import BudgetError, Rational
from optdsl.checks.relation import Lazy
from optdsl.checks.trace import IllDefinedError, UndecidedError, replay
from optdsl.checks.walk import TIME, Key, inputs
from optdsl.language.inputs import drawn
from optdsl.language.optimizer import Age, Optimizer, Shape


class Facts(dict[Key, Interval]):
    """Where inputs of a step lie; `scalars` are the states with one value for a whole tensor, or for all."""

    scalars: frozenset[Key] = frozenset()


_UNIT = Interval(Fraction(0), Fraction(1), True, False)
_CLOSED_UNIT = Interval(Fraction(0), Fraction(1), False, False)
CANDIDATES = (_UNIT, _CLOSED_UNIT, POSITIVE, NONNEGATIVE)  # the first that holds is kept


def facts_of(context: Context, domains: Mapping[str, Interval] | None = None) -> Facts:
    """What is known of every input of a step: domains, t >= 1, and the states' invariants."""
    facts = Facts({(name, Age.NOW): around for name, around in (domains or context.domains).items()})
    facts[TIME] = Interval(Fraction(1), None, False, True)
    for name in context.optimizer.inputs:
        if (draw := drawn(name)) is not None and draw[0] == "uniform":
            facts[name, Age.NOW] = _UNIT
    states = context.optimizer.states
    facts.scalars = frozenset((x.name, Age.OLD) for x in states if x.shape <= Shape.TENSOR)
    facts.update(infer_invariants(context, facts))
    return facts


def infer_invariants(context: Context, facts: Mapping[Key, Interval]) -> dict[Key, Interval]:
    """The states' old values, as far as they have an interval."""
    options = {
        state.name: [around for around in CANDIDATES if context.initial_interval(state) <= around]
        for state in context.optimizer.states
    }
    for name, seen in _seen(context).items():
        options[name] = [around for around in options[name] if all(value in around for value in seen)]
    while True:
        assumed = {(name, Age.OLD): left[0] for name, left in options.items() if left}
        together = with_facts(facts, assumed)
        failing = {name for name, _ in assumed if not _kept(context.optimizer, together, name)}
        if not failing:
            return assumed
        for name in failing:
            options[name] = options[name][1:]


def _seen(context: Context) -> dict[str, list[Fraction]]:
    """Rational values that states really take: what they contradict need not be tried to be proved."""
    seen: dict[str, list[Fraction]] = {state.name: [] for state in context.optimizer.states}
    for gradients in ((1000, -2000, 3000), (-1, 2, -3), (0, 0, 1)):
        try:
            run = replay(context.optimizer, context.defaults, [Fraction(g) for g in gradients])
        except (IllDefinedError, UndecidedError):
            continue
        for values in run:
            for name, found in seen.items():
                value = values[name, Age.NEW]
                found += [value] if isinstance(value, Fraction) else []
    return seen


def _kept(optimizer: Optimizer, facts: Mapping[Key, Interval], name: str) -> bool:
    """Whether the new value of a state lies where its old one is assumed to."""
    around = facts[name, Age.OLD]
    steps = (step_intervals(optimizer, facts_at(facts, first=first), first=first) for first in (False, True))
    if all(values[name, Age.NEW] <= around for values, _ in steps):
        return True

    build = partial(_value, optimizer, (name, Age.NEW))

    def inside(algebra: Algebra, new: Rational) -> bool:
        low = known_sign(algebra, new, strict=around.low_open)
        if around.high is None:
            return low == 1
        return low == 1 and known_sign(algebra, Rational.of(around.high) - new, strict=around.high_open) == 1

    return in_every_step(facts, build, inside)


def in_every_step(
    facts: Mapping[Key, Interval],
    build: Callable[[bool, Algebra], Rational],
    holds: Callable[[Algebra, Rational], bool],
) -> bool:
    """Whether something holds of a quantity in the general step and in the first, in every case of signs."""
    try:
        return all(
            holds(algebra, value)
            for first in (False, True)
            for algebra, value in cases(facts_at(facts, first=first), partial(build, first))
        )
    except (BudgetError, NoFormError):
        return False


def facts_at(facts: Mapping[Key, Interval], *, first: bool) -> Facts:
    return with_facts(facts, {TIME: Interval(Fraction(1), Fraction(1), False, False)} if first else {})


def with_facts(facts: Mapping[Key, Interval], more: Mapping[Key, Interval]) -> Facts:
    """Both, and which states are one number."""
    both = Facts({**facts, **more})
    both.scalars = getattr(facts, "scalars", frozenset())
    return both


def _value(optimizer: Optimizer, key: Key, first: bool, algebra: Algebra) -> Rational:
    """Only what it is made of is computed: another line's cases are none of it."""
    values = {each: algebra.symbol(each) for each in inputs(optimizer)}
    if first:
        values[TIME] = Rational.of(1)
    return Lazy(optimizer, algebra, values, first=first)[key]


def known_sign(algebra: Algebra, x: Rational, *, strict: bool) -> int | None:
    """1 for positive (not strict: >= 0), -1 for the opposite, None when it is not known."""
    if x.is_zero:
        return None if strict else 1
    top = _side(algebra.interval(x.num), strict=strict)  # as it stands, before it is taken apart
    bottom = _side(algebra.interval(x.den), strict=True)
    if top and bottom:
        return top * bottom
    constant, factors = x.factors()
    total = 1 if constant > 0 else -1
    for poly, k in factors:
        side = _side(algebra.interval(poly), strict=strict or k < 0) or algebra.signs.get(str(poly), 0)
        side = side or algebra.implied(poly)
        if k > 0 and algebra.signs.get(str(poly)) == 0:  # the case in which all of it is zero
            return None if strict else 1
        if not side and not strict and k > 0:
            side = algebra.at_least_zero(poly)
        if k % 2 == 0 and not side:
            if strict:
                return None
            side = 1  # a square
        if not side:
            return None
        total *= side if k % 2 else 1
    return total


def _side(around: Interval, *, strict: bool) -> int:
    if around.positive or (not strict and around.nonnegative):
        return 1
    if around.negative or (not strict and around.nonpositive):
        return -1
    return 0
