"""Default check: no step divides by zero, or takes a root, logarithm or power without a real value.

Every such operation of the general step and of the first is an obligation, decided from domains and
invariants by the signs of factors. What is not proved is looked for in short runs from the initial state:
found, it is refuted with that run and the place in the text; else it is unknown, and named.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction

from optdsl.checks.algebra import Algebra, NeedCaseError, NoFormError, VacuousError, cases
from optdsl.checks.context import Context
from optdsl.checks.interval import Interval
from optdsl.checks.intervals_of import step_intervals
from optdsl.checks.invariants import facts_at, known_sign
from optdsl.checks.rational import BudgetError, Rational
from optdsl.checks.runs_of import ill_defined_run
from optdsl.checks.trace import IllDefinedError, replay
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import TIME, Key, inputs, run_step, with_outputs
from optdsl.language.optimizer import Apply


@dataclass
class _Watching(Algebra):
    """Notes every operation that may have no value, and whether it is known to have one."""

    kept: set[tuple[int, int]] = field(default_factory=set)
    open: dict[tuple[int, int], Apply] = field(default_factory=dict)

    def apply(self, expr: Apply, args: tuple[Rational, ...]) -> Rational:
        match expr.op, args:
            case "div", (_, y):
                self._note(expr, known_sign(self, y, strict=True) is not None)
            case "mod", (_, y):
                self._note(expr, known_sign(self, y, strict=True) is not None)
            case "sqrt", (x,):
                self._note(expr, known_sign(self, x, strict=False) == 1)
            case "log", (x,):
                self._note(expr, known_sign(self, x, strict=True) == 1)
            case "pow", (x, y):
                self._note(expr, self._power_has_a_value(x, y))
        return super().apply(expr, args)

    def _power_has_a_value(self, x: Rational, y: Rational) -> bool:
        n = y.value
        whole = n is not None and n.denominator == 1
        base = known_sign(self, x, strict=not (n is not None and n >= 0))
        if whole and n is not None:
            return n >= 0 or base is not None
        at_least_zero = known_sign(self, x, strict=False) == 1
        return base == 1 or (at_least_zero and known_sign(self, y, strict=False) == 1)

    def _note(self, expr: Apply, known: bool) -> None:
        place = (expr.span.start, expr.span.end)
        if known:
            self.kept.add(place)
        else:
            self.open.setdefault(place, expr)


def well_defined(context: Context) -> Iterator[Verdict]:
    context = Context(with_outputs(context.optimizer))
    facts = context.facts
    try:
        kept, unproved = _obligations(context, facts)
    except (BudgetError, NoFormError) as error:
        kept, unproved, reason = set(), {}, str(error)
    else:
        reason = ""
    if not unproved and not reason:
        invariants = ", ".join(f"{n} in {around}" for (n, age), around in facts.items() if age.value)
        summary = f"{len(kept)} divisions, roots and powers" + (f"; {invariants}" if invariants else "")
        yield Verdict("well_defined", Outcome.PROVED, summary)
        return
    found = ill_defined_run(context.optimizer, context)
    if found is not None:
        hypers, gradients, failure = found
        witness = Witness(hypers, gradients, f"{failure.reason} in step {_step(context, hypers, gradients)}")
        yield Verdict(
            "well_defined", Outcome.REFUTED, failure.reason, witness=witness, span=failure.expr.span
        )
        return
    source = context.optimizer.source
    texts = [source.slice(expr.span) for expr in unproved.values()] if source else []
    residual = f"not shown to have a value: {', '.join(texts)}" if texts else f"past the budget: {reason}"
    yield Verdict("well_defined", Outcome.UNKNOWN, residual=residual)


def _step(context: Context, hypers: Mapping[str, Fraction], gradients: tuple[Fraction, ...]) -> int:
    """In which step a run fails."""
    for count in range(1, len(gradients) + 1):
        try:
            replay(context.optimizer, hypers, gradients[:count])
        except IllDefinedError:
            return count
    return len(gradients)


def _obligations(
    context: Context, facts: Mapping[Key, Interval]
) -> tuple[set[tuple[int, int]], dict[tuple[int, int], Apply]]:
    """Places that are proved, and those that are not in some case."""
    kept: set[tuple[int, int]] = set()
    unproved: dict[tuple[int, int], Apply] = {}
    for first in (False, True):
        around = facts_at(facts, first=first)
        _, plain = step_intervals(context.optimizer, around, first=first)
        kept |= plain.kept - plain.open.keys()
        if not plain.open:
            continue
        # `cases` finds the cases of signs; each is walked again by an algebra that watches.
        for algebra, _ in cases(around, lambda a, f=first: _walk(context, a, first=f)):  # type: ignore[misc]
            watching = _Watching(**{each.name: getattr(algebra, each.name) for each in fields(algebra)})
            try:
                _walk(context, watching, first=first)
            except (VacuousError, NeedCaseError):
                continue
            kept |= watching.kept
            unproved |= {place: expr for place, expr in watching.open.items() if place in plain.open}
    return kept - unproved.keys(), unproved


def _walk(context: Context, algebra: Algebra, *, first: bool) -> Rational:
    values = {key: algebra.symbol(key) for key in inputs(context.optimizer)}
    if first:
        values[TIME] = Rational.of(1)
    run_step(context.optimizer, algebra, values, first=first)
    return Rational.of(0)
