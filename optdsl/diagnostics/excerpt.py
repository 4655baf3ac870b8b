"""Lines of a spec with marks below them, as columns of a terminal: the picture inside a diagnostic.

    7 | m[t] = beta_1*m[t-1] + (1 - beta_1)*g[t]
      |        ^^^^^^ no such name  ------ and here

In: a `Source` and labels. Out: rows of painted text without the gutter. Characters take the cells that a
terminal gives them (two for wide ones, none for accents), tabs reach to the next fourth cell, and what
could steer a terminal is shown as its code. Nothing is said here about codes, notes or colours' numbers.
"""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from optdsl.diagnostics.model import Label
from optdsl.diagnostics.source import Source

Paint = Callable[[str, str], str]  # text and the name of a style

TAB = 4
WIDEST = 120  # code points; of a longer line, the part around its marks is shown
BEFORE = 30  # of them, how many stand before the first mark
CUT = "..."


@dataclass(frozen=True)
class Mark:
    """An underline of one line: columns in code points from 0, `end` behind the last."""

    start: int
    end: int
    text: str
    primary: bool

    @property
    def style(self) -> str:
        return "primary" if self.primary else "secondary"


def visible(text: str) -> str:
    """The text with everything that could steer a terminal, or is not seen, as `\\x1b` or `\\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return char
    return char.encode("unicode_escape").decode("ascii")


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def marks_by_line(source: Source, labels: Iterable[tuple[Label, bool]]) -> dict[int, list[Mark]]:
    """The marks of each line (counted from 1); a span over several lines marks its first and its last."""
    found: dict[int, list[Mark]] = {}
    for label, primary in labels:
        start = min(max(label.span.start, 0), len(source.text))
        end = min(max(label.span.end, start), len(source.text))
        if end > start and source.text[end - 1] == "\n":
            end -= 1  # a line end is no place of its own
        (first, left), (last, right) = source.position(start), source.position(end)
        if first == last:
            found.setdefault(first, []).append(Mark(left - 1, right - 1, label.text, primary))
            continue
        head, tail = source.line(first), source.line(last)
        indent = len(tail) - len(tail.lstrip())
        found.setdefault(first, []).append(Mark(left - 1, len(head), "", primary))
        found.setdefault(last, []).append(Mark(min(indent, right - 1), right - 1, label.text, primary))
    return found


def draw_line(line: str, marks: list[Mark], paint: Paint) -> list[str]:
    """The row of the line itself, then the rows of its marks and labels."""
    line, marks = _cut(line, marks)
    shown, cell_of = _lay_out(line)
    placed = [
        replace(mark, start=cell_of[mark.start], end=max(cell_of[mark.end], cell_of[mark.start] + 1))
        for mark in marks
    ]
    return [shown.rstrip(), *_mark_rows(placed, paint)]


def _cut(line: str, marks: list[Mark]) -> tuple[str, list[Mark]]:
    if len(line) <= WIDEST:
        return line, marks
    focus = next((mark for mark in marks if mark.primary), marks[0] if marks else Mark(0, 0, "", False))
    low = max(0, min(focus.start - BEFORE, len(line) - WIDEST))
    high = min(len(line), low + WIDEST)
    head, tail = CUT if low else "", CUT if high < len(line) else ""
    text = head + line[low:high] + tail

    def moved(column: int) -> int:
        return min(max(column - low + len(head), 0), len(text) - 1)

    return text, [replace(mark, start=moved(mark.start), end=moved(mark.end)) for mark in marks]


def _lay_out(line: str) -> tuple[str, list[int]]:
    """The line as it is shown, and the cell where each code point (and the line's end) stands."""
    shown: list[str] = []
    cell_of = [0]
    for char in line:
        cell = cell_of[-1]
        piece = " " * (TAB - cell % TAB) if char == "\t" else _visible(char)
        shown.append(piece)
        cell_of.append(cell + sum(map(_cells, piece)))
    return "".join(shown), cell_of


def _mark_rows(marks: list[Mark], paint: Paint) -> list[str]:
    """Underlines, with the label of the rightmost mark beside it and the others hung below:

    ^^^^^^   ------ beside
    |
    below
    """
    marks = sorted(marks, key=lambda mark: (mark.start, mark.primary))
    underline: dict[int, tuple[str, str]] = {}
    for mark in sorted(marks, key=lambda mark: mark.primary):  # the primary one is drawn over the others
        for cell in range(mark.start, mark.end):
            underline[cell] = ("^" if mark.primary else "-", mark.style)
    beside = marks[-1] if marks and marks[-1].end == max(mark.end for mark in marks) else None
    hung = [mark for mark in marks if mark.text and mark is not beside]
    rows = [_row(underline, beside.text if beside else "", beside.style if beside else "", paint)]
    if hung:
        rows.append(_row({mark.start: ("|", mark.style) for mark in hung}, "", "", paint))
    for index in reversed(range(len(hung))):
        left = {mark.start: ("|", mark.style) for mark in hung[:index] if mark.start < hung[index].start}
        rows.append(_row(left, hung[index].text, hung[index].style, paint, at=hung[index].start))
    return rows


def _row(
    cells: dict[int, tuple[str, str]], tail: str, style: str, paint: Paint, at: int | None = None
) -> str:
    """Painted cells with blanks between them, then a text: one blank behind the last, or at a cell."""
    parts: list[str] = []
    end = max(cells, default=-1) + 1
    column = 0
    while column < end:
        char, char_style = cells.get(column, (" ", ""))
        run = column
        while run < end and cells.get(run, (" ", "")) == (char, char_style):
            run += 1
        parts.append(paint(char * (run - column), char_style))
        column = run
    if tail:
        parts.append(" " * (1 if at is None else at - end))
        parts.append(paint(visible(tail), style))
    return "".join(parts)
