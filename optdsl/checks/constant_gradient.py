"""`constant_gradient_step = EXPR`: what a step is when every gradient is the number c.

In: a claim over lr, c, t and hypers. Every state gets a closed form from its recurrence with g = c (proved by
induction in `recurrence`); the step with these in place is held against the claim by the zero test, for all
t >= 1. Refuted by a run. A state that theta or a maximum enters is 'unknown'.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import product as every

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.expectation import Means, NoMeanError, points, sliced
from optdsl.checks.interval import Interval
from optdsl.checks.pairing import UnreadableError, bound, conditions, meaning
from optdsl.checks.rational import ONE, BudgetError, Rational
from optdsl.checks.trace import (
    EXACT,
    IllDefinedError,
    Real,
    UndecidedError,
    Value,
    as_ball,
    replay,
    show,
    surely_different,
)
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, TIME, Key, inputs, run_step
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Expr, Optimizer

_C: Key = ("c", Age.NOW)
_STEPS = 5


def claim_constant_gradient_step(claim: syntax.Claim, context: Context) -> Verdict:
    try:
        said = conditions(claim, context)
        hypers = tuple(hyper for hyper in context.optimizer.hypers if hyper.name in said.domains)
        optimizer = bound(context.optimizer, said.fixed, hypers)
        if claim.right is None:
            return Verdict("", Outcome.UNKNOWN, residual="write `constant_gradient_step = EXPR`")
        claimed = meaning(claim.right, [*said.domains, "c"])
    except UnreadableError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    facts: dict[Key, Interval] = {(name, Age.NOW): domain for name, domain in said.domains.items()}
    facts[TIME] = Interval(Fraction(1), None, False, True)
    witness = _refuting_run(optimizer, facts, claimed)
    if witness is not None:
        return Verdict("", Outcome.REFUTED, f"fails at t = {len(witness.gradients)}", witness=witness)
    try:
        return _proved(optimizer, facts, claimed)
    except NoMeanError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    except (BudgetError, NoFormError) as error:
        return Verdict("", Outcome.UNKNOWN, residual=f"past the budget: {error}")


def _proved(optimizer: Optimizer, facts: Mapping[Key, Interval], claimed: Expr) -> Verdict:
    if any(line.first is not None for line in optimizer.lines):
        raise NoMeanError("a line has a case of its own for the first step")
    told: list[str] = []

    def build(algebra: Algebra) -> Rational:
        values = {key: algebra.symbol(key) for key in inputs(optimizer)}
        values[GRADIENT] = values[_C] = algebra.symbol(_C)
        states = sliced(optimizer, {state.name for state in optimizer.states})
        means = Means(states, algebra, run_step(states, algebra, dict(values)), deterministic=True)
        random = means.random()
        for poly in algebra.asked.values():
            if any(i in random or means.sees(i, random) for i in Rational(poly, ONE).generators()):
                raise NoMeanError("what is compared, or under abs, max or min, is a state")
        closed = {state.name: means.state(state.name) for state in optimizer.states}
        for name, form in closed.items():
            values[name, Age.OLD] = form.before
        run_step(optimizer, algebra, values)
        told[:] = means.steps
        return values[NEW_THETA] - values[THETA] - algebra.evaluate(claimed, values)

    for algebra, difference in cases(facts, build):
        if not algebra.vanishes(difference):
            left = algebra.text(algebra.reduced(difference))
            return Verdict("", Outcome.UNKNOWN, residual=f"differs by {left}", derivation=tuple(told))
    return Verdict(
        "", Outcome.PROVED, "for every t >= 1", (*told, "theta[t] - theta[t-1] is what is claimed")
    )


def _refuting_run(optimizer: Optimizer, facts: Mapping[Key, Interval], claimed: Expr) -> Witness | None:
    for hypers, c in every(points(optimizer, facts), (Fraction(2), Fraction(-3))):
        try:
            run = replay(optimizer, hypers, [c] * _STEPS)
            for t, values in enumerate(run, 1):
                wanted = _real(EXACT.evaluate(claimed, {**values, _C: c}))
                found = _difference(_real(values[NEW_THETA]), _real(values[THETA]))
                if surely_different(found, wanted):
                    return Witness(hypers, (c,) * t, f"step {t} is {show(found)}", show(wanted))
        except (IllDefinedError, UndecidedError):
            continue
    return None


def _real(value: Value) -> Real:
    assert not isinstance(value, bool)
    return value


def _difference(x: Real, y: Real) -> Real:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x - y
    return as_ball(x) - as_ball(y)
