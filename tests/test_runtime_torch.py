"""The torch base class against torch's own optimizers: the same steps, in the same training code."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.sample_adam import Adam
from tests.support.sample_small import SGD, Descent, Lookaround, Nadam

# Ours, torch's, and options that both take.
PAIRS: list[Any] = [
    pytest.param(Adam, torch.optim.Adam, {}, id="adam"),
    pytest.param(Adam, torch.optim.Adam, {"amsgrad": True, "weight_decay": 0.1}, id="amsgrad"),
    pytest.param(Adam, torch.optim.Adam, {"maximize": True, "betas": (0.5, 0.9)}, id="adam-maximize"),
    pytest.param(SGD, torch.optim.SGD, {"momentum": 0.9}, id="sgd"),
    pytest.param(SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}, id="nesterov"),
    pytest.param(Nadam, torch.optim.NAdam, {}, id="nadam"),
]
# Roundings of 30 steps, of torch's float32; torch keeps NAdam's product in float32 for all parameters.
TOLERANCE: dict[Any, Any] = {
    torch.float32: {"rtol": 1e-5, "atol": 5e-6},
    torch.float64: {"rtol": 1e-12, "atol": 1e-14},
}
NADAM_TOLERANCE: Any = {"rtol": 1e-6, "atol": 1e-6}

Shape = tuple[int, ...]
SHAPES: list[Shape] = [(), (0, 3), (1,), (7,), (4, 5), (2, 3, 4, 4), (70_001,)]


def parameters(shapes: list[Shape], dtype: torch.dtype, seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def give_gradients(*lists: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for together in zip(*lists, strict=True):
        g = torch.randn(together[0].shape, generator=generator, dtype=together[0].dtype)
        for p in together:
            p.grad = g.clone()


def assert_equal(ours: list[nn.Parameter], theirs: list[nn.Parameter], cls: type = Adam) -> None:
    for p, q in zip(ours, theirs, strict=True):
        exact = p.dtype == torch.float32 or cls is not Nadam
        torch.testing.assert_close(p, q, **(TOLERANCE[p.dtype] if exact else NADAM_TOLERANCE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS)
def test_steps_as_torch_does(ours: Any, theirs: Any, options: dict[str, Any], dtype: torch.dtype) -> None:
    mine, other = parameters(SHAPES, dtype), parameters(SHAPES, dtype)
    a, b = ours(mine, lr=0.01, **options), theirs(other, lr=0.01, **options)
    for step in range(30):
        give_gradients(mine, other, seed=step)
        if step % 3 == 2:  # a parameter without a gradient is skipped, and keeps its own time
            mine[3].grad = other[3].grad = None
        a.step()
        b.step()
    assert_equal(mine, other, ours)
    for p, q in zip(mine, other, strict=True):
        assert a.state[p].keys() == b.state[q].keys()
        for key, value in b.state[q].items():
            assert a.state[p][key].dtype == value.dtype
            torch.testing.assert_close(a.state[p][key], value, rtol=1e-5, atol=5e-6)


def test_a_parameter_without_gradient_gets_no_state() -> None:
    p, q = parameters([(3,), (3,)], torch.float32)
    opt = Adam([p, q])
    p.grad = torch.ones(3)
    opt.step()
    assert p in opt.state
    assert q not in opt.state
    torch.testing.assert_close(opt.state[p]["step"], torch.tensor(1.0))


def test_no_state_no_entry() -> None:
    """Plain gradient descent keeps nothing, as torch's SGD keeps nothing."""
    (p,) = parameters([(3,)], torch.float64)
    before, opt = p.detach().clone(), Descent([p], lr=0.5)
    p.grad = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    opt.step()
    assert torch.equal(p.detach(), before - torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    assert opt.state_dict()["state"].get(0, {}) == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda opt: torch.optim.lr_scheduler.StepLR(opt, 3, 0.5),
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(opt, 0.05, total_steps=20),  # cycles betas too
        lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10),
    ],
    ids=["step", "onecycle", "cosine"],
)
def test_schedulers(make: Callable[[Any], Any]) -> None:
    mine, other = parameters([(5,), (3, 4)], torch.float64), parameters([(5,), (3, 4)], torch.float64)
    a, b = Adam(mine), torch.optim.Adam(other)
    schedules = make(a), make(b)
    for step in range(15):
        give_gradients(mine, other, seed=step)
        for opt, schedule in zip((a, b), schedules, strict=True):
            opt.step()
            schedule.step()
    assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
    assert_equal(mine, other)


