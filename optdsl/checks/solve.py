"""Small systems of polynomial equations, triangular or nearly so, solved exactly.

In: polynomials that are to be zero, and which generators are unknown; the others are symbols in general
position. Out: candidates for the unknowns, as rational functions of the symbols. An equation that is a
product is split into its factors; an unknown is taken from an equation in which it is linear.
Candidates are to be checked: a factor that was divided by may be zero. No candidate means nothing.
"""

from collections.abc import Iterator, Sequence

from optdsl.checks.rational import ONE, Poly, Rational, coefficients, used

Solution = dict[int, Rational]

MAX_BRANCHES = 200


def solutions(equations: Sequence[Poly], unknowns: frozenset[int]) -> Iterator[Solution]:
    """Unknowns that no equation needs are not in a solution."""
    yield from _search(equations, unknowns, [])


def inconsistent(equations: Sequence[Poly], unknowns: frozenset[int]) -> bool:
    """Whether no numbers solve equations that hold nothing but unknowns. False means: not shown.

    Every branch has to end in an equation between different numbers, and none may be left on the way.
    """
    loose: list[Poly] = []
    assert all(set(used(equation)) <= unknowns for equation in equations)
    return not any(True for _ in _search(equations, unknowns, loose)) and not loose


def _search(equations: Sequence[Poly], unknowns: frozenset[int], loose: list[Poly]) -> Iterator[Solution]:
    """`loose` gets every factor that was not solved, or only by dividing by what may be zero."""
    waiting: list[tuple[list[Poly], Solution]] = [(list(equations), {})]
    for _ in range(MAX_BRANCHES):
        if not waiting:
            return
        left, solved = waiting.pop()
        split = _factored(left, unknowns)
        if split is None:
            continue  # an equation without unknowns that is not zero
        if not split:
            yield solved
            continue
        best = _simplest(split, unknowns)
        if best is None:
            loose += split[0]
            continue
        which, index = best
        rest = [equation for i, equation in enumerate(left) if i != which]
        for factor in reversed(split[which]):
            found = _root(factor, index if index in used(factor) else None, unknowns)
            if found is None:
                loose.append(factor)
                continue
            unknown, value = found
            if unknowns & set(used(value.den)):
                loose.append(factor)
            try:
                narrowed = [e for e in (_numerator(e, unknown, value) for e in rest) if len(e)]
                earlier = {u: x.substituted(unknown, value) for u, x in solved.items()}
            except ZeroDivisionError:
                loose.append(factor)
                continue
            waiting.append((narrowed, {**earlier, unknown: value}))
    if waiting:
        loose.append(ONE)


def _factored(equations: list[Poly], unknowns: frozenset[int]) -> list[list[Poly]] | None:
    """The factors with unknowns of each equation; `equations` loses those that are zero."""
    equations[:] = [equation for equation in equations if len(equation)]
    found = []
    for equation in equations:
        factors = [poly for poly, _ in equation.factor()[1] if unknowns & set(used(poly))]
        if not factors:
            return None
        found.append(factors)
    return found


def _simplest(split: list[list[Poly]], unknowns: frozenset[int]) -> tuple[int, int] | None:
    """The equation to go on with, and an unknown of it: the fewer factors and unknowns the better."""
    best: tuple[tuple[int, int, int], int, int] | None = None
    for which, factors in enumerate(split):
        for factor in factors:
            for index in sorted(unknowns & set(used(factor))):
                cost = _cost(factor, index, unknowns)
                if cost is not None:
                    score = (len(factors) + cost, len(unknowns & set(used(factor))), len(factor))
                    if best is None or score < best[0]:
                        best = score, which, index
    return (best[1], best[2]) if best else None


def _cost(factor: Poly, index: int, unknowns: frozenset[int]) -> int | None:
    """0 when the unknown is linear with a coefficient of symbols, more when unknowns are divided by."""
    if factor.degrees()[index] != 1:
        return None
    return 5 * len(unknowns & set(used(coefficients(factor, index)[1])))


def _root(factor: Poly, index: int | None, unknowns: frozenset[int]) -> tuple[int, Rational] | None:
    candidates = [index] if index is not None else sorted(unknowns & set(used(factor)))
    costs = [(cost, i) for i in candidates if (cost := _cost(factor, i, unknowns)) is not None]
    if not costs:
        return None
    _, unknown = min(costs)
    parts = coefficients(factor, unknown)
    constant = Rational(parts[0], ONE) if 0 in parts else Rational.of(0)
    return unknown, -constant / Rational(parts[1], ONE)


def _numerator(equation: Poly, index: int, value: Rational) -> Poly:
    if index not in used(equation):
        return equation
    return Rational(equation, ONE).substituted(index, value).num
