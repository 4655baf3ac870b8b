"""Two specs side by side: what differs, where they are proved equal, and the first run on which they part.

In: two optimizers. Out: a `Comparison`, for `optdsl diff A B`. Hypers and states are matched by name, then by
the name that a framework has for them (`as`). "Equal" is meant for one choice of states, the same on both
sides: specs that are the same only after a change of state (Nesterov's two forms) are for the claim
`equivalent`. Flags are at their defaults; of rules by rank, those that agree least are told.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.interval import Interval
from optdsl.checks.rational import BudgetError, Rational
from optdsl.checks.relation import Lazy, same_lines
from optdsl.checks.trace import IllDefinedError, Real, UndecidedError, replay, show, surely_different
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import NEW_THETA, TIME, Key, inputs
from optdsl.language.matrices import uses_matrices
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Hyper, Number, Optimizer, Ref, Role, State
from optdsl.language.specialise import rank_settings, specialise

NAMES = dict[str, str]

GRADIENTS = (Fraction(1), Fraction(-2), Fraction(3), Fraction(1, 2), Fraction(-1))


@dataclass(frozen=True)
class Comparison:
    """`names` maps B's hypers and states to A's; `only_a`, `only_b` are what has no partner.

    `verdict` is proved (equal), refuted (with the run) or unknown; `equal_when` lists settings, such as
    {"weight_decay": 0}, under which the two are proved equal.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    defaults: tuple[tuple[str, Fraction, Fraction], ...]
    verdict: Verdict
    equal_when: tuple[Mapping[str, Fraction], ...]


def compare(a: Optimizer, b: Optimizer) -> Comparison:
    found = [_compared(specialise(a, ranks), specialise(b, ranks)) for ranks in rank_settings(a, b)]
    worst = min(found, key=lambda each: _GRAVITY.index(each.verdict.outcome))
    everywhere = (each for each in worst.equal_when if all(_equal_when(each, other) for other in found))
    return replace(worst, equal_when=tuple(everywhere))


_GRAVITY = (Outcome.REFUTED, Outcome.UNKNOWN, Outcome.PROVED)


def _equal_when(setting: Mapping[str, Fraction], found: Comparison) -> bool:
    return found.verdict.outcome is Outcome.PROVED or setting in found.equal_when


def _compared(a: Optimizer, b: Optimizer) -> Comparison:
    same = same_lines(a, b)
    names = _partners(a, b)
    b = _renamed(b, names)
    of_a, of_b = {hyper.name: hyper for hyper in a.hypers}, {hyper.name: hyper for hyper in b.hypers}
    states_a, states_b = {state.name for state in a.states}, {state.name for state in b.states}
    verdict = _equal(a, b) if same else _verdict(a, b)
    settings: list[Mapping[str, Fraction]] = []
    if verdict.outcome is not Outcome.PROVED and not _undecidable(a, b):
        settings = [setting for setting in _settings(a, b) if _proved(_set(a, setting), _set(b, setting))]
    return Comparison(
        only_a=(*(n for n in of_a if n not in of_b), *sorted(f"{n}[t]" for n in states_a - states_b)),
        only_b=(*(n for n in of_b if n not in of_a), *sorted(f"{n}[t]" for n in states_b - states_a)),
        defaults=tuple(
            (name, hyper.default, of_b[name].default)
            for name, hyper in of_a.items()
            if name in of_b and of_b[name].default != hyper.default
        ),
        verdict=verdict,
        equal_when=tuple(s for s in settings if not any(set(o) < set(s) for o in settings)),
    )


def _partners(a: Optimizer, b: Optimizer) -> NAMES:
    """B's names to A's."""
    names: NAMES = {}
    aliases = {_alias(hyper): hyper.name for hyper in a.hypers} | {
        s.alias or s.name: s.name for s in a.states
    }
    known = {hyper.name for hyper in a.hypers} | {state.name for state in a.states}
    things: tuple[Hyper | State, ...] = (*b.hypers, *b.states)
    for thing in things:
        alias = _alias(thing) if isinstance(thing, Hyper) else thing.alias or thing.name
        if thing.name in known:
            names[thing.name] = thing.name
        elif alias in aliases and aliases[alias] not in names.values():
            names[thing.name] = aliases[alias]
    return names


