"""Claims about what a change of the problem does to the path: `odd`, `scale_invariant`, `shift_invariant`.

odd              the mirror image: with -theta and -g the path is mirrored
scale_invariant  a loss c > 0 times as large: the same path
shift_invariant  theta starts c further: the same path, c further

Proved by finding how each state changes along (its sign, its power of c, its shift) among a few ways, and
showing with the zero test that every line changes as it should. Refuted by two runs. `when` conditions hold.
Not decided: rotations, and states that change in another way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.conditioned import restricted
from optdsl.checks.context import Context
from optdsl.checks.interval import POSITIVE, Interval
from optdsl.checks.invariants import facts_at, facts_of
from optdsl.checks.pairing import UnreadableError
from optdsl.checks.rational import BudgetError, Rational
from optdsl.checks.relation import Lazy
from optdsl.checks.runs_of import hyper_points, sequences
from optdsl.checks.trace import IllDefinedError, Real, UndecidedError, as_ball, replay, show, surely_different
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, TIME, Key, inputs
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Expr, Number, Optimizer, Ref, Role

Change = Callable[[Rational, Rational], Rational]  # (value, c) to the changed value


@dataclass(frozen=True)
class Way:
    """One way for a quantity to change, and how it is told."""

    text: str
    of: Change
    keeps: Callable[[Fraction], bool]  # whether a start of this value is the changed one


SAME = Way("{} stays", lambda x, c: x, lambda start: True)
MIRRORED = Way("{} changes its sign", lambda x, c: -x, lambda start: start == 0)
LINEAR = Way("{} grows as c", lambda x, c: c * x, lambda start: start == 0)
SQUARE = Way("{} grows as c^2", lambda x, c: c * c * x, lambda start: start == 0)
SHIFTED = Way("{} moves by c", lambda x, c: x + c, lambda start: False)


@dataclass(frozen=True)
class Symmetry:
    """How theta and g change, how states may, and a run with its changed twin."""

    theta: Way
    gradient: Way
    states: tuple[Way, ...]
    summary: str
    run: Callable[[Fraction], Fraction]  # gradients of the twin
    start: Fraction  # of the twin; the run starts at 1
    expected: Callable[[Real], Real]  # the twin's theta from the run's


ODD = Symmetry(MIRRORED, MIRRORED, (SAME, MIRRORED), "the mirrored problem has the mirrored path",
               lambda g: -g, Fraction(-1), lambda theta: -theta)  # fmt: skip
SCALE = Symmetry(SAME, LINEAR, (SAME, LINEAR, SQUARE), "a loss c times as large has the same path",
                 lambda g: 2 * g, Fraction(1), lambda theta: theta)  # fmt: skip
SHIFT = Symmetry(SHIFTED, SAME, (SAME, SHIFTED), "a start c further on has the path c further on",
                 lambda g: g, Fraction(3), lambda theta: _plus(theta, Fraction(2)))  # fmt: skip


def claim_odd(claim: syntax.Claim, context: Context) -> Verdict:
    return _decide(claim, context, ODD)


def claim_scale_invariant(claim: syntax.Claim, context: Context) -> Verdict:
    return _decide(claim, context, SCALE)


def claim_shift_invariant(claim: syntax.Claim, context: Context) -> Verdict:
    return _decide(claim, context, SHIFT)


def _decide(claim: syntax.Claim, context: Context, symmetry: Symmetry) -> Verdict:
    try:
        narrowed, _ = restricted(claim, context)
    except UnreadableError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    witness = _twins(narrowed, symmetry)
    if witness is not None:
        return Verdict("", Outcome.REFUTED, f"not so: {symmetry.summary}", witness=witness)
    facts = facts_of(narrowed)
    states = narrowed.optimizer.states
    for ways in product(*(_ways(state.initial, symmetry) for state in states)):
        named = {state.name: way for state, way in zip(states, ways, strict=True)}
        if _holds(narrowed.optimizer, facts, symmetry, named):
            told = tuple(way.text.format(f"{name}[t]") for name, way in named.items())
            return Verdict(
                "", Outcome.PROVED, symmetry.summary, (*told, "kept by every line: induction over t")
            )
    return Verdict("", Outcome.UNKNOWN, residual="no run refutes it, and no change of the states fits")


def _ways(start: Expr, symmetry: Symmetry) -> list[Way]:
    """The ways in which a state can change, from where it starts: a hyper stays, theta[0] goes with theta."""
    match start:
        case Number(value=value):
            return [way for way in symmetry.states if way.keeps(value)]
        case Ref(role=Role.HYPER):
            return [SAME]
        case Ref(role=Role.THETA):
            return [symmetry.theta]
        case _:
            return []


def _holds(
    optimizer: Optimizer, facts: Mapping[Key, Interval], symmetry: Symmetry, ways: Mapping[str, Way]
) -> bool:
    wanted = {NEW_THETA: symmetry.theta} | {(name, Age.NEW): way for name, way in ways.items()}

    def difference(algebra: Algebra, key: Key, *, first: bool) -> Rational:
        c = algebra.fresh("c", POSITIVE)
        values = {each: algebra.symbol(each) for each in inputs(optimizer)}
        if first:
            values[TIME] = Rational.of(1)
        changed = dict(values)
        changed[THETA] = symmetry.theta.of(values[THETA], c)
        changed[GRADIENT] = symmetry.gradient.of(values[GRADIENT], c)
        for name, way in ways.items():
            changed[name, Age.OLD] = way.of(values[name, Age.OLD], c)
        left = Lazy(optimizer, algebra, changed, first=first)[key]
        right = wanted[key].of(Lazy(optimizer, algebra, values, first=first)[key], c)
        return left - right

    try:
        return all(
            algebra.vanishes(value)
            for first in (False, True)
            for key in wanted
            for algebra, value in cases(
                facts_at(_unsigned(facts, ways), first=first),
                lambda a, k=key, f=first: difference(a, k, first=f),  # type: ignore[misc]
            )
        )
    except (BudgetError, NoFormError):
        return False


def _unsigned(facts: Mapping[Key, Interval], ways: Mapping[str, Way]) -> dict[Key, Interval]:
    """A state that changes its sign or moves keeps no interval."""
    return {key: around for key, around in facts.items() if ways.get(key[0]) not in (MIRRORED, SHIFTED)}


def _twins(context: Context, symmetry: Symmetry) -> Witness | None:
    """A run and its changed twin that do not match."""
    for hypers in hyper_points(context):
        for gradients in sequences():
            try:
                run = replay(context.optimizer, hypers, gradients)
                twin = replay(context.optimizer, hypers, [symmetry.run(g) for g in gradients], symmetry.start)
                wanted = symmetry.expected(_real(run[-1][NEW_THETA]))
                found = _real(twin[-1][NEW_THETA])
                if surely_different(found, wanted):
                    t = len(gradients)
                    return Witness(
                        hypers, gradients, f"the changed run has theta[{t}] = {show(found)}", show(wanted)
                    )
            except (IllDefinedError, UndecidedError):
                continue
    return None


def _real(value: object) -> Real:
    assert not isinstance(value, bool)
    return value  # type: ignore[return-value]


def _plus(x: Real, y: Fraction) -> Real:
    return x + y if isinstance(x, Fraction) else x + as_ball(y)
