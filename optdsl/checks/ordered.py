"""`nonnegative(x)` and `nondecreasing(x)`, of a state, a value or an expression of them (`upper - rate`).

nonnegative     x >= 0 in every step
nondecreasing   no step makes the state x smaller; or x, of hypers and t alone, is no smaller at t + 1

Proved from the intervals that states never leave, in every case of the signs; refuted by a run, or by two
times. Not decided: what two states have to be held together for (m^2 <= K*v).
"""

from fractions import Fraction

from optdsl.checks.algebra import Algebra, BudgetError, NoFormError, cases
from optdsl.checks.conditioned import restricted
from optdsl.checks.context import Context
from optdsl.checks.expectation import sliced
from optdsl.checks.interval import NONNEGATIVE
from optdsl.checks.intervals_of import step_intervals
from optdsl.checks.invariants import facts_at, in_every_step, known_sign
from optdsl.checks.pairing import UnreadableError
from optdsl.checks.rational import Rational
from optdsl.checks.runs_of import Run, hyper_points, refuting_run
from optdsl.checks.step_bound import is_nonnegative
from optdsl.checks.timed import FIXED, argument, hypers_in, needed, number_at, read, unsteady, value_at
from optdsl.checks.trace import EXACT, IllDefinedError, Real, UndecidedError, Value, as_ball, show, sign
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import TIME, inputs, key_of, value_of
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Expr, Ref, Role, references
from optdsl.language.printer import print_expr

TIMES = range(1, 12)


def claim_nonnegative(claim: syntax.Claim, context: Context) -> Verdict:
    """`nonnegative(v)`."""
    return _decide(claim, context, compared=False)


def claim_nondecreasing(claim: syntax.Claim, context: Context) -> Verdict:
    """`nondecreasing(vmax)`."""
    return _decide(claim, context, compared=True)


def _decide(claim: syntax.Claim, context: Context, *, compared: bool) -> Verdict:
    try:
        context, fixed = restricted(claim, context)
        expr = read(argument(claim), context.optimizer, fixed)
    except UnreadableError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    name = print_expr(argument(claim))
    if not compared:
        return _in_steps(name, expr, context, None)
    if isinstance(expr, Ref) and expr.role is Role.STATE:
        return _in_steps(name, expr, context, Ref(Role.STATE, expr.name, Age.OLD, expr.shape))
    if (seen := unsteady(expr, context.optimizer)) is not None:
        residual = f"{name} depends on `{seen}`: nondecreasing is about states, and what hypers and t make"
        return Verdict("", Outcome.UNKNOWN, residual=residual)
    return _in_time(name, expr, context)


# --- in every step -------------------------------------------------------------------------------


def _in_steps(name: str, expr: Expr, context: Context, before: Expr | None) -> Verdict:
    """That a quantity is at least 0, or at least what the state was before."""
    optimizer, facts = context.optimizer, context.facts
    lines = needed(expr, optimizer)

    def difference(first: bool, algebra: Algebra) -> Rational:
        values = {each: algebra.symbol(each) for each in inputs(optimizer)}
        if first:
            values[TIME] = Rational.of(1)
        for line in lines:
            values[key_of(line)] = algebra.evaluate(value_of(line, first=first), values)
        value = algebra.evaluate(expr, values)
        return value - algebra.evaluate(before, values) if before is not None else value

    def holds(algebra: Algebra, value: Rational) -> bool:
        return _nonnegative(algebra, value)

    words = "never becomes smaller" if before is not None else "is never negative"
    steps = (step_intervals(optimizer, facts_at(facts, first=f), first=f) for f in (False, True))
    by_intervals = (
        before is None
        and isinstance(expr, Ref)
        and all(values[expr.name, expr.age].nonnegative for values, _ in steps)
    )
    if by_intervals or in_every_step(facts, difference, holds):
        told = tuple(f"{n}[t-1] in {around}" for (n, age), around in facts.items() if age is Age.OLD)
        return Verdict("", Outcome.PROVED, f"{name} {words}", (*told, "kept by every step: induction over t"))

    def fails(run: Run, t: int) -> bool:
        value = EXACT.evaluate(expr, run[t])
        against = EXACT.evaluate(before, run[t]) if before is not None else Fraction(0)
        return sign(_minus(value, against)) < 0

    # Only the lines that it needs: another line may fail on the way.
    names = {ref.name for ref in references(expr)}
    witness = refuting_run(Context(sliced(optimizer, names)), fails)
    if witness is not None:
        hypers, gradients, run = witness
        t = len(gradients)
        value = show(_real(EXACT.evaluate(expr, run[t - 1])))
        state = isinstance(expr, Ref) and expr.role is Role.STATE
        said = f"{name}[{t}] = {value}" if state else f"{name} = {value} at t = {t}"
        shown = Witness(hypers, gradients, said)
        return Verdict("", Outcome.REFUTED, f"{name} {words.replace('never', 'once')}", witness=shown)
    return Verdict("", Outcome.UNKNOWN, residual=f"that {name} {words} does not follow from intervals")


# --- from t to t + 1 -----------------------------------------------------------------------------


def _in_time(name: str, expr: Expr, context: Context) -> Verdict:
    optimizer = context.optimizer
    if any(line.first is not None for line in needed(expr, optimizer)):
        return Verdict("", Outcome.UNKNOWN, residual=f"{name} has a case of its own for the first step")

    def difference(algebra: Algebra) -> Rational:
        hypers = {hyper.name: algebra.symbol((hyper.name, Age.NOW)) for hyper in optimizer.hypers}
        time = Rational.of(1) + algebra.fresh("t - 1", NONNEGATIVE)
        later = value_at(expr, optimizer, algebra, hypers, time + Rational.of(1))
        return later - value_at(expr, optimizer, algebra, hypers, time)

    try:
        proved = all(
            known_sign(algebra, value, strict=False) == 1
            for algebra, value in cases(context.facts, difference)
        )
    except (BudgetError, NoFormError):
        proved = False
    if proved:
        derivation = (f"{name} at t + 1 minus {name} at t is at least 0 for every t >= 1",)
        return Verdict("", Outcome.PROVED, f"{name} never becomes smaller", derivation, assumptions=(FIXED,))
    witness = _falling(name, expr, context)
    if witness is not None:
        return Verdict("", Outcome.REFUTED, f"{name} once becomes smaller", witness=witness)
    return Verdict("", Outcome.UNKNOWN, residual=f"the sign of its change from t to t + 1 is open: {name}")


def _falling(name: str, expr: Expr, context: Context) -> Witness | None:
    named = hypers_in(expr, context.optimizer)
    for hypers in hyper_points(context):
        for t in map(Fraction, TIMES):
            try:
                now, later = (number_at(expr, context.optimizer, hypers, time) for time in (t, t + 1))
                if sign(_minus(later, now)) < 0:
                    shown = {key: value for key, value in hypers.items() if key in named}
                    told = f"{name} is {show(now)} at t = {t} and {show(later)} at t = {t + 1}"
                    return Witness(shown, (), told)
            except (IllDefinedError, UndecidedError):
                continue
    return None


def _nonnegative(algebra: Algebra, value: Rational) -> bool:
    return known_sign(algebra, value, strict=False) == 1 or is_nonnegative(algebra, value)


def _real(value: Value) -> Real:
    assert not isinstance(value, bool)
    return value


def _minus(x: Value, y: Value) -> Real:
    left, right = _real(x), _real(y)
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left - right
    return as_ball(left) - as_ball(right)
