"""Default check: after a gradient and then none, theta comes to rest.

Proved when what moves theta dies away geometrically at g = 0 and without decay (`decay`), for all hypers or
for those that are named; refuted by a state that is kept as it is and moves theta in every step, with a run.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.decay import comes_to_rest
from optdsl.checks.fixed import fixed
from optdsl.checks.interval import Interval, intersection
from optdsl.checks.rational import BudgetError, Rational, coefficients
from optdsl.checks.sanity import decays
from optdsl.checks.trace import IllDefinedError, Real, UndecidedError, Value, as_ball, replay, show, sign
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, Key, inputs, run_step
from optdsl.language.optimizer import Age

ZERO = Fraction(0)
BELOW_ONE = Interval(ZERO, Fraction(1), False, True)


def coasting(context: Context) -> Iterator[Verdict]:
    if not context.optimizer.states:
        yield Verdict("coasting", Outcome.PROVED, "there is no state to coast on")
        return
    drift = _drift(context)
    if drift is not None and _keeps_moving(context):
        yield drift
        return
    stopped = _no_decay(context)
    step = fixed(context.optimizer, {GRADIENT: ZERO, **stopped}, first=False)
    where = "".join(f" and {name} = 0" for name, _ in stopped)
    summary = f"at g = 0{where} what moves theta dies away geometrically"
    if comes_to_rest(step, context.facts):
        yield Verdict("coasting", Outcome.PROVED, summary)
        return
    for hyper in context.optimizer.hypers:  # momentum, where 1 and more is allowed
        key = (hyper.name, Age.NOW)
        below = intersection(context.domains[hyper.name], BELOW_ONE)
        if below and below != context.domains[hyper.name] and below.nonnegative:
            facts = {**context.facts, key: below}
            if not below.point and comes_to_rest(step, facts):
                yield Verdict("coasting", Outcome.PROVED, f"{summary} while {hyper.name} < 1")
                return
    yield Verdict("coasting", Outcome.UNKNOWN, residual="what moves theta at g = 0 is not seen to die away")


def _no_decay(context: Context) -> dict[Key, Fraction]:
    return {(name, Age.NOW): ZERO for name in decays(context)}


def _keeps_moving(context: Context) -> bool:
    """Whether some state is kept as it is at g = 0 and moves theta by a constant times itself."""
    try:
        return any(_kept(context, algebra, values) for algebra, values in _general(context))
    except (BudgetError, NoFormError):
        return False


def _kept(context: Context, algebra: Algebra, values: Mapping[Key, Rational]) -> bool:
    delta = algebra.reduced(values[NEW_THETA] - values[THETA])
    constants = {
        algebra.index(values[hyper.name, Age.NOW])
        for hyper in context.optimizer.hypers
        if values[hyper.name, Age.NOW].generators()
    }
    for state in context.optimizer.states:
        old, new = values[state.name, Age.OLD], values[state.name, Age.NEW]
        parts = coefficients(delta.num, algebra.index(old))
        linear = set(parts) <= {0, 1} and 1 in parts and (new - old).is_zero
        if linear and Rational.make(parts[1], delta.den).generators() <= constants:
            return True
    return False


def _drift(context: Context) -> Verdict | None:
    gradients = (Fraction(1), ZERO, ZERO, ZERO)
    try:
        run = replay(context.optimizer, context.defaults, gradients, ZERO)
        moves = [_minus(_real(values[NEW_THETA]), _real(values[THETA])) for values in run]
        if any(sign(_minus(move, moves[1])) != 0 for move in moves[1:]) or sign(moves[1]) == 0:
            return None
    except (IllDefinedError, UndecidedError):
        return None
    witness = Witness(
        context.defaults, gradients, f"theta moves by {show(moves[1])} in every step from the second on"
    )
    return Verdict("coasting", Outcome.REFUTED, "drifts forever after a single gradient", witness=witness)


def _general(context: Context) -> Iterator[tuple[Algebra, dict[Key, Rational]]]:
    """The general step at g = 0 and without decay, in every case of signs."""
    still: dict[Key, Fraction] = {GRADIENT: ZERO, **_no_decay(context)}
    step = fixed(context.optimizer, still, first=False)

    def build(algebra: Algebra) -> Rational:
        values = {
            key: Rational.of(still[key]) if key in still else algebra.symbol(key)
            for key in inputs(context.optimizer)
        }
        run_step(step, algebra, values)
        kept[id(algebra)] = values
        return Rational.of(0)

    kept: dict[int, dict[Key, Rational]] = {}
    for algebra, _ in cases(context.facts, build):
        yield algebra, kept[id(algebra)]


def _real(value: Value) -> Real:
    assert not isinstance(value, bool)
    return value


def _minus(x: Real, y: Real) -> Real:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x - y
    return as_ball(x) - as_ball(y)
