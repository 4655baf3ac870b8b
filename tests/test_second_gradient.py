"""`h = grad(theta[t-1])` and then `g[t] = grad(...)` elsewhere: steps of two gradients, SAM above all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import pytorch_optimizer as po
import torch
from numpy.typing import NDArray
from torch import Tensor

import optdsl
from optdsl import driver
from optdsl.backend import get_backend
from optdsl.checks import check
from optdsl.checks.verdict import Outcome
from optdsl.cost import cost
from optdsl.diagnostics import Source
from optdsl.files import composition
from optdsl.kernel.ir import Precision, Type
from tests.support import programs

Array = NDArray[np.float64]
SHAPES: tuple[tuple[int, ...], ...] = ((), (7,), (5, 3), (2, 3, 4), (2, 3, 2, 3), (0, 2))
STEPS = 200

HEUN = """# Heun's step of the gradient flow: it reads the first gradient after the second.
optimizer Heun
hyper lr = 0.1 in [0, inf)
h = grad(theta[t-1])
g[t] = grad(theta[t-1] - lr*h)
theta[t] = theta[t-1] - lr*(h + g[t])/2
"""


def begin() -> list[Array]:
    random = np.random.default_rng(0)
    return [np.asarray(random.standard_normal(shape) + 2) for shape in SHAPES]


def drift(t: int) -> list[Array]:
    """What is added to the gradient of step t: it never vanishes, where the direction of SAM would jump."""
    random = np.random.default_rng(t)
    return [np.asarray(random.standard_normal(shape)) for shape in SHAPES]


def gradient(x: list[Array], t: int) -> list[Array]:
    """Of sum(c*x + x^2/2 - cos(x)/10)."""
    return [c + value + np.sin(value) / 10 for c, value in zip(drift(t), x, strict=True)]


def closure_of(params: list[Tensor], t: int) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        for p in params:
            p.grad = None
        terms = (
            (torch.from_numpy(c).to(p.dtype) * p + p**2 / 2 - torch.cos(p) / 10).sum()
            for c, p in zip(drift(t), params, strict=True)
        )
        loss = torch.stack(list(terms)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return closure


def parameters() -> list[Tensor]:
    return [torch.from_numpy(x).requires_grad_() for x in begin()]


def run(framework: str, spec: str | Path, **options: Any) -> list[Array]:
    if framework == "torch":
        params = parameters()
        optimizer = optdsl.torch.load(spec)(params, **options)
        for t in range(STEPS):
            optimizer.step(closure_of(params, t))
        return [p.detach().numpy() for p in params]
    arrays = begin()
    stepping = optdsl.numpy.load(spec)(arrays, **options)
    for t in range(STEPS):
        stepping.step(lambda x, t=t: gradient(x, t))
    return arrays


def assert_close(found: list[Array], expected: list[Array]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("weights", [(0.0, 1.0), (0.5, 0.5)])
def test_both_gradients(framework: str, weights: tuple[float, float], tmp_path: Path) -> None:
    """Extragradient steps with the second alone; Heun's step reads both. Against the lines in NumPy."""
    path: str | Path = "extragradient"
    if weights[0]:
        path = tmp_path / "heun.opt"
        path.write_text(HEUN)
    x = begin()
    for t in range(STEPS):
        h = gradient(x, t)
        g = gradient([value - 0.1 * first for value, first in zip(x, h, strict=True)], t)
        steps = (weights[0] * first + weights[1] * second for first, second in zip(h, g, strict=True))
        x = [value - 0.1 * step for value, step in zip(x, steps, strict=True)]
    assert_close(run(framework, path, lr=0.1), x)


def test_extragradient_finds_the_saddle() -> None:
    """min over x, max over y of x*y: each step multiplies the distance by 1 - lr^2 + lr^4, and gradient
    descent by 1 + lr^2 (squared)."""
    x = np.array([1.0, 1.0])
    optimizer = optdsl.numpy.load("extragradient")(x, lr=0.5)
    for _ in range(10):
        optimizer.step(lambda at: np.array([at[1], -at[0]]))
    assert x @ x == pytest.approx(2 * (1 - 0.25 + 0.0625) ** 10, rel=1e-12)


