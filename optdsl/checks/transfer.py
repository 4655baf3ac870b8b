"""`same_oracle(other)`: both take the gradient at the same points, whatever their states are.

In: the claim and two specs that are linear and do not depend on t. With H(z) = C (z - A)^-1 B, from
gradients to query points, and F(z) = C (z - A)^-1 x[0], what the start gives: the query points are the
same for every sequence of gradients exactly when H and F are. `free` hypers of the other are solved for.
Refuted by a run. Not done here: specs that are not linear, or whose first step is an exception (unknown).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice
from typing import TypeVar

from optdsl.checks.algebra import Algebra, NeedCaseError, NoFormError, proves_zero
from optdsl.checks.catalogue import Lookup
from optdsl.checks.context import Context
from optdsl.checks.interval import Interval
from optdsl.checks.linear import as_expr
from optdsl.checks.lti import NotLinearError, dot, refuse_inputs, solve, system
from optdsl.checks.pairing import Pair, UnreadableError, bound, claim_text, pair
from optdsl.checks.rational import ONE, BudgetError, Poly, Rational, coefficients
from optdsl.checks.relation import LATER, Lazy, initial, query
from optdsl.checks.runs import first_difference, points
from optdsl.checks.show import shown
from optdsl.checks.signs import ElementSignError
from optdsl.checks.solve import inconsistent, solutions
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, NEW_THETA, THETA, TIME, Key
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Expr, Optimizer

T = TypeVar("T")

MAX_SIGNS = 20
MAX_CANDIDATES = 8


def claim_same_oracle(claim: syntax.Claim, context: Context, lookup: Lookup) -> Verdict:
    text = claim_text(claim)
    try:
        specs = pair(claim, context, lookup)
        facts = _facts(specs)
        for optimizer in (specs.left, specs.right):
            refuse_inputs(optimizer)
        special = [
            optimizer.name
            for optimizer in (specs.left, specs.right)
            if not _first_step_is_like_the_others(optimizer, facts)
        ]
        if special:
            witness = None if specs.free else first_difference(specs, queries_only=True)
            if witness is not None:
                return Verdict(text, Outcome.REFUTED, "the points differ", specs.notes, witness)
            return _unknown(text, specs, f"the first step of {special[0]} is an exception")
        if not specs.free:
            return _decided(text, specs, facts, ())
        return _with_free(text, specs, facts)
    except UnreadableError as error:
        return Verdict(text, Outcome.UNKNOWN, residual=str(error))
    except NotLinearError as error:
        if not specs.free and (witness := first_difference(specs, queries_only=True)) is not None:
            return Verdict(text, Outcome.REFUTED, "the points differ", specs.notes, witness)
        return _unknown(text, specs, f"not linear and time-invariant ({error})")


def _unknown(text: str, specs: Pair, residual: str) -> Verdict:
    return Verdict(text, Outcome.UNKNOWN, residual=residual, derivation=specs.notes)


def _facts(specs: Pair) -> dict[Key, Interval]:
    facts = {(name, Age.NOW): domain for name, domain in specs.domains.items()}
    return {**facts, TIME: LATER}


def _decided(text: str, specs: Pair, facts: Mapping[Key, Interval], lines: tuple[str, ...]) -> Verdict:
    def gap(which: int) -> bool:
        return proves_zero(
            facts,
            lambda algebra: _responses(specs.left, algebra)[which] - _responses(specs.right, algebra)[which],
        )

    derivation = (*specs.notes, *lines, *_shown_responses(specs, facts))
    if gap(0) and gap(1):
        summary = "the same transfer function, so the same points for every sequence of gradients"
        if lines:
            summary = f"with {lines[0]}: {summary}"
        return Verdict(
            text,
            Outcome.PROVED,
            summary,
            derivation,
            assumptions=("hypers do not change from step to step",),
        )
    witness = first_difference(specs, queries_only=True)
    if witness is not None:
        return Verdict(text, Outcome.REFUTED, "the transfer functions differ", derivation, witness)
    residual = "the transfer functions were not shown to be the same, and no run was found that differs"
    return Verdict(text, Outcome.UNKNOWN, residual=residual, derivation=derivation)


def _responses(optimizer: Optimizer, algebra: Algebra) -> tuple[Rational, Rational]:
    """H(z) and F(z)."""
    values = _step(optimizer, algebra, first=False)
    found = system(optimizer, algebra, values, query(optimizer, algebra, values))
    z = algebra.fresh("z")
    matrix = [[-entry for entry in row] for row in found.a]
    for i, row in enumerate(matrix):
        row[i] = row[i] + z
    theta = algebra.fresh("theta[0]")
    start = [theta, *(initial(state, algebra, theta) for state in optimizer.states)]
    return dot(found.c, solve(matrix, found.b)), dot(found.c, solve(matrix, start))


def _step(optimizer: Optimizer, algebra: Algebra, *, first: bool) -> Lazy:
    known: dict[Key, Rational] = {
        (hyper.name, Age.NOW): algebra.symbol((hyper.name, Age.NOW)) for hyper in optimizer.hypers
    }
    known[TIME], known[GRADIENT] = algebra.symbol(TIME), algebra.symbol(GRADIENT)
    known[THETA] = algebra.symbol(THETA)
    for state in optimizer.states:
        known[state.name, Age.OLD] = algebra.symbol((state.name, Age.OLD))
    if first:
        known[TIME] = Rational.of(1)
        for state in optimizer.states:
            known[state.name, Age.OLD] = initial(state, algebra, known[THETA])
    return Lazy(optimizer, algebra, known, first=first)


def _first_step_is_like_the_others(optimizer: Optimizer, facts: Mapping[Key, Interval]) -> bool:
    """Whether `x[1] = ...` says nothing that `x[t] = ...` does not say of the initial states."""
    if all(line.first is None for line in optimizer.lines):
        return True
    begins = {key: interval for key, interval in facts.items() if key != TIME}

    def same(key: Key) -> bool:
        def build(algebra: Algebra) -> Rational:
            special = _step(optimizer, algebra, first=True)
            known = {k: special[k] for k in special if k[1] is Age.OLD or k in (TIME, GRADIENT)}
            known |= {(h.name, Age.NOW): special[h.name, Age.NOW] for h in optimizer.hypers}
            return special[key] - Lazy(optimizer, algebra, known, first=False)[key]

        return proves_zero(begins, build)

    return all(same(key) for key in (NEW_THETA, *((s.name, Age.NEW) for s in optimizer.states)))


# --- free hypers ---------------------------------------------------------------------------------


def _with_free(text: str, specs: Pair, facts: Mapping[Key, Interval]) -> Verdict:
    """Values are found from the equations of equal coefficients, and then decided as any other."""
    algebra, equations = _equations(specs, facts)
    indices = {name: algebra.index(algebra.symbol((prime, Age.NOW))) for name, prime in specs.free.items()}
    unknowns = frozenset(indices.values())
    for solution in islice(solutions(equations, unknowns), MAX_CANDIDATES):
        chosen = _chosen(algebra, solution, indices)
        if chosen is None:
            continue
        hypers = {specs.free[name]: expr for name, (expr, _) in chosen.items()}
        known = replace(specs, right=bound(specs.right, hypers, specs.left.hypers), free={})
        line = ", ".join(f"{name}' = {value}" for name, (_, value) in chosen.items())
        verdict = _decided(text, known, facts, (line,))
        if verdict.outcome is Outcome.PROVED:
            return verdict
    names = ", ".join(specs.free)
    if not algebra.asked:
        for values in points(specs.left.hypers, specs.domains, MAX_CANDIDATES):
            numbers = {algebra.index(algebra.symbol((n, Age.NOW))): v for n, v in values.items()}
            if inconsistent([at(equation, numbers) for equation in equations], unknowns):
                shown_values = {name: value for name, value in values.items() if name in specs.domains}
                found = f"no {names} of {specs.other} gives the same transfer function"
                return Verdict(
                    text,
                    Outcome.REFUTED,
                    f"the transfer functions differ for every {names}",
                    (*specs.notes, *_shown_responses(specs, facts)),
                    Witness(shown_values, (), found),
                )
    return _unknown(text, specs, f"no value of {names} was found that makes H(z) the same")


def at(equation: Poly, numbers: Mapping[int, Fraction]) -> Poly:
    """With numbers for symbols."""
    value = Rational(equation, ONE)
    for index, number in numbers.items():
        value = value.substituted(index, Rational.of(number))
    return value.num


def _chosen(
    algebra: Algebra, solution: Mapping[int, Rational], indices: Mapping[str, int]
) -> dict[str, tuple[Expr, str]] | None:
    chosen: dict[str, tuple[Expr, str]] = {}
    try:
        for name, index in indices.items():
            value = solution.get(index, Rational.of(1))
            for other in set(indices.values()) & value.generators():  # any value will do
                value = value.substituted(other, Rational.of(1))
            chosen[name] = as_expr(algebra, value), shown(algebra, value)
    except (NoFormError, ZeroDivisionError):
        return None
    return chosen


def _equations(specs: Pair, facts: Mapping[Key, Interval]) -> tuple[Algebra, list[Poly]]:
    """Equal coefficients in z, and in theta[0], of the generic H and F."""
    algebra, (here, there) = _generic(
        facts, lambda algebra: (_responses(specs.left, algebra), _responses(specs.right, algebra))
    )
    z, theta = algebra.index(algebra.fresh("z")), algebra.index(algebra.fresh("theta[0]"))
    equations: list[Poly] = []
    for x, y in zip(here, there, strict=True):
        for part in coefficients((x - y).num, z).values():
            equations += coefficients(part, theta).values()
    return algebra, [equation for equation in equations if len(equation)]


def _generic(facts: Mapping[Key, Interval], build: Callable[[Algebra], T]) -> tuple[Algebra, T]:
    """Where no sign that is asked for is zero: to be shown, and to search in."""
    algebra = Algebra(facts)
    for _ in range(MAX_SIGNS):
        try:
            return algebra, build(algebra)
        except NeedCaseError as need:
            algebra = algebra.assuming(need.poly, need.signs[0])
    raise BudgetError("too many signs")


def _shown_responses(specs: Pair, facts: Mapping[Key, Interval]) -> tuple[str, ...]:
    lines = []
    for optimizer, who in ((specs.left, "here"), (specs.right, specs.other)):
        try:
            algebra, (response, start) = _generic(facts, partial(_responses, optimizer))
        except ElementSignError as error:
            raise NotLinearError((optimizer.name,), str(error)) from None
        lines.append(f"H(z) = {shown(algebra, response)} ({who}), from gradients to where they are taken")
        lines.append(f"F(z) = {shown(algebra, start)} ({who}), what the start alone gives")
    return tuple(lines)
