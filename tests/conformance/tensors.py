"""Tensors of 16 bits and complex ones; and those that are refused, with the fix, before anything changes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conformance.registry import obligation
from tests.conformance.subjects import Frozen, Subject, gradients, same, same_state, train


@obligation
def rounds_sixteen_bits_last(s: Subject) -> None:
    """16 bits: float32 state, also after loading; a step is that of float32, rounded at its end"""
    for dtype in (torch.bfloat16, torch.float16):
        ps = s.parameters(dtype)
        qs = [nn.Parameter(p.detach().float()) for p in ps]
        a, b = s.make(ps), s.make(qs)
        for step in range(4):
            gs = gradients(ps, step)
            s.give(a, gs)
            s.give(b, [g.float() for g in gs])  # products of two with 8 or 11 bits are exact
            for p, q in zip(ps, qs, strict=True):
                q.data = q.detach().to(dtype).float()
                same([p.float()], [q])
            if step == 1:
                again = s.make(ps)
                again.load_state_dict(copy.deepcopy(a.state_dict()))
                a = again
        same_state(a, b)


@obligation
def takes_complex_numbers(s: Subject) -> str | None:
    """complex parameters are pairs of real ones, as with torch's classes"""
    ps = s.parameters(torch.complex64)
    if s.by_rows:
        opt = s.make(ps)
        with Frozen(opt, ps), pytest.raises(RuntimeError, match=f"{s} does not support complex"):
            train(s, opt, ps, 0, 1)
        return "what it does depends on rows, columns, rank or place, which pairs would change: it refuses"
    qs = [nn.Parameter(torch.view_as_real(p.detach()).clone()) for p in ps]
    a, b = s.make(ps), s.make(qs)
    theirs = torch_twin(s, ps)
    for step in range(4):
        gs = gradients(ps, step)
        given = [torch.view_as_real(g).clone() for g in gs]
        s.give(a, gs)
        s.give(b, given)
        if theirs is not None:
            for p, g in zip(theirs.param_groups[0]["params"], gs, strict=True):
                p.grad = g.clone()
            theirs.step()
        if step == 1:
            again = s.make(ps)
            again.load_state_dict(copy.deepcopy(a.state_dict()))
            a = again
    same([torch.view_as_real(p) for p in ps], qs)
    for p in ps:
        assert all(
            x.dtype == torch.complex64 for x in a.state.get(p, {}).values() if x.shape == p.shape != ()
        )
    if theirs is not None:
        for p, q in zip(ps, theirs.param_groups[0]["params"], strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    return None


def torch_twin(s: Subject, params: list[nn.Parameter]) -> Any:
    if s.torch_class is None:
        return None
    return s.torch_class([nn.Parameter(p.detach().clone()) for p in params])


Bad = Callable[[Subject, nn.Parameter], tuple[nn.Parameter, Tensor]]


def _sparse(s: Subject, good: nn.Parameter) -> tuple[nn.Parameter, Tensor]:
    return nn.Parameter(s.ones(4)), s.ones(4).to_sparse()


def _expanded(s: Subject, good: nn.Parameter) -> tuple[nn.Parameter, Tensor]:
    return nn.Parameter(s.ones(1).expand(s.ones(4).shape)), s.ones(4)


def _aliased(s: Subject, good: nn.Parameter) -> tuple[nn.Parameter, Tensor]:
    whole = s.ones(6)
    good.data = whole[..., :4]
    return nn.Parameter(whole[..., 2:]), s.ones(4)


def _elsewhere(s: Subject, good: nn.Parameter) -> tuple[nn.Parameter, Tensor]:
    return nn.Parameter(s.ones(4).to("meta")), s.ones(4).to("meta")


def _eighth(s: Subject, good: nn.Parameter) -> tuple[nn.Parameter, Tensor]:
    x = s.ones(4).to(torch.float8_e4m3fn)
    return nn.Parameter(x, requires_grad=False), x


REFUSALS: list[tuple[Bad, type[Exception], str]] = [
    (_sparse, RuntimeError, r"the gradient of parameter 1 of group 0 is sparse, .*; use \.to_dense\(\)"),
    (_expanded, RuntimeError, r"parameter 1 of group 0 has elements that share memory .*; clone\(\) it"),
    (_aliased, RuntimeError, "parameter 0 of group 0 and parameter 1 of group 0 share memory, .*; copy one"),
    (_elsewhere, TypeError, r"parameter 1 of group 0 is on meta, .*; move the model with \.cpu\(\)"),
    (_eighth, TypeError, "parameter 1 of group 0 is float8_e4m3fn, .*; keep the parameters in float32"),
]


@obligation
def refuses_what_it_cannot_step(s: Subject) -> None:
    """sparse, expanded, aliased, on another device, other dtypes: one sentence, a fix, nothing changed"""
    for make, error, words in REFUSALS:
        for begun in (False, True):
            good = nn.Parameter(s.ones(4) / 2)
            opt = s.make([good])
            if begun:
                s.give(opt, [s.ones(4)])
            bad, g = make(s, good)
            opt.param_groups[0]["params"].append(bad)  # where users put it when they add layers
            good.grad, bad.grad = s.ones(4), g
            with Frozen(opt, [good], written=s.needs_closure), pytest.raises(error, match=words):
                s.take(opt, curvature=[s.ones(4), s.ones(4)])
