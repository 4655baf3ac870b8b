"""`output x`: a second view of the parameters, from text to models that are evaluated at it."""

import copy
import pickle
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import optdsl
from optdsl import driver
from optdsl.backend import get_backend
from optdsl.checks import check
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import Source
from optdsl.kernel.ir import Type
from tests.support import programs
from tests.support.peers import schedule_free_adamw, schedule_free_sgd

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (4, 5), (0,))
FRAMEWORKS = ("torch", "numpy")
TWO = """# Two views, and a state that only one of them reads.
optimizer Two
hyper lr = 0.1 in [0, inf)
hyper w = 0.5 in (0, 1)
flag far = false
state a[0] = 0
state b[0] = 0
output a
output near = if far then theta[t]/w + 0*b[t] else w*theta[t] + (1 - w)*b[t]
a[t] = a[t-1]/2 + theta[t-1]
b[t] = b[t-1] + g[t]
theta[t] = theta[t-1] - lr*g[t]
"""


def drawn(seed: int, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.standard_normal(shape)) for shape in shapes]


class Both:
    """One optimizer of either framework on float64 arrays."""

    def __init__(self, framework: str, spec: str | Path, start: list[Any], **options: Any) -> None:
        self.torch = framework == "torch"
        self.params: list[Any] = [x.copy() for x in start]
        if self.torch:
            self.params = [torch.nn.Parameter(torch.from_numpy(x)) for x in self.params]
        self.optimizer = getattr(optdsl, framework).load(spec)(self.params, **options)

    def step(self, grads: list[Any]) -> None:
        if not self.torch:
            self.optimizer.step(grads)
            return
        for p, g in zip(self.params, grads, strict=True):
            p.grad = None if g is None else torch.from_numpy(g.copy())
        self.optimizer.step()

    def values(self) -> list[Any]:
        return [p.detach().numpy().copy() if self.torch else p.copy() for p in self.params]


