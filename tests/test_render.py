"""What diagnostics look like, and what their JSON says: expected text written by hand."""

import json
import unicodedata

import pytest

from optdsl.diagnostics import Diagnostic, Label, Severity, Source, Span
from optdsl.diagnostics.render import render_json, render_text


def mark(source: Source, text: str, label: str = "", nth: int = 0) -> Label:
    """A label on the nth place where `text` stands."""
    start = -1
    for _ in range(nth + 1):
        start = source.text.index(text, start + 1)
    return Label(Span(start, start + len(text)), label)


def error(primary: Label | None, *secondary: Label, message: str = "wrong", **more: object) -> Diagnostic:
    return Diagnostic("OD999", Severity.ERROR, message, primary, secondary, **more)  # type: ignore[arg-type]


def drawn(source: Source, *diagnostics: Diagnostic) -> str:
    return render_text(diagnostics, source)


def test_everything_at_once() -> None:
    source = Source("adam.opt", "optimizer Adam\n\nhyper beta1 = 0.9\n\n\n\nm = beta_1*m + (1 - beta_1)*g\n")
    found = Diagnostic(
        "OD201",
        Severity.ERROR,
        "`beta_1` is not defined",
        mark(source, "beta_1", "no such name"),
        (mark(source, "beta_1", "and here", nth=1), mark(source, "beta1", "a similar one")),
        notes=("lines run from top to bottom\na name is set before it is used",),
        help="did you mean `beta1`?",
    )
    assert drawn(source, found) == (
        "error[OD201]: `beta_1` is not defined\n"
        "  --> adam.opt:7:5\n"
        "   |\n"
        " 3 | hyper beta1 = 0.9\n"
        "   |       ----- a similar one\n"
        "...\n"
        " 7 | m = beta_1*m + (1 - beta_1)*g\n"
        "   |     ^^^^^^          ------ and here\n"
        "   |     |\n"
        "   |     no such name\n"
        "   |\n"
        "   = note: lines run from top to bottom\n"
        "           a name is set before it is used\n"
        "   = help: did you mean `beta1`?\n"
        "\n"
        "1 error, 0 warnings"
    )


def test_short_gaps_are_filled_and_line_numbers_aligned() -> None:
    source = Source("x.opt", "\n" * 7 + "eight\n\nten\neleven\n")
    assert drawn(source, error(mark(source, "eleven", "b"), mark(source, "eight", "a"))) == (
        "error[OD999]: wrong\n"
        "   --> x.opt:11:1\n"
        "    |\n"
        "  8 | eight\n"
        "    | ----- a\n"
        "  9 |\n"
        " 10 | ten\n"
        " 11 | eleven\n"
        "    | ^^^^^^ b\n"
        "\n"
        "1 error, 0 warnings"
    )


def test_three_labels_on_one_line() -> None:
    source = Source("x.opt", "aa bb cc\n")
    found = error(mark(source, "bb", "two"), mark(source, "aa", "one"), mark(source, "cc", "three"))
    assert drawn(source, found).splitlines()[3:-2] == [
        " 1 | aa bb cc",
        "   | -- ^^ -- three",
        "   | |  |",
        "   | |  two",
        "   | one",
    ]


def test_marks_inside_one_another() -> None:
    source = Source("x.opt", "max(a, b)\n")
    assert drawn(source, error(mark(source, "a,", "in"), mark(source, "max(a, b)", "out"))).splitlines()[
        3:-2
    ] == [
        " 1 | max(a, b)",
        "   | ----^^---",
        "   | |   |",
        "   | |   in",
        "   | out",
    ]


def test_a_span_over_lines_marks_its_ends() -> None:
    source = Source("x.opt", "when a\n  b\n  c\n  d\n  end of it\n")
    whole = Label(Span(5, source.text.index(" of")), "all of this")
    assert drawn(source, error(whole)).splitlines()[3:-2] == [
        " 1 | when a",
        "   |      ^",
        "...",
        " 5 |   end of it",
        "   |   ^^^ all of this",
    ]


@pytest.mark.parametrize(
    ("line", "below"),
    [
        ("\tx = ?", "        ^ here"),  # the tab is shown as four blanks
        ("ab\tx ?", "      ^ here"),  # and reaches to the next fourth cell
        ("日本 ?", "     ^ here"),  # wide: two cells each
        ("θ β₁ ?", "     ^ here"),  # Greek: one cell each
        (unicodedata.normalize("NFD", "é ?"), "  ^ here"),  # an accent takes no cell
        ("\x1b[1m?", "       ^ here"),  # shown as \x1b[1m
        ("\u202e?", "      ^ here"),  # shown as \u202e
    ],
)
def test_carets_stand_below_what_they_mean(line: str, below: str) -> None:
    source = Source("x.opt", line)
    rows = drawn(source, error(mark(source, "?", "here"))).splitlines()
    assert rows[4] == f"   | {below}"
    assert rows[3] == " 1 | " + line.expandtabs(4).replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")


