"""Optimizers inside other people's loops: schedulers, scaled losses, steps taken by hooks, checkpoints of
distributed training.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler, swa_utils

from optdsl.runtime.layout import Hyper
from tests.conformance.registry import obligation
from tests.conformance.subjects import Subject, gradients, same, same_state, train

Make = Callable[[Any], Any]


def schedulers(opt: Any) -> dict[str, Make]:
    """One way to make each class of torch's; momentum is cycled where there is one."""
    cycles = "momentum" in opt.defaults or "betas" in opt.defaults
    return {
        "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
        "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
        "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
        "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3], 0.5),
        "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 2),
        "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.25, 1.0, 3),
        "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.75),
        "SequentialLR": lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.9)], [2]
        ),
        "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 4, 2.0),
        "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
        "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.9)]
        ),
        "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5),
        "CyclicLR": lambda o: lr_scheduler.CyclicLR(
            o, 0.001, 0.01, 2, cycle_momentum=cycles, base_momentum=0.5, max_momentum=0.75
        ),
        "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
        "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.01, total_steps=6, cycle_momentum=cycles),
        "SWALR": lambda o: swa_utils.SWALR(o, 0.001, 3),
    }


def every_scheduler() -> set[str]:
    """The names of torch's public ones."""
    return {name for name in lr_scheduler.__all__ if name != "LRScheduler"} | {"SWALR"}


class _Scheduled(torch.optim.Optimizer):
    """torch's own base class and nothing else: it says what a scheduler makes of these options."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__([nn.Parameter(torch.ones(1))], options)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


@obligation
def follows_schedulers(s: Subject) -> str | None:
    """every class of `torch.optim.lr_scheduler`: its rates and momenta are torch's, and are used"""
    if not s.has_rate:
        return "it has no lr"
    reason = None
    assert schedulers(s.make(s.parameters())).keys() == every_scheduler()
    for name in every_scheduler():
        ps, qs = s.parameters(), s.parameters()
        a, by_hand = s.make(ps, lr=0.02), s.make(qs, lr=0.02)
        make = schedulers(a)[name]
        model = _Scheduled({key: a.defaults[key] for key in ("lr", "momentum", "betas") if key in a.defaults})
        schedule, expected = make(a), make(model)
        model.step()
        for step in range(5):
            for key in ("lr", "momentum", "betas"):
                if key in model.param_groups[0]:
                    assert a.param_groups[0][key] == model.param_groups[0][key], (name, step, key)
                    by_hand.param_groups[0][key] = model.param_groups[0][key]
            if s.spec == "adamc" and "max_lr" in model.param_groups[0]:
                # What the scheduler notes there is what AdamC calls so: the largest rate of the schedule.
                by_hand.param_groups[0]["max_lr"] = model.param_groups[0]["max_lr"]
            gs = gradients(ps, step)
            if a.param_groups[0]["lr"] == 0.0 and not _hyper(s, "lr").contains(0.0):
                with pytest.raises(ValueError, match=r"Invalid learning rate: 0\.0"):
                    s.give(a, gs)
                reason = "a rate of 0 is refused: it divides by it, so schedules have to end above"
                break
            s.give(a, gs)
            s.give(by_hand, gs)
            for each in (schedule, expected):
                each.step(*([1.0] if name == "ReduceLROnPlateau" else []))
        same(ps, qs)
    return reason


def _hyper(s: Subject, name: str) -> Hyper:
    return next(hyper for hyper in s.layout.hypers if hyper.name == name)


@obligation
def resumes_a_schedule(s: Subject) -> str | None:
    """optimizer and scheduler, loaded together, go on with the same bits"""
    if not s.has_rate:
        return "it has no lr"
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps, lr=0.02), s.make(qs, lr=0.02)
    one, two = (schedulers(x)["OneCycleLR"](x) for x in (a, b))
    for step in range(5):
        if step == 2:
            with torch.no_grad():
                for q, p in zip(qs, ps, strict=True):
                    q.copy_(p)
            b.load_state_dict(a.state_dict())
            two.load_state_dict(one.state_dict())
        s.give(a, gradients(ps, step))
        one.step()
        if step >= 2:
            s.give(b, gradients(ps, step))
            two.step()
    same(ps, qs)
    return None


def _scaler(scale: float) -> torch.amp.GradScaler:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    scaler.scale(torch.ones(()))  # which makes its tensors
    return scaler


