"""Every schedule of the library, step by step: against torch's schedulers and the formulas of papers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import optdsl
from optdsl.files import names_in

STEPS = 300


def values(schedule: str, steps: int = STEPS) -> list[float]:
    """The learning rates of so many steps: gradient descent from 0 with gradient -1."""
    x, found = np.zeros(1), []
    optimizer: Any = optdsl.numpy.load(f"gd(lr = {schedule})")
    opt = optimizer(x)
    for _ in range(steps):
        x[:] = 0
        opt.step([-1.0])
        found.append(float(x[0]))
    return found


def rates(make: Callable[..., Any], lr: float, steps: int = STEPS) -> list[float]:
    """What a scheduler of torch sets."""
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, found = make(opt), []
    for _ in range(steps):
        found.append(float(opt.param_groups[0]["lr"]))
        opt.step()
        scheduler.step()
    return found


def warmup_cosine(opt: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """From 1e-9 of the rate, as torch refuses to begin at 0."""
    line = lr_scheduler.LinearLR(opt, start_factor=1e-9, total_iters=50)
    cosine = lr_scheduler.CosineAnnealingLR(opt, 400, eta_min=0.1)
    return lr_scheduler.SequentialLR(opt, [line, cosine], [50])


TORCH: dict[str, tuple[float, Callable[..., Any]]] = {
    "constant(2, 1/4, 7)": (2, lambda o: lr_scheduler.ConstantLR(o, 0.25, 7)),
    "step(2, 40, 0.3)": (2, lambda o: lr_scheduler.StepLR(o, 40, 0.3)),
    "multi_step(2, 30, 80, 200, gamma = 0.2)": (2, lambda o: lr_scheduler.MultiStepLR(o, [30, 80, 200], 0.2)),
    "multi_step(2, 30, 80)": (2, lambda o: lr_scheduler.MultiStepLR(o, [30, 80])),
    "exponential(2, 0.97)": (2, lambda o: lr_scheduler.ExponentialLR(o, 0.97)),
    "cosine(2, 400, 0.1)": (2, lambda o: lr_scheduler.CosineAnnealingLR(o, 400, 0.1)),
    "cosine(2, 299, eta_min = 0.1)": (2, lambda o: lr_scheduler.CosineAnnealingLR(o, 299, 0.1)),
    "cosine_restarts(2, 40, 1, 0.1)": (2, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 40, 1, 0.1)),
    "cosine_restarts(2, 10, 2)": (2, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2)),
    "cosine_restarts(2, 1, 10)": (2, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, 10)),
    "polynomial(2, 200, 1.7)": (2, lambda o: lr_scheduler.PolynomialLR(o, 200, 1.7)),
    "linear(2, 100, 1/3, 0.9)": (2, lambda o: lr_scheduler.LinearLR(o, 1 / 3, 0.9, 100)),
    "warmup(50, 2, 0.01)": (2, lambda o: lr_scheduler.LinearLR(o, 0.01, 1, 50)),
    "warmup(50, cosine(2, 400), 0.01)": (
        2,
        lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(o, 0.01, 1, 50), lr_scheduler.CosineAnnealingLR(o, 400)]
        ),
    ),
    "cyclical(1, 6, 37)": (1, lambda o: lr_scheduler.CyclicLR(o, 1, 6, 37, cycle_momentum=False)),
    "cyclical(1, 6, 37, triangular2 = true)": (
        1,
        lambda o: lr_scheduler.CyclicLR(o, 1, 6, 37, mode="triangular2", cycle_momentum=False),
    ),
    "cyclical(1, 6, 37, 0.99, exp_range = true)": (
        1,
        lambda o: lr_scheduler.CyclicLR(o, 1, 6, 37, mode="exp_range", gamma=0.99, cycle_momentum=False),
    ),
    "one_cycle(2, 300)": (2, lambda o: lr_scheduler.OneCycleLR(o, 2, 301, cycle_momentum=False)),
    "one_cycle(2, 400, 0.25, 10, 100)": (
        2,
        lambda o: lr_scheduler.OneCycleLR(
            o, 2, 400, pct_start=0.25, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
}


@pytest.mark.filterwarnings("ignore")  # what torch says of its own schedulers
@pytest.mark.parametrize("schedule", TORCH)
def test_schedules_are_torchs(schedule: str) -> None:
    lr, make = TORCH[schedule]
    expected = rates(make, lr)
    if schedule == "one_cycle(2, 300)":  # torch takes no step after the last: it is given one more
        expected = rates(lambda o: lr_scheduler.OneCycleLR(o, 2, 300, cycle_momentum=False), lr, STEPS - 1)
    np.testing.assert_allclose(values(schedule, len(expected)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_warmup_then_cosine_is_torchs_sequence() -> None:
    found = values("warmup_cosine(2, 50, 400, 0.1)")
    np.testing.assert_allclose(found, rates(warmup_cosine, 2), rtol=1e-12, atol=1e-8)
    assert found[:3] == [0, 2 / 50, 4 / 50]


def stable_then_down(u: int) -> float:
    """Hu et al. 2024, section 4.2, with a warm-up of 40, 100 stable and 60 falling steps, from 2 to 0.5."""
    s = u + 1
    return 2 * s / 40 if s < 40 else 2 if s < 140 else 2 - 1.5 * (s - 140) / 60 if s < 200 else 0.5


def transformer(u: int) -> float:
    """Vaswani et al. 2017, equation (3): d_model = 8, warmup_steps = 25."""
    return float(8**-0.5 * min((u + 1) ** -0.5, (u + 1) * 25**-1.5))


PAPERS: dict[str, Callable[[int], float]] = {
    "wsd(2, 40, 100, 60, 0.5)": stable_then_down,
    "inverse_sqrt(0.070710678118654752440, 25)": transformer,  # 1/sqrt(8*25)
    "polynomial(2, 100, 2, 0.5)": lambda u: 0.5 + 1.5 * (1 - min(u, 100) / 100) ** 2,  # optax's formula
}


@pytest.mark.parametrize("schedule", PAPERS)
def test_schedules_are_their_papers(schedule: str) -> None:
    expected = [PAPERS[schedule](u) for u in range(STEPS)]
    np.testing.assert_allclose(values(schedule), expected, rtol=1e-12, atol=1e-15)


def test_every_schedule_is_compared() -> None:
    compared = {text.split("(")[0] for text in (*TORCH, *PAPERS)} | {"warmup_cosine"}
    assert compared == set(names_in("schedules"))
