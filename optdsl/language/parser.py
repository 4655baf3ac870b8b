"""Text to syntax tree.

In: a `Source` (already read within its limits by `files.read_spec`). Out: a `syntax.File`, in ASCII
names, with spans; every error of syntax goes to the `Report`. Nothing is looked up here, and no number
is turned into a value: `9^9^9` costs nothing.

A line with an error is reported, blanked and left out, and the rest is parsed again: so one run tells
all errors, and the spans of the other lines stay what they are.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from threading import Lock

import lark

from optdsl.diagnostics import Problem, Report, Source, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.language import syntax
from optdsl.language.names import CHARACTER_ADVICE, GREEK, to_ascii
from optdsl.language.syntax_error import explain_syntax_error
from optdsl.language.tree import DEPTH_LIMIT, TooDeepError, TreeBuilder

MAX_SYNTAX_ERRORS = 20
MAX_REPARSED_CHARACTERS = 16_384  # beyond it (no spec is near) only the first error of syntax is told
MAX_BRACKETS = DEPTH_LIMIT

_ONE_AT_A_TIME = Lock()  # the tree builder counts depths of one text
_LETTERS = frozenset(GREEK) | frozenset("₀₁₂₃₄₅₆₇₈₉")


def parse(source: Source, report: Report) -> syntax.File | None:
    """The syntax tree of all lines that are well formed; None when nothing can be made of the text.

    The names that stand on a blanked line are in `blanked_names(report)`: later stages do not blame
    the author for a name that the parser threw away.
    """
    text = _blank_illegal_lines(source, report)
    header = _header(source.text)
    for _ in range(MAX_SYNTAX_ERRORS):
        found: Problem
        try:
            return syntax.File(header, tuple(_parse_text(text)))
        except lark.exceptions.UnexpectedInput as error:
            found = explain_syntax_error(error, text)
        except TooDeepError as error:
            found = problem.TooDeep(span=error.span, limit=DEPTH_LIMIT)
        assert found.span is not None
        structural = isinstance(found, problem.MissingEnd | problem.NoDefinition | problem.EmptyDefinition)
        if not (structural and report.has_errors):  # else it follows from a line that was blanked
            report.add(found)
        if structural or len(source.text) > MAX_REPARSED_CHARACTERS:
            return None
        text = _blank_line(text, found.span.start)
    report.add(problem.TooManyErrors(span=found.span))
    return None


@cache
def _grammar() -> tuple[lark.Lark, TreeBuilder]:
    text = files("optdsl.grammar").joinpath("optdsl.lark").read_text(encoding="utf-8")
    builder = TreeBuilder()
    return lark.Lark(
        text, parser="lalr", keep_all_tokens=True, maybe_placeholders=False, transformer=builder
    ), builder


def _parse_text(text: str) -> list[syntax.Definition | syntax.Composition]:
    parser, builder = _grammar()
    with _ONE_AT_A_TIME:
        builder.reset()
        result = parser.parse(text + "\n")
    assert isinstance(result, list)
    return result


def _header(text: str) -> str:
    """The comment block at the top, without `#`."""
    lines: list[str] = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            if line.strip() or lines:
                break
            continue
        lines.append(line.lstrip("#").removeprefix(" ").rstrip())
    return "\n".join(lines).strip()


def _code_parts(text: str) -> Iterator[tuple[int, str]]:
    """Each line's part before its comment, with its offset."""
    offset = 0
    for line in text.split("\n"):
        yield offset, line.split("#", 1)[0]
        offset += len(line) + 1


def _blank_illegal_lines(source: Source, report: Report) -> str:
    """Report characters outside the language and hopeless bracket towers, and blank their lines."""
    text = source.text
    for offset, code in _code_parts(source.text):
        illegal = next(
            (i for i, char in enumerate(code) if not char.isascii() and char not in _LETTERS), None
        )
        if illegal is not None:
            char = code[illegal]
            report.add(
                problem.IllegalCharacter(
                    span=Span(offset + illegal, offset + illegal + 1),
                    character=f"`{char}`" if char.isprintable() else f"U+{ord(char):04X}",
                    instead=_instead(char),
                )
            )
            text = _blank_line(text, offset)
        elif (deep := _too_deep_at(code)) is not None:
            report.add(problem.TooDeep(span=Span(offset + deep, offset + deep + 1), limit=DEPTH_LIMIT))
            text = _blank_line(text, offset)
    return text


def _instead(char: str) -> str:
    advice = CHARACTER_ADVICE.get(char)
    return f"`{advice}` instead" if advice else "names in ASCII or Greek letters; anything goes in a comment"


def _too_deep_at(code: str) -> int | None:
    depth = 0
    for i, char in enumerate(code):
        if char in "([":
            depth += 1
            if depth > MAX_BRACKETS:
                return i
        elif char in ")]":
            depth -= 1
    return None


def _blank_line(text: str, offset: int) -> str:
    """The text with the line at `offset` turned to spaces: every other offset stays."""
    offset = min(offset, len(text))
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    return text[:start] + " " * (end - start) + text[end:]


_WORD = re.compile(r"[^\W\d]\w*")


def blanked_names(report: Report) -> frozenset[str]:
    """Names on the lines that syntax errors point at, in ASCII."""
    names: set[str] = set()
    for diagnostic in report.diagnostics:
        if diagnostic.code.startswith("OD1") and diagnostic.primary:
            line, _ = report.source.position(diagnostic.primary.span.start)
            names.update(map(to_ascii, _WORD.findall(report.source.line(line))))
    return frozenset(names)
