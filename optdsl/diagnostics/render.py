"""Diagnostics as text for people and as JSON for programs: the only place that knows how they look.

    error[OD201]: `beta_1` is not defined
      --> adam.opt:7:8
       |
     3 | hyper beta1 = 0.9 in [0, 1)
       |       ----- a hyperparameter with a similar name
    ...
     7 | m[t] = beta_1*m[t-1] + (1 - beta1)*g[t]
       |        ^^^^^^ no hyperparameter, state or earlier line has this name
       |
       = help: did you mean `beta1`?

In: diagnostics and the `Source` they point into, or None. Out: text; nothing is printed here.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from optdsl.diagnostics.excerpt import Paint, draw_line, marks_by_line, visible
from optdsl.diagnostics.model import Diagnostic, Label, Severity
from optdsl.diagnostics.source import Source, Span

SCHEMA_VERSION = 1
SHOWN = 50
"""So many findings of one file are shown as text; JSON has them all."""

_FILLED = 2  # so many lines between two marked ones are shown rather than left out

_STYLES = {"error": "1;31", "warning": "1;33", "bold": "1", "gutter": "1;34", "secondary": "1;34"}


def _painter(severity: Severity, *, color: bool) -> Paint:
    styles = _STYLES | {"primary": _STYLES[severity]}
    if not color:
        return lambda text, style: text
    return lambda text, style: f"\x1b[{styles[style]}m{text}\x1b[0m" if text and style else text


# --- text ----------------------------------------------------------------------------------------


def render_text(diagnostics: Iterable[Diagnostic], source: Source | None, *, color: bool = False) -> str:
    """All findings of one source and a closing line that counts them; "" when there are none.

    Ends without a line end. `color` adds ANSI colours; nothing is said by colour alone.
    """
    found = tuple(diagnostics)
    if not found:
        return ""
    parts = [render_findings(found, source, color=color), count_text(found)]
    return "\n\n".join(parts)


def render_findings(diagnostics: Sequence[Diagnostic], source: Source | None, *, color: bool = False) -> str:
    """`render_text` without its closing line, for a report about several sources."""
    blocks = [render_diagnostic(diagnostic, source, color=color) for diagnostic in diagnostics[:SHOWN]]
    if len(diagnostics) > SHOWN:
        blocks.append(f"... and {len(diagnostics) - SHOWN} more")
    return "\n\n".join(blocks)


def count_text(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`."""
    errors, warnings = _count(diagnostics)
    return f"{_plural(errors, 'error')}, {_plural(warnings, 'warning')}"


def _count(diagnostics: Iterable[Diagnostic]) -> tuple[int, int]:
    severities = [diagnostic.severity for diagnostic in diagnostics]
    return severities.count(Severity.ERROR), severities.count(Severity.WARNING)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def render_diagnostic(diagnostic: Diagnostic, source: Source | None, *, color: bool = False) -> str:
    """One finding, without a line end."""
    return "\n".join(_lines(diagnostic, source, color=color))


def _lines(diagnostic: Diagnostic, source: Source | None, *, color: bool) -> Iterator[str]:
    paint = _painter(diagnostic.severity, color=color)
    diagnostic, source = _at_home(diagnostic, source)
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", diagnostic.severity.value)
    yield head + paint(f": {visible(diagnostic.message)}", "bold")
    margin = ""
    if source is not None and diagnostic.primary is not None:
        labels = [(diagnostic.primary, True), *((label, False) for label in diagnostic.secondary)]
        marks = marks_by_line(source, labels)
        margin = " " * (len(str(max(marks))) + 1)
        line, column = source.position(min(diagnostic.primary.span.start, len(source.text)))
        arrow = paint(f"{margin}-->", "gutter")
        yield f"{arrow} {visible(source.name)}:{line}:{column}"
        yield paint(f"{margin} |", "gutter")
        previous = None
        for number in sorted(marks):
            skipped = range(number if previous is None else previous + 1, number)
            if len(skipped) > _FILLED:
                yield paint("...", "gutter")
            else:
                rows = [(n, draw_line(source.line(n), [], paint)[0]) for n in skipped]
                yield from (_numbered(n, row, margin, paint) for n, row in rows)
            row, *below = draw_line(source.line(number), marks[number], paint)
            yield _numbered(number, row, margin, paint)
            yield from (f"{paint(f'{margin} |', 'gutter')} {mark_row}" for mark_row in below)
            previous = number
        if diagnostic.notes or diagnostic.help:
            yield paint(f"{margin} |", "gutter")
    remarks = [("note", note) for note in diagnostic.notes]
    remarks += [("help", diagnostic.help)] if diagnostic.help else []
    for word, text in remarks:
        first, *more = text.split("\n")
        yield f"{margin} {paint('=', 'gutter')} {paint(f'{word}:', 'bold')} {visible(first)}"
        yield from (f"{margin}   {' ' * len(word)}  {visible(line)}" for line in more)


