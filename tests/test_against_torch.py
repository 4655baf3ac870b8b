"""Every spec that torch.optim has, against torch's own class (its loop over tensors): the path of the
parameters, the state tensors under torch's keys, `state_dict` in both directions, the constructor.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import optdsl
from optdsl.files import library_names

SHAPES = ((), (7,), (5, 3), (2, 3, 4), (2, 3, 2, 3))
STEPS = 200


@dataclass(frozen=True)
class Case:
    spec: str
    torch_class: type[torch.optim.Optimizer]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.spec, *(f"{name}={value}" for name, value in self.options.items())])


def cases(spec: str, torch_class: type[torch.optim.Optimizer], *variants: dict[str, Any]) -> Iterator[Case]:
    return (Case(spec, torch_class, options) for options in ({}, *variants))


CASES = [
    *cases(
        "sgd", torch.optim.SGD,
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        {"dampening": 0.5, "lr": 0.02},
    ),
    *cases(
        "adagrad", torch.optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-4},
    ),
    *cases("adadelta", torch.optim.Adadelta, {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    *cases(
        "rmsprop", torch.optim.RMSprop,
        {"centered": True},
        {"momentum": 0.9, "alpha": 0.5, "weight_decay": 0.1},
        {"momentum": 0.5, "centered": True, "lr": 1e-3, "eps": 1e-3},
    ),
    *cases("rprop", torch.optim.Rprop, {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2)}),
    *cases(
        "adam", torch.optim.Adam,
        {"amsgrad": True},
        {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1},
        {"weight_decay": 0.3, "decoupled_weight_decay": True, "amsgrad": True},
    ),
    *cases("adamw", torch.optim.AdamW, {"amsgrad": True, "weight_decay": 0.3, "betas": (0.5, 0.9)}),
    *cases("adamax", torch.optim.Adamax, {"betas": (0.5, 0.9), "weight_decay": 0.1, "eps": 1e-3}),
    *cases(
        "nadam", torch.optim.NAdam,
        {"betas": (0.5, 0.9), "weight_decay": 0.1, "momentum_decay": 0.1},
        {"weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
    *cases(
        "radam", torch.optim.RAdam,
        {"betas": (0.5, 0.9), "weight_decay": 0.1},
        {"weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
]  # fmt: skip


def tensors(dtype: torch.dtype) -> list[torch.Tensor]:
    """Every rank, and values away from zero: a decaying weight that reaches it moves by its sign alone."""
    random = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in SHAPES]
    return [(value + value.sign() * 2).to(dtype).requires_grad_() for value in drawn]


def gradients(dtype: torch.dtype, steps: int) -> Iterator[list[torch.Tensor]]:
    """Sizes over four decades; a tenth is exactly zero, at step 1 too, where most rules would be 0/0."""
    random = torch.Generator().manual_seed(1)

    def gradient(shape: tuple[int, ...]) -> torch.Tensor:
        size = 10 ** (4 * torch.rand(shape, generator=random, dtype=torch.float64) - 3)
        value = size * torch.randn(shape, generator=random, dtype=torch.float64)
        value[torch.rand(shape, generator=random) < 0.1] = 0
        return value.to(dtype)

    return ([gradient(shape) for shape in SHAPES] for _ in range(steps))


def step(
    optimizer: torch.optim.Optimizer, parameters: list[torch.Tensor], values: list[torch.Tensor]
) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = value.clone()
    optimizer.step()


def pair(
    case: Case, dtype: torch.dtype
) -> tuple[torch.optim.Optimizer, list[torch.Tensor], torch.optim.Optimizer, list[torch.Tensor]]:
    ours, theirs = tensors(dtype), tensors(dtype)
    optimizer = optdsl.torch.load(case.spec)(ours, **case.options)
    return optimizer, ours, case.torch_class(theirs, foreach=False, **case.options), theirs


def assert_close(found: torch.Tensor, expected: torch.Tensor, rtol: float, what: str) -> None:
    """Relative to each element and to the tensor's largest: single elements pass through zero."""
    atol = rtol * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}")


def assert_same_states(
    optimizer: torch.optim.Optimizer,
    ours: list[torch.Tensor],
    torch_optimizer: torch.optim.Optimizer,
    theirs: list[torch.Tensor],
    rtol: float,
) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        found = optimizer.state[mine]
        expected = {key: value for key, value in torch_optimizer.state[other].items() if value is not None}
        # With momentum = 0 torch keeps no buffer; ours cannot tell, as momentum may change at any step.
        assert found.keys() - expected.keys() <= {"momentum_buffer"}
        for key, value in expected.items():
            assert_close(found[key], value, rtol, f"state {key}, shape {tuple(other.shape)}")


def tolerance(case: Case, dtype: torch.dtype) -> float:
    if dtype is torch.float32:
        return 1e-6
    # torch rounds NAdam's product of momenta to float32, whatever the parameters are.
    return 1e-7 if case.spec == "nadam" else 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_path(case: Case, dtype: torch.dtype) -> None:
    optimizer, ours, torch_optimizer, theirs = pair(case, dtype)
    rtol = tolerance(case, dtype)
    for t, values in enumerate(gradients(dtype, STEPS), start=1):
        step(optimizer, ours, values)
        step(torch_optimizer, theirs, values)
        if t in (1, 2, 6, 20, STEPS):
            for mine, other in zip(ours, theirs, strict=True):
                assert_close(mine.detach(), other.detach(), rtol, f"step {t}, shape {tuple(other.shape)}")
    assert_same_states(optimizer, ours, torch_optimizer, theirs, rtol)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_state_dict_moves_both_ways(case: Case) -> None:
    """Half of the way, then each goes on with the other's state."""
    optimizer, ours, torch_optimizer, theirs = pair(case, torch.float64)
    rtol = tolerance(case, torch.float64)
    for t, values in enumerate(gradients(torch.float64, 20), start=1):
        step(optimizer, ours, values)
        step(torch_optimizer, theirs, values)
        if t == 10:
            saved, torch_saved = optimizer.state_dict(), torch_optimizer.state_dict()
            optimizer, ours, torch_optimizer, theirs = (
                optdsl.torch.load(case.spec)(ours), ours, case.torch_class(theirs, foreach=False), theirs,
            )  # fmt: skip
            optimizer.load_state_dict(torch_saved)
            torch_optimizer.load_state_dict(saved)
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine.detach(), other.detach(), rtol, f"shape {tuple(other.shape)}")
    assert_same_states(optimizer, ours, torch_optimizer, theirs, rtol)


# What says how a step runs, not what it computes: the runtime's business.
NOT_IN_SPECS = {"maximize", "foreach", "fused", "capturable", "differentiable"}


@pytest.mark.parametrize("case", [case for case in CASES if not case.options], ids=str)
def test_constructor(case: Case) -> None:
    """The names, their order and their defaults are torch's."""

    def options(cls: type) -> list[tuple[str, object]]:
        parameters = inspect.signature(cls).parameters.values()
        return [(p.name, p.default) for p in parameters if p.name not in NOT_IN_SPECS]

    assert options(optdsl.torch.load(case.spec)) == options(case.torch_class)


def test_nothing_is_left_out() -> None:
    """Every spec that is named as a class of torch.optim is compared with it."""
    named = {name for name in library_names() if name in {known.lower() for known in vars(torch.optim)}}
    assert named - {case.spec for case in CASES} == set()