PEERS: list[Any] = [
    ("sgd(lr = 0.05, momentum = 0.9)", torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    ("adam(lr = 0.05)", torch.optim.Adam, {"lr": 0.05}),
]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(("inner", "make", "options"), PEERS)
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_sam_against_pytorch_optimizer(
    framework: str, inner: str, make: Any, options: dict[str, Any], adaptive: bool, monkeypatch: Any
) -> None:
    """pytorch_optimizer 4.1.0 sums the norm in float32 whatever the parameters are: in float64 here."""
    monkeypatch.setattr("pytorch_optimizer.optimizer.sam.get_global_gradient_norm", _squared_norm)
    params = parameters()
    peer = po.SAM(params, make, rho=0.1, adaptive=adaptive, foreach=False, **options)
    for t in range(STEPS):
        closure = closure_of(params, t)
        closure()
        peer.step(closure)  # type: ignore[arg-type]
    found = run(framework, f"{inner} | sam(rho = 0.1, adaptive = {str(adaptive).lower()})")
    assert_close(found, [p.detach().numpy() for p in params])


def _squared_norm(groups: Any, weight_adaptive: bool) -> Tensor:
    (group,) = groups
    grads = [p.grad * (p.abs() if group["adaptive"] else 1) for p in group["params"]]
    return torch.stack([(g**2).sum() for g in grads]).sum().reshape(1)


@pytest.mark.parametrize(("inner", "peer"), [("sgd(lr = 0.05)", optax.sgd), ("adam(lr = 0.05)", optax.adam)])
def test_sam_against_optax(inner: str, peer: Any) -> None:
    """`optax.contrib.sam` in its opaque mode, with the first step that its documentation has."""
    from optax.contrib import normalize, sam

    with jax.enable_x64(True):
        away = optax.chain(normalize(), optax.sgd(0.1))
        transformation = sam(peer(0.05), away, sync_period=2, opaque_mode=True)
        x: Any = [jax.numpy.asarray(value) for value in begin()]
        state = transformation.init(x)
        for t in range(STEPS):
            updates, state = transformation.update(
                gradient(x, t), state, x, grad_fn=lambda at, _, t=t: gradient(at, t)
            )
            x = optax.apply_updates(x, updates)
    assert_close(run("numpy", f"{inner} | sam(rho = 0.1)"), [np.asarray(value) for value in x])


def test_sam_stands_around_what_is_left_of_it() -> None:
    """The transform maps the second gradient, Lookahead the whole: 3 steps of numbers that fit a margin.

    f = x^2/2 from 3, sgd with lr 1/2, rho 1: h = x, g = x + sign(x), clipped to 2. 3: g = 4, then 2, x = 2;
    2: g = 3, then 2, x = 1; and Lookahead(2, 1/2) goes half of the way from 3 to 1. 2 again: x = 1.
    """
    x = np.array([3.0])
    spec = "clip_by_value(2) | sgd(lr = 0.5) | sam(rho = 1, eps = 1e-30) | lookahead(2, 0.5)"
    optimizer = optdsl.numpy.load(spec)(x)
    seen = []
    for _ in range(3):
        optimizer.step(lambda at: at)
        seen.append(x[0])
    assert seen == [2, 2, 1]


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_nothing_changes_when_the_closure_raises(framework: str, fails_at: int) -> None:
    calls = []

    def fail() -> bool:
        calls.append(1)
        if len(calls) == fails_at:
            raise KeyError("mine")
        return True

    if framework == "torch":
        params = parameters()
        optimizer = optdsl.torch.load("adam | sam")(params)

        def closure() -> Tensor:
            fail()
            return closure_of(params, 0)()

        with pytest.raises(KeyError, match="mine"):
            optimizer.step(closure)
        assert not optimizer.state
        found = [p.detach().numpy() for p in params]
    else:
        found = begin()
        stepping = optdsl.numpy.load("adam | sam")(found)
        with pytest.raises(KeyError, match="mine"):
            stepping.step(lambda x: fail() and gradient(x, 0))
        assert not any(stepping.state_dict()["state"])
    assert all(np.array_equal(x, y) for x, y in zip(found, begin(), strict=True))


def test_the_closure_is_needed_and_its_first_loss_is_returned() -> None:
    params = parameters()
    optimizer = optdsl.torch.load("sgd | sam")(params)
    closure_of(params, 0)()
    with pytest.raises(RuntimeError, match=r"opt\.step\(closure\)"):
        optimizer.step()
    at_the_parameters = closure_of(params, 0)()
    assert optimizer.step(closure_of(params, 0)) == at_the_parameters
    with pytest.raises(RuntimeError, match=r"opt\.step\(gradient\)"):
        optdsl.numpy.load("sgd | sam")(np.ones(3)).step(np.ones(3))


def test_a_loss_that_is_read_belongs_to_the_gradient() -> None:
    """Polyak's step f/|g|^2 is that of the point where g is: f = x^2/2, x = 2, rho = 1: 4.5/9*3 from 2."""
    x = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)

    def closure() -> Tensor:
        x.grad = None
        loss = (x**2).sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    spec = "polyak_sgd(lr = 1, max_lr = 10) | sam(rho = 1, eps = 1e-30)"
    assert optdsl.torch.load(spec)([x]).step(closure) == 2.0
    assert x.item() == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("frozen", ["first", "second", "both"])
