"""`optdsl diff`: specs that are known to be the same under a condition, and where others part."""

from fractions import Fraction

import pytest

from optdsl import driver
from optdsl.checks.compare import compare
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import Source
from optdsl.files import library_names
from optdsl.language.optimizer import Optimizer
from optdsl.library import lookup

ADAM = lookup("adam").source


def changed(old: str, new: str) -> Optimizer:
    assert ADAM is not None
    assert old in ADAM.text
    return driver.front(Source("changed.opt", ADAM.text.replace(old, new)))[0]


@pytest.mark.parametrize("name", library_names())
def test_every_spec_is_itself(name: str) -> None:
    found = compare(lookup(name), lookup(name))
    assert found.verdict.outcome is Outcome.PROVED
    assert (found.only_a, found.only_b, found.defaults) == ((), (), ())


@pytest.mark.parametrize(
    ("a", "b", "hypers"),
    [
        ("adam", "adamw", {"weight_decay"}),  # without decay there is nothing to decouple
        ("momentum", "gd", {"mu"}),
        ("sgd", "gd", {"mu", "weight_decay"}),
        ("adam", "nadam", {"beta1"}),  # without momentum there is none to look ahead with
    ],
)
def test_where_one_becomes_the_other(a: str, b: str, hypers: set[str]) -> None:
    found = compare(lookup(a), lookup(b))
    assert found.verdict.outcome is Outcome.REFUTED
    assert found.verdict.witness is not None
    assert [set(setting) for setting in found.equal_when] == [hypers]


@pytest.mark.parametrize(("a", "b"), [("adam", "radam"), ("rmsprop", "adagrad")])
def test_different_optimizers_part(a: str, b: str) -> None:
    found = compare(lookup(a), lookup(b))
    assert found.verdict.outcome is Outcome.REFUTED
    assert not found.equal_when


def test_another_way_of_writing_it_is_the_same() -> None:
    """Kingma & Ba 2015, section 2: the corrections taken out of the fraction."""
    assert ADAM is not None
    kept = [
        line
        for line in ADAM.text.split("\n")
        if not any(word in line for word in ("vmax", "mhat", "amsgrad"))
    ]
    other = "\n".join(line for line in kept if not line.startswith(("vhat", "theta", "prove")))
    other += (
        "theta[t] = theta[t-1] - "
        "lr*sqrt(1 - beta2^t)/(1 - beta1^t)*m[t]/(sqrt(v[t]) + eps*sqrt(1 - beta2^t))\n"
    )
    found = compare(lookup("adam"), driver.front(Source("other.opt", other))[0])
    assert found.verdict.outcome is Outcome.PROVED


def test_eps_inside_the_root_is_another_optimizer() -> None:
    found = compare(lookup("adam"), changed("(sqrt(vhat) + eps)", "sqrt(vhat + eps)"))
    assert found.verdict.outcome is Outcome.REFUTED
    witness = found.verdict.witness
    assert witness is not None
    # g = 1, beta1 = beta2 = 1/2 and the decay 1/2 of theta = 1: d = 3/2, mhat = 3/2, vhat = 9/4;
    # theta[1] = 1 - 1/2*(3/2)/(3/2 + 1/2) = 5/8 against 1 - 1/2*(3/2)/sqrt(9/4 + 1/2)
    assert witness.values["lr"] == Fraction(1, 2)
    assert witness.found.startswith("theta[1] = 5/8")
    assert witness.expected.startswith("0.54773")


@pytest.mark.parametrize("name", ["lbfgs", "muon"])
def test_what_no_check_reads_is_unknown_and_still_itself(name: str) -> None:
    spec, sgd = lookup(name), lookup("sgd")
    assert compare(spec, sgd).verdict.outcome is Outcome.UNKNOWN
    assert compare(spec, spec).verdict.outcome is Outcome.PROVED
