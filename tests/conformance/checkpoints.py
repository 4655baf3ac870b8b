"""Saving, loading, copying: what comes back trains on with the same bits."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch

from optdsl.runtime.hypers import read_variant
from tests.conformance.registry import obligation
from tests.conformance.subjects import Frozen, Subject, gradients, same, same_state, train
from tests.support.muon import Muon as UnroundedMuon


def _written(state_dict: Any) -> Any:
    """As it comes back from a file."""
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@obligation
def saves_and_loads(s: Subject) -> None:
    """`torch.save`, `torch.load(weights_only=True)`, and training goes on with the same bits"""
    for dtype in (torch.float32, torch.bfloat16):
        ps, qs = s.parameters(dtype), s.parameters(dtype)
        a, b = s.make(ps, lr=0.02), s.make(qs, lr=0.5)
        train(s, a, ps, 0, 3)
        saved = _written({"opt": a.state_dict(), "model": [p.detach() for p in ps]})
        for q, x in zip(qs, saved["model"], strict=True):
            q.data = x
        b.load_state_dict(saved["opt"])
        assert b.param_groups[0].get("lr") == a.param_groups[0].get("lr")
        same_state(a, b)
        train(s, a, ps, 3, 6)
        train(s, b, qs, 3, 6)
        same(ps, qs)
        same_state(a, b)


def _pickled(x: Any) -> Any:
    return pickle.loads(pickle.dumps(x))


@obligation
def copies(s: Subject) -> None:
    """`pickle` and `copy.deepcopy`: the copy trains on alone, with the same bits"""
    for how in (copy.deepcopy, _pickled):
        ps = s.parameters()
        a = s.make(ps, fused=True)
        train(s, a, ps, 0, 2)
        qs, b = how((ps, a))
        assert a._step_supports_amp_scaling == b._step_supports_amp_scaling
        train(s, a, ps, 2, 4)
        before = [q.detach().clone() for q in qs]
        train(s, b, qs, 2, 4)
        same(ps, qs)
        same_state(a, b)
        assert not all(torch.equal(x, q) for x, q in zip(before, qs, strict=True))


@obligation
def shares_nothing(s: Subject) -> None:
    """loading copies: the optimizer that the state came from is not pushed by the other's steps"""
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps), s.make(qs)
    train(s, a, ps, 0, 2)
    b.load_state_dict(a.state_dict())
    with Frozen(a, ps):
        train(s, b, qs, 2, 4)


@obligation
def saves_the_same_twice(s: Subject) -> None:
    """`state_dict` is the same for the same state, has torch's form, and holds tensors and numbers only"""
    ps = s.parameters()
    opt = s.make(ps)
    train(s, opt, ps, 0, 2)
    one, two = opt.state_dict(), opt.state_dict()
    assert pickle.dumps(one) == pickle.dumps(two)
    assert one.keys() == {"state", "param_groups"}
    assert one["param_groups"][0]["params"] == [0, 1, 2]
    assert one["state"].keys() <= {0, 1, 2}
    for entry in one["state"].values():
        assert all(isinstance(x, torch.Tensor | int | float) for x in entry.values())
        if "step" in entry:
            assert entry["step"].shape == ()
            assert entry["step"].dtype == torch.float32


@obligation
def loads_older_states(s: Subject) -> None:
    """groups without options that came later, and counters that are numbers"""
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps), s.make(qs)
    train(s, a, ps, 0, 2)
    train(s, b, qs, 0, 2)
    saved = copy.deepcopy(a.state_dict())
    for key in ("maximize", "foreach", "fused", "capturable", "differentiable"):
        saved["param_groups"][0].pop(key, None)
    for entry in saved["state"].values():
        if "step" in entry:
            entry["step"] = 2
    a.load_state_dict(saved)
    train(s, a, ps, 2, 4)
    train(s, b, qs, 2, 4)
    same(ps, qs)


@obligation
def refuses_half_a_state(s: Subject) -> str | None:
    """a state that lacks a part, is of another shape, or is for other groups: nothing is loaded"""
    ps = s.parameters()
    opt = s.make(ps)
    train(s, opt, ps, 0, 2)
    saved = copy.deepcopy(opt.state_dict())
    with Frozen(opt, ps), pytest.raises(ValueError, match="different number of parameter groups"):
        opt.load_state_dict({**saved, "param_groups": saved["param_groups"] * 2})
    keys = [each.key for each in read_variant(opt.layout, opt.param_groups[0]).of_rank(2).states]
    if not keys:
        return "keeps no tensors" if not saved["state"] else None
    wrong = copy.deepcopy(saved)
    wrong["state"][1][keys[0]] = torch.zeros(7, 7)
    with Frozen(opt, ps), pytest.raises(ValueError, match=r"parameter 1 of group 0 has shape \(7, 7\)"):
        opt.load_state_dict(wrong)
    if len(saved["state"][1]) > 1 and not _optional(opt, keys[0]):
        lacking = copy.deepcopy(saved)
        del lacking["state"][1][keys[0]]
        words = f"parameter 1 of group 0 lacks {keys[0]}; nothing was loaded"
        with Frozen(opt, ps), pytest.raises(ValueError, match=words):
            opt.load_state_dict(lacking)
    return None


def _optional(opt: Any, key: str) -> bool:
    """Whether torch's classes make this state only where an option asks for it, and it does not."""
    option = {"momentum_buffer": "momentum", "max_exp_avg_sq": "amsgrad", "grad_avg": "centered"}.get(key)
    return option is not None and not opt.param_groups[0].get(option, True)


@obligation
def moves_to_and_from_torch(s: Subject) -> str | None:
    """in the middle of training, to torch's class of that name and back: as if nothing had happened"""
    if s.torch_class is None:
        return "torch has no class of that name"
    ps, qs = s.parameters(torch.float64), s.parameters(torch.float64)
    options = {"lr": 0.02}
    # torch's Muon iterates in bfloat16, which says nothing at this precision: it is taken without that
    torch_class: Any = UnroundedMuon if s.name == "Muon" else s.torch_class
    theirs, moved = torch_class(ps, **options), s.make(qs, **options)
    for leg in range(4):
        for step in range(3 * leg, 3 * leg + 3):
            gs = gradients(ps, step)
            for p, g in zip(ps, gs, strict=True):
                p.grad = g.clone()
            theirs.step()
            for q, g in zip(qs, gs, strict=True):
                q.grad = g.clone()
            moved.step()
        saved = _written(moved.state_dict())
        moved = (torch_class if leg % 2 == 0 else s.cls)(qs, lr=123.0)
        moved.load_state_dict(saved)
    for p, q in zip(ps, qs, strict=True):
        # torch keeps some numbers in float32: NAdam's product, ASGD's rates
        torch.testing.assert_close(p, q, rtol=1e-6 if s.spec in ("nadam", "asgd") else 1e-11, atol=1e-13)
    return None
