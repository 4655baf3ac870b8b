"""What is remembered: L-BFGS against optax, torch and the paper's loops, and rings against plain lists."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from numpy.typing import NDArray

import optdsl
from optdsl.backend import get_backend
from optdsl.kernel.ir import Type
from tests.support import programs

SHAPES: list[tuple[int, ...]] = [(), (7,), (3, 4), (2, 3, 5), (2, 2, 3, 2)]
Array = NDArray[Any]

AVERAGE = """# The average of the last gradients.
optimizer Average
hyper lr = 1 in [0, inf)
hyper window = 3 in [1, 100]
state h[0] = 0
h[t] = g[t]
average = repeat(k = 0 to window - 1, q = 0*g[t], q + h[t-k]/window)
theta[t] = theta[t-1] - lr*average
"""


def split(flat: Array) -> list[Array]:
    sizes = np.cumsum([int(np.prod(shape)) for shape in SHAPES])
    return [np.array(x).reshape(shape) for x, shape in zip(np.split(flat, sizes[:-1]), SHAPES, strict=True)]


def flat(tensors: Any) -> Array:
    return np.concatenate([np.ravel(np.asarray(x)) for x in tensors])


def convex(condition: float, seed: int = 0) -> tuple[Array, Callable[[Array], Array]]:
    """A start, and the gradient of x'Ax/2 - b'x + |x|_4^4/40, with all elements of all tensors in one A."""
    rng = np.random.default_rng(seed)
    count = sum(int(np.prod(shape)) for shape in SHAPES)
    basis, _ = np.linalg.qr(rng.standard_normal((count, count)))
    a, b = basis @ np.diag(np.geomspace(10 / condition, 10, count)) @ basis.T, rng.standard_normal(count)
    return rng.standard_normal(count), lambda x: a @ x - b + 0.1 * x**3


def nocedal(gradient: Callable[[Array], Array], x: Array, lr: float, memory: int) -> Iterator[Array]:
    """The paper's two loops, pair by pair, with s'y/y'y and the first step of optax."""
    pairs: list[tuple[Array, Array, float]] = []
    last: tuple[Array, Array] | None = None
    while True:
        g = gradient(x)
        gamma = 1 / max(1.0, float(np.linalg.norm(g)))
        if last is not None:
            s, y = x - last[0], g - last[1]
            pairs = [*pairs, (s, y, 1 / float(s @ y))][-memory:]
            gamma = float(s @ y / (y @ y))
        q, alphas = g.copy(), []
        for s, y, rho in reversed(pairs):
            alphas.append(rho * float(s @ q))
            q = q - alphas[-1] * y
        r = gamma * q
        for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
            r = r + (alpha - rho * float(y @ r)) * s
        last, x = (x.copy(), g), x - lr * r
        yield x


CASES = [
    (10, 10, 1.0, True),
    (10, 5, 0.1, False),
    (1000, 3, 0.5, True),
]


@pytest.mark.parametrize(("condition", "memory", "lr", "scaled"), CASES)
def test_as_optax_on_tensors_of_all_ranks(condition: float, memory: int, lr: float, scaled: bool) -> None:
    """200 steps, or until only rounding is left of the gradient, when every path is as good as another."""
    start, gradient = convex(condition)
    ours = split(start)
    options = {"lr": lr, "memory_size": memory, "scale_init_precond": scaled}
    optimizer = optdsl.numpy.load("lbfgs")(ours, **options)
    with jax.enable_x64(True):
        theirs = [jnp.asarray(x) for x in split(start)]
        transformation = optax.chain(optax.scale_by_lbfgs(memory, scaled), optax.scale(-lr))
        update, state = jax.jit(transformation.update), transformation.init(theirs)
        steps = 0
        while steps < 200:
            steps += 1
            g = gradient(flat(ours))
            if np.linalg.norm(g) < 1e-9:
                break
            changes, state = update([jnp.asarray(x) for x in split(gradient(flat(theirs)))], state, theirs)
            theirs = optax.apply_updates(theirs, changes)
            optimizer.step(split(g))
            np.testing.assert_allclose(flat(ours), flat(theirs), rtol=0, atol=1e-12 * condition)
    assert steps > 25  # more than is remembered


def test_as_the_papers_loops() -> None:
    start, gradient = convex(1000.0)
    ours = split(start)
    optimizer = optdsl.numpy.load("lbfgs")(ours, lr=0.8, memory_size=6)
    for _, x in zip(range(80), nocedal(gradient, start, 0.8, 6), strict=False):
        optimizer.step(split(gradient(flat(ours))))
        np.testing.assert_allclose(flat(ours), x, rtol=0, atol=1e-11)