def _alias(hyper: Hyper) -> str:
    if hyper.alias is None:
        return str(hyper.name)
    return f"{hyper.alias.name}{'' if hyper.alias.index is None else f'[{hyper.alias.index}]'}"


def _renamed(b: Optimizer, names: NAMES) -> Optimizer:
    """B in A's names; its own names that A uses for something else get a `'`."""
    values = {line.target.name for line in b.lines if line.target.role is Role.VALUE}
    table = {value: f"{value}'" for value in values} | names

    def ref(each: Ref) -> Ref:
        return replace(each, name=table.get(each.name, each.name))

    def expr(each: Expr) -> Expr:
        match each:
            case Ref():
                return ref(each)
            case Apply(args=args):
                return replace(each, args=tuple(map(expr, args)))
            case _:
                return each

    def line(each: Assign) -> Assign:
        return replace(
            each,
            target=ref(each.target),
            value=expr(each.value),
            first=expr(each.first) if each.first else None,
        )

    return replace(
        b,
        hypers=tuple(replace(hyper, name=table.get(hyper.name, hyper.name)) for hyper in b.hypers),
        states=tuple(
            replace(state, name=table.get(state.name, state.name), initial=expr(state.initial))
            for state in b.states
        ),
        query=expr(b.query) if b.query else None,
        query_lines=tuple(map(line, b.query_lines)),
        lines=tuple(map(line, b.lines)),
    )


def _set(optimizer: Optimizer, setting: Mapping[str, Fraction]) -> Optimizer:
    """With hypers replaced by numbers, and what that makes useless left out."""

    def expr(each: Expr) -> Expr:
        match each:
            case Ref(role=Role.HYPER, name=name) if name in setting:
                return Number(setting[name], each.span)
            case Apply(args=args):
                return replace(each, args=tuple(map(expr, args)))
            case _:
                return each

    lines = tuple(
        replace(line, value=expr(line.value), first=expr(line.first) if line.first else None)
        for line in optimizer.lines
    )
    return replace(optimizer, lines=lines, query=expr(optimizer.query) if optimizer.query else None)


def _settings(a: Optimizer, b: Optimizer) -> Iterator[dict[str, Fraction]]:
    """Hypers at zero, one or two at a time: where optimizers become each other."""
    hypers = {hyper.name: hyper for hyper in (*a.hypers, *b.hypers)}
    zero = [name for name, hyper in hypers.items() if hyper.domain.contains(Fraction(0)) and name != "lr"]
    for count in (1, 2):
        for names in combinations(zero, count):
            yield dict.fromkeys(names, Fraction(0))


# --- equal? --------------------------------------------------------------------------------------


def _equal(a: Optimizer, b: Optimizer) -> Verdict:
    summary = "the same state and the same step"
    return Verdict(f"{a.name} = {b.name}", Outcome.PROVED, summary, derivation=("induction over t",))


def _verdict(a: Optimizer, b: Optimizer) -> Verdict:
    claim = f"{a.name} = {b.name}"
    if set(a.inputs) != set(b.inputs):
        residual = "their steps are given different things: one reads what the other does not"
        return Verdict(claim, Outcome.UNKNOWN, residual=residual)
    if _undecidable(a, b):
        residual = "not decided where a step computes with whole matrices, or goes over what it remembers"
        return Verdict(claim, Outcome.UNKNOWN, residual=residual)
    witness = _parting(a, b)
    if witness is not None:
        return Verdict(claim, Outcome.REFUTED, "the parameters part", witness=witness)
    if _proved(a, b):
        return _equal(a, b)
    return Verdict(
        claim, Outcome.UNKNOWN, residual="no run parts them, and the steps could not be shown to be one"
    )


def _undecidable(a: Optimizer, b: Optimizer) -> bool:
    lines = (*a.query_lines, *a.lines, *b.query_lines, *b.lines)
    return any(uses_matrices(part) for line in lines for part in (line.value, line.first) if part)