def same(found: list[Any], expected: list[Any], rtol: float = 0.0) -> None:
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("spec", "rule", "options"),
    [
        ("schedule_free_sgd", schedule_free_sgd, {"lr": 0.1, "momentum": 0.7}),
        ("schedule_free_adamw", schedule_free_adamw, {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ],
)
def test_models_are_evaluated_at_the_average(
    spec: str, rule: Any, options: dict[str, Any], framework: str
) -> None:
    """Against the paper's x, kept as a sequence of its own; training goes on as if nothing had been shown."""
    both = Both(framework, spec, drawn(0), **options)
    y, kept = drawn(0), [dict[str, Any]() for _ in SHAPES]
    both.optimizer.eval()  # before the first step there is nothing to show
    same(both.values(), y)
    both.optimizer.train()
    for t in range(1, 6):
        both.step(grads := drawn(t))
        y = [rule(x, g, state, t, **options) for x, g, state in zip(y, grads, kept, strict=True)]
        before = both.values()
        both.optimizer.eval()
        both.optimizer.eval()  # is there already
        same(both.values(), [state["x"] for state in kept], rtol=1e-12)
        both.optimizer.train()
        both.optimizer.train()
        same(both.values(), before)
        with both.optimizer.view("x"):
            same(both.values(), [state["x"] for state in kept], rtol=1e-12)
        same(both.values(), before)
    same(both.values(), y, rtol=1e-12)


def test_x_is_that_of_optax() -> None:
    theta = np.array([3.0, -2.0])
    ours = optdsl.numpy.load("schedule_free_sgd")(theta, lr=0.5)
    peer, there = optax.contrib.schedule_free_sgd(0.5), jnp.array([3.0, -2.0])
    state = peer.init(there)
    for t in range(5):
        g = np.array([1.0, t - 2.0])
        ours.step(g)
        updates, state = peer.update(jnp.asarray(g, jnp.float32), state, there)
        there = optax.apply_updates(there, updates)
    ours.eval()
    np.testing.assert_allclose(theta, optax.contrib.schedule_free_eval_params(state, there), rtol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_average_of_asgd_reaches_the_parameters(framework: str) -> None:
    """The weight of step t is 1/max(1, t - 1 - t0): with t0 = 1 theta[3] is the first that is kept."""
    both = Both(framework, "asgd", drawn(0), lambd=0.0, t0=1.0)
    seen = []
    for t in range(1, 7):
        both.step(drawn(t))
        seen.append(both.values())
    with both.optimizer.view("ax"):
        average = [np.mean(each, axis=0) for each in zip(*seen[2:], strict=True)]
        same(both.values(), average, rtol=1e-7 if framework == "torch" else 1e-12)  # torch's mu is float32
    same(both.values(), seen[-1])


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_views_read_hypers_flags_and_states(framework: str, far: bool, tmp_path: Path) -> None:
    path = tmp_path / "two.opt"
    path.write_text(TWO)
    both = Both(framework, path, drawn(0), far=far, w=0.25)
    start, g = drawn(0), drawn(1)
    g[2] = None  # type: ignore[call-overload]
    both.step(g)  # the third parameter takes no step, and has no view
    theta = both.values()
    with both.optimizer.view("a"):
        same(both.values(), [start[0], start[1], theta[2], start[3]])
    with both.optimizer.view("near"):
        b = [x if x is not None else 0 for x in g]
        near = [x / 0.25 if far else 0.25 * x + 0.75 * y for x, y in zip(theta, b, strict=True)]
        same(both.values(), [near[0], near[1], theta[2], near[3]], rtol=1e-15)
    same(both.values(), theta)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_view_of_theta_alone_needs_no_step(framework: str, tmp_path: Path) -> None:
    path = tmp_path / "half.opt"
    path.write_text(
        "optimizer Half\nhyper lr = 1 in [0, inf)\noutput half = theta[t]/2\n"
        "theta[t] = theta[t-1] - lr*g[t]\n"
    )
    both = Both(framework, path, [np.ones(3)])
    with both.optimizer.view("half"):
        same(both.values(), [np.full(3, 0.5)])
    both.step([np.full(3, 3.0)])
    both.optimizer.eval()
    same(both.values(), [np.full(3, -1.0)])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_goes_on_while_a_view_is_shown(framework: str) -> None:
    both = Both(framework, "schedule_free_sgd", [np.ones(3)])
    for _ in range(3):
        both.step([np.arange(3.0)])
    before, saved, optimizer = both.values(), both.optimizer.state_dict(), both.optimizer
    optimizer.eval()
    shown = both.values()
    for forbidden in (
        lambda: both.step([np.ones(3)]),
        optimizer.state_dict,
        lambda: optimizer.load_state_dict(saved),
        lambda: copy.deepcopy(optimizer),
        lambda: pickle.dumps(optimizer),
        lambda: optimizer.view("x").__enter__(),
    ):
        with pytest.raises(RuntimeError, match=r"call opt.train\(\) first"):
            forbidden()
        same(both.values(), shown)
    optimizer.train()
    same(both.values(), before)
    with pytest.raises(ValueError, match="has no view 'y' of its parameters; it has x"), optimizer.view("y"):
        pass
    with pytest.raises(ZeroDivisionError), optimizer.view("x"):
        raise ZeroDivisionError
    same(both.values(), before)
    optimizer.load_state_dict(saved)
    both.step([np.ones(3)])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_without_a_view_eval_and_train_do_nothing(framework: str) -> None:
    """Trainers call them on every optimizer that has them."""
    both = Both(framework, "sgd", [np.ones(3)])
    both.optimizer.eval()
    both.step([np.ones(3)])
    both.optimizer.train()
    with pytest.raises(ValueError, match="SGD has no view 'ax' of its parameters; it has none"):
        both.optimizer.view("ax").__enter__()


def test_views_of_views_in_memory_and_of_float32() -> None:
    """A transpose with gaps, in float32: what is shown is x to the last place, what comes back is y."""
    base = torch.arange(24.0).reshape(4, 6)
    p = torch.nn.Parameter(base[:, ::2].T)
    optimizer = optdsl.torch.load("schedule_free_sgd")([p], lr=0.1)
    for t in range(3):
        p.grad = torch.full((3, 4), float(t))
        optimizer.step()
    y, z = p.detach().clone(), optimizer.state[p]["z"]
    version = p._version
    optimizer.eval()
    torch.testing.assert_close(p.detach(), ((y.double() - 0.1 * z.double()) / 0.9).float(), rtol=1e-7, atol=0)
    assert p._version > version
    optimizer.train()
    assert torch.equal(p, y)


@pytest.mark.parametrize("storage", [Type.F32, Type.F64])
@pytest.mark.parametrize("name", ["asgd", "schedule_free_sgd", "schedule_free_adamw"])
def test_backends_show_the_same(name: str, storage: Type) -> None:
    program = programs.program((name, ()), "accurate", storage)
    optimizer = program.optimizer
    assert [kernel.name for kernel in program.views] == [
        f"view_{output.name}" for output in optimizer.outputs
    ]
    data = programs.initial_data(optimizer, [0, 1, 17, 1000], storage, rows=2)
    for tensor in data.arrays:
        for number, array in enumerate(tensor.values()):
            array += np.linspace(-1, number, array.size)
    expected, before = data.copy(), data.copy()
    for kernel in program.views:
        for backend, at in (("numba_cpu", data), ("reference", expected)):
            step = get_backend(backend).load(program, kernel.name)
            programs.run(step, optimizer, at, programs.hyper_rows(optimizer, 2), 3)
    for tensor, wanted, old in zip(data.arrays, expected.arrays, before.arrays, strict=True):
        np.testing.assert_allclose(tensor["theta"], wanted["theta"], rtol=1e-15)
        assert tensor["theta"].size < 2 or not np.array_equal(tensor["theta"], old["theta"])
        assert all(np.array_equal(tensor[key], old[key]) for key in tensor if key != "theta")


@pytest.mark.parametrize(
    ("view", "check_name", "outcome"),
    [
        ("theta[t]/(1 + abs(m[t]))", "well_defined", Outcome.PROVED),
        ("theta[t]/m[t]", "well_defined", Outcome.REFUTED),
        ("theta[t] + m[t]*lr", "units", Outcome.PROVED),
        ("theta[t]*lr + m[t]", "units", Outcome.REFUTED),
    ],
)
def test_what_is_asked_of_lines_is_asked_of_outputs(view: str, check_name: str, outcome: Outcome) -> None:
    text = (
        "optimizer Test\nhyper lr = 0.1 in (0, inf)\nstate m[0] = 0\n"
        f"output x = {view}\nm[t] = m[t-1]/2 + g[t]\ntheta[t] = theta[t-1] - lr*m[t]\n"
    )
    optimizer, _ = driver.front(Source("test.opt", text))
    (found,) = (verdict for verdict in check(optimizer).verdicts if verdict.claim == check_name)
    if check_name == "units" or "1 +" not in view:
        assert found.outcome is outcome, found
    else:  # 1 + |m| mixes units, and has a value
        assert found.outcome is Outcome.PROVED
