"""Two specs that step side by side on the same gradients, and what stays related between their states.

In: a `Pair`, and a relation that says what theta and the states of the right spec are in terms of those of
the left one. Out: which parts of it are an inductive invariant: they hold after the first step from the
initial states (with the first step's cases), and are kept by every later one (t >= 2), for every gradient.
States that never leave their initial value are found on the way and taken for it; a state that is in no
relation stays an unknown of its own, so that nothing that is proved depends on it.
Everything is read as: wherever both specs are defined, hypers that do not change from step to step.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from optdsl.checks.algebra import Algebra, proves_zero
from optdsl.checks.interval import Interval
from optdsl.checks.pairing import Pair
from optdsl.checks.rational import Rational
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, TIME, Key, key_of, value_of
from optdsl.language.optimizer import Age, Expr, Number, Optimizer, Ref, Role, State, references

Relation = Mapping[str, Expr]
"""What "theta" and states of the right spec are, over theta[t-1], states[t-1] and hypers of the left."""

LATER: Interval = Interval(Fraction(2), None, False, True)

Part = tuple[str, str]
"""("related", name), ("left", state that stays), ("right", state that stays) or ("query", "")."""

RELATED: frozenset[Part] = frozenset((("related", "theta"), ("query", "")))
"""What two specs that are the same have to keep, whatever else they do."""


class Lazy(Mapping[Key, Rational]):
    """The quantities of one step, each computed when it is first asked for.

    So a line that nothing needs costs nothing, and splits no cases.
    """

    def __init__(
        self, optimizer: Optimizer, algebra: Algebra, known: dict[Key, Rational], *, first: bool
    ) -> None:
        self._algebra, self._known, self._first = algebra, known, first
        self._lines = {key_of(line): line for line in optimizer.lines}

    def __getitem__(self, key: Key) -> Rational:
        if key not in self._known:
            value = value_of(self._lines[key], first=self._first)
            self._known[key] = self._algebra.evaluate(value, self)
        return self._known[key]

    def __iter__(self) -> Iterator[Key]:
        return iter({**self._known, **self._lines})

    def __len__(self) -> int:
        return len({**self._known, **self._lines})


def identity(pair: Pair) -> dict[str, Expr]:
    """Theta is theta, and a state is the one of the same name, or else of the same framework's name."""
    relation: dict[str, Expr] = {"theta": Ref(Role.THETA, "theta", Age.OLD)}
    left = pair.left.states
    for state in pair.right.states:
        partner = next((mine for mine in left if mine.name == state.name), None) or next(
            (mine for mine in left if _label(mine) == _label(state)), None
        )
        if partner is not None:
            relation[state.name] = Ref(Role.STATE, partner.name, Age.OLD)
    return relation


def _label(state: State) -> str:
    return state.alias or state.name


def step(
    pair: Pair, algebra: Algebra, relation: Relation, stays: frozenset[Part], *, first: bool
) -> tuple[Lazy, Lazy]:
    """One step of both, with states as the relation has them (at first: as they begin)."""
    common: dict[Key, Rational] = {
        (hyper.name, Age.NOW): algebra.symbol((hyper.name, Age.NOW))
        for hyper in (*pair.left.hypers, *pair.right.hypers)
    }
    common[TIME] = algebra.number(Fraction(1)) if first else algebra.symbol(TIME)
    common[GRADIENT] = algebra.symbol(GRADIENT)
    common |= {
        (name, Age.NOW): algebra.symbol((name, Age.NOW)) for name in (*pair.left.inputs, *pair.right.inputs)
    }
    left = dict(common)
    left[THETA] = algebra.symbol(THETA)
    start = left[THETA] if first else algebra.fresh("theta[0]")
    for state in pair.left.states:
        if first or ("left", state.name) in stays:
            left[state.name, Age.OLD] = initial(state, algebra, start)
        else:
            left[state.name, Age.OLD] = algebra.symbol((state.name, Age.OLD))
    right = dict(common)
    right[THETA] = algebra.evaluate(relation["theta"], left)
    start = right[THETA] if first else algebra.fresh(_start(relation))
    for state in pair.right.states:
        if first or ("right", state.name) in stays:
            value = initial(state, algebra, start)
        elif state.name in relation:
            value = algebra.evaluate(relation[state.name], left)
        else:
            value = algebra.fresh(f"{state.name}'[t-1]")
        right[state.name, Age.OLD] = value
    return (
        Lazy(pair.left, algebra, left, first=first),
        Lazy(pair.right, algebra, right, first=first),
    )


