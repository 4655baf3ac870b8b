"""`limit(x) = VALUE`: what a quantity of hypers and t tends to as t goes to infinity, hypers being fixed.

In: a claim whose x is a value of the spec, or an expression of values, hypers and t, and VALUE one of hypers.
Proved when the limit that `eventually` derives is VALUE in every case of the hypers' signs. Refuted by hypers
at which the derived limit is another number, which a replay at large t has to confirm. Unknown: whatever
depends on states, and what `eventually` has no answer for.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from optdsl.checks.algebra import Algebra, BudgetError, NeedCaseError, NoFormError, VacuousError, cases
from optdsl.checks.conditioned import restricted
from optdsl.checks.context import Context
from optdsl.checks.eventually import Eventually, NoLimitError
from optdsl.checks.interval import Interval
from optdsl.checks.pairing import UnreadableError
from optdsl.checks.rational import ONE, Rational
from optdsl.checks.runs import points
from optdsl.checks.show import shown
from optdsl.checks.timed import FIXED, argument, hypers_in, number_at, read, unsteady, value_at
from optdsl.checks.trace import (
    IllDefinedError,
    UndecidedError,
    as_ball,
    show,
    surely_different,
)
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import TIME, Key
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Expr, Optimizer

_SIGNS = {1: ">", 0: "=", -1: "<"}
LATE = tuple(Fraction(10**k) for k in (2, 4, 6))


def claim_limit(claim: syntax.Claim, context: Context) -> Verdict:
    try:
        context, fixed = restricted(claim, context)
        optimizer = context.optimizer
        if claim.right is None:
            raise UnreadableError("write `limit(x) = VALUE`")
        quantity = read(argument(claim), optimizer, fixed)
        claimed = read(claim.right, optimizer, fixed)
        for side in (quantity, claimed):
            if (seen := unsteady(side, optimizer)) is not None:
                raise UnreadableError(f"it depends on `{seen}`: limits are of quantities of hypers and t")
    except UnreadableError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    witness = _witness(optimizer, context.domains, quantity, claimed)
    if witness is not None:
        return Verdict("", Outcome.REFUTED, "it tends to something else", witness=witness)
    facts: dict[Key, Interval] = {(name, Age.NOW): domain for name, domain in context.domains.items()}
    facts[TIME] = Interval(Fraction(1), None, False, True)
    try:
        lines = tuple(proof(optimizer, facts, quantity, claimed))
    except NoLimitError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    except (BudgetError, NoFormError) as error:
        return Verdict("", Outcome.UNKNOWN, residual=f"no limit was derived: {error}")
    if not lines:
        return Verdict("", Outcome.UNKNOWN, residual="it has no value for large t, for any hypers")
    return Verdict("", Outcome.PROVED, "as t grows, for all hypers", lines, assumptions=(FIXED,))


def proof(optimizer: Optimizer, facts: dict[Key, Interval], quantity: Expr, claimed: Expr) -> Iterator[str]:
    """A line for every case; raises `NoLimitError` where the limit is not shown to be the claimed one."""
    told: dict[str, None] = {}
    sides: list[Rational] = []

    def difference(algebra: Algebra) -> Rational:
        sides[:] = (_limit(optimizer, algebra, expr) for expr in (quantity, claimed))
        return sides[0] - sides[1]

    for algebra, value in cases(facts, difference, Eventually):
        found, wanted = (shown(algebra, side) for side in sides)
        if not algebra.vanishes(algebra.reduced(value)):
            raise NoLimitError(f"the limit {found} is not shown to be {wanted}{_where(algebra)}")
        assert isinstance(algebra, Eventually)
        told |= algebra.told | {f"limit {wanted}{_where(algebra)}": None}
    yield from told


def _where(algebra: Algebra) -> str:
    parts = []
    for text, poly in algebra.asked.items():
        sign, told = algebra.signs[text], shown(algebra, Rational(poly, ONE))
        if told.startswith("-"):
            sign, told = -sign, shown(algebra, Rational(-poly, ONE))
        parts.append(f"{told} {_SIGNS[sign]} 0")
    return f" where {' and '.join(parts)}" if parts else ""


def _limit(optimizer: Optimizer, algebra: Algebra, expr: Expr) -> Rational:
    assert isinstance(algebra, Eventually)
    hypers = {hyper.name: algebra.symbol((hyper.name, Age.NOW)) for hyper in optimizer.hypers}
    found = algebra.limit(value_at(expr, optimizer, algebra, hypers, algebra.symbol(TIME)))
    if isinstance(found, str):
        raise NoLimitError(f"it tends to {found}{_where(algebra)}")
    return found


# --- refutation ----------------------------------------------------------------------------------


def _witness(
    optimizer: Optimizer, domains: Mapping[str, Interval], quantity: Expr, claimed: Expr
) -> Witness | None:
    named = hypers_in(quantity, optimizer) | hypers_in(claimed, optimizer)
    for hypers in points(optimizer.hypers, domains):
        limit, wanted = (limit_at(optimizer, expr, hypers) for expr in (quantity, claimed))
        if limit is None or wanted is None or limit == wanted or isinstance(wanted, str):
            continue
        try:
            late = [number_at(quantity, optimizer, hypers, t) for t in LATE]
        except (IllDefinedError, UndecidedError):
            continue
        last = late[-1]
        if isinstance(limit, str):
            confirmed = abs(as_ball(last)) > abs(as_ball(wanted)) + 1
        else:
            confirmed = abs(as_ball(last) - as_ball(limit)) < abs(as_ball(last) - as_ball(wanted))
        if confirmed and surely_different(last, wanted):
            values = ", ".join(map(show, late))
            steps = ", ".join(map(str, LATE))
            told = f"it is {values} at t = {steps}, and tends to {limit}"
            shown_values = {name: value for name, value in hypers.items() if name in named}
            return Witness(shown_values, (), told, str(wanted))
    return None


def limit_at(optimizer: Optimizer, expr: Expr, hypers: dict[str, Fraction]) -> Fraction | str | None:
    """The limit for these hypers, when it is a rational or infinite and can be derived."""
    algebra = Eventually({TIME: Interval(Fraction(1), None, False, True)})
    numbers = {name: Rational.of(value) for name, value in hypers.items()}
    try:
        found = algebra.limit(value_at(expr, optimizer, algebra, numbers, algebra.symbol(TIME)))
    except (BudgetError, NeedCaseError, NoFormError, NoLimitError, VacuousError):
        return None
    return found if isinstance(found, str) else found.value
