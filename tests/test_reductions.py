"""Reductions from text to trained parameters: against torch's own tools and NumPy, whatever the threads."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import optdsl
from optdsl.runtime.launch import CHUNK

CLIPPED = """# Pascanu, Mikolov & Bengio 2013, before a step of SGD with momentum.
optimizer Clipped
hyper lr = 0.1 in [0, inf)
hyper mu = 0.9 in [0, 1) as momentum
hyper max_norm = 1 in (0, inf)
state b[0] = 0 as momentum_buffer
h = g[t]*min(1, max_norm/(norm(g[t] over all) + 1e-6))
b[t] = mu*b[t-1] + h
theta[t] = theta[t-1] - lr*b[t]
"""
TWO_PASSES = """# A second reduction reads the first; a state for each tensor, and one for all.
optimizer TwoPasses
hyper lr = 0.1 in [0, inf)
state longest[0] = 0
state total[0] = 1
centre = mean(g[t])
spread = norm(g[t] - centre)
longest[t] = max(longest[t-1], spread)
total[t] = total[t-1] + dot(g[t], theta[t-1] over all)
theta[t] = theta[t-1] - lr*(g[t] - centre)/(longest[t] + 1) - lr*sum(g[t])*total[t]*0.001
"""
SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (5, 7), (CHUNK + 5,), (0,))


def compiled(tmp_path: Any, text: str, framework: str = "torch") -> Any:
    path = tmp_path / "spec.opt"
    path.write_text(text)
    return getattr(optdsl, framework).load(path)


def tensors(dtype: torch.dtype = torch.float64, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in SHAPES]


def test_a_norm_over_all_is_that_of_every_group_and_dtype(tmp_path: Any) -> None:
    """torch.nn.utils.clip_grad_norm_ over float32 and float64 tensors in two groups, then torch's SGD."""
    ours = [torch.nn.Parameter(x) for x in (*tensors(), *tensors(torch.float32, 1))]
    theirs = [torch.nn.Parameter(x.detach().clone()) for x in ours]
    mine = compiled(tmp_path, CLIPPED)([{"params": ours[:2]}, {"params": ours[2:], "lr": 0.05}], max_norm=0.5)
    groups: list[dict[str, Any]] = [{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.05}]
    peer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    for step in range(20):
        size = 10.0 ** (step % 4 - 4)  # below and above the limit
        for p, q, g in zip(ours, theirs, (*tensors(seed=step), *tensors(torch.float32, -step)), strict=True):
            p.grad, q.grad = g * size, g * size
        mine.step()
        torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        peer.step()
        for p, q in zip(ours, theirs, strict=True):
            # torch takes the norm of float32 tensors in float32
            tolerance = 1e-8 if p.dtype is torch.float64 else 2e-6
            torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_one_pass_may_read_what_another_has_summed(framework: str, tmp_path: Any) -> None:
    """Against the same lines in NumPy; states of a tensor are numbers under their own keys."""
    start = [x.numpy() for x in tensors()]
    params: list[Any] = [x.copy() for x in start]
    if framework == "torch":
        params = [torch.nn.Parameter(torch.from_numpy(x)) for x in params]
    optimizer = compiled(tmp_path, TWO_PASSES, framework)(params)
    theta, longest, total = [x.copy() for x in start], [0.0] * len(start), 1.0
    for step in range(1, 6):
        grads = [x.numpy() for x in tensors(seed=10 + step)]
        if framework == "torch":
            for p, g in zip(params, grads, strict=True):
                p.grad = torch.from_numpy(g.copy())
            optimizer.step()
        else:
            optimizer.step(grads)
        total += math.fsum(float((g * x).sum()) for g, x in zip(grads, theta, strict=True))
        for i, g in enumerate(grads):
            centre = g.mean() if g.size else 0.0
            longest[i] = max(longest[i], float(np.linalg.norm((g - centre).ravel())))
            theta[i] = theta[i] - 0.1 * (g - centre) / (longest[i] + 1) - 0.1 * g.sum() * total * 0.001
        for p, x in zip(params, theta, strict=True):
            found = p.detach().numpy() if framework == "torch" else p
            np.testing.assert_allclose(found, x, rtol=1e-12, atol=1e-13)
    state = optimizer.state_dict()["state"]
    assert [float(state[i]["longest"]) for i in range(3)] == pytest.approx(longest[:3], rel=1e-12)
    assert [float(state[i]["total"]) for i in range(3)] == pytest.approx([total] * 3, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_change_no_bit(dtype: torch.dtype, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for threads in ("1", "2", "4", "7"):
        monkeypatch.setenv("OPTDSL_NUM_THREADS", threads)
        random = torch.Generator().manual_seed(3)
        params = [
            torch.nn.Parameter(torch.randn(n, generator=random, dtype=dtype)) for n in (500_001, 40_000, 3)
        ]
        optimizer = optdsl.torch.load("lamb")(params, lr=0.1)
        for _ in range(3):
            for p in params:
                p.grad = torch.randn(p.shape, generator=random, dtype=dtype)
            optimizer.step()
        results.append([p.detach().numpy().tobytes() for p in params])
    assert all(result == results[0] for result in results[1:])


def test_sums_are_as_exact_as_float64_allows(tmp_path: Any) -> None:
    """A million numbers of which most cancel: within some last places of the exact sum of their sizes."""
    text = "optimizer Sum\nhyper lr = 1 in [0, inf)\ntheta[t] = theta[t-1] - lr*sum(g[t]) - 0*g[t]\n"
    values = np.random.default_rng(0).standard_normal(1_000_003) * 10.0 ** np.random.default_rng(1).uniform(
        -8, 8, 1_000_003
    )
    theta = np.zeros(1_000_003)
    compiled(tmp_path, text, "numpy")([theta]).step([values])
    exact = math.fsum(values.tolist())
    # pairs of halves in blocks of 1,024, 16 blocks to a chunk, 62 chunks: under 100 roundings on a path
    assert abs(-theta[0] - exact) <= 100 * 2.0**-53 * math.fsum(np.abs(values).tolist())
    assert len(set(theta.tolist())) == 1


def test_lamb_in_plain_numpy() -> None:
    """You et al. 2020, Algorithm 2, written out; a parameter of zeros has the ratio 1."""
    shapes = ((4,), (3, 5), (2,))
    random = np.random.default_rng(5)
    params = [random.standard_normal(shape) for shape in shapes[:2]] + [np.zeros(shapes[2])]
    theta = [x.copy() for x in params]
    m, v = [np.zeros(s) for s in shapes], [np.zeros(s) for s in shapes]
    optimizer = optdsl.numpy.load("lamb")(params, lr=0.01, weight_decay=0.1)
    for t in range(1, 101):
        grads = [random.standard_normal(shape) for shape in shapes]
        optimizer.step(grads)
        for i, g in enumerate(grads):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g**2
            u = m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-6) + 0.1 * theta[i]
            p, q = np.linalg.norm(theta[i]), np.linalg.norm(u)
            theta[i] = theta[i] - 0.01 * (p / q if p > 0 and q > 0 else 1.0) * u
            np.testing.assert_allclose(params[i], theta[i], rtol=1e-10, atol=1e-14)


def test_numbers_of_tensors_without_elements_stay() -> None:
    """The mean of no elements is NaN; Amos' two numbers would be, and be saved with a checkpoint."""
    x, y = np.ones(3), np.zeros((0, 2))
    make: Any = optdsl.numpy.load("amos")
    opt = make([x, y])
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.zeros(0, 2))
    cls: Any = optdsl.torch.load("amos")
    of_torch = cls([p, q])
    tx = optdsl.optax.load("amos")()
    params: Any = [jnp.ones(3), jnp.zeros((0, 2))]
    state = tx.init(params)
    for _ in range(2):
        opt.step([np.ones(3), y])
        p.grad, q.grad = torch.ones(3), torch.zeros(0, 2)
        of_torch.step()
        params, state = tx.step(params, state, params)
    full, none = opt.state_dict()["state"]
    assert none["step"] == full["step"] == 2
    for key in ("exp_avg_sq", "decay"):
        assert none[key] == 0.0 < full[key]
        assert of_torch.state[q][key] == 0.0
        assert state.numbers[key][1] == 0.0 < state.numbers[key][0]
