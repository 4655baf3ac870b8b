"""`step <= EXPR`: how far a step can go, |theta[t] - theta[t-1]|, at most.

In: the claim, with an expression over hypers and t, and this spec. Proved when EXPR - |step| is shown to be
at least 0 in every case of its signs, from states of which nothing is known but which are never negative
(found first); by signs of factors, and by r >= |d| where r is the root of something that is at least d^2.
Refuted by a run with a longer step. Everything else is unknown: nothing is known of how states are related
(such as m^2 <= v), so that most bounds of the Adam family are out of reach.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial

from optdsl.checks.algebra import Algebra, NoFormError, VacuousError, cases
from optdsl.checks.context import Context
from optdsl.checks.interval import NONNEGATIVE, POSITIVE, Interval, exactly, intersection
from optdsl.checks.pairing import UnreadableError, bound, claim_text, conditions, meaning, substituted
from optdsl.checks.rational import (
    ONE,
    ZERO,
    BudgetError,
    Poly,
    Rational,
    as_fraction,
    coefficients,
    product,
    used,
)
from optdsl.checks.relation import Lazy, initial
from optdsl.checks.runs import SEQUENCES, points, real
from optdsl.checks.trace import IllDefinedError, Real, UndecidedError, as_ball, replay, show, sign
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, TIME, Key, key_of
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Expr, Optimizer, Role, references

GROWING: tuple[tuple[Fraction, ...], ...] = tuple(
    tuple(map(Fraction, gradients)) for gradients in ((1, 2), (1, 3), (0, 1), (0, 0, 1), (1, 2, 4), (1, 10))
)


def claim_step(claim: syntax.Claim, context: Context) -> Verdict:
    text = claim_text(claim)
    try:
        match claim.left:
            case syntax.Binary("<=", syntax.Name("step"), limit):
                pass
            case _:
                raise UnreadableError("the form is `step <= EXPRESSION`")
        limits = conditions(claim, context)
        expr = substituted(meaning(limit, context.domains), limits.fixed)
    except UnreadableError as error:
        return Verdict(text, Outcome.UNKNOWN, residual=str(error))
    optimizer = bound(context.optimizer, limits.fixed, context.optimizer.hypers)
    for abstract in (_first_let(optimizer), None):
        kept = nonnegative_states(optimizer, limits.domains, abstract)
        if _holds(optimizer, limits.domains, abstract, kept, partial(_slack, expr)):
            lines = [f"{name} >= 0 in every step" for name in sorted(kept)]
            if abstract is not None:
                lines.append(f"for every value of {abstract[0]}")
            lines.append("the bound minus |theta[t] - theta[t-1]| is at least 0 in every case of its signs")
            return Verdict(text, Outcome.PROVED, "no step is longer", tuple(lines))
    witness = _witness(optimizer, limits.domains, expr)
    if witness is not None:
        return Verdict(text, Outcome.REFUTED, witness.found, witness=witness)
    residual = "not shown, and no longer step was found; it may take a fact that relates the states"
    return Verdict(text, Outcome.UNKNOWN, residual=residual)


def _first_let(optimizer: Optimizer) -> Key | None:
    """A value that the gradient enters by: what is true for all of its values is true for all gradients."""
    for line in optimizer.lines:
        grad = any(ref.role is Role.GRAD for ref in references(line.value))
        if line.target.role is Role.VALUE and line.first is None and grad:
            return key_of(line)
    return None


# --- proof ---------------------------------------------------------------------------------------


def nonnegative_states(
    optimizer: Optimizer, domains: Mapping[str, Interval], abstract: Key | None = None
) -> frozenset[str]:
    """States that are at least 0 in every step: the largest set that is kept by its own assumption."""
    kept = frozenset(state.name for state in optimizer.states)

    def new_value(name: str) -> Quantity:
        return lambda _, values: values[name, Age.NEW]

    while True:
        lost = {name for name in kept if not _holds(optimizer, domains, abstract, kept, new_value(name))}
        if not lost:
            return kept
        kept -= lost


def _slack(expr: Expr, algebra: Algebra, values: Lazy) -> Rational:
    return algebra.evaluate(expr, values) - algebra.absolute(values[NEW_THETA] - values[THETA])


Quantity = Callable[[Algebra, Lazy], Rational]


def _holds(
    optimizer: Optimizer,
    domains: Mapping[str, Interval],
    abstract: Key | None,
    kept: frozenset[str],
    quantity: Quantity,
) -> bool:
    """Whether a quantity is at least 0 in the first step and in every later one."""

    def build(algebra: Algebra, *, first: bool) -> Rational:
        known: dict[Key, Rational] = {
            (hyper.name, Age.NOW): algebra.symbol((hyper.name, Age.NOW)) for hyper in optimizer.hypers
        }
        given = (THETA, GRADIENT, *((name, Age.NOW) for name in optimizer.inputs))
        known |= {key: algebra.symbol(key) for key in given}
        known[TIME] = Rational.of(1)
        if not first:
            known[TIME] = Rational.of(2) + algebra.fresh("t - 2", NONNEGATIVE)
        if abstract is not None:
            known[abstract] = algebra.fresh(abstract[0])
        for state in optimizer.states:
            old = state.name, Age.OLD
            known[old] = initial(state, algebra, known[THETA]) if first else algebra.symbol(old)
        try:
            return quantity(algebra, Lazy(optimizer, algebra, known, first=first))
        except NoFormError:
            if _impossible(algebra):
                raise VacuousError from None
            raise

    facts: dict[Key, Interval] = {(name, Age.NOW): domain for name, domain in domains.items()}
    facts |= {(name, Age.OLD): NONNEGATIVE for name in kept}
    try:
        return all(
            is_nonnegative(algebra, value)
            for first in (True, False)
            for algebra, value in cases(facts, partial(build, first=first))
        )
    except (BudgetError, NoFormError):
        return False


def is_nonnegative(algebra: Algebra, x: Rational) -> bool:
    """Whether x >= 0 wherever it is defined in this case (False: not shown)."""
    if algebra.vanishes(x) or _impossible(algebra):
        return True
    constant, factors = x.factors()
    positive = constant > 0
    for poly, power in factors:
        if power % 2 == 0:
            continue
        side = _side(algebra, poly)
        if side is None:
            return False
        positive = positive == (side > 0)
    return positive


def _impossible(algebra: Algebra) -> bool:
    """Whether the signs of this case contradict each other: d < 0 < q and d*q - eps = 0.

    The intervals of this case's atoms are narrowed on the way.
    """
    for text, poly in algebra.asked.items():
        if len(poly) == 1 and poly.total_degree() == 1:
            (index,) = used(poly)
            positive = (as_fraction(poly.leading_coefficient()) > 0) == (algebra.signs[text] > 0)
            half = exactly(0) if algebra.signs[text] == 0 else POSITIVE if positive else -POSITIVE
            narrowed = intersection(algebra.intervals[index], half)
            if narrowed is None:
                return True
            algebra.intervals[index] = narrowed
    for text, poly in algebra.asked.items():
        for zero in algebra.zeros:
            _, poly = divmod(poly, zero)
        around, wanted = algebra.interval(poly), algebra.signs[text]
        if (wanted >= 0 and around.negative) or (wanted <= 0 and around.positive):
            return True
        if wanted and around.point == 0:
            return True
    return False


def _side(algebra: Algebra, poly: Poly) -> int | None:
    around = algebra.interval(poly)
    if around.nonnegative or around.nonpositive:
        return 1 if around.nonnegative else -1
    for text, asked in algebra.asked.items():
        for flip in (1, -1):
            if str(asked) == str(poly if flip > 0 else -poly):
                return algebra.signs[text] * flip or 1
    for text, asked in algebra.asked.items():
        known = asked if algebra.signs[text] >= 0 else -asked
        for sign_ in (1, -1):
            if algebra.interval((poly if sign_ > 0 else -poly) - known).nonnegative:
                return sign_
    if _by_root(algebra, poly):
        return 1
    return -1 if _by_root(algebra, -poly) else None


def _by_root(algebra: Algebra, poly: Poly) -> bool:
    """a*r + b >= 0 for a root r of p: when a >= 0 and a^2*p >= c^2, where c is b without what is >= 0."""
    for index in set(used(poly)) & set(algebra.squares):
        if poly.degrees()[index] != 1:
            continue
        parts = coefficients(poly, index)
        if not algebra.interval(parts[1]).nonnegative:
            continue
        negative = ZERO
        for monomial, value in parts.get(0, ZERO).to_dict().items():
            term = poly.context().from_dict({monomial: value})
            if not algebra.interval(term).nonnegative:
                negative = negative + term
        squared = product(product(parts[1], parts[1]), algebra.squares[index]) - product(negative, negative)
        reduced = algebra.reduced(Rational(squared, ONE)).num
        if reduced.is_zero() or algebra.interval(reduced).nonnegative:
            return True
    return False


# --- refutation ----------------------------------------------------------------------------------


def _witness(optimizer: Optimizer, domains: Mapping[str, Interval], limit: Expr) -> Witness | None:
    for values in points(optimizer.hypers, domains):
        for gradients in (*GROWING, *SEQUENCES):
            try:
                found = _longer(optimizer, values, gradients, limit)
            except (IllDefinedError, UndecidedError, OverflowError):
                continue
            if found is not None:
                t, step, allowed = found
                known = {name: value for name, value in values.items() if name in domains}
                told = f"|theta[{t}] - theta[{t - 1}]| = {show(step)}"
                return Witness(known, gradients[:t], told, f"at most {show(allowed)}")
    return None


def _longer(
    optimizer: Optimizer, values: Mapping[str, Fraction], gradients: Sequence[Fraction], limit: Expr
) -> tuple[int, Real, Real] | None:
    for t, after in enumerate(replay(optimizer, values, gradients), 1):
        moved = _minus(_real(after[NEW_THETA]), _real(after[THETA]))
        step = -moved if sign(moved) < 0 else moved
        allowed = real(limit, after)
        if sign(_minus(step, allowed)) > 0:
            return t, step, allowed
    return None


def _real(value: Real | bool) -> Real:
    assert not isinstance(value, bool)
    return value


def _minus(x: Real, y: Real) -> Real:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x - y
    return as_ball(x) - as_ball(y)
