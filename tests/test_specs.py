"""Every spec of the library as a document: cited, short, without warnings, with domains that hold."""

import re

import pytest

from optdsl import driver, facts
from optdsl.files import LIBRARY, library_names, read_library
from optdsl.language.optimizer import Optimizer

LONGEST = 40  # lines below the header: an algorithm box, not a program


def meaning(name: str) -> Optimizer:
    optimizer, warnings = driver.front(read_library(name))
    assert not warnings
    return optimizer


def test_library() -> None:
    """The optimizers that were promised first; the rest of the library may only add to them."""
    assert set(library_names()) >= {
        *("gd", "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "rprop"),
        *("adam", "adamax", "nadam", "amsgrad", "adabound", "adamw", "radam"),
    }


@pytest.mark.parametrize("name", LIBRARY)
def test_header(name: str) -> None:
    """The first paragraph is the citation: somebody, something, some time."""
    text = read_library(name).text
    header, body = re.split(r"\n(?:optimizer|objective|transform|schedule|wrapper) ", text)
    citation = re.split(r"\n#\n", header)[0]
    assert all(line.startswith("#") for line in header.splitlines())
    listed = facts.citation(driver.meaning(read_library(name))[0].doc)
    assert f'"{listed.title}' in " ".join(citation.replace("\n#", "").split()), "the title stands in quotes"
    assert str(listed.year) in citation, "no year"
    assert "- " not in listed.title.replace(" - ", ""), "a word cut in two by the end of a line"
    assert max(map(len, text.splitlines())) <= 110
    assert len(body.splitlines()) < LONGEST


@pytest.mark.parametrize("name", library_names())
def test_meaning(name: str) -> None:
    optimizer = meaning(name)
    # torch has a class LBFGS, which is another: a step of it is many
    assert optimizer.name.replace("L_BFGS", "LBFGS").lower() == {"gd": "gradientdescent"}.get(
        name, name
    ).replace("_", "")
    for hyper in optimizer.hypers:
        domain = hyper.domain
        assert domain.contains(hyper.default)
        ends = (domain.low, domain.high)
        unbounded = hyper.name in ("f_min", "lower_bound")  # of the loss
        assert unbounded or ends != (None, None), f"{hyper.name} may be anything"
        assert hyper.name != "eps" or not domain.contains(type(hyper.default)(0)), "0/0 at g = 0"