def test_as_torch_makes_one_step_at_a_time() -> None:
    """Until s'y is below 1e-10, where torch throws pairs away."""
    start, gradient = convex(10.0)
    theirs = [torch.tensor(x, requires_grad=True) for x in split(start)]
    ours = [torch.tensor(x, requires_grad=True) for x in split(start)]
    peer = torch.optim.LBFGS(
        theirs, lr=0.7, max_iter=1, history_size=6, tolerance_grad=0, tolerance_change=-1
    )
    optimizer = optdsl.torch.load("lbfgs")(ours, lr=0.7, memory_size=6, first_step_by_1_norm=True)

    def with_gradients(tensors: list[torch.Tensor]) -> Callable[[], torch.Tensor]:
        def closure() -> torch.Tensor:
            found = gradient(flat([x.detach() for x in tensors]))
            for x, g in zip(tensors, split(found), strict=True):
                x.grad = torch.tensor(g)
            return torch.tensor(float(np.linalg.norm(found)))

        return closure

    norms: list[float] = []
    while not norms or norms[-1] > 1e-4:
        peer.step(with_gradients(theirs))  # type: ignore[no-untyped-call]
        norms.append(float(optimizer.step(with_gradients(ours))))
        np.testing.assert_allclose(
            flat([x.detach() for x in ours]), flat([x.detach() for x in theirs]), rtol=0, atol=1e-11
        )
    assert len(norms) > 12


def test_a_pair_that_curves_the_other_way_is_left_out() -> None:
    """f = -x^2/2 + x^4/4 at 0.1: g = x^3 - x falls, s'y < 0; the step is gamma = 1 times the gradient."""
    x = np.array([0.1])
    optimizer = optdsl.numpy.load("lbfgs")(x, lr=1.0, memory_size=4)
    for _ in range(2):
        g = x**3 - x
        expected = x - g
        optimizer.step(g)
        assert x == expected
    assert not optimizer.state_dict()["state"][0]["s"].any()


# --- rings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_ring_turns(tmp_path: Path, dtype: Any) -> None:
    """Where the value of each step is, and what is read: the mean of the last three, by hand."""
    window = 3
    spec = tmp_path / "average.opt"
    spec.write_text(AVERAGE)
    theta: Array = np.zeros((2, 2), dtype)
    optimizer = optdsl.numpy.load(str(spec))(theta, window=window)
    g = [dtype(2.0**n) * np.ones((2, 2), dtype) for n in range(8)]
    before = np.zeros(8)
    for t in range(1, 9):
        optimizer.step(g[t - 1])
        mean = sum(2.0**n for n in range(max(t - window, 0), t)) / window
        before[t - 1] = mean
        np.testing.assert_allclose(theta, -before.sum(), rtol=4 * float(np.finfo(dtype).eps))
        kept = optimizer.state_dict()["state"][0]["h"]
        assert kept.shape == (window, 2, 2)
        assert kept.dtype == dtype
        for steps in range(min(window, t)):
            assert (kept[(t - steps) % window] == g[t - 1 - steps]).all()


@pytest.mark.parametrize(
    ("mode", "storage"), [("accurate", Type.F32), ("accurate", Type.F64), ("fast", Type.F32)]
)
def test_kernels_are_the_reference(mode: str, storage: Type) -> None:
    """Longer than is remembered, with a new gradient in each step."""
    text = optdsl.files.read_library("lbfgs").text.replace("memory_size = 10", "memory_size = 3")
    program = programs.program_of(text, mode, storage)
    data = programs.initial_data(program.optimizer, [0, 1, 100, 1500], storage, rows=1)
    hypers = programs.hyper_rows(program.optimizer, 1)
    expected = data.copy()
    step, oracle = (get_backend(name).load(program) for name in ("numba_cpu", "reference"))
    rng = np.random.default_rng(0)
    for t in range(1, 12):
        for ours, theirs in zip(data.arrays, expected.arrays, strict=True):
            ours["g"][:] = ours["theta"] * (1 + np.arange(ours["g"].size) % 7) + 0.01 * rng.standard_normal()
            theirs["g"][:] = ours["g"]
        programs.run(step, program.optimizer, data, hypers, t)
        programs.run(oracle, program.optimizer, expected, hypers, t)
        for ours, theirs in zip(data.arrays, expected.arrays, strict=True):
            for name in ours:
                apart = 1e-12 if storage is Type.F64 else 2e-7 if mode == "accurate" else 1e-4
                np.testing.assert_allclose(ours[name], theirs[name], rtol=apart, atol=apart)
        data = expected.copy()


def test_each_tensor_alone(tmp_path: Path) -> None:
    """Products of each tensor: as optimizers of their own."""
    text = optdsl.files.read_library("lbfgs").text.replace(" over all)", ")")
    spec = tmp_path / "alone.opt"
    spec.write_text(text)
    start, gradient = convex(10.0)
    together, alone = split(start), split(start)
    optimizer = optdsl.numpy.load(str(spec))(together, memory_size=3)
    own = [optdsl.numpy.load("lbfgs")(x, memory_size=3) for x in alone]
    for _ in range(8):
        g = split(gradient(flat(together)))
        optimizer.step(g)
        for each, x in zip(own, split(gradient(flat(alone))), strict=True):
            each.step(x)
    np.testing.assert_allclose(flat(together), flat(alone), rtol=0, atol=1e-11)


