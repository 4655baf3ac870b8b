"""A finding about a spec, as data: no text is put together where it is raised.

`Problem` is the base of every class in `catalogue`; the renderers in `render` read nothing but the
`Diagnostic` that a problem turns itself into.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar

from optdsl.diagnostics.source import Source, Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A span with a word about it."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A finding in the form that is shown: `code` never changes its meaning between versions."""

    code: str
    severity: Severity
    message: str
    primary: Label | None
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    replacement: str | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One kind of finding. A subclass gives the templates; its fields are the facts that fill them.

    The docstring of a subclass is what `optdsl explain CODE` prints.
    """

    code: ClassVar[str]
    severity: ClassVar[Severity] = Severity.ERROR
    title: ClassVar[str]
    label: ClassVar[str] = ""
    note: ClassVar[str | None] = None
    advice: ClassVar[str | None] = None
    """Help that is always given; `suggestion` (a name close by) takes its place when there is one."""

    span: Span | None
    also: tuple[Label, ...] = ()
    suggestion: str | None = None
    replacement: str | None = None

    def _fill(self, template: str) -> str:
        return template.format(**{f.name: getattr(self, f.name) for f in fields(self)})

    def diagnostic(self) -> Diagnostic:
        help_text = self._fill(self.advice) or None if self.advice else None
        if self.suggestion:
            help_text = f"did you mean `{self.suggestion}`?"
        return Diagnostic(
            code=self.code,
            severity=self.severity,
            message=self._fill(self.title),
            primary=Label(self.span, self._fill(self.label)) if self.span else None,
            secondary=self.also,
            notes=(self._fill(self.note),) if self.note else (),
            help=help_text,
            replacement=self.replacement,
        )


class OptdslError(Exception):
    """What is wrong with a spec or with how it was used: diagnostics, and the text they point into.

    `str(error)` is the rendered report, without colour.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic], source: Source | None = None) -> None:
        self.diagnostics = tuple(diagnostics)
        self.source = source
        super().__init__(self.diagnostics, source)

    def __str__(self) -> str:
        from optdsl.diagnostics.render import render_text

        return render_text(self.diagnostics, self.source)


class InternalError(Exception):
    """A mistake of ours: the message says so, and never blames the spec."""


class Report:
    """Collects the problems of one source, so that all of them are told in one run."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found: dict[Diagnostic, None] = {}

    def add(self, problem: Problem) -> None:
        self._found.setdefault(problem.diagnostic())

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """In order of place in the text."""
        return tuple(sorted(self._found, key=lambda d: d.primary.span.start if d.primary else -1))

    @property
    def has_errors(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self._found)

    def raise_if_errors(self) -> None:
        if self.has_errors:
            raise OptdslError(self.diagnostics, self.source)
