"""What parts bring into a composition besides lines: views, inputs, rules by rank, and claims."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import optdsl
from optdsl import driver
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import Source
from optdsl.files import composition
from optdsl.language.optimizer import Optimizer
from optdsl.library import lookup
from tests.test_composition import arrays

AVERAGED = """# Polyak & Juditsky 1992, with weights that fade: what is evaluated is the average.
wrapper Ema(inner)
hyper decay = 0.5 in [0, 1)
state avg[0] = theta[0]
theta[t] = inner(theta[t-1])
avg[t] = decay*avg[t-1] + (1 - decay)*theta[t]
output x = avg[t]

optimizer Mine = schedule_free_sgd | ema(3/4)
"""


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_views_of_parts(framework: str, tmp_path: Path) -> None:
    """A wrapper's state is kept for its view alone; the outermost view is the one that `eval` shows."""
    path = tmp_path / "averaged.opt"
    path.write_text(AVERAGED)
    inner, view = np.array([1.0, -2.0]), np.array([1.0, -2.0])
    alone = arrays("schedule_free_sgd")(inner, lr=0.1)
    params: Any = view.copy()
    if framework == "torch":
        params = torch.nn.Parameter(torch.from_numpy(params))
    opt = getattr(optdsl, framework).load(path)([params], lr=0.1)
    for t in range(1, 5):
        g = np.array([0.5, 1.0 - t])
        alone.step(g)
        view = 0.75 * view + 0.25 * inner
        if framework == "torch":
            params.grad = torch.from_numpy(g)
            opt.step()
        else:
            opt.step([g])

    def shown() -> Any:
        return params.detach().numpy() if framework == "torch" else params

    opt.eval()
    np.testing.assert_allclose(shown(), view, rtol=1e-15)
    opt.train()
    np.testing.assert_allclose(shown(), inner, rtol=1e-15)
    alone.eval()  # what schedule_free_sgd itself evaluates at is there too, under a name that is free
    assert opt.layout.views == ("ema_x", "x")
    with opt.view("x"):
        np.testing.assert_allclose(shown(), inner, rtol=1e-15)


GIVEN = """# Somebody, 2024: both parts read the loss, which has one name.
transform Weighed
input loss
out = g[t]*loss

wrapper Half(inner)
input loss
theta[t] = if loss > 1 then theta[t-1] + (inner(theta[t-1]) - theta[t-1])/2 else inner(theta[t-1])

optimizer Mine = weighed | gd(1) | half
"""


def test_a_step_is_given_what_any_part_is_given(tmp_path: Path) -> None:
    path = tmp_path / "given.opt"
    path.write_text(GIVEN)
    x = np.zeros(1)
    opt = arrays(path)(x)
    opt.step([1.0], loss=4.0)
    assert float(x[0]) == -2.0  # half of 4 times the gradient
    opt.step([1.0], loss=0.5)
    assert float(x[0]) == -2.5
    with pytest.raises(TypeError, match="loss"):
        opt.step([1.0])


CENTRALIZED = """# Yong, Huang, Hua & Zhang, "Gradient Centralization", ECCV 2020, equation (1), for matrices.
transform Centralized
when rank(theta) >= 2
  out = g[t] - mean(g[t] over cols)
else
  out = g[t]
end

# Two ways to say the same, so that a wrapper has rules, too.
wrapper Same(inner)
when rank(theta) >= 2
  theta[t] = inner(theta[t-1])
else
  theta[t] = theta[t-1] + (inner(theta[t-1]) - theta[t-1])
end

optimizer Mine = centralized | adafactor | same
"""


def test_rules_by_rank_in_all_parts(tmp_path: Path) -> None:
    path = tmp_path / "centralized.opt"
    path.write_text(CENTRALIZED)
    random = np.random.default_rng(0)
    mine, theirs = ([x.copy() for x in (np.ones((3, 4)), np.ones(5))] for _ in range(2))
    opt, peer = arrays(path)(mine), arrays("adafactor")(theirs)
    for _ in range(3):
        matrix, vector = random.standard_normal((3, 4)), random.standard_normal(5)
        opt.step([matrix, vector])
        peer.step([matrix - matrix.mean(axis=1, keepdims=True), vector])
    for x, y in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13)


