"""Parameters of 16 bits in JAX: float32 states, as torch's classes have them, and their parameters.

Compiled kernels have the bits of ours for torch, which are the same kernels on the same copies; jax.numpy's
float32 may round to the other side of a tie.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import optdsl
from optdsl import optax as optdsl_optax
from optdsl import torch as optdsl_torch

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
SHAPES = ((4, 3), (5,), ())
STEPS = 6


def start() -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    return [np.asarray(random.standard_normal(shape), np.float32) for shape in SHAPES]


def gradients() -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    return [np.asarray(random.standard_normal((STEPS, *shape)), np.float32) for shape in SHAPES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["adam", "lamb", "adafactor", "momentum", "soap", "schedule_free_sgd"])
def test_states_are_float32_as_in_torch(name: str, dtype: str) -> None:
    of_torch = [torch.nn.Parameter(torch.tensor(x).to(DTYPES[dtype])) for x in start()]
    cls: Any = optdsl_torch.load(name)
    theirs = cls(of_torch)
    for t in range(STEPS):
        for p, g in zip(of_torch, gradients(), strict=True):
            p.grad = torch.tensor(g[t]).to(DTYPES[dtype])
        theirs.step()
    for backend in ("jnp", "numba_cpu"):
        tx = optdsl_optax.load(name, backend=backend)()
        params = [jnp.asarray(x, dtype) for x in start()]
        state = tx.init(params)

        def one(carry: Any, g: Any, tx: Any = tx) -> Any:  # scan refuses a state whose dtypes change
            return tx.step(*carry, [x.astype(dtype) for x in g]), None

        params, state = jax.jit(lambda c, g: jax.lax.scan(one, c, g)[0])((params, state), gradients())
        assert {x.dtype for x in jax.tree.leaves((state.states, state.numbers))} <= {jnp.dtype("float32")}
        ulp = 2 * {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
        for p, x in zip(params, of_torch, strict=True):
            assert p.dtype == dtype
            found, wanted = np.asarray(p, np.float64), x.detach().double().numpy()
            np.testing.assert_allclose(found, wanted, rtol=0 if backend != "jnp" else ulp, atol=0)
        kept = [theirs.state[p] for p in of_torch]
        for key, leaves in state.states.items():
            for x, entry in zip(leaves, kept, strict=True):
                if key in entry and entry[key].ndim == x.ndim and x.size:
                    np.testing.assert_allclose(x, entry[key], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_steps_do_not_starve_the_state(dtype: str) -> None:
    """v of Adam after 1,000 equal gradients, by hand: 1 - 0.999^1000 of g^2."""
    tx = optdsl_optax.load("adam")(lr=0.0)
    p = jnp.ones(3, dtype)
    g = jnp.full(3, 0.5, dtype)
    _, state = jax.jit(lambda c: jax.lax.fori_loop(0, 1000, lambda _, c: tx.step(*c, g), c))((p, tx.init(p)))
    np.testing.assert_allclose(state.states["exp_avg_sq"], 0.25 * (1 - 0.999**1000), rtol=1e-4)


@pytest.mark.parametrize(
    "wrap", [lambda tx: optax.MultiSteps(tx, 2), lambda tx: optax.apply_if_finite(tx, 3)]
)
def test_updates_have_the_dtype_of_the_parameters(wrap: Any) -> None:
    """As wrappers of optax want it, which choose between an update and zeros of the gradient's dtype."""
    p = jnp.ones(3, jnp.bfloat16)
    tx = wrap(optdsl.optax.Adam(lr=0.5))
    state, update = tx.init(p), jax.jit(tx.update)
    for _ in range(2):
        updates, state = update(p, state, p)
    assert updates.dtype == jnp.bfloat16
    assert float(optax.apply_updates(p, updates)[0]) < 1.0