def _scaled(s: Subject, opt: Any, scaler: torch.amp.GradScaler, gs: list[Tensor], **how: bool) -> None:
    """A step as a training loop takes it: gradients of a scaled loss, `unscale_` if asked for, `update`."""
    for p, g in zip(opt.param_groups[0]["params"], gs, strict=True):
        p.grad = g * scaler.get_scale()
    if how.get("unscale"):
        scaler.unscale_(opt)
    s.take(opt, curvature=gs, step=lambda *args, **given: scaler.step(opt, *args, **given))
    scaler.update()


@obligation
def lets_the_scaler_scale(s: Subject) -> None:
    """`torch.amp.GradScaler`, by default: it divides before the step, and takes none after an overflow"""
    _with_scaler(s, fused=False)


@obligation
def scales_in_the_kernel(s: Subject) -> str | None:
    """`fused=True`: the kernel divides by the scale; after an overflow nothing changes, counters included"""
    opt = s.make(s.parameters(), fused=True)
    if s.layout.inputs:
        assert not opt._step_supports_amp_scaling
        _with_scaler(s, fused=True)
        what = " and ".join(s.inputs) or ("random numbers" if s.draws else "two gradients")
        return f"it reads {what}, so that the scaler divides before the step"
    assert opt._step_supports_amp_scaling
    _with_scaler(s, fused=True)
    return None


def _with_scaler(s: Subject, *, fused: bool) -> None:
    ps, qs = s.parameters(), s.parameters()
    a, b = s.make(ps, fused=fused), s.make(qs)
    scaler = _scaler(2.0**12)
    for step in range(4):
        gs = gradients(ps, step)
        if step in (0, 2):  # an overflow, before there is any state and later
            bad = [g.clone() for g in gs]
            bad[1][0, 0] = float("inf")
            before = [p.detach().clone() for p in ps], a.state_dict()["state"].keys()
            counters = [float(entry.get("step", 0.0)) for entry in a.state.values()]
            scale = scaler.get_scale()
            _scaled(s, a, scaler, bad)
            assert scaler.get_scale() == scale / 2
            same(ps, before[0])
            assert a.state_dict()["state"].keys() == before[1]
            assert [float(entry.get("step", 0.0)) for entry in a.state.values()] == counters
        _scaled(s, a, scaler, gs, unscale=step == 3)
        s.give(b, gs)
    same(ps, qs)
    same_state(a, b)
    assert not hasattr(a, "grad_scale")
    train(s, a, ps, 4, 5)  # and without a scaler again
    train(s, b, qs, 4, 5)
    same(ps, qs)


@obligation
def steps_in_backward(s: Subject) -> str | None:
    """`_apply_optimizer_in_backward` and post-accumulate hooks: an optimizer for each parameter"""
    if s.inputs or s.needs_closure:
        what = " and ".join((*s.inputs, *(["a closure"] if s.needs_closure else [])))
        return f"it needs {what} at each step, which a hook has not got"
    from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward

    def loss(params: Any) -> Tensor:
        found: Tensor = sum(((p - 0.5) ** 2).sum() for p in params)
        return found

    ps, qs, rs = s.parameters(), s.parameters(), s.parameters()
    _apply_optimizer_in_backward(s.cls, ps, {"lr": 0.02})
    hooked = {q: s.make([q], lr=0.02) for q in qs}

    def hook(q: Tensor) -> None:
        hooked[q].step()  # type: ignore[index]
        hooked[q].zero_grad()  # type: ignore[index]

    for q in qs:
        q.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    plain = [s.make([r], lr=0.02) for r in rs]
    for _ in range(3):
        loss(ps).backward()  # type: ignore[no-untyped-call]
        loss(qs).backward()  # type: ignore[no-untyped-call]
        loss(rs).backward()  # type: ignore[no-untyped-call]
        for opt in plain:
            opt.step()
            opt.zero_grad()
    assert all(p.grad is None for p in (*ps, *qs))
    same(ps, rs)
    same(qs, rs)
    return None


@obligation
def survives_checkpointing(s: Subject) -> None:
    """distributed checkpoints: the idle step that they take changes no parameter; what is loaded goes on"""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(*sizes, bias=not s.only_matrices) for sizes in ((3, 4), (4, 2))))

    m, n = model(), model()
    ps, qs = list(m.parameters()), list(n.parameters())
    a, b = s.make(ps, lr=0.02), s.make(qs, lr=0.02)
    get_optimizer_state_dict(m, a)
    same(ps, qs)
    a = s.make(ps, lr=0.02)
    train(s, a, ps, 0, 3)
    saved = get_optimizer_state_dict(m, a)
    n.load_state_dict(m.state_dict())
    set_optimizer_state_dict(n, b, saved)
    same(ps, qs)
    train(s, a, ps, 3, 5)
    train(s, b, qs, 3, 5)
    same(ps, qs)
    same_state(a, b)