def test_groups_have_options_of_their_own() -> None:
    def build(cls: Any) -> tuple[list[nn.Parameter], Any]:
        ps = parameters([(4,), (5,), (6,), (7,)], torch.float64)
        opt = cls([{"params": ps[:2], "lr": 0.1}, {"params": [ps[2]], "amsgrad": True}], lr=0.01)
        opt.add_param_group({"params": [ps[3]], "weight_decay": 0.5, "betas": (0.1, 0.2)})
        return ps, opt

    (mine, a), (other, b) = build(Adam), build(torch.optim.Adam)
    for step in range(6):
        if step == 3:
            for opt in (a, b):
                opt.param_groups[1]["lr"] = torch.tensor(0.3, dtype=torch.float64)
                opt.param_groups[0]["eps"] = 0.01
        give_gradients(mine, other, seed=step)
        a.step()
        b.step()
    assert_equal(mine, other)


def test_hyperparameters_as_tensors() -> None:
    (p,), (q,) = parameters([(4,)], torch.float64), parameters([(4,)], torch.float64)
    ours: Any = Adam
    rate = torch.tensor([0.1], dtype=torch.float64)
    betas = (torch.tensor(0.5, dtype=torch.float64), torch.tensor([0.75], dtype=torch.float64))
    a, b = ours([p], lr=rate, betas=betas), torch.optim.Adam([q], lr=0.1, betas=(0.5, 0.75))
    for step in range(3):
        give_gradients([p], [q], seed=step)
        if step == 2:
            rate.fill_(0.01)  # the very tensor, changed in place
            b.param_groups[0]["lr"] = 0.01
        a.step()
        b.step()
    assert_equal([p], [q])