def _at_home(diagnostic: Diagnostic, source: Source | None) -> tuple[Diagnostic, Source | None]:
    """A finding in the piece that it stands in; labels that stand in other pieces become notes."""
    if source is None or not source.pieces or diagnostic.primary is None:
        return diagnostic, source
    home, begin = source.piece(diagnostic.primary.span.start)
    labels, notes = [], []
    for label in (diagnostic.primary, *diagnostic.secondary):
        there, start = source.piece(label.span.start)
        span = Span(label.span.start - start, label.span.end - start)
        if start == begin:
            labels.append(Label(span, label.text))
        else:
            line, column = there.position(span.start)
            notes.append(f"{label.text}: {there.name}:{line}:{column}: `{there.slice(span)}`")
    primary, *others = labels
    told = replace(diagnostic, primary=primary, secondary=tuple(others), notes=(*diagnostic.notes, *notes))
    return told, home


def _numbered(number: int, row: str, margin: str, paint: Paint) -> str:
    gutter = paint(f"{number:>{len(margin)}} |", "gutter")
    return f"{gutter} {row}" if row else gutter


# --- JSON ----------------------------------------------------------------------------------------


def render_json(diagnostics: Iterable[Diagnostic], source: Source | None) -> str:
    """One object a line for each finding, then one that counts them; ends without a line end.

    Fields may be added; the meaning of one that is there changes only with `schema_version`. Offsets are
    into the text without byte-order mark and with `\\n` line ends, columns count code points from 1.
    """
    found = tuple(diagnostics)
    return "\n".join([*json_findings(found, source), json_summary(found)])


def json_findings(diagnostics: Iterable[Diagnostic], whole: Source | None) -> Iterator[str]:
    """The lines of `render_json` without the last."""
    for found in diagnostics:
        diagnostic, source = _at_home(found, whole)
        labels = [] if diagnostic.primary is None else [(diagnostic.primary, True)]
        labels += [(label, False) for label in diagnostic.secondary]
        yield _object(
            kind="diagnostic",
            code=diagnostic.code,
            severity=diagnostic.severity.value,
            message=diagnostic.message,
            file=source.name if source else None,
            spans=[_span(source, label, primary) for label, primary in labels] if source else [],
            notes=list(diagnostic.notes),
            help=diagnostic.help,
            replacement=diagnostic.replacement,
            rendered=render_diagnostic(diagnostic, source),
        )


def json_estimate(source: Source, claim: str, outcome: str, text: str) -> str:
    """What was certified numerically, or not run; no finding."""
    return _object(kind="estimate", file=source.name, claim=claim, outcome=outcome, text=text)


def json_summary(diagnostics: Iterable[Diagnostic]) -> str:
    """The last line of a report."""
    errors, warnings = _count(diagnostics)
    return _object(kind="summary", errors=errors, warnings=warnings)


def _object(**members: object) -> str:
    return json.dumps({"schema_version": SCHEMA_VERSION, **members})


def _span(source: Source, label: Label, primary: bool) -> dict[str, object]:
    (line, column), (end_line, end_column) = map(source.position, (label.span.start, label.span.end))
    return {
        "byte_start": len(source.text[: label.span.start].encode()),
        "byte_end": len(source.text[: label.span.end].encode()),
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "label": label.text,
        "is_primary": primary,
    }
