"""Concrete runs of two specs side by side: where the other method of proof ends, a witness is looked for.

In: a `Pair` without unknowns. Out: the first step of some run, over exact rationals, in which the two
surely differ (in where they take the gradient, or in theta), as a `Witness`; or None. Runs in which
something has no value, or is too close to tell, are passed over.
"""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from optdsl.checks.interval import EVERYTHING, Interval
from optdsl.checks.pairing import Pair
from optdsl.checks.trace import (
    EXACT,
    IllDefinedError,
    Real,
    UndecidedError,
    Value,
    replay,
    show,
    surely_different,
)
from optdsl.checks.verdict import Witness
from optdsl.checks.walk import NEW_THETA, THETA, Key
from optdsl.language.optimizer import Expr, Hyper, Optimizer

NICE = tuple(
    Fraction(text) for text in "1/2 1/4 3/4 1 1/3 2/3 2 3 1/10 9/10 5 0 10 1/100 99/100 -1 -1/2".split()
)
SEQUENCES = tuple(
    tuple(map(Fraction, gradients))
    for gradients in (
        (1, 1, 1, 1, 1, 1, 1),
        (2, 3, 1, 2, 1, 1, 1),
        (1, -2, 3, -1, 2, 1, 1),
        (4, 1, 1, 1, 1, 1, 1),
        (0, 1, 0, 2, 0, 0, 1),
    )
)
MAX_POINTS = 12
SMALL = Fraction(1, 10**4)  # such as eps, or a decay of zero: often left where they are


def pool(domain: Interval) -> list[Fraction]:
    """Values of a domain that a reader can work with."""
    found = [value for value in NICE if value in domain]
    if not found:
        low, high = domain.low, domain.high
        if low is not None and high is not None:
            found = [(low + high) / 2]
        else:
            found = [low + 1 if low is not None else high - 1 if high is not None else Fraction(1)]
    return found


def points(
    hypers: Iterable[Hyper], domains: Mapping[str, Interval], count: int = MAX_POINTS
) -> Iterator[dict[str, Fraction]]:
    """Values for hypers: different ones first, then the defaults, then others.

    A hyper without a domain here is not looked at: it gets its default.
    """
    hypers = tuple(hypers)
    pools = {name: pool(domain) for name, domain in domains.items()}

    def chosen(k: int) -> dict[str, Fraction]:
        values = {}
        for i, hyper in enumerate(hypers):
            choices = pools.get(hyper.name, [hyper.default])
            values[hyper.name] = choices[(k * (i + 1) + i) % len(choices)]
        return values

    yield chosen(0)
    defaults = {hyper.name: hyper.default for hyper in hypers}
    allowed = {name: value for name, value in defaults.items() if value in domains.get(name, EVERYTHING)}
    small = {name: value for name, value in allowed.items() if value <= SMALL}
    yield {**chosen(0), **allowed}
    for k in range(1, count):
        yield {**chosen(k), **small} if k % 2 else chosen(k)


def first_difference(pair: Pair, *, queries_only: bool = False, count: int = MAX_POINTS) -> Witness | None:
    """The shortest run found in which the two specs differ, for `count` choices of hypers."""
    best: tuple[int, Witness] | None = None
    for values in points(pair.left.hypers, pair.domains, count):
        for gradients in SEQUENCES:
            try:
                left = replay(pair.left, values, gradients)
                right = replay(pair.right, values, gradients)
                found = _difference(pair, left, right, queries_only)
            except (IllDefinedError, UndecidedError, OverflowError):
                continue
            if found is None or (best is not None and best[0] <= found[0]):
                continue
            step, here, there = found
            shown = {name: value for name, value in values.items() if name in pair.domains}
            best = step, Witness(shown, gradients[:step], here, there)
        if best is not None and best[0] <= 2:
            break
    return best[1] if best else None


def _difference(
    pair: Pair, left: list[dict[Key, Value]], right: list[dict[Key, Value]], queries_only: bool
) -> tuple[int, str, str] | None:
    for t, (here, there) in enumerate(zip(left, right, strict=True), 1):
        x, y = query_value(pair.left, here), query_value(pair.right, there)
        if surely_different(x, y):
            at = "the gradient is taken at "
            return t, f"{at}{show(x)} in step {t}", f"{show(y)} ({pair.other})"
        new, new_there = here[NEW_THETA], there[NEW_THETA]
        assert not isinstance(new, bool)
        assert not isinstance(new_there, bool)
        if not queries_only and surely_different(new, new_there):
            return t, f"theta[{t}] = {show(new)}", f"{show(new_there)} ({pair.other})"
    return None


def query_value(optimizer: Optimizer, values: Mapping[Key, Value]) -> Real:
    """Where a step took its gradient."""
    return real(optimizer.query, values) if optimizer.query is not None else _real(values[THETA])


def real(expr: Expr, values: Mapping[Key, Value]) -> Real:
    return _real(EXACT.evaluate(expr, values))


def _real(value: Value) -> Real:
    assert not isinstance(value, bool)
    return value
