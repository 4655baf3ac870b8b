"""`torch.compile` of what trains: the operator that a graph sees, and what breaks a graph."""

from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from optdsl.runtime.torch.graph import step_op
from optdsl.torch import load
from tests.conformance.subjects import Subject, gradients, same

NAMES = ("adam", "sgd", "lamb", "adafactor")


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.compiler.reset()


def begun(name: str, **options: Any) -> tuple[list[nn.Parameter], Any]:
    """Parameters with gradients, and an optimizer that has taken a step."""
    ps = Subject("adam", "Adam").parameters(shapes=[(3,), (4, 2), ()])
    opt = load(name)(ps, **options)
    give(ps, 0)
    opt.step()
    return ps, opt


def give(ps: list[nn.Parameter], seed: int) -> None:
    for p, g in zip(ps, gradients(ps, seed), strict=True):
        p.grad = g


@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str) -> None:
    """torch's own checks of an operator: what it says it writes to, its fake, its functional form."""
    _, opt = begun(name)
    compiled: Any = torch.compile(opt.step, backend="eager")
    compiled()
    told = opt._in_graph
    given = (
        [p.detach().clone() for p in told.parameters],
        gradients(told.parameters, 1),
        [x.clone() for x in told.state],
        told.number,
        True,
    )
    results = torch.library.opcheck(step_op, given)
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", NAMES)
def test_a_whole_graph(name: str, backend: str) -> None:
    """After one step, `fullgraph=True`; options may change, and nothing is compiled again."""
    (ps, a), (qs, b) = begun(name, lr=0.02), begun(name, lr=0.02)
    counter = CompileCounterWithBackend(backend)
    compiled: Any = torch.compile(a.step, backend=counter, fullgraph=True)
    for step in range(1, 4):
        a.param_groups[0]["lr"] = b.param_groups[0]["lr"] = 0.02 / step
        give(ps, step)
        give(qs, step)
        compiled()
        b.step()
        same(ps, qs)
    assert counter.frame_count == 1


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # Dynamo's own
def test_a_training_step() -> None:
    """Forward, backward and step in one compiled function, with a schedule outside of it."""
    m, n = model(), model()
    cls: Any = load("adamw")
    a, b = cls(m.parameters(), lr=0.1), cls(n.parameters(), lr=0.1)
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))

    def train(net: nn.Module, opt: Any) -> torch.Tensor:
        opt.zero_grad()
        loss: torch.Tensor = (net(x) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        opt.step()
        return loss.detach()

    compiled: Any = torch.compile(train, backend="aot_eager")
    schedules = [torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=12) for opt in (a, b)]
    for _ in range(10):
        one, two = compiled(m, a), train(n, b)
        torch.testing.assert_close(one, two)
        for schedule in schedules:
            schedule.step()
    for p, q in zip(m.parameters(), n.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.filterwarnings("ignore:Detected call")
@pytest.mark.parametrize("how", ["a number", "a tensor", "a scheduler"])
def test_groups_that_the_compiled_function_writes_to(how: str) -> None:
    """Dynamo writes to dicts behind the graph, and the step must see what was written before it."""
    options = {"lr": torch.tensor(0.02) if how == "a tensor" else 0.02}
    (ps, a), (qs, b) = begun("adam", **options), begun("adam", lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(a, 0.5) if how == "a scheduler" else None

    def step(scale: float) -> None:
        if schedule is not None:
            schedule.step()
        elif how == "a tensor":
            a.param_groups[0]["lr"].mul_(0.5)
        else:
            a.param_groups[0]["lr"] = a.param_groups[0]["lr"] * 0.5
        a.step()

    compiled: Any = torch.compile(step, backend="eager")
    for seed in range(1, 4):
        b.param_groups[0]["lr"] *= 0.5
        give(ps, seed)
        give(qs, seed)
        compiled(0.5)
        b.step()
        same(ps, qs)


def test_what_is_loaded_or_cleared_between_compiled_steps() -> None:
    (ps, a), (qs, b) = begun("adam"), begun("adam")
    compiled: Any = torch.compile(a.step, backend="eager")
    for seed in range(1, 8):
        give(ps, seed)
        give(qs, seed)
        if seed == 2:
            for opt in (a, b):
                opt.load_state_dict(opt.state_dict())
        if seed == 4:
            a.state.clear()
            b.state.clear()
        if seed == 5:
            ps[1].grad = qs[1].grad = None
        if seed == 6:
            for opt in (a, b):
                opt.param_groups[0]["amsgrad"] = True
        compiled()
        b.step()
        same(ps, qs)


def test_refusals_are_those_of_a_step() -> None:
    ps, opt = begun("adam")
    compiled: Any = torch.compile(opt.step, backend="eager")
    compiled()
    before = [p.detach().clone() for p in ps]
    opt.param_groups[0]["lr"] = -1.0
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1\.0"):
        compiled()
    assert torch.is_grad_enabled()
    same(ps, before)
