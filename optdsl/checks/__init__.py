"""What can be proved or refuted about a spec from its equations alone.

    report = check(optimizer)
    report.verdicts      .claim .outcome .derivation .witness

Every verdict is proved (with a derivation), refuted (with a witness that can be worked out again) or
unknown (with what was left over). Never changes what runs.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from optdsl.checks.catalogue import (
    CHECKS,
    CLAIMS,
    ESTIMATES,
    NAMES_ANOTHER,
    OF_A_STILL_STEP,
    TAKES_INPUTS,
    TAKES_MATRICES,
    Lookup,
    NoSpecError,
    find,
    kind_of,
)
from optdsl.checks.context import Context
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.language import syntax
from optdsl.language.history import is_sweep
from optdsl.language.inputs import drawn
from optdsl.language.matrices import uses_matrices
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Optimizer
from optdsl.language.parts import Part
from optdsl.language.printer import print_claimed
from optdsl.language.shapes import names_in
from optdsl.language.specialise import flag_settings, rank_settings, specialise

__all__ = ["Outcome", "Report", "Verdict", "Witness", "check", "check_claims", "check_defaults"]


@dataclass(frozen=True)
class Report:
    """All verdicts about one spec: the default checks, then the file's claims in their order."""

    verdicts: tuple[Verdict, ...]


def check(spec: Optimizer | Objective | Part, lookup: Lookup | None = None, *, rates: bool = False) -> Report:
    """Every default check, for every setting of the flags, and every claim, for the default one.

    `lookup` finds other specs that claims name; without it such claims are unknown. `rates` runs what the
    file has estimated, too.
    """
    if isinstance(spec, Objective):
        from optdsl.checks.objective import check_objective

        return Report(check_objective(spec))
    optimizer, names = (spec.stand_in, OF_PARTS) if isinstance(spec, Part) else (spec, tuple(CHECKS))
    return Report((*check_defaults(optimizer, names), *check_claims(optimizer, lookup, rates=rates)))


OF_PARTS = ("well_defined",)
"""What makes sense for a part on its own, which is checked around gradient descent."""


def check_defaults(optimizer: Optimizer, names: Iterable[str] = tuple(CHECKS)) -> Iterator[Verdict]:
    """One verdict per check: that of the first setting of the flags which is not proved, if any."""
    contexts = [(setting, Context(specialise(optimizer, setting))) for setting in flag_settings(optimizer)]
    ranks = {flag.name for flag in optimizer.flags if flag.rank is not None}
    for name in names:
        verdicts: list[Verdict] = []
        for setting, context in contexts:
            chosen = (flag for flag, value in setting.items() if value and flag not in ranks)
            lower = (f"not {flag}" for flag, value in setting.items() if not value and flag in ranks)
            where = ", ".join((*chosen, *lower))
            for verdict in _guarded(partial(_default, name, context), name):
                summary = f"{verdict.summary} (with {where})" if where else verdict.summary
                verdicts.append(replace(verdict, claim=name, summary=summary))
        yield min(verdicts, key=lambda verdict: _GRAVITY[verdict.outcome])


_GRAVITY = {Outcome.REFUTED: 0, Outcome.UNKNOWN: 1, Outcome.PROVED: 2}


def check_claims(
    optimizer: Optimizer, lookup: Lookup | None = None, *, rates: bool = False
) -> Iterator[Verdict]:
    """The verdicts on `prove`, `expect refuted` and `estimate`, with the flags at their defaults.

    A claim holds for tensors of any rank: of the two sides of a `when` block, that which is worse tells,
    and one that has not got what the claim names is not asked. The claims of the parts of a composition come
    last, asked of the whole.
    """
    contexts = [Context(specialise(optimizer, each), each) for each in rank_settings(optimizer)]
    everything = _lines_of(optimizer)
    for part, claim in (
        *(("", claim) for claim in optimizer.claims),
        *((each.part, each.claim) for each in optimizer.inherited),
    ):
        place = partial(_estimates, rates) if claim.estimate else partial(_claims, lookup)
        named = {name for side in (claim.left, claim.right) if side for name in names_in(side)} & everything
        about = [each for each in contexts if named <= _lines_of(each.optimizer)] or contexts[:1]
        found = [_guarded(partial(place, claim, context), "")[0] for context in about]
        verdict = min(found, key=lambda verdict: _GRAVITY.get(verdict.outcome, 1))
        yield replace(
            verdict,
            claim=print_claimed(claim),
            declared=not part,
            expected_refuted=claim.refuted,
            span=claim.span,
            part=part,
        )


