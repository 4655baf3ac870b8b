"""Verdicts as findings: which of them a person who runs `optdsl check` should hear about.

A refuted `prove` and an `expect refuted` that is not are errors, an undecided claim is a warning. Of the
default checks only refutations are told: dividing by zero is an error, the others are warnings, and
units are for `optdsl explain` alone (many published formulas mix them). What the file itself expects to
be refuted is not told again.
"""

from collections.abc import Iterable, Iterator

from optdsl.checks.verdict import Outcome, Verdict
from optdsl.diagnostics import Problem, Span
from optdsl.diagnostics.catalogue_checks import ClaimRefuted, ClaimUnknown, IllDefined, NotRefuted, Suspicious

QUIET = frozenset(("units",))
OF_ONE_AUTHOR = frozenset(("idle_step", "fixed_point"))
"""A decay without lr is a slip in a formula; in `adam | decoupled_decay` it is wanted. Quiet for those."""


def findings(
    verdicts: Iterable[Verdict], where: Span, kind: str = "optimizer", *, composed: bool = False
) -> Iterator[Problem]:
    """`where` stands for verdicts that have no place of their own (the name of what is defined)."""
    quiet = QUIET | OF_ONE_AUTHOR if composed else QUIET
    verdicts = tuple(verdicts)
    expected = {verdict.claim for verdict in verdicts if verdict.expected_refuted}
    for verdict in verdicts:
        if verdict.part:
            continue
        span = verdict.span or where
        if verdict.declared:
            yield from _claimed(verdict, span)
        elif verdict.outcome is Outcome.REFUTED and verdict.claim not in quiet | expected:
            witness = str(verdict.witness) if verdict.witness else verdict.summary
            if verdict.claim == "well_defined":
                yield IllDefined(span=span, witness=witness, kind=kind)
            else:
                yield Suspicious(span=span, check=verdict.claim, summary=verdict.summary, witness=witness)


def assumptions(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """What the proved claims rest on besides the spec, each with the claims that do."""
    resting: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.declared and verdict.outcome is Outcome.PROVED:
            for assumption in verdict.assumptions:
                resting.setdefault(assumption, []).append(verdict.claim)
    for assumption, claims in resting.items():
        yield f"{'; '.join(claims)}: assuming {assumption}"


def _claimed(verdict: Verdict, span: Span) -> Iterator[Problem]:
    witness = str(verdict.witness) if verdict.witness else verdict.summary
    residual = verdict.residual or verdict.summary or "no method applies"
    if verdict.expected_refuted:
        if verdict.outcome is not Outcome.REFUTED:
            reason = verdict.summary if verdict.outcome is Outcome.PROVED else residual
            yield NotRefuted(
                span=span,
                claim=verdict.claim,
                outcome=str(verdict.outcome),
                reason=reason or "no witness was found",
            )
    elif verdict.outcome is Outcome.REFUTED:
        yield ClaimRefuted(span=span, claim=verdict.claim, witness=witness)
    elif verdict.outcome is Outcome.UNKNOWN:
        yield ClaimUnknown(span=span, claim=verdict.claim, residual=residual)
