"""Every finding, as its user sees it: `errors/<topic>/<case>.opt` and the expected `.err` beside it.

To add a case, write the `.opt` and run `pytest tests/test_errors.py --update-golden`; then read the
`.err` as the author of that spec would, before it is committed.
"""

import inspect
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from optdsl import driver
from optdsl.diagnostics import (
    OptdslError,
    Problem,
    Source,
    catalogue,
    catalogue_checks,
    catalogue_matrices,
    catalogue_parts,
)
from optdsl.diagnostics.render import render_text
from optdsl.language.optimizer import Optimizer
from optdsl.library import lookup

CASES = sorted((Path(__file__).parent / "errors").glob("*/*.opt"))
CLASSES = [
    found
    for module in (catalogue, catalogue_checks, catalogue_matrices, catalogue_parts)
    for _, found in inspect.getmembers(module, inspect.isclass)
    if issubclass(found, Problem) and found is not Problem
]
CODES = {found.code: found for found in CLASSES}


def findings(source: Source) -> str:
    try:
        spec, diagnostics, _ = driver.check(source, lookup)
        source = spec.source or source
        if isinstance(spec, Optimizer) or not diagnostics:
            driver.compile_source(source, framework="torch")
    except OptdslError as error:
        diagnostics, source = error.diagnostics, error.source or source
    return render_text(diagnostics, source)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_findings(path: Path, golden: Callable[[Path, str], None]) -> None:
    started = time.process_time()
    shown = findings(Source(path.name, path.read_text(encoding="utf-8"))).rstrip() + "\n"
    assert time.process_time() - started < 5, "a wrong spec must not cost much"
    golden(path.with_suffix(".err"), shown)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_case(code: str) -> None:
    shown = "".join(path.with_suffix(".err").read_text(encoding="utf-8") for path in CASES)
    assert f"[{code}]" in shown


def test_no_two_findings_share_a_code() -> None:
    assert len(CLASSES) == len(CODES)
    assert all(found.__doc__ and found.__doc__ != Problem.__doc__ for found in CLASSES)
