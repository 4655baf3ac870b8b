"""What a step does with groups, options, closures, hooks and tensors of every kind."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from tests.conformance.registry import obligation
from tests.conformance.subjects import Frozen, Subject, gradients, same, same_state, train


@obligation
def groups_change(s: Subject) -> None:
    """groups have options of their own, which may change at any step, and new groups may come"""
    ps, qs = s.parameters(), s.parameters()
    opt = s.make([{"params": [ps[0]], "lr": 0.02}, {"params": [ps[1]]}], lr=0.01)
    together = s.couples or s.draws
    if together:  # the same groups, told to the optimizer later
        late = s.make([{"params": [qs[0]]}, {"params": [qs[1]]}], lr=0.7)
        late.param_groups[0]["lr"], late.param_groups[1]["lr"] = 0.02, 0.01
        others = [late, late, late]
    else:
        others = [s.make([qs[0]], lr=0.02), s.make([qs[1]], lr=0.01), s.make([qs[2]], lr=0.03)]

    def other_group(i: int) -> Any:
        return others[i].param_groups[i if together else 0]

    for step in range(5):
        if step == 2:
            opt.add_param_group({"params": [ps[2]], "lr": 0.03})
            if together:
                others[0].add_param_group({"params": [qs[2]], "lr": 0.03})
            opt.param_groups[1]["lr"] = other_group(1)["lr"] = 0.005
        for group in (opt.param_groups[0], other_group(0)):
            group["maximize"] = step == 3
        gs = gradients(ps, step)[: len(opt.param_groups)]
        s.give(opt, gs)
        if together:
            s.give(others[0], gs)
        else:
            for other, g in zip(others, gs, strict=False):
                s.give(other, [g])
    same(ps, qs)


@obligation
def takes_tensors_as_options(s: Subject) -> str | None:
    """`lr` as a tensor of one element, also when it is written to between steps"""
    if not s.has_rate:
        return "it has no lr"
    results = []
    for make in (float, torch.tensor, lambda x: torch.tensor([x]), lambda x: torch.tensor(x).double()):
        ps = s.parameters()
        opt = s.make(ps, lr=make(0.25))
        for step in range(3):
            if step == 1 and isinstance(opt.param_groups[0]["lr"], Tensor):
                opt.param_groups[0]["lr"].fill_(0.125)
            elif step == 1:
                opt.param_groups[0]["lr"] = 0.125
            s.give(opt, gradients(ps, step))
        results.append(ps)
    for ps in results[1:]:
        same(ps, results[0])
    return None


@obligation
def maximizes(s: Subject) -> None:
    """`maximize` is a step along the negated gradient; decay still shrinks"""
    options = {"weight_decay": 0.125} if "weight_decay" in s.layout.options else {}
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps, maximize=True, **options), s.make(qs, **options)
    for step in range(3):
        gs = gradients(ps, step)
        s.give(a, gs)
        # The estimate of the Hessian is of what is minimised, too.
        s.give(b, [-g for g in gs], sign=-1.0)
    same(ps, qs)
    same_state(a, b)


@obligation
def decays(s: Subject) -> str | None:
    """`weight_decay` is read from the group at each step, and makes a difference"""
    if "weight_decay" not in s.layout.options:
        return "the spec has no weight_decay"
    ends = []
    for decay, later in ((0.0, 0.0), (0.25, 0.25), (0.0, 0.25)):
        ps = s.parameters()
        opt = s.make(ps, lr=0.5, weight_decay=decay)
        for step in range(4):
            if step == 1:
                opt.param_groups[0]["weight_decay"] = later
            s.give(opt, gradients(ps, step))
        ends.append(torch.cat([p.detach().flatten() for p in ps]))
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    return None


@obligation
def calls_the_closure(s: Subject) -> None:
    """`step(closure)` calls it once (for each gradient), with gradients on, and returns its loss"""
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps), s.make(qs)
    calls = []

    def closure() -> Any:
        assert torch.is_grad_enabled()
        a.zero_grad()
        loss = sum(((p - 0.5) ** 2).sum() for p in ps)
        assert isinstance(loss, Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        calls.append(loss.detach())
        return loss

    given: dict[str, Any] = {"hvp": [torch.full_like(p, 2.0) for p in ps]} if "hvp" in s.inputs else {}
    with torch.no_grad():
        loss = a.step(closure, **given)
    assert len(calls) == (2 if s.layout.two_gradients else 1)
    assert torch.equal(loss, calls[0])
    if not s.needs_closure:  # else the gradient may be of another point
        gs = [p.grad.clone() for p in ps if p.grad is not None]
        for q, g in zip(qs, gs, strict=True):
            q.grad = g
        if "loss" in s.inputs:
            given["loss"] = calls[0]
        b.step(**given)
        same(ps, qs)


@obligation
def skips_what_has_no_gradient(s: Subject) -> None:
    """a parameter without a gradient stays, gets no state, and keeps its own time"""
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps), s.make([qs[0], qs[2]])
    before = ps[1].detach().clone()
    for step in range(2):
        gs = gradients(ps, step)
        s.give(a, [gs[0], None, gs[2]])
        s.give(b, [gs[0], gs[2]])
    assert torch.equal(ps[1].detach(), before)
    assert ps[1] not in a.state
    if not s.draws:  # which depends on the place among all parameters
        same([ps[0], ps[2]], [qs[0], qs[2]])
    with Frozen(a, ps, written=s.needs_closure):
        s.give(a, [None, None, None])
    train(s, a, ps, 2, 3)
    if "step" in a.state.get(ps[1], {}):
        assert float(a.state[ps[1]]["step"]) == 1.0
        assert float(a.state[ps[0]]["step"]) == 3.0


@obligation
def takes_any_layout(s: Subject) -> None:
    """parameters and gradients of any strides, channels last among them; sizes 0; no dimensions"""
    shapes = [(5, 1), (4, 3), (0, 3)] if s.only_matrices else [(5,), (4, 3), (0, 3), (), (2, 3, 4, 2)]
    ps, qs = s.parameters(shapes=shapes), s.parameters(shapes=shapes)
    with torch.no_grad():
        ps[0].data = torch.stack([ps[0].data] * 2, dim=1)[:, 0]
        ps[1].data = ps[1].data.t().contiguous().t()
        if not s.only_matrices:
            ps[4].data = ps[4].data.contiguous(memory_format=torch.channels_last)
    a, b = s.make(ps), s.make(qs)
    for step in range(3):
        gs = gradients(qs, step)
        other = [g.clone() for g in gs]
        if step == 1:
            other[1] = other[1].t().contiguous().t()
        s.give(a, other)
        s.give(b, gs)
    assert s.only_matrices or ps[4].is_contiguous(memory_format=torch.channels_last)
    if s.couples or any(variant.reductions_float32 for variant in s.variants):
        for p, q in zip(ps, qs, strict=True):  # sums are made in the order of memory
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    else:
        same(ps, qs)


@obligation
def calls_hooks(s: Subject) -> None:
    """hooks before and after steps, of one optimizer and of all, saving and loading; removable"""
    ps = s.parameters()
    opt = s.make(ps)
    calls: list[str] = []

    def note(what: str) -> Any:
        return lambda *_: calls.append(what)

    handles = [
        torch_optimizer.register_optimizer_step_pre_hook(note("all before")),
        torch_optimizer.register_optimizer_step_post_hook(note("all after")),
        opt.register_step_pre_hook(note("before")),
        opt.register_step_post_hook(note("after")),
        opt.register_state_dict_pre_hook(note("saving")),
        opt.register_state_dict_post_hook(note("saved")),
        opt.register_load_state_dict_pre_hook(note("loading")),
        opt.register_load_state_dict_post_hook(note("loaded")),
    ]
    try:
        train(s, opt, ps, 0, 1)
        opt.load_state_dict(opt.state_dict())
    finally:
        for handle in handles:
            handle.remove()
    assert calls == [*("all before", "before", "after", "all after", "saving", "saved", "loading", "loaded")]
    train(s, opt, ps, 1, 2)
    opt.load_state_dict(opt.state_dict())
    assert len(calls) == 8
    saved = opt.state_dict()
    handle = opt.register_load_state_dict_pre_hook(lambda _, given: {**given, "state": saved["state"]})
    opt.load_state_dict({**saved, "state": {}})  # a hook may put the state in
    handle.remove()
    assert (len(opt.state) > 0) == (len(saved["state"]) > 0)


@obligation
def tells_autograd(s: Subject) -> None:
    """a graph from before the step is refused by `backward`, for the parameters have changed"""
    p = s.parameters()[0]
    opt = s.make([p], lr=0.5)
    loss = (p**3).sum()
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    s.take(opt)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()  # type: ignore[no-untyped-call]


@obligation
def clears_gradients(s: Subject) -> None:
    """`zero_grad` with and without `set_to_none`"""
    ps = s.parameters()
    opt = s.make(ps)
    train(s, opt, ps, 0, 1)
    opt.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in ps)
    opt.zero_grad()
    assert all(p.grad is None for p in ps)


@obligation
def trains(s: Subject) -> str | None:
    """a least-squares problem gets better, with the default options and a rate that fits"""
    if s.name == "NDAdam":
        return "it keeps the norm of the weights of each unit"
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 8, generator=generator)
    y = x @ torch.randn(8, 1, generator=generator)
    tried = [_least_squares(s, x, y, steps, {"lr": lr}) for steps, lr in ((30, 1.0), (30, 0.1), (30, 0.01))]
    tried += [_least_squares(s, x, y, 30, {}), *(() if min(tried) < 0.8 else _patient(s, x, y))]
    assert min(tried) < 0.8, f"the loss is {min(tried)} of what it was"
    return None


def _patient(s: Subject, x: Tensor, y: Tensor) -> list[float]:
    """DoG and LARS begin with very small steps."""
    return [_least_squares(s, x, y, 300, {"lr": lr}) for lr in (0.1, 1.0, 10.0)]


def _least_squares(s: Subject, x: Tensor, y: Tensor, steps: int, options: dict[str, float]) -> float:
    """The last loss, in terms of the first."""
    w = nn.Parameter(torch.full((8, 1), 0.1))
    opt = s.make([w], **options)

    def loss() -> Tensor:
        found: Tensor = ((x @ w - y) ** 2).mean()
        return found

    def closure() -> Tensor:
        opt.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    first = loss().item()
    given = {"hvp": [2 * (x**2).mean(0).reshape(8, 1)]} if "hvp" in s.inputs else {}
    for _ in range(steps):
        opt.step(closure, **given)
    opt.eval()
    ratio = loss().item() / first
    return ratio if math.isfinite(ratio) else math.inf