CLAIMED = """# What is claimed of the whole is in its names: `out` is the clipped gradient, `lr` the schedule.
optimizer Clipped = clip_by_value(1) | adam(lr = exponential(0.1)) | lookahead
prove nonnegative(clip_value - out)
prove nonnegative(vhat)
expect refuted E[mhat] = E[g]
prove limit(lr) = 0

optimizer Both = clipped | decoupled_decay
"""


def test_claims_of_compositions() -> None:
    """Those of the whole, and those of the parts: the second are asked, and never a finding."""
    whole = CLAIMED.split("optimizer Both")[0]
    spec, found, verdicts = driver.check(Source("claimed.opt", whole), lookup)
    assert not found
    own = {verdict.claim: verdict.outcome for verdict in verdicts if verdict.declared}
    proved, refuted = Outcome.PROVED, Outcome.REFUTED
    assert own == {
        "nonnegative(clip_value - out)": proved,
        "nonnegative(vhat)": proved,
        "E[mhat] = E[g]": refuted,
        "limit(lr) = 0": proved,
    }
    of_parts = {(v.part, v.claim): v.outcome for v in verdicts if v.part}
    assert of_parts["exponential", "nonnegative(lr)"] is proved
    assert of_parts["exponential", "limit(lr) = 0"] is proved
    assert of_parts["clip_by_value", "nonnegative(out + clip_value)"] is proved
    # With gradients of 2 everywhere, clipped to 1, mhat is 1 in the first step; alone it would be 2.
    assert of_parts["adam", "E[mhat] = E[g] when weight_decay = 0"] is refuted
    # What names lr, which is a schedule's now, is not asked; nor what a part is expected to refute.
    assert not any(part == "adam" and "lr" in claim for part, claim in of_parts)
    assert isinstance(spec, Optimizer)
    # A composition of compositions hands on what its parts hand on, and its own claims with it.
    outer = driver.front(Source("claimed.opt", CLAIMED))[0]
    assert {each.part for each in outer.inherited} == {"exponential", "clip_by_value", "adam", "clipped"}


@pytest.mark.parametrize(
    "text", ["adam", "clip_by_value(1) | adam", "adam | decoupled_decay(0.1)", "rmsprop | lookahead"]
)
def test_what_is_proved_of_parts_is_what_is_proved_of_the_same_text(text: str) -> None:
    """Asked by its author instead, each claim has the same outcome: nothing is proved by inheritance."""
    name = composition(f"{text}()" if "|" not in text else text)
    _, _, verdicts = driver.check(name, lookup)
    of_parts = {v.claim: v.outcome for v in verdicts if v.part}
    assert of_parts
    claims = "".join(f"prove {claim}\n" for claim in of_parts)
    _, _, again = driver.check(Source("again.opt", name.text + claims), lookup)
    assert {v.claim: v.outcome for v in again if v.declared} == of_parts


def test_check_and_explain_tell_of_the_parts_claims(capsys: pytest.CaptureFixture[str]) -> None:
    from optdsl.cli import main

    assert main(["check", "clip_by_value(1) | adam"]) == 0
    assert "claims of its parts that hold for the whole: 3 of 7" in capsys.readouterr().out
    assert main(["explain", "clip_by_value(1) | adam"]) == 0
    section = capsys.readouterr().out.split("Claims of its parts, asked of the whole\n")[1].split("\n\n")[0]
    assert (
        "  refuted  adam: E[mhat] = E[g] when weight_decay = 0: fails on a constant gradient at t = 1\n"
        in section
    )
    assert "  proved   clip_by_value: nonnegative(clip_value - out)" in section
