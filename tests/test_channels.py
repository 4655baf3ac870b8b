"""`over fan_in`: one value for each index of the first dimension, of tensors of any rank."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from numpy.typing import NDArray

import optdsl
from optdsl.diagnostics import OptdslError
from optdsl.kernel.ir import Type
from optdsl.language.reductions import totals
from optdsl.language.stages import SUMS_IN_A_PASS
from optdsl.runtime.batch import MAX_SUMS
from tests.support import programs

Array = NDArray[np.float64]
SHAPES: tuple[tuple[int, ...], ...] = ((), (7,), (5, 3), (0, 3), (2, 3, 4), (20, 30, 5, 11))

ALL = """# Every reduction over fan_in, one after the other.
optimizer All
hyper lr = 0.1 in [0, inf)
when rank(theta) >= 2
  n = norm(g[t] over fan_in)
  c = g[t] - mean(g[t] over fan_in)
  d = dot(c, theta[t-1] over fan_in)
  u = c/(1 + n) + d + max(g[t] over fan_in) - sum(theta[t-1]*n over fan_in)
else
  u = g[t]
end
theta[t] = theta[t-1] - lr*u
"""


def expected(x: Array, g: Array) -> Array:
    if x.ndim < 2 or x.size == 0:
        return x - 0.1 * g
    rest = tuple(range(1, x.ndim))

    def total(value: Array) -> Array:
        return np.asarray(value.sum(rest, keepdims=True))

    n = np.sqrt(total(g * g))
    c = g - g.mean(rest, keepdims=True)
    u = c / (1 + n) + total(c * x) + g.max(rest, keepdims=True) - total(x * n)
    return np.asarray(x - 0.1 * u)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "all.opt"
    found.write_text(ALL)
    return found


def drawn(seed: int) -> list[Array]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.standard_normal(shape)) for shape in SHAPES]


@pytest.mark.parametrize("framework", ["torch", "turned", "numpy", "optax"])
def test_every_framework(framework: str, path: Path) -> None:
    x, g = drawn(0), drawn(1)
    wanted = [expected(*pair) for pair in zip(x, g, strict=True)]
    found: list[Any] = []
    if framework == "numpy":
        found = [value.copy() for value in x]
        optdsl.numpy.load(path)(found).step(g)
    elif framework == "optax":
        with jax.enable_x64(True):
            tx = optdsl.optax.load(path)()
            params: Any = [jax.numpy.asarray(value) for value in x]
            updates, _ = jax.jit(tx.update)([jax.numpy.asarray(v) for v in g], tx.init(params), params)
            found = [np.asarray(value) for value in optax.apply_updates(params, updates)]
    else:
        params = [torch.from_numpy(value.copy()) for value in x]
        if framework == "turned":  # the last dimension lies where the first does
            params = [p.transpose(0, -1).contiguous().transpose(0, -1) if p.ndim > 1 else p for p in params]
        for p, value in zip(params, g, strict=True):
            p.requires_grad_()
            p.grad = torch.from_numpy(value.copy())
        optdsl.torch.load(path)(params).step()
        found = [p.detach().numpy() for p in params]
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_ranger_takes_the_means_of_channels() -> None:
    """RAdam begins as momentum, so a gradient that is the same all over a channel moves nothing."""
    x = np.ones((3, 4, 2))
    spec = "centralize | radam(beta1 = 0.95) | lookahead(6, 0.5)"
    g = np.broadcast_to(np.arange(3.0).reshape(3, 1, 1), x.shape)
    optdsl.numpy.load(spec)(x, lr=0.1).step(g)
    assert np.array_equal(x, np.ones_like(x))


def test_two_views_of_a_tensor_are_refused_in_compositions() -> None:
    with pytest.raises(OptdslError, match="fan_in"):
        optdsl.numpy.load("centralize | adafactor")


def test_no_pass_sums_more_than_it_can(tmp_path: Path) -> None:
    """What is too much for one pass is made by the next, and what reads it after that."""
    assert SUMS_IN_A_PASS == MAX_SUMS
    sums = " + ".join(f"norm(g[t] + {i})" for i in range(20))
    text = (
        f"optimizer Many\nhyper lr = 1 in [0, inf)\ns = {sums}\ntheta[t] = theta[t-1] - lr*g[t]*sum(g[t]*s)\n"
    )
    optimizer = programs.program_of(text, "accurate", Type.F64).optimizer
    assert [total.passes for total in totals(optimizer.lines)] == [*[0] * 8, *[1] * 8, *[2] * 4, 3]
    x, g = np.zeros(5), np.arange(5.0)
    path = tmp_path / "many.opt"
    path.write_text(text)
    optdsl.numpy.load(path)(x).step(g)
    s = sum(np.linalg.norm(g + i) for i in range(20))
    np.testing.assert_allclose(x, -g * (g * s).sum(), rtol=1e-13)


def test_two_sums_of_one_product(tmp_path: Path) -> None:
    """In the fast mode a product is made in float64 to be summed, and has no place of its own in a pass."""
    path = tmp_path / "twice.opt"
    path.write_text(
        "optimizer Twice\nhyper lr = 1 in [0, inf)\nn = norm(g[t]) + norm(g[t] over all)\n"
        "theta[t] = theta[t-1] - lr*n*g[t]\n"
    )
    x, y = np.zeros(3, np.float32), np.zeros(4, np.float32)
    optdsl.numpy.load(path, mode="fast")([x, y]).step([np.ones_like(x), np.ones_like(y)])
    np.testing.assert_allclose(x, -np.sqrt(3) - np.sqrt(7), rtol=1e-6)
    np.testing.assert_allclose(y, -2 - np.sqrt(7), rtol=1e-6)