def _start(relation: Relation) -> str:
    """What the right spec's theta[0] is called: the left one's, where theta is the same in both."""
    match relation["theta"]:
        case Ref(role=Role.THETA):
            return "theta[0]"
        case _:
            return "theta'[0]"


def initial(state: State, algebra: Algebra, start: Rational) -> Rational:
    match state.initial:
        case Number(value=value):
            return algebra.number(value)
        case Ref(role=Role.HYPER, name=name):
            return algebra.symbol((name, Age.NOW))
        case _:
            return start


def difference(
    part: Part,
    pair: Pair,
    algebra: Algebra,
    relation: Relation,
    stays: frozenset[Part],
    *,
    first: bool,
) -> Rational:
    """What has to be zero for a part of the relation to hold after a step."""
    left, right = step(pair, algebra, relation, stays, first=first)
    kind, name = part
    if kind == "query":
        return query(pair.left, algebra, left) - query(pair.right, algebra, right)
    if kind == "related":
        after = right[NEW_THETA] if name == "theta" else right[name, Age.NEW]
        return algebra.evaluate(relation[name], _after(relation[name], left)) - after
    values = left if kind == "left" else right
    states = pair.left.states if kind == "left" else pair.right.states
    (state,) = (state for state in states if state.name == name)
    start = values[THETA] if first else algebra.fresh("theta[0]" if kind == "left" else _start(relation))
    return values[name, Age.NEW] - initial(state, algebra, start)


def query(optimizer: Optimizer, algebra: Algebra, values: Mapping[Key, Rational]) -> Rational:
    """Where the gradient is taken."""
    return values[THETA] if optimizer.query is None else algebra.evaluate(optimizer.query, values)


def _after(expr: Expr, values: Mapping[Key, Rational]) -> dict[Key, Rational]:
    """The relation's quantities as a step leaves them."""
    return {
        (ref.name, ref.age): values[ref.name, Age.NEW if ref.age is Age.OLD else ref.age]
        for ref in references(expr)
    }


def facts_of(pair: Pair, *, first: bool) -> dict[Key, Interval]:
    facts = {(name, Age.NOW): domain for name, domain in pair.domains.items()}
    if not first:
        facts[TIME] = LATER
    return facts


def invariant(pair: Pair, relation: Relation) -> frozenset[Part]:
    """The largest part of the relation that is shown to be kept; with ("query", "") when queries agree.

    Theta's relation is in it, or it is empty.
    """
    if same_lines(pair.left, pair.right) and relation == identity(pair):
        return frozenset({("query", ""), *(("related", name) for name in relation)})
    theta = {"theta": relation["theta"]}
    stays = {("left", state.name) for state in pair.left.states}
    stays |= {("right", state.name) for state in pair.right.states}
    while moved := {part for part in stays if not _holds(part, pair, theta, frozenset(stays))}:
        stays -= moved
    settled = frozenset(stays)
    kept = dict(relation)
    while lost := [name for name in kept if not _holds(("related", name), pair, kept, settled)]:
        kept = {name: expr for name, expr in kept.items() if name not in lost}
        if "theta" not in kept:
            return frozenset()
    parts: set[Part] = {*settled, *(("related", name) for name in kept)}
    if _holds(("query", ""), pair, kept, settled):
        parts.add(("query", ""))
    return frozenset(parts)


def same_lines(a: Optimizer, b: Optimizer) -> bool:
    """Whether two specs say the same, word for word: then no arithmetic has to find it out."""
    mine, theirs = ([(state.name, state.initial) for state in each.states] for each in (a, b))
    return mine == theirs and (a.query, a.query_lines, a.lines) == (b.query, b.query_lines, b.lines)


def _holds(part: Part, pair: Pair, relation: Relation, stays: frozenset[Part]) -> bool:
    return all(
        proves_zero(
            facts_of(pair, first=first),
            lambda algebra, first=first: difference(  # type: ignore[misc]
                part, pair, algebra, relation, stays, first=first
            ),
        )
        for first in (True, False)
    )