def test_parameters_without_a_gradient(frozen: str) -> None:
    """One that has none in the first closure is not moved there; one that has none in the second stays."""
    x, y = (torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = optdsl.torch.load("sgd(lr = 0.1) | sam(rho = 1, eps = 1e-30)")([x, y])
    calls: list[list[float]] = []

    def closure() -> None:
        calls.append(y.tolist())
        x.grad, y.grad = x.detach().clone(), y.detach().clone()
        if frozen == "both" or frozen == ("first" if len(calls) == 1 else "second"):
            y.grad = None

    optimizer.step(closure)
    moved = calls[1] != [1.0] * 3
    assert moved == (frozen == "second")
    assert y.tolist() == ([0.9] * 3 if frozen == "first" else [1.0] * 3)


@pytest.mark.parametrize("storage", [Type.F32, Type.F64])
@pytest.mark.parametrize("text", ["extragradient", "adamw | sam(rho = 0.5)", "sgd | sam(adaptive = true)"])
def test_backends_move_to_the_same_point(text: str, storage: Type) -> None:
    optimizer = driver.front(composition(f"{text} | lookahead"))[0]
    flags = {flag.name: flag.default for flag in optimizer.flags}
    program = driver.build(optimizer, Precision("accurate", storage), flags)
    assert program.query is not None
    moving = program.query.optimizer
    data = programs.initial_data(moving, [0, 1, 17, 1000, 20000], storage, rows=2)
    expected, before = data.copy(), data.copy()
    for backend, at in (("numba_cpu", data), ("reference", expected)):
        step = get_backend(backend).load(program, "query")
        programs.run(step, moving, at, programs.hyper_rows(moving, 2), 3)
    rtol = 1e-6 if storage is Type.F32 else 1e-14
    for tensor, wanted, old in zip(data.arrays, expected.arrays, before.arrays, strict=True):
        np.testing.assert_allclose(tensor["theta"], wanted["theta"], rtol=rtol, atol=1e-300)
        assert tensor["theta"].size < 2 or not np.array_equal(tensor["theta"], old["theta"])
        assert all(np.array_equal(tensor[key], old[key]) for key in tensor if key != "theta")


def verdict(point: str, about: str) -> Outcome:
    text = (
        "optimizer Test\nhyper lr = 0.1 in [0, inf)\nstate m[0] = 0\nh = grad(theta[t-1])\n"
        f"g[t] = grad({point})\nm[t] = (m[t-1] + g[t])/2\ntheta[t] = theta[t-1] - lr*m[t]\n"
    )
    report = check(driver.front(Source("test.opt", text))[0])
    (found,) = (each.outcome for each in report.verdicts if each.claim == about)
    return found


@pytest.mark.parametrize(
    ("point", "about", "outcome"),
    [
        ("theta[t-1] + lr*h/(1 + abs(m[t-1]))", "well_defined", Outcome.PROVED),
        ("theta[t-1] + lr*h/norm(h)", "well_defined", Outcome.REFUTED),
        ("theta[t-1] + m[t-1]/lr", "well_defined", Outcome.REFUTED),
        ("theta[t-1] + lr*h", "units", Outcome.PROVED),
        ("theta[t-1] + lr*h^2", "units", Outcome.REFUTED),
        ("theta[t-1] + lr*h", "descent", Outcome.UNKNOWN),
    ],
)
def test_what_is_asked_of_lines_is_asked_of_the_point(point: str, about: str, outcome: Outcome) -> None:
    assert verdict(point, about) is outcome


def test_where_the_points_are_one_the_gradients_are() -> None:
    """1/(1 + (h - g)*1e9) would be refuted by h = 0 and g = -1e-9, if they were free at one point."""
    text = (
        "optimizer Test\nhyper rho = 0 in [0, 0]\nh = grad(theta[t-1])\ng[t] = grad(theta[t-1] + rho*h)\n"
        "theta[t] = theta[t-1] - rho*g[t]/(1 + g[t] - h)\n"
    )
    report = check(driver.front(Source("test.opt", text))[0])
    (found,) = (each.outcome for each in report.verdicts if each.claim == "well_defined")
    assert found is Outcome.UNKNOWN


def test_what_it_costs() -> None:
    """The first gradient and theta kept aside, one pass for the norm, one that moves, theta put back, GD."""
    found = cost(driver.front(composition("gd() | sam"))[0], {})
    assert [each.bytes_moved for each in found.passes] == [8, 8, 4, 12, 8, 12]
    assert found.sharding == "global"
    assert cost(programs.meaning("extragradient"), {}).sharding == "elementwise"
