"""Default checks of what nearly every optimizer does: a wrong sign or a missing factor shows here first.

idle_step        lr = 0 and g = 0, from the initial state: theta stays
fixed_point      g = 0, from the initial state: theta stays, but for decay
decay_direction  what moves theta at g = 0 makes it smaller
descent          the first step from theta = 0 does not go along the gradient, and goes somewhere

Each is proved from the equations of the first step by signs of factors, or refuted by a run, or unknown. A
check that does not apply (no lr, no decay) is proved in so many words.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.fixed import fixed, only
from optdsl.checks.interval import POSITIVE
from optdsl.checks.intervals_of import step_intervals
from optdsl.checks.invariants import facts_at, known_sign
from optdsl.checks.rational import BudgetError, Rational
from optdsl.checks.runs_of import hyper_points
from optdsl.checks.trace import (
    FIRST,
    IllDefinedError,
    Real,
    UndecidedError,
    Value,
    as_ball,
    replay,
    show,
    sign,
)
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, TIME, Key, inputs, key_of, run_step
from optdsl.language.inputs import FIRST_GRADIENT
from optdsl.language.optimizer import Age, Apply, Number, Optimizer, Ref

ZERO = Fraction(0)
NO_GRADIENT = {GRADIENT: ZERO, FIRST: ZERO}  # theta is where the loss is flat: both are zero
Inputs = Mapping[Key, Fraction]
Holds = Callable[[Algebra, Rational, Mapping[Key, Rational]], bool]


def idle_step(context: Context) -> Iterator[Verdict]:
    lr = _learning_rate(context)
    if lr is None:
        yield Verdict("idle_step", Outcome.PROVED, "there is no lr that could be 0")
        return
    still = {(lr, Age.NOW): ZERO, **NO_GRADIENT}
    if _always(context, still, lambda algebra, delta, values: algebra.vanishes(delta)):
        yield Verdict("idle_step", Outcome.PROVED, f"{lr} = 0 and g = 0 change nothing")
        return
    for hypers in hyper_points(context):
        found = _first_step({**hypers, lr: ZERO}, ZERO, context)
        if found is not None and sign(found) != 0:
            witness = Witness({**hypers, lr: ZERO}, (ZERO,), f"theta moves by {show(found)}, from 1", "0")
            yield Verdict("idle_step", Outcome.REFUTED, f"moves though {lr} = 0 and g = 0", witness=witness)
            return
    yield Verdict("idle_step", Outcome.UNKNOWN, residual="the step is not shown to be 0")


def fixed_point(context: Context) -> Iterator[Verdict]:
    if _stays(context, {}):
        yield Verdict("fixed_point", Outcome.PROVED, "g = 0 leaves theta where it is")
        return
    stopped = decays(context)
    if stopped:
        when = " and ".join(f"{name} = 0" for name in stopped)
        yield Verdict("fixed_point", Outcome.PROVED, f"g = 0 leaves theta where it is when {when}")
        return
    for hypers in hyper_points(context):
        found = _first_step(hypers, ZERO, context)
        if found is not None and sign(found) != 0:
            witness = Witness(hypers, (ZERO,), f"theta moves by {show(found)}, from 1", "0")
            yield Verdict(
                "fixed_point", Outcome.REFUTED, "moves though g = 0, and not by a decay", witness=witness
            )
            return
    yield Verdict("fixed_point", Outcome.UNKNOWN, residual="the step at g = 0 is not shown to be 0")


def decay_direction(context: Context) -> Iterator[Verdict]:
    if _stays(context, {}):
        yield Verdict("decay_direction", Outcome.PROVED, "there is no decay")
        return
    if _against(context, NO_GRADIENT, THETA):
        yield Verdict("decay_direction", Outcome.PROVED, "at g = 0 theta moves towards 0")
        return
    for hypers in hyper_points(context):
        found = _first_step(hypers, ZERO, context)
        if found is not None and sign(found) > 0:
            witness = Witness(hypers, (ZERO,), f"theta grows by {show(found)}, from 1")
            yield Verdict(
                "decay_direction", Outcome.REFUTED, "at g = 0 theta moves away from 0", witness=witness
            )
            return
    yield Verdict("decay_direction", Outcome.UNKNOWN, residual="the sign of the step at g = 0 is open")


def descent(context: Context) -> Iterator[Verdict]:
    steps = []
    for hypers in hyper_points(context):
        for g in (Fraction(1), Fraction(-2)):
            found = _first_step(hypers, g, context, theta=ZERO)
            if found is None:
                continue
            steps.append(sign(found))
            if sign(found) * sign(g) > 0:
                witness = Witness(hypers, (g,), f"theta[1] - theta[0] = {show(found)}: along the gradient")
                yield Verdict("descent", Outcome.REFUTED, "the first step climbs", witness=witness)
                return
    from_zero = {THETA: ZERO}
    if (
        steps
        and not any(steps)
        and _always(context, from_zero, lambda algebra, delta, _: algebra.vanishes(delta))
    ):
        witness = Witness(context.defaults, (Fraction(1),), "theta[1] - theta[0] = 0, for every g")
        yield Verdict(
            "descent", Outcome.REFUTED, "the first step goes nowhere, whatever g is", witness=witness
        )
    elif any(steps) and _against(context, from_zero, GRADIENT):
        yield Verdict("descent", Outcome.PROVED, "from theta = 0 the first step goes against the gradient")
    else:
        yield Verdict("descent", Outcome.UNKNOWN, residual="the sign of the first step is open")


# --- the first step ------------------------------------------------------------------------------


def _learning_rate(context: Context) -> str | None:
    for hyper in context.optimizer.hypers:
        if "lr" in (hyper.name, hyper.alias.name if hyper.alias else "") and hyper.domain.contains(ZERO):
            return hyper.name
    return None


def _stays(context: Context, hypers: Inputs) -> bool:
    for concrete in hyper_points(context):  # a run that moves is quicker than a proof that fails
        moved = _first_step(
            {**concrete, **{name: value for (name, _), value in hypers.items()}}, ZERO, context
        )
        if moved is not None and sign(moved) != 0:
            return False
    return _always(context, {**NO_GRADIENT, **hypers}, lambda algebra, delta, values: algebra.vanishes(delta))


def decays(context: Context) -> tuple[str, ...]:
    """A hyper, or two, at whose zero a step without gradient stays where it is (lr does not count)."""
    if _stays(context, {}):
        return ()
    lr = _learning_rate(context)
    names = [h.name for h in context.optimizer.hypers if h.domain.contains(ZERO) and h.name != lr]
    names.sort(key=lambda name: "decay" not in name)  # where several stop it, the one that is meant to
    groups = (group for count in (1, 2) for group in combinations(names, count))
    stopping = (group for group in groups if _stays(context, {(name, Age.NOW): ZERO for name in group}))
    return next(stopping, ())


def _against(context: Context, given: Inputs, key: Key) -> bool:
    """Whether the first step never goes the way of `key` (theta, or the gradient), whatever the rest is."""

    def opposite(algebra: Algebra, delta: Rational, values: Mapping[Key, Rational]) -> bool:
        return known_sign(algebra, -delta * values[key], strict=False) == 1

    return _against_by_intervals(context, given, key) or _always(context, given, opposite)


def _against_by_intervals(context: Context, given: Inputs, key: Key) -> bool:
    step = _of_the_change(_beginning(context, given), given)
    if step is None:
        return False
    facts = facts_at(context.facts, first=True)
    facts |= {(state.name, Age.OLD): context.initial_interval(state) for state in context.optimizer.states}
    up, _ = step_intervals(step, {**facts, key: POSITIVE}, first=True, of_one=True)
    down, _ = step_intervals(step, {**facts, key: -POSITIVE}, first=True, of_one=True)
    return up[NEW_THETA].nonpositive and down[NEW_THETA].nonnegative


def _of_the_change(step: Optimizer, given: Inputs) -> Optimizer | None:
    """With theta[t] - theta[t-1] in place of theta[t]; None where it does not stand there to be read."""
    if given.get(THETA) == 0:
        return step
    *lines, last = step.lines
    same = {THETA}
    for line in lines:
        if isinstance(line.value, Ref) and (line.value.name, line.value.age) in same:
            same.add(key_of(line))
    match last.value:
        case Apply(op=("sub" | "add") as op, args=(Ref(name=name, age=age), other)) if (name, age) in same:
            change = replace(last.value, op="neg", args=(other,)) if op == "sub" else other
            return replace(step, lines=(*lines, replace(last, value=change)))
        case _:
            return None


def _beginning(context: Context, given: Inputs) -> Optimizer:
    """The lines that theta needs in the first step, with what is given worked out."""
    begin = {(state.name, Age.OLD): state.initial for state in context.optimizer.states}
    numbers = {key: value.value for key, value in begin.items() if isinstance(value, Number)}
    return only(fixed(context.optimizer, {TIME: Fraction(1), **numbers, **given}, first=True), "theta")


def _always(context: Context, given: Inputs, holds: Holds) -> bool:
    """Whether something holds of the first step's change, in every case of signs."""
    facts = facts_at(context.facts, first=True)
    step = _beginning(context, given)

    def build(algebra: Algebra) -> Rational:
        values = _start(context, algebra, given)
        run_step(step, algebra, values)
        kept[id(algebra)] = values
        return values[NEW_THETA] - values[THETA]

    kept: dict[int, dict[Key, Rational]] = {}
    try:
        return all(holds(algebra, delta, kept[id(algebra)]) for algebra, delta in cases(facts, build))
    except (BudgetError, NoFormError):
        return False


