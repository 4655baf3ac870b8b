"""Formulas that are printed wrong, and bugs that libraries shipped: each is refuted, with a witness.

`errata/` holds what lecture notes and papers print, `bugs/` what public libraries had, as their headers say.
Every `expect refuted` line has to be refuted by the checker from the equations alone, every `prove` proved.
`errata/unreadable/` holds what is not even a spec: the front end says so. `docs/errata.md` is the whole list.
"""

from pathlib import Path

import pytest

from optdsl import checks, driver
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import OptdslError, Source
from optdsl.files import library_names
from optdsl.language.optimizer import Optimizer
from optdsl.library import lookup

HERE = Path(__file__).parent
UNREADABLE = sorted((HERE / "errata" / "unreadable").glob("*.opt"))
CASES = sorted([*(HERE / "errata").glob("*.opt"), *(HERE / "bugs").glob("*.opt")])


def meaning(path: Path) -> Optimizer:
    optimizer, _ = driver.front(Source(path.name, path.read_text(encoding="utf-8")))
    return optimizer


def find(name: str) -> Optimizer:
    """A spec of the library, or a right one that stands beside the bugs."""
    path = HERE / "bugs" / "reference" / f"{name}.opt"
    return meaning(path) if path.exists() else lookup(name)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_is_refuted(path: Path) -> None:
    optimizer = meaning(path)
    declared = [verdict for verdict in checks.check(optimizer, find).verdicts if verdict.declared]
    assert any(verdict.expected_refuted for verdict in declared)
    for verdict in declared:
        expected = Outcome.REFUTED if verdict.expected_refuted else Outcome.PROVED
        assert verdict.outcome is expected, (verdict.claim, verdict.summary, verdict.residual)
        assert not verdict.expected_refuted or verdict.witness is not None


@pytest.mark.parametrize("path", UNREADABLE, ids=lambda path: path.stem)
def test_it_is_not_a_spec(path: Path) -> None:
    with pytest.raises(OptdslError):
        meaning(path)


@pytest.mark.parametrize("name", library_names())
def test_no_false_alarm_on_the_library(name: str) -> None:
    """Every claim of the library is decided as it says, and nothing else is told about it."""
    source = lookup(name).source
    assert source is not None
    _, diagnostics, verdicts = driver.check(source, lookup)
    assert diagnostics == ()
    assert all(verdict.outcome is not Outcome.UNKNOWN for verdict in verdicts if verdict.declared)
