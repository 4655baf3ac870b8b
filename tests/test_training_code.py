"""What `optdsl explain` and `optdsl show` say that training code has to do for a spec."""

import pytest

from optdsl.explain import explain, shown
from optdsl.files import resolve_target

HVP = "opt.step(..., hvp=hvp): an estimate of the Hessian's diagonal, one value per element"
LOSS = "opt.step(..., loss=loss): the value of the loss that the gradient is of; torch takes a closure's, too"
CASES: list[tuple[str, list[str]]] = [
    ("adam", []),
    ("sophia", [HVP]),
    ("polyak_sgd", [LOSS]),
    ("nesterov", ["opt.step(closure): computes the loss and its gradient, at θₜ₋₁ + μ·vₜ₋₁"]),
    (
        "clip_by_value(1) | schedule_free_sgd",
        [
            'with opt.view("x"): the parameters are (θₜ − (1 − β)·zₜ)/β',
            "opt.eval(): they are x until opt.train(), before the next step",
        ],
    ),
]


@pytest.mark.parametrize(("spec", "lines"), CASES, ids=[spec for spec, _ in CASES])
def test_what_training_code_has_to_do(spec: str, lines: list[str]) -> None:
    source = resolve_target(spec)
    for text in (explain(source), shown(source, {}, "accurate")):
        assert ("In training code" in text) == bool(lines)
        if lines:
            section = text.split("In training code\n")[1].split("\n\n")[0]
            assert section.split("\n") == [f"  {line}" for line in lines]