def _lines_of(optimizer: Optimizer) -> set[str]:
    """The names that its lines set."""
    return {line.target.name for line in (*optimizer.query_lines, *optimizer.lines)}


def _default(name: str, context: Context) -> tuple[Verdict, ...]:
    return _inputs_in_the_way(name, context) or tuple(find(CHECKS[name])(context))


def _inputs_in_the_way(kind: str, context: Context) -> tuple[Verdict, ...]:
    """Unknown, where a spec reads what this kind of check knows nothing of."""
    inputs = context.optimizer.inputs
    noise = any(drawn(name) for name in inputs)
    residual = ""
    if inputs and (kind not in TAKES_INPUTS or (noise and kind in OF_A_STILL_STEP)):
        residual = f"not decided where a step reads what it is given: {', '.join(inputs)}"
    elif kind not in TAKES_MATRICES and (found := _matrices(context.optimizer)):
        past = any(is_sweep(line.value) for line in context.optimizer.lines)
        what = "goes over what it remembers" if past else "computes with whole matrices"
        residual = f"not decided where a step {what}: {', '.join(found)}"
    return (Verdict(kind, Outcome.UNKNOWN, residual=residual),) if residual else ()


def _matrices(optimizer: Optimizer) -> list[str]:
    """The names whose lines compute with matrices, or with how many rows and columns there are."""
    lines = (*optimizer.query_lines, *optimizer.lines)
    parts = ((line.target.name, part) for line in lines for part in (line.value, line.first) if part)
    return list(dict.fromkeys(name for name, part in parts if uses_matrices(part)))


def _estimates(run: bool, claim: syntax.Claim, context: Context) -> tuple[Verdict, ...]:
    kind = kind_of(claim)
    if kind in ESTIMATES and (in_the_way := _inputs_in_the_way(kind, context)):
        return in_the_way
    if kind not in ESTIMATES:
        residual = f"this cannot be estimated; there are {', '.join(sorted(ESTIMATES))}"
        return (Verdict("", Outcome.UNKNOWN, residual=residual),)
    found: Verdict = find(ESTIMATES[kind])(claim, context, run)
    return (found,)


def _claims(lookup: Lookup | None, claim: syntax.Claim, context: Context) -> tuple[Verdict, ...]:
    return (_claim(claim, context, lookup),)


def _claim(claim: syntax.Claim, context: Context, lookup: Lookup | None) -> Verdict:
    kind = kind_of(claim)
    if kind in CHECKS:
        verdicts = _default(kind, context)
        return min(verdicts, key=lambda verdict: _GRAVITY[verdict.outcome])
    if kind in ESTIMATES:
        residual = f"it is found numerically, and never proved: write `estimate {kind}(...)`"
        return Verdict("", Outcome.UNKNOWN, residual=residual)
    if kind not in CLAIMS:
        known = ", ".join(sorted({*CLAIMS, *CHECKS}))
        return Verdict("", Outcome.UNKNOWN, residual=f"there is no claim of this form; there are {known}")
    if in_the_way := _inputs_in_the_way(kind, context):
        return in_the_way[0]
    function = find(CLAIMS[kind])
    if kind not in NAMES_ANOTHER:
        found: Verdict = function(claim, context)
        return found
    if lookup is None:
        return Verdict("", Outcome.UNKNOWN, residual="the other spec cannot be looked up here")

    def other(name: str) -> Optimizer:
        found = lookup(name)
        if in_the_way := _inputs_in_the_way(kind, Context(found)):
            raise _RefusedError(in_the_way[0])
        return found

    try:
        related: Verdict = function(claim, context, other)
    except NoSpecError as error:
        return Verdict("", Outcome.UNKNOWN, residual=f"there is no spec `{error}`")
    except _RefusedError as error:
        return error.verdict
    return related


class _RefusedError(Exception):
    """Another spec that a claim names is not one for this kind of claim."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


def _guarded(run: Callable[[], tuple[Verdict, ...]], claim: str) -> tuple[Verdict, ...]:
    """What is too large to be decided within the budget is unknown: never an exception, never a guess."""
    from optdsl.checks.algebra import NoFormError
    from optdsl.checks.rational import BudgetError
    from optdsl.checks.trace import UndecidedError

    try:
        return run()
    except (BudgetError, NoFormError, UndecidedError, RecursionError, OverflowError) as error:
        return (
            Verdict(claim, Outcome.UNKNOWN, residual=f"past the budget: {error or type(error).__name__}"),
        )
