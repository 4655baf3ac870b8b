"""docs/coverage.md says what is there under which name: names are the libraries', answers compile."""

import inspect

import optax
import pytest
import torch

from optdsl import driver
from optdsl.files import composition, library_names
from tests import coverage
from tests.support.coverage_rows import TABLES, Row, rows

HELPERS = {
    "differentially_private_aggregate", "hutchinson_estimator_diag_hessian", "normalize",
    "schedule_free_eval_params",
}  # fmt: skip
"""Of optax.contrib: parts of transformations, and no optimizers."""


def test_names_of_torch() -> None:
    """All of them, so that a new one is seen."""
    found = {
        name
        for name, each in vars(torch.optim).items()
        if inspect.isclass(each) and issubclass(each, torch.optim.Optimizer)
    }
    assert found - {"Optimizer"} == TABLES["torch.optim"].keys()


def test_names_of_optax() -> None:
    found = {
        name for name, each in vars(optax).items()
        if inspect.isfunction(each) and each.__module__ == "optax._src.alias"
    }  # fmt: skip
    kept = {"nadam", "nadamw", "lookahead"}  # partial applications, and a wrapper
    assert all(hasattr(optax, name) for name in kept)
    assert found | kept == TABLES["optax"].keys()


def test_names_of_optax_contrib() -> None:
    found = {name for name, each in vars(optax.contrib).items() if inspect.isfunction(each)}
    found = {name for name in found if not name.startswith("scale_by_")}
    assert found - HELPERS == TABLES["optax.contrib"].keys()


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.source}-{row.name}")
def test_what_is_said_to_be_there_is(row: Row) -> None:
    if not row.ours:
        assert row.note, "say why not"
    elif row.ours not in library_names():
        driver.front(composition(row.ours))


def test_the_page_is_of_these_rows() -> None:
    page = coverage.PAGE.read_text(encoding="utf-8")
    assert page == coverage.written(rows()), "write it anew: `python -m tests.coverage`"
