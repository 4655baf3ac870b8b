"""What `optdsl check` does with each spec, and says of it: findings on standard error, the rest on standard
output.

In text, a line for each spec that is clean, what was estimated, and what its proofs assume; in JSON, one
object a line, with every verdict and what low precision does to the spec. The exit code is that of the worst
spec.
"""

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field

import click

from optdsl import driver
from optdsl.checks.findings import assumptions
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.diagnostics import Diagnostic, OptdslError, Severity, Source
from optdsl.diagnostics.render import (
    count_text,
    json_estimate,
    json_findings,
    json_summary,
    render_findings,
)
from optdsl.explain import lints
from optdsl.files import FileError, resolve_target
from optdsl.language.optimizer import Optimizer
from optdsl.library import lookup

FINDINGS, UNREADABLE = 1, 2


def _proved(verdicts: Iterable[Verdict]) -> int:
    return sum(verdict.outcome is Outcome.PROVED for verdict in verdicts)


def _decided(verdicts: Iterable[Verdict], estimated: Container[str]) -> str:
    """How many are proved, and which are not: what they are is told by `optdsl explain`."""
    own = [each for each in verdicts if not each.part and each.claim not in estimated]
    others = [each.claim for each in own if each.outcome is not Outcome.PROVED and not each.expected_refuted]
    told = f"{_proved(own)} of {len(own)} checks and claims proved"
    return f"{told}, not {', '.join(others)}" if others else told


def _verdict(source: Source, verdict: Verdict) -> str:
    """One line of JSON; `declared` is what the file claims, `part` that whose claim is asked of the whole."""
    entry = {
        "schema_version": 1,
        "kind": "verdict",
        "file": source.name,
        "claim": verdict.claim,
        "outcome": str(verdict.outcome),
        "declared": verdict.declared,
        "expected_refuted": verdict.expected_refuted,
        "part": verdict.part,
        "text": verdict.summary or verdict.residual,
        "witness": str(verdict.witness or ""),
        "assumptions": list(verdict.assumptions),
    }
    return json.dumps(entry)


@dataclass
class Checking:
    """One command line: `form` is "text" or "json"."""

    form: str
    strict: bool
    rates: bool
    quiet: bool
    color: bool
    code: int = 0
    told: list[Diagnostic] = field(default_factory=list)

    def check(self, target: str) -> None:
        source = Source(target, "")
        try:
            source = resolve_target(target)
            spec, found, verdicts = driver.check(source, lookup, rates=self.rates)
        except OptdslError as error:
            source = error.source or source
            self._findings(
                error.diagnostics, source, UNREADABLE if isinstance(error, FileError) else FINDINGS
            )
            return
        self._findings(found, spec.source or source, FINDINGS)
        estimated = driver.estimates(verdicts)
        if self.form == "json":
            self._lines_of_json(source, spec if isinstance(spec, Optimizer) else None, estimated)
            for verdict in verdicts:
                if verdict.claim not in estimated:
                    click.echo(_verdict(source, verdict))
        elif not self.quiet:
            if not found:
                click.echo(f"{source.name}: clean, {_decided(verdicts, estimated)}")
            for claim, (outcome, said) in estimated.items():
                click.echo(f"{source.name}: {outcome}: {claim}: {said}")
            for line in assumptions(verdicts):
                click.echo(f"  {line}")
            if of_parts := [verdict for verdict in verdicts if verdict.part]:
                held = f"{_proved(of_parts)} of {len(of_parts)}; `optdsl explain` says which"
                click.echo(f"  claims of its parts that hold for the whole: {held}")

    def _findings(self, found: tuple[Diagnostic, ...], source: Source, code: int) -> None:
        self.told += found
        if any(diagnostic.severity is Severity.ERROR for diagnostic in found):
            self.code = max(self.code, code)
        if self.form == "json":
            for line in json_findings(found, source):
                click.echo(line)
        elif found:
            click.echo(render_findings(found, source, color=self.color) + "\n", err=True, color=self.color)

    def _lines_of_json(
        self, source: Source, optimizer: Optimizer | None, estimated: Mapping[str, tuple[str, str]]
    ) -> None:
        for claim, (outcome, said) in estimated.items():
            click.echo(json_estimate(source, claim, outcome, said))
        for lint in lints(optimizer) if optimizer else ():
            entry = {"schema_version": 1, "kind": "lint", "file": source.name, **asdict(lint)}
            click.echo(json.dumps(entry))

    def finish(self) -> int:
        """The summary, and the exit code."""
        if self.form == "json":
            click.echo(json_summary(self.told))
        elif self.told:
            click.echo(count_text(self.told), err=True)
        if self.strict and any(diagnostic.severity is Severity.WARNING for diagnostic in self.told):
            self.code = max(self.code, FINDINGS)
        return self.code