def _start(context: Context, algebra: Algebra, given: Inputs) -> dict[Key, Rational]:
    values: dict[Key, Rational] = {}
    for key in inputs(context.optimizer):
        values[key] = Rational.of(given[key]) if key in given else algebra.symbol(key)
    values[TIME] = Rational.of(1)
    for state in context.optimizer.states:
        match state.initial:
            case Number(value=value):
                values[state.name, Age.OLD] = Rational.of(value)
            case Ref(name="theta"):
                values[state.name, Age.OLD] = values[THETA]
            case Ref(name=name):
                values[state.name, Age.OLD] = values[name, Age.NOW]
            case _:
                pass
    return values


def _first_step(
    hypers: Mapping[str, Fraction], g: Fraction, context: Context, theta: Fraction = Fraction(1)
) -> Real | None:
    """theta[1] - theta[0] of a run."""
    try:
        if g == 0 and FIRST_GRADIENT in context.optimizer.inputs:
            hypers = {**hypers, FIRST_GRADIENT: g}
        (values,) = replay(context.optimizer, hypers, [g], theta)
        change = _minus(_real(values[NEW_THETA]), theta)
        sign(change)
    except (IllDefinedError, UndecidedError):
        return None
    return change


def _real(value: Value) -> Real:
    assert not isinstance(value, bool)
    return value


def _minus(x: Real, y: Real) -> Real:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x - y
    return as_ball(x) - as_ball(y)