def _proved(a: Optimizer, b: Optimizer) -> bool:
    """Whether theta and the shared states take the same step from the same place.

    A state of one side alone is any number in it: so it has to be without influence.
    """
    shared = {state.name for state in a.states} & {state.name for state in b.states}
    initial_a = {state.name: state.initial for state in a.states}
    initial_b = {state.name: state.initial for state in b.states}
    if any(initial_a[name] != initial_b[name] for name in shared):
        return False
    if (a.query is None) != (b.query is None):
        return False
    return all(_same_step(a, b, shared, first=first) for first in (True, False))


def _same_step(a: Optimizer, b: Optimizer, shared: set[str], *, first: bool) -> bool:
    facts = _facts(a) | _facts(b)
    if first:
        facts[TIME] = Interval(Fraction(1), Fraction(1), False, False)

    compared = [NEW_THETA, *((name, Age.NEW) for name in sorted(shared))]
    count = len(compared) + (a.query is not None)

    def difference(algebra: Algebra, i: int) -> Rational:
        keys = dict.fromkeys((*inputs(a), *inputs(b)))
        values = {
            key: algebra.number(Fraction(1)) if first and key == TIME else algebra.symbol(key) for key in keys
        }
        left = Lazy(a, algebra, dict(values), first=first)
        right = Lazy(b, algebra, dict(values), first=first)
        if i == len(compared):
            assert a.query is not None
            assert b.query is not None
            return algebra.evaluate(a.query, left) - algebra.evaluate(b.query, right)
        return left[compared[i]] - right[compared[i]]

    try:
        return all(
            algebra.vanishes(value)
            for i in range(count)
            for algebra, value in cases(facts, lambda algebra, i=i: difference(algebra, i))  # type: ignore[misc]
        )
    except (BudgetError, NoFormError):
        return False


def _facts(optimizer: Optimizer) -> dict[Key, Interval]:
    facts: dict[Key, Interval] = {
        (name, Age.NOW): around for name, around in Context(optimizer).domains.items()
    }
    facts[TIME] = Interval(Fraction(1), None, False, True)
    return facts


def _parting(a: Optimizer, b: Optimizer) -> Witness | None:
    """The first step of a run with both specs' defaults, or with nicer hypers, at which theta differs."""
    hypers_a = {hyper.name: hyper.default for hyper in a.hypers}
    hypers_b = {hyper.name: hyper.default for hyper in b.hypers} | hypers_a
    # Where the point of the gradient may differ, a loss: theta^2. Otherwise any gradients.
    oracle = _given if a.query is None and b.query is None else _of_square
    nice = {name: _nice(name, value, (*a.hypers, *b.hypers)) for name, value in hypers_b.items()}
    for hypers in (nice, hypers_b):
        try:
            run_a = replay(a, {name: hypers[name] for name in hypers_a}, oracle, steps=len(GRADIENTS))
            run_b = replay(b, {h.name: hypers[h.name] for h in b.hypers}, oracle, steps=len(GRADIENTS))
        except (IllDefinedError, UndecidedError):
            continue
        for step, (left, right) in enumerate(zip(run_a, run_b, strict=True), 1):
            x, y = left[NEW_THETA], right[NEW_THETA]
            assert not isinstance(x, bool)
            assert not isinstance(y, bool)
            if surely_different(x, y):
                shown = {name: hypers[name] for name in hypers_b} | dict.fromkeys(a.inputs, Fraction(1))
                gradients = GRADIENTS[:step] if oracle is _given else ()
                where = "" if oracle is _given else " on the loss theta^2 from theta[0] = 1"
                return Witness(shown, gradients, f"theta[{step}] = {show(x)}{where}", show(y))
    return None


def _given(t: int, point: Real) -> Real:
    return GRADIENTS[t - 1]


def _of_square(t: int, point: Real) -> Real:
    return 2 * point


def _nice(name: str, default: Fraction, hypers: Iterable[Hyper]) -> Fraction:
    domain = next(hyper.domain for hyper in hypers if hyper.name == name)
    return next((x for x in (Fraction(1, 2), Fraction(1), default) if domain.contains(x)), default)