def test_parameters_of_two_precisions() -> None:
    """Sums go over all of them, whatever they are kept in; what is float32 is rounded."""
    start, gradient = convex(10.0)
    ours = [x.astype(np.float32) if i % 2 else x for i, x in enumerate(split(start))]
    optimizer = optdsl.numpy.load("lbfgs")(ours, lr=0.5, memory_size=4)
    path = nocedal(gradient, flat(ours).astype(np.float64), 0.5, 4)
    for _, x in zip(range(10), path, strict=False):
        optimizer.step(split(gradient(flat(ours).astype(np.float64))))
        np.testing.assert_allclose(flat(ours), x, rtol=0, atol=2e-5)


def trained(threads: str, monkeypatch: pytest.MonkeyPatch) -> Array:
    monkeypatch.setitem(os.environ, "OPTDSL_NUM_THREADS", threads)
    x = np.linspace(-1, 1, 300_000).reshape(3, -1)
    optimizer = optdsl.numpy.load("lbfgs")(x, memory_size=3)
    for _ in range(5):
        optimizer.step(x * np.linspace(1, 5, x.size).reshape(x.shape))
    return x


def test_the_same_bits_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    one, four = (trained(threads, monkeypatch) for threads in ("1", "4"))
    assert one.tobytes() == four.tobytes()


def test_saved_and_loaded_in_the_middle(tmp_path: Path) -> None:
    start, gradient = convex(10.0)
    through, first = split(start), split(start)
    whole, begun = (optdsl.numpy.load("lbfgs")(x, memory_size=4) for x in (through, first))
    for _ in range(6):
        whole.step(split(gradient(flat(through))))
        begun.step(split(gradient(flat(first))))
    begun.save(tmp_path / "state.npz")
    again = [x.copy() for x in first]
    resumed = optdsl.numpy.load("lbfgs")(again, memory_size=4)
    resumed.load(tmp_path / "state.npz")
    for _ in range(6):
        whole.step(split(gradient(flat(through))))
        resumed.step(split(gradient(flat(again))))
    assert flat(through).tobytes() == flat(again).tobytes()


def test_what_others_write_is_seen() -> None:
    """Products are kept from step to step, and made anew where what is remembered has other squares."""
    start, gradient = convex(10.0)
    x, y = (torch.tensor(start, requires_grad=True) for _ in range(2))
    one, other = (optdsl.torch.load("lbfgs")([each], memory_size=4) for each in (x, y))
    for step in range(7):
        for each in (x, y):
            each.grad = torch.tensor(gradient(each.detach().numpy()))
        one.step()
        other.step()
        if step == 5:
            for optimizer, each in ((one, x), (other, y)):
                optimizer.state[each]["s"][0].mul_(3)  # of step 4
            other._plan = None  # forgets its products
    assert (x.detach() == y.detach()).all()


def test_torchs_state_dict_in_the_middle() -> None:
    start, gradient = convex(10.0)
    paths = []
    for stop in (None, 5):
        x = [torch.tensor(each, requires_grad=True) for each in split(start)]
        optimizer = optdsl.torch.load("lbfgs")(x, memory_size=4)
        for step in range(9):
            if step == stop:
                state = optimizer.state_dict()
                optimizer = optdsl.torch.load("lbfgs")(x)
                optimizer.load_state_dict(state)
            for each, g in zip(x, split(gradient(flat([each.detach() for each in x]))), strict=True):
                each.grad = torch.tensor(g)
            optimizer.step()
        assert optimizer.state[x[2]]["s"].shape == (4, 3, 4)
        paths.append(flat([each.detach() for each in x]))
    assert paths[0].tobytes() == paths[1].tobytes()


def test_how_much_is_remembered_cannot_change() -> None:
    x = np.ones(3)
    optimizer = optdsl.numpy.load("lbfgs")(x, memory_size=2)
    optimizer.step(x)
    kept, state = x.copy(), optimizer.state_dict()
    optimizer.memory_size = 5
    with pytest.raises(ValueError, match="chosen when the optimizer is made"):
        optimizer.step(x)
    assert (x == kept).all()
    with pytest.raises(ValueError, match="nothing was loaded"):
        optdsl.numpy.load("lbfgs")(x, memory_size=3).load_state_dict(
            {**state, "hyper": {**state["hyper"], "memory_size": 3}}
        )


def test_groups_remember_alike() -> None:
    x, y = (torch.ones(3, requires_grad=True) for _ in range(2))
    for each in (x, y):
        each.grad = torch.ones(3)
    groups = [{"params": [x], "memory_size": 2}, {"params": [y], "memory_size": 3}]
    with pytest.raises(ValueError, match="for all parameters alike"):
        optdsl.torch.load("lbfgs")(groups).step()
    groups = [{"params": [x]}, {"params": [y], "scale_init_precond": False}]
    with pytest.raises(RuntimeError, match="follow the same rules"):
        optdsl.torch.load("lbfgs")(groups).step()
    assert (x.detach() == 1).all()
    assert (y.detach() == 1).all()