@pytest.mark.parametrize("text", ["", "abc", "abc\n"])
def test_the_end_of_a_text_can_be_pointed_at(text: str) -> None:
    source = Source("x.opt", text)
    rows = drawn(source, error(Label(Span(len(text), len(text)), "here"))).splitlines()
    line, column = (2, 1) if text.endswith("\n") else (1, len(text) + 1)
    assert rows[1] == f"  --> x.opt:{line}:{column}"
    assert rows[4] == f"   | {' ' * (column - 1)}^ here"


def test_a_line_end_is_not_marked() -> None:
    source = Source("x.opt", "ab\ncd\n")
    assert drawn(source, error(mark(source, "b\n", "x"))).splitlines()[3:-2] == [" 1 | ab", "   |  ^ x"]


def test_a_long_line_is_cut_around_its_mark() -> None:
    source = Source("x.opt", "a" * 30_000 + "?" + "b" * 30_000)
    rows = drawn(source, error(mark(source, "?", "here"))).splitlines()
    assert rows[1] == "  --> x.opt:1:30001"
    assert rows[3] == " 1 | ..." + "a" * 30 + "?" + "b" * 89 + "..."
    assert rows[4] == "   | " + " " * 33 + "^ here"


def test_nothing_that_is_shown_can_steer_a_terminal() -> None:
    hostile = "\x1b]0;owned\x07\u202e\x9b"
    source = Source(f"{hostile}.opt", f"x {hostile} y")
    label = mark(source, hostile, hostile)
    found = error(label, label, message=hostile, notes=(hostile,), help=hostile)
    text = drawn(source, found)
    assert "owned" in text
    assert not [char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Cf")]


def test_without_a_source_or_a_place() -> None:
    found = error(None, message="there is no file `x.opt`", help="look")
    expected = "error[OD999]: there is no file `x.opt`\n = help: look\n\n1 error, 0 warnings"
    assert render_text([found], None) == expected
    assert render_text([found], Source("x.opt", "")) == expected
    assert render_text([], None) == ""


def test_many_findings_are_not_all_shown() -> None:
    source = Source("x.opt", "?" * 60)
    found = [error(Label(Span(i, i + 1), "")) for i in range(60)]
    text = drawn(source, *found)
    assert text.count("-->") == 50
    assert text.endswith("... and 10 more\n\n60 errors, 0 warnings")


def test_colour_changes_nothing_but_colour() -> None:
    source = Source("x.opt", "aa bb cc\n")
    found = error(mark(source, "bb", "two"), mark(source, "aa", "one"), notes=("n",), help="h")
    coloured = render_text([found], source, color=True)
    for code in ("1", "0", "1;31", "1;34"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == render_text([found], source)
    assert "\x1b[1;33m" in render_text([Diagnostic("OD1", Severity.WARNING, "w", None)], source, color=True)


def test_json() -> None:
    source = Source("β.opt", "θ = 1\nx = β\n")
    found = Diagnostic(
        "OD201",
        Severity.WARNING,
        "m",
        mark(source, "β", "p"),
        (Label(Span(0, 7), "s"),),
        notes=("n",),
        help="h",
        replacement="r",
    )
    first, last = map(json.loads, render_json([found], source).splitlines())
    rendered = first.pop("rendered")
    assert rendered == render_text([found], source).removesuffix("\n\n0 errors, 1 warning")
    assert first == {
        "schema_version": 1,
        "kind": "diagnostic",
        "code": "OD201",
        "severity": "warning",
        "message": "m",
        "file": "β.opt",
        "spans": [
            # θ takes two bytes, so the β of the second line is the eleventh code point and the twelfth byte.
            {
                "byte_start": 11, "byte_end": 13, "line": 2, "column": 5, "end_line": 2, "end_column": 6,
                "label": "p", "is_primary": True,
            },
            {
                "byte_start": 0, "byte_end": 8, "line": 1, "column": 1, "end_line": 2, "end_column": 2,
                "label": "s", "is_primary": False,
            },
        ],
        "notes": ["n"],
        "help": "h",
        "replacement": "r",
    }  # fmt: skip
    assert last == {"schema_version": 1, "kind": "summary", "errors": 0, "warnings": 1}


def test_json_is_ascii_and_one_line_each() -> None:
    source = Source("x\udc80.opt", "a\u2028b\n")  # a name that is no UTF-8, a line end that is none
    assert render_json([error(mark(source, "b"))], source).isascii()
    assert len(render_json([error(mark(source, "b"))], source).splitlines()) == 2
