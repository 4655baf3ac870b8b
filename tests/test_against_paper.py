"""The specs that torch has not, against their papers; and first steps that can be worked out by hand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import optdsl
from tests.support import paper, paper_rates

Array = paper.Array
STEPS = 200


def start() -> Array:
    return np.random.default_rng(1).normal(size=(5, 7))


def random_gradients() -> list[Array]:
    """Sizes over four decades, a tenth of them exactly zero."""
    random = np.random.default_rng(2)
    shape = (STEPS, 5, 7)
    gradients = random.normal(size=shape) * 10 ** random.uniform(-3, 1, size=shape)
    gradients[random.uniform(size=shape) < 0.1] = 0
    return list(gradients)


def run(name: str, theta: Array, gradients: Sequence[Array], **options: Any) -> list[Array]:
    """The parameters after every step of a spec's NumPy class."""
    theta = theta.copy()
    optimizer = optdsl.numpy.load(name)([theta], **options)
    path = []
    for gradient in gradients:
        optimizer.step([gradient])
        path.append(theta.copy())
    return path


ADAM = {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6}
PAPERS = [
    pytest.param("gd", paper.gradient_descent, {"lr": 0.1}, {"lr": 0.1}, id="gd"),
    pytest.param(
        "momentum", paper.heavy_ball, {"lr": 0.1, "mu": 0.9}, {"lr": 0.1, "momentum": 0.9}, id="momentum"
    ),
    pytest.param(
        "amsgrad",
        paper.amsgrad,
        {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-8},
        {"lr": 0.01, "betas": (0.8, 0.99)},
        id="amsgrad",
    ),
    pytest.param("adasgd", paper.adasgd, ADAM, {"lr": 0.01, "eps": 1e-6, "betas": (0.8, 0.99)}, id="adasgd"),
    pytest.param("adanorm", paper.adanorm, {**ADAM, "r": 0.9},
                 {"lr": 0.01, "eps": 1e-6, "betas": (0.8, 0.99), "r": 0.9}, id="adanorm"),
    pytest.param("avagrad", paper_rates.avagrad, ADAM, {"lr": 0.01, "eps": 1e-6, "betas": (0.8, 0.99)},
                 id="avagrad"),
    pytest.param("adam_hd", paper_rates.adam_hd, {**ADAM, "hypergrad_lr": 1e-4},
                 {"lr": 0.01, "eps": 1e-6, "betas": (0.8, 0.99), "hypergrad_lr": 1e-4}, id="adam_hd"),
    pytest.param("nd_adam", paper_rates.nd_adam, ADAM, {"lr": 0.01, "eps": 1e-6, "betas": (0.8, 0.99)},
                 id="nd_adam"),
    pytest.param("kate", paper.kate, *[{"lr": 0.1, "delta": 0.5, "eps": 1e-6}] * 2, id="kate"),
    *(
        pytest.param(
            "adabound",
            paper.adabound,
            {"lr": 0.01, "beta1": 0.8, "beta2": 0.99, "final_lr": 0.05, "gamma": 0.1, "eps": 1e-6, **rest},
            {"lr": 0.01, "betas": (0.8, 0.99), "final_lr": 0.05, "gamma": 0.1, "eps": 1e-6, **rest},
            id=f"adabound-amsbound={rest['amsbound']}",
        )
        for rest in ({"weight_decay": 0.0, "amsbound": False}, {"weight_decay": 0.1, "amsbound": True})
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rule", "arguments", "options"), PAPERS)
def test_paper(name: str, rule: Any, arguments: dict[str, Any], options: dict[str, Any]) -> None:
    """Both are float64, rounded in another order: what is left is rounding."""
    theta, gradients = start(), random_gradients()
    expected = rule(theta, gradients, **arguments)
    found = run(name, theta, gradients, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "rule", "options"),
    [
        ("adgd", paper_rates.adgd, {}),
        ("barzilai_borwein", paper_rates.barzilai_borwein, {"short": False}),
        ("barzilai_borwein", paper_rates.barzilai_borwein, {"short": True}),
    ],
)
def test_rates_from_two_points(name: str, rule: Any, options: dict[str, Any]) -> None:
    """30 steps: each rate is a quotient of differences of those before, so rounding grows."""
    theta, gradients = start(), random_gradients()[:30]
    expected = rule(theta, gradients, lr=0.01, **options)
    np.testing.assert_allclose(run(name, theta, gradients, lr=0.01, **options), expected, rtol=1e-9)


def test_swats_switches_where_the_paper_does() -> None:
    """Adam until the projected rate has settled, then SGD: both phases are gone through."""
    theta, gradients = start(), random_gradients()
    expected, switched = paper_rates.swats(theta, gradients, **{**ADAM, "eps": 2e-5})
    assert 10 < switched < STEPS - 10, "choose an eps with which both phases are seen"
    found = run("swats", theta, gradients, lr=0.01, betas=(0.8, 0.99), eps=2e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_the_vectors_of_nd_adam_are_adams() -> None:
    theta, gradients = start()[0], [g[0] for g in random_gradients()]
    found = run("nd_adam", theta, gradients, vec_lr=0.01, betas=(0.8, 0.99), eps=1e-6)
    expected = run("adam", theta, gradients, lr=0.01, betas=(0.8, 0.99), eps=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_rates_of_deterministic_methods_find_the_minimum() -> None:
    """Without a rate to be tuned: the bowl of curvatures 0.1 to 3 to 1e-8 within 200 steps."""
    curvature = CURVATURE.numpy()
    for name in ("adgd", "barzilai_borwein"):
        x = np.linspace(-1, 2, 7)
        optimizer = optdsl.numpy.load(name)([x])
        for _ in range(STEPS):
            optimizer.step([curvature * x])
        assert np.abs(x).max() < 1e-8, name


def test_sps_max_by_hand() -> None:
    """x^2 from 4, then 2, with c = 1/2: Polyak's rate is x^2/(c*4*x^2) = 1/2, and 1/4 by the bound."""
    for bound, expected in ((1.0, [0.0, 0.0]), (0.25, [2.0, 1.0])):
        x = np.array([4.0])
        optimizer = optdsl.numpy.load("sps_max")([x], bound=bound)
        places = []
        for _ in range(2):
            optimizer.step([2 * x], loss=float(x[0] ** 2))
            places.append(float(x[0]))
        assert places == expected


CURVATURE = torch.linspace(0.1, 3, 7, dtype=torch.float64)


def quartic(x: torch.Tensor) -> torch.Tensor:
    """Convex and not quadratic: the gradient at another point is not a multiple of the one here."""
    return (CURVATURE * x**2 / 2 + x**4 / 4).sum()


def minimise(optimizer: torch.optim.Optimizer, x: torch.Tensor) -> list[torch.Tensor]:
    """The parameters after every step, with a closure that takes the gradient where it is called."""

    def closure() -> float:
        optimizer.zero_grad()
        loss = quartic(x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    path = []
    for _ in range(STEPS):
        optimizer.step(closure)
        path.append(x.detach().clone())
    return path


def test_nesterov_paper() -> None:
    x = torch.linspace(-1, 2, 7, dtype=torch.float64, requires_grad=True)
    begin = x.detach().numpy().copy()
    found = minimise(optdsl.torch.load("nesterov")([x], lr=0.05, momentum=0.9), x)
    curvature = CURVATURE.numpy()
    expected = paper.nesterov(begin, lambda y: curvature * y + y**3, STEPS, lr=0.05, mu=0.9)
    np.testing.assert_allclose(torch.stack(found).numpy(), expected, rtol=1e-11, atol=1e-13)


def test_nesterov_is_torch_shifted() -> None:
    """torch keeps theta + mu*v where the paper keeps theta: the same path, seen one look-ahead later."""
    x = torch.linspace(-1, 2, 7, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    found = torch.stack(
        [x.detach().clone(), *minimise(optdsl.torch.load("nesterov")([x], lr=0.05, momentum=0.9), x)]
    )
    shifted = minimise(torch.optim.SGD([y], lr=0.05, momentum=0.9, nesterov=True, foreach=False), y)
    velocity = found[1:] - found[:-1]
    torch.testing.assert_close(found[1:] + 0.9 * velocity, torch.stack(shifted), rtol=1e-11, atol=1e-13)


ONES = [1.0, 1.0, 1.0]

# A spec, its options, the gradients of one parameter, and how far it moves at each step.
BY_HAND = [
    # theta - lr*g.
    ("gd", {"lr": 0.5}, [2.0, -4.0], [-1.0, 2.0]),
    # b = 1; then 0.9*1 + 0.5*1; then 0.9*1.4 + 0.5*1: the first step is not dampened.
    ("sgd", {"lr": 1.0, "momentum": 0.9, "dampening": 0.5}, ONES, [-1.0, -1.4, -1.76]),
    # Without momentum torch does not look at dampening.
    ("sgd", {"lr": 1.0, "dampening": 0.5}, ONES, [-1.0, -1.0, -1.0]),
    # b = 1, 1.9, 2.71; the step is 1 + 0.9*b.
    ("sgd", {"lr": 1.0, "momentum": 0.9, "nesterov": True}, ONES, [-1.9, -2.71, -3.439]),
    # b = 1, 1.9, 2.71.
    ("momentum", {"lr": 1.0, "momentum": 0.9}, ONES, [-1.0, -1.9, -2.71]),
    # The sum of squares is 1, 2, 3.
    ("adagrad", {"lr": 1.0}, ONES, [-1.0, -1 / math.sqrt(2), -1 / math.sqrt(3)]),
    # ... and lr is divided by 1, 1.5, 2.
    ("adagrad", {"lr": 3.0, "lr_decay": 0.5}, ONES, [-3.0, -2 / math.sqrt(2), -1.5 / math.sqrt(3)]),
    # sqrt(eps) / sqrt(0.1*g^2 + eps) * g, with eps = 1e-6.
    ("adadelta", {}, [1.0], [-1e-3 / math.sqrt(0.1 + 1e-6)]),
    # v = 0.01*g^2: the first step is 10 times lr, whatever g.
    ("rmsprop", {"lr": 1.0}, [3.0], [-10.0]),
    # v - a^2 = 0.01*g^2 - (0.01*g)^2 = 0.0099*g^2.
    ("rmsprop", {"lr": 1.0, "centered": True}, [3.0], [-1 / math.sqrt(0.0099)]),
    # b = 4, m = 4/4; then b = 8, m = 1 + 4/8: the first step is lr/g.
    ("kate", {"lr": 1.0}, [2.0, 2.0], [-1 / 4 * 2, -math.sqrt(1.5) / 8 * 2]),
    # m = 3, 5.7, and v corrected is 9.
    ("adasgd", {"lr": 1.0}, [3.0, 3.0], [-1.0, -1.9]),
    # e = 0.05*2 is shorter than 2; then e = 0.95*0.1 + 0.05*0.01 = 0.0955 stands for 0.01 in m, not in v.
    ("adanorm", {"lr": 1.0}, [2.0, 0.01],
     [-1.0, -((0.9 * 0.2 + 0.1 * 0.0955) / 0.19) / math.sqrt((0.999 * 0.004 + 1e-3 * 1e-4) / 0.001999)]),
    # -lr*sign(g), whatever g; and again, as m and v are corrected.
    ("adam", {"lr": 1.0}, [5.0, 5.0], [-1.0, -1.0]),
    ("adam", {"lr": 1.0}, [-1e-3], [1.0]),
    # m = 0.9*1 + 0.1*1 = 1, corrected by 1 - 0.9^2 = 0.19; the maximum of v is 0.0999 + 0.001 = 0.1009,
    # corrected by 1 - 0.999^2 = 0.001999.
    ("adam", {"lr": 1.0, "amsgrad": True}, [10.0, 1.0], [-1.0, -(1.0 / 0.19) / math.sqrt(0.1009 / 0.001999)]),
    # theta = 1: decay first, by lr*weight_decay = 0.1; then -lr*sign(g).
    ("adamw", {"lr": 0.5, "weight_decay": 0.2}, [5.0], [-0.1 - 0.5]),
    # The L2 penalty joins the gradient and is normalised with it: only the sign is left.
    ("adam", {"lr": 0.5, "weight_decay": 0.2}, [5.0], [-0.5]),
    ("radam", {"lr": 0.5, "weight_decay": 0.2, "decoupled_weight_decay": True}, [5.0], [-0.1 - 0.5 * 5.0]),
    # m is corrected, u = abs(g) is not.
    ("adamax", {"lr": 1.0}, [5.0, 5.0], [-1.0, -1.0]),
    # u = max(0.5*4, 1) = 2; m = 0.5*2 + 0.5*1 = 1.5, corrected by 1 - 0.5^2: 2/2.
    ("adamax", {"lr": 1.0, "betas": (0.5, 0.5)}, [4.0, 1.0], [-1.0, -1.0]),
    # The paper corrects nothing: 0.1*10/sqrt(0.001*100); then v = 0.0999 + 0.001, m = 0.9*1 + 0.1*1.
    ("amsgrad", {"lr": 1.0}, [10.0, 1.0], [-math.sqrt(10), -1.0 / math.sqrt(0.1009)]),
    # 0.1*10/sqrt(0.1); then v = 0.0999 is below the maximum 0.1, which stays; m = 0.9.
    ("amsgrad", {"lr": 1.0}, [10.0, 0.0], [-math.sqrt(10), -0.9 / math.sqrt(0.1)]),
    # No bound touches Adam's first step ...
    ("adabound", {"lr": 1e-3}, [5.0], [-1e-3]),
    # ... but a gamma of 0.5 lifts the rate to final_lr*(1 - 1/1.5) = 1/30, for m = 0.5.
    ("adabound", {"lr": 1e-3, "gamma": 0.5}, [5.0], [-0.5 / 30]),
    # mu_1 = 0.9*(1 - 0.5) = 0.45 with a decay so long that mu stays there. The gradient counts with
    # (1 - 0.45)/(1 - 0.45) = 1, m = 0.1 with 0.45/(1 - 0.45^2).
    ("nadam", {"lr": 1.0, "momentum_decay": 0.0}, [5.0], [-1 - 0.1 * 0.45 / (1 - 0.45**2)]),
    # rho is 1, 2, 3, 3.997, 4.996 with beta2 = 0.999: five steps of -lr*mhat (the paper's rho > 4: four).
    ("radam", {"lr": 1.0}, [3.0] * 5, [-3.0] * 5),
    # lr; 1.2*lr; a change of sign rests and halves; then the halved step: 0.1*1.2*0.5.
    ("rprop", {"lr": 0.1}, [1.0, 7.0, -1.0, -1.0], [-0.1, -0.12, 0.0, 0.06]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "gradients", "moves"), BY_HAND)
def test_by_hand(name: str, options: dict[str, Any], gradients: list[float], moves: list[float]) -> None:
    """To the six digits that eps leaves of numbers that were worked out without it."""
    path = [np.ones(1), *run(name, np.ones(1), [np.array([gradient]) for gradient in gradients], **options)]
    np.testing.assert_allclose(np.diff(path, axis=0)[:, 0], moves, rtol=2e-5, atol=1e-12)


def test_radam_starts_to_adapt_at_step_six() -> None:
    """rho_6 = 1999 - 12*0.999^6/(1 - 0.999^6) = 5.994: from here Adam's step (-lr*sign(g)) times r."""
    path = run("radam", np.ones(1), [np.array([3.0])] * 6, lr=1.0)
    rho, limit = 1999 - 12 * 0.999**6 / (1 - 0.999**6), 1999.0
    rate = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
    np.testing.assert_allclose(path[5] - path[4], -rate, rtol=1e-6)


def test_adasgd_is_one_rate_for_all_tensors() -> None:
    """(9 + 1 + 1)/3 is the mean of g^2 over both."""
    theta = [np.zeros(1), np.zeros(2)]
    optdsl.numpy.load("adasgd")(theta, lr=1.0).step([np.array([3.0]), np.ones(2)])
    rate = 1 / math.sqrt(11 / 3)
    np.testing.assert_allclose(np.concatenate(theta), [-3 * rate, -rate, -rate], rtol=1e-7)


def test_nesterov_by_hand() -> None:
    """On x^2/2 from 1: v = -0.1, x = 0.9; then the gradient is taken at 0.9 - 0.09 = 0.81, and
    v = -0.09 - 0.081 = -0.171, x = 0.729.
    """
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = optdsl.torch.load("nesterov")([x], lr=0.1, momentum=0.9)
    asked, path = [], []

    def closure() -> float:
        asked.append(x.item())
        x.grad = x.detach().clone()
        return x.item() ** 2 / 2

    for _ in range(2):
        optimizer.step(closure)
        path.append(x.item())
    np.testing.assert_allclose(asked, [1.0, 0.81], rtol=1e-15)
    np.testing.assert_allclose(path, [0.9, 0.729], rtol=1e-15)


def test_centered_rmsprop_survives_a_steady_gradient() -> None:
    """v - a^2 tends to 0, and rounding takes it below: torch 2.13 returns NaN from step 331 on."""
    path = run("rmsprop", np.ones(1), [np.full(1, 0.1)] * 1000, lr=1e-3, alpha=0.9, centered=True)
    assert np.isfinite(path).all()
