"""Checkpoints: between our classes and torch's own, in the middle of training, and refusals."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.sample_adam import Adam
from tests.support.sample_small import SGD, Descent, Nadam
from tests.test_runtime_torch import PAIRS, assert_equal, give_gradients, parameters

SHAPES = [(5,), (3, 4), ()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("way", ["torch to ours", "ours to torch", "ours to ours"])
@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)
def test_training_goes_on(
    ours: Any, theirs: Any, options: dict[str, Any], way: str, dtype: torch.dtype
) -> None:
    first, second = {
        "torch to ours": (theirs, ours),
        "ours to torch": (ours, theirs),
        "ours to ours": (ours, ours),
    }[way]
    reference, moved = parameters(SHAPES, dtype), parameters(SHAPES, dtype)
    a, b = theirs(reference, lr=0.02, **options), first(moved, lr=0.02, **options)
    for step in range(5):
        give_gradients(reference, moved, seed=step)
        a.step()
        b.step()
    file = io.BytesIO()
    torch.save(b.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    b = second(moved, lr=123.0)
    b.load_state_dict(loaded)
    for step in range(5, 10):
        give_gradients(reference, moved, seed=step)
        a.step()
        b.step()
    assert_equal(moved, reference, ours)


def test_options_that_only_say_how_torch_runs_are_kept() -> None:
    ps = parameters(SHAPES, torch.float32)
    theirs = torch.optim.Adam(ps, foreach=True)
    give_gradients(ps, seed=0)
    theirs.step()
    saved = copy.deepcopy(theirs.state_dict())
    ours = Adam(ps)
    ours.load_state_dict(saved)
    again = ours.state_dict()["param_groups"][0]
    assert again["foreach"] is True
    assert again.keys() == saved["param_groups"][0].keys()


def test_loading_copies() -> None:
    """Torch's own load shares tensors of the same dtype; two optimizers would then push one moment."""
    ps = parameters(SHAPES, torch.float32)
    a, b = Adam(ps), Adam(ps)
    give_gradients(ps, seed=0)
    a.step()
    b.load_state_dict(a.state_dict())
    before = {key: value.clone() for key, value in a.state[ps[0]].items()}
    b.step()
    assert all(torch.equal(a.state[ps[0]][key], value) for key, value in before.items())


def test_old_checkpoints_with_numbers_for_tensors() -> None:
    (p,), (q,) = parameters([(3,)], torch.float64), parameters([(3,)], torch.float64)
    a, b = Nadam([p]), torch.optim.NAdam([q], lr=1e-3)
    give_gradients([p], [q], seed=0)
    a.step()
    b.step()
    saved = copy.deepcopy(a.state_dict())
    saved["state"][0]["step"] = 1
    saved["state"][0]["mu_product"] = float(saved["state"][0]["mu_product"])
    for key in ("maximize", "momentum_decay", "foreach"):
        del saved["param_groups"][0][key]
    a.load_state_dict(saved)
    give_gradients([p], [q], seed=1)
    a.step()
    b.step()
    assert_equal([p], [q], Nadam)
    torch.testing.assert_close(a.state[p]["step"], torch.tensor(2.0))


def test_what_would_change_the_maths_is_refused_and_nothing_is_loaded() -> None:
    (p,) = parameters([(3,)], torch.float32)
    p.grad = torch.ones(3)
    theirs = torch.optim.SGD([p], lr=0.5, weight_decay=0.25, momentum=0.5)
    theirs.step()
    ours = SGD([p], lr=0.1)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(ValueError, match=r"SGD has no weight_decay, and the value 0\.25 would be ignored"):
        ours.load_state_dict(theirs.state_dict())
    assert ours.state_dict() == before

    adam = Adam([p])
    decoupled = torch.optim.Adam([p], weight_decay=0.1, decoupled_weight_decay=True).state_dict()
    with pytest.raises(ValueError, match="has no decoupled_weight_decay"):
        adam.load_state_dict(decoupled)
    decoupled["param_groups"][0]["weight_decay"] = 0  # then it says nothing
    adam.load_state_dict(decoupled)
    assert adam.state_dict()["param_groups"][0]["decoupled_weight_decay"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["param_groups"][0].update(lr=-1.0), "Invalid learning rate: -1.0"),
        (lambda s: s["param_groups"][0].update(amsgrad="yes"), "Invalid amsgrad value: yes"),
        (lambda s: s["param_groups"][0].update(differentiable=True), "has no differentiable"),
        (lambda s: s["state"][0].pop("exp_avg_sq"), "lacks exp_avg_sq"),
        (lambda s: s["state"][0].pop("step"), "lacks step"),
        (lambda s: s["param_groups"][0].update(amsgrad=True), "lacks max_exp_avg_sq"),
        (lambda s: s["state"][0].update(exp_avg=torch.zeros(4)), r"shape \(4,\)"),
        (lambda s: s["state"][0].update(step=torch.zeros(2)), "2 elements, not one"),
        (lambda s: s["state"][0].update(step="3"), "not a number"),
        (lambda s: s["param_groups"].append({"params": []}), "different number of parameter groups"),
    ],
)
def test_a_damaged_checkpoint_changes_nothing(change: Any, message: str) -> None:
    (p,) = parameters([(3,)], torch.float32)
    p.grad = torch.ones(3)
    opt = Adam([p])
    opt.step()
    damaged, before = copy.deepcopy(opt.state_dict()), copy.deepcopy(opt.state_dict())
    change(damaged)
    with pytest.raises((ValueError, TypeError), match=message):
        opt.load_state_dict(damaged)
    after = opt.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(torch.equal(after["state"][0][key], value) for key, value in before["state"][0].items())


def test_groups_carry_what_torch_looks_for() -> None:
    """Descent has no counterpart in torch; SGD's own options are there with neutral values."""
    (p,) = parameters([(3,)], torch.float32)
    group = SGD([p]).param_groups[0]
    assert group["weight_decay"] == 0
    assert group["dampening"] == 0
    assert {"foreach", "fused", "differentiable"} <= group.keys()
    assert "dampening" not in Descent([nn.Parameter(torch.ones(2))]).param_groups[0]


def test_named_parameters() -> None:
    model = nn.Linear(2, 3)
    opt = Adam(model.named_parameters())
    assert opt.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    model.weight.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(RuntimeError, match="the gradient of parameter 'weight' is sparse"):
        opt.step()
