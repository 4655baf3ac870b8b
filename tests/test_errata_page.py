"""docs/errata.md is written by the checker: `pytest tests/test_errata_page.py --update-golden`.

So what it says of a formula is what is really found today. The rows are in `support/errata_rows.py`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from optdsl import checks
from optdsl.diagnostics import OptdslError
from tests.support.errata_rows import NOT_CAUGHT, ROWS, WHERE, Row
from tests.test_errata import CASES, HERE, UNREADABLE, find, meaning

PAGE = HERE.parent / "docs" / "errata.md"

HEAD = """# Errata

Formulas that lecture notes, tutorials and one paper print wrong, and bugs that public libraries shipped. Each
is a spec with the formula as it was, in `tests/errata/` or `tests/bugs/`, and claims that are refuted from
the equations alone: by a run from the initial state that can be worked out by hand, or by units that do not
fit. `optdsl explain FILE` shows all of it; `optdsl check FILE` reports what is claimed with `prove` instead.
"Where" is the document, one of five lecture notes and articles that this project was made from, and the line.

This page is made by `tests/test_errata_page.py`; what refutes a row is what the checker answers.
"""
PRINTED = """## Printed formulas

| | where | printed | right | spec | refuted, by |
|---|---|---|---|---|---|
"""
BUGS = """## Bugs of libraries

| spec | bug | refuted, by |
|---|---|---|
"""
MISSED = """## Bugs that no spec here refutes

| reported | why |
|---|---|
"""


def test_the_page(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, "\n".join((HEAD, PRINTED + _printed(), BUGS + _bugs(), MISSED + _missed())))


def test_every_row_has_a_spec_or_a_reason() -> None:
    assert all(bool(row.specs) != bool(row.reason) for row in ROWS)
    named = {spec for row in ROWS for spec in row.specs}
    printed = {path.stem for path in CASES if path.parent.name == "errata"}
    assert named == printed | {f"unreadable/{path.stem}" for path in UNREADABLE}


def _printed() -> str:
    return "".join(
        f"| {number} | {where.strip()} | {_cell(row.printed)} | {_cell(row.right)} | {_evidence(row)} |\n"
        for number, (row, where) in enumerate(zip(ROWS, (*WHERE, "Adam, 2.1"), strict=True), 1)
    )


def _evidence(row: Row) -> str:
    if row.reason:
        return f"none | {_cell(row.reason)}"
    found = [line for spec in row.specs for line in _found(HERE / "errata" / f"{spec}.opt")]
    return f"{'<br>'.join(row.specs)} | {'<br>'.join(found)}"


def _found(path: Path) -> Iterator[str]:
    """The claims that a spec refutes, with what shows it; of what is not a spec, what is wrong with it."""
    try:
        verdicts = tuple(checks.check_claims(meaning(path), find))
    except OptdslError as error:
        yield from (f"{each.severity} {each.code}: {_cell(each.message)}" for each in error.diagnostics)
        return
    for verdict in verdicts:
        if verdict.expected_refuted:
            yield f"`{verdict.claim}`: {_cell(str(verdict.witness))}"


def _bugs() -> str:
    return "".join(
        f"| {path.stem} | {_cell(' '.join(meaning(path).doc.split()))} | {'<br>'.join(_found(path))} |\n"
        for path in CASES
        if path.parent.name == "bugs"
    )


def _missed() -> str:
    return "".join(f"| {_cell(reported)} | {_cell(why)} |\n" for reported, why in NOT_CAUGHT)


def _cell(text: str) -> str:
    """Text within a table: a bar or a star of a formula is no markup, and what is in backticks stays."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if i % 2 else part.replace("*", "\\*") for i, part in enumerate(parts))