def test_closure_runs_with_gradients_and_its_loss_is_returned() -> None:
    (p,) = parameters([(3,)], torch.float32)
    opt = Adam([p], lr=0.1)

    def closure() -> Any:
        opt.zero_grad()
        loss: Any = (p**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        first = opt.step(closure)
    assert first == (parameters([(3,)], torch.float32)[0] ** 2).sum()
    assert opt.step(closure) < first


def test_gradient_at_another_point() -> None:
    """Against the recursion itself, on a quadratic."""
    curvature = torch.tensor([1.0, 10.0], dtype=torch.float64)
    p = nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    skipped = nn.Parameter(torch.ones(2, dtype=torch.float64))
    opt = Lookaround([p, skipped], lr=0.05, momentum=0.9)
    theta, b = p.detach().clone(), torch.zeros(2, dtype=torch.float64)
    for _ in range(10):

        def closure() -> Any:
            opt.zero_grad()
            loss: Any = (curvature * p**2).sum() / 2
            loss.backward()
            return loss

        found = opt.step(closure)
        point = theta + 0.9 * b
        assert float(found.detach()) == pytest.approx(float((curvature * point**2).sum() / 2), rel=1e-14)
        b = 0.9 * b - 0.05 * (curvature * point)
        theta = theta + b
    torch.testing.assert_close(p.detach(), theta, rtol=1e-13, atol=1e-15)
    assert torch.equal(skipped.detach(), torch.ones(2, dtype=torch.float64))
    assert skipped not in opt.state


def test_gradient_at_another_point_needs_a_closure_and_survives_its_failure() -> None:
    (p,) = parameters([(3,)], torch.float64)
    opt = Lookaround([p])
    with pytest.raises(RuntimeError, match="pass a closure"):
        opt.step()
    p.grad = torch.ones_like(p)
    opt.step(lambda: 0.0)
    before, velocity = p.detach().clone(), opt.state[p]["velocity"].clone()

    def closure() -> float:
        assert not torch.equal(p.detach(), before)  # it is evaluated elsewhere
        raise KeyError("no data")

    with pytest.raises(KeyError, match="no data"):
        opt.step(closure)
    assert torch.equal(p.detach(), before)
    assert torch.equal(opt.state[p]["velocity"], velocity)


def test_a_stale_graph_is_noticed() -> None:
    """Autograd must know that the parameter changed, or backward would use the new one silently."""
    (p,) = parameters([(3,)], torch.float32)
    opt = Adam([p], lr=0.1)
    loss: Any = (p**3).sum()
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    m_before = opt.state[p]["exp_avg"]._version
    opt.step()
    assert opt.state[p]["exp_avg"]._version > m_before


def test_hooks() -> None:
    (p,) = parameters([(3,)], torch.float32)
    opt, calls = Adam([p]), []
    opt.register_step_pre_hook(lambda *_: calls.append("before"))
    opt.register_step_post_hook(lambda *_: calls.append("after"))
    opt.register_state_dict_post_hook(lambda _, state: calls.append("saved"))
    opt.register_load_state_dict_post_hook(lambda _: calls.append("loaded"))
    p.grad = torch.ones(3)
    opt.step()
    opt.load_state_dict(opt.state_dict())
    assert calls == ["before", "after", "saved", "loaded"]


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_copies_go_on_alone(how: Callable[[Any], Any]) -> None:
    mine = parameters([(5,), (2, 3)], torch.float64)
    opt = Adam(mine, lr=0.1, amsgrad=True)
    give_gradients(mine, seed=0)
    opt.step()
    others, other = how((mine, opt))
    for step in range(1, 4):
        give_gradients(mine, others, seed=step)
        opt.step()
        other.step()
    for p, q in zip(mine, others, strict=True):
        assert torch.equal(p, q)
        assert other.state[q]["step"] == 4.0


def test_state_that_the_user_replaces_is_used() -> None:
    (p,), (q,) = parameters([(4,)], torch.float64), parameters([(4,)], torch.float64)
    a, b = Adam([p], lr=0.1), torch.optim.Adam([q], lr=0.1)
    for step in range(8):
        give_gradients([p], [q], seed=step)
        for opt, x in ((a, p), (b, q)):
            if step == 2:
                opt.state[x]["exp_avg"] = torch.full((4,), 0.5, dtype=torch.float64)
            if step == 4:
                opt.state[x]["exp_avg_sq"].data = torch.full((4,), 2.0, dtype=torch.float64)
            if step == 5:
                x.data = torch.full((4,), 3.0, dtype=torch.float64)
            if step == 6:
                opt.state[x]["step"].fill_(100.0)
            if step == 7:
                opt.state.clear()
            opt.step()
    assert_equal([p], [q])


def test_the_plan_is_kept_while_addresses_hold_and_follows_moved_gradients() -> None:
    mine, other = parameters([(4,), (5, 6)], torch.float64), parameters([(4,), (5, 6)], torch.float64)
    a, b = Adam(mine), torch.optim.Adam(other)
    keep: list[Tensor | None] = []
    plans = []
    for step in range(4):
        give_gradients(mine, other, seed=step)
        keep += [p.grad for p in mine]  # so that the next ones are elsewhere
        a.step()
        b.step()
        plans.append(a._plan)
    assert all(plan is plans[0] for plan in plans)
    assert_equal(mine, other)


def test_optimizer_in_backward() -> None:
    """One optimizer for each parameter, stepped from a hook."""
    p: Any
    q: Any
    (p,), (q,) = parameters([(3,)], torch.float64), parameters([(3,)], torch.float64)
    a, b = Adam([p]), torch.optim.Adam([q])

    def hook(_: Tensor) -> None:
        a.step()
        a.zero_grad()

    p.register_post_accumulate_grad_hook(hook)
    for _ in range(3):
        (p**2).sum().backward()
        b.zero_grad()
        (q**2).sum().backward()
        b.step()
    assert_equal([p], [q])
