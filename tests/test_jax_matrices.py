"""Muon, Shampoo and SOAP in jax.numpy: against optax, under `jit`, `vmap` and `partition`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optdsl

Tree = Any
FACTORED = ("shampoo", "soap")


def tree(seed: int = 0) -> Tree:
    random = np.random.default_rng(seed)
    shapes = {"batch": (2, 3, 4), "empty": (0, 3), "square": (3, 3), "tall": (5, 2)}
    return {name: jnp.asarray(random.standard_normal(shape)) for name, shape in shapes.items()}


def matrices(seed: int = 0) -> Tree:
    found = tree(seed)
    return {name: found[name] for name in ("square", "tall")}


def test_muon_is_that_of_optax() -> None:
    """Where both mean the same: the longer side scales the step, eps is out of the way, biases corrected."""
    with jax.enable_x64(True):
        ours = optdsl.optax.Muon(lr=0.02, eps=1e-30, adjust_lr_fn="match_rms_adamw", bias_correction=True)
        theirs = optax.contrib.muon(0.02, weight_decay=0.1, eps=1e-30, consistent_rms=0.2)
        ends = []
        for tx in (ours, theirs):
            params = matrices()
            state, update = tx.init(params), jax.jit(tx.update)
            for t in range(20):
                updates, state = update(matrices(t + 1), state, params)
                params = optax.apply_updates(params, updates)
            ends.append(params)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14), *ends)


def test_muon_takes_matrices_alone() -> None:
    tx = optdsl.optax.Muon(lr=0.1)
    with pytest.raises(ValueError, match=r"Muon only supports 2D parameters .* with size: \(4,\)"):
        tx.init({"bias": jnp.ones(4)})
    with pytest.raises(ValueError, match="Adjust learning rate function both is not supported"):
        optdsl.optax.Muon(adjust_lr_fn="both")
    params = {"weight": jnp.eye(3), "bias": jnp.ones(3)}
    parts = optax.partition({"m": tx, "a": optdsl.optax.AdamW(lr=0.5)}, {"weight": "m", "bias": "a"})
    updates, _ = jax.jit(parts.update)(params, parts.init(params), params)
    weight = params["weight"]
    same(updates["weight"], jax.jit(tx.update)(weight, tx.init(weight), weight)[0])
    assert float(updates["bias"][0]) == pytest.approx(-0.505, rel=1e-5)  # -lr*sign(g) - lr*0.01*theta


def same(found: Tree, expected: Tree) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), found, expected)


def test_the_rounds_of_a_loop_may_be_traced() -> None:
    """2.9 are two; JAX's own number for them, as `inject_hyperparams` makes one, is not compiled again."""
    params, g = matrices(), matrices(1)
    traced = 0

    def once(steps: Any) -> Tree:
        nonlocal traced
        traced += 1
        tx = optdsl.optax.Muon(lr=0.1, ns_steps=steps)
        return tx.update(g, tx.init(params), params)[0]

    compiled = jax.jit(once)
    for steps, whole in ((2.9, 2), (0.0, 0), (5.0, 5)):
        same(compiled(jnp.asarray(steps)), once(whole))
    assert traced == 4


@pytest.mark.parametrize("name", FACTORED)
def test_factors_are_those_of_each_member(name: str) -> None:
    """One compiled function for all steps, whose choices by t are JAX's; `vmap` is each by itself."""
    with jax.enable_x64(True):
        tx = optdsl.optax.load(name)(lr=0.1)
        step: Any = jax.jit(tx.step)
        params = tree()
        state = tx.init(params)
        shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
        many = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params)
        all_of = jax.vmap(tx.init)(many)
        for t in range(3):
            g = tree(t + 1)
            params, state = step(params, state, g)
            many, all_of = jax.vmap(tx.step, in_axes=(0, 0, None))(many, all_of, g)
        jitted: Any = step
        assert jitted._cache_size() == 1
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y, rtol=1e-9, atol=1e-12), many, params)


@pytest.mark.parametrize("name", FACTORED)
def test_what_is_not_finite_stays_in_its_leaf(name: str) -> None:
    params, g = matrices(), matrices(1)
    g["tall"] = g["tall"].at[0, 0].set(jnp.nan)
    tx = optdsl.optax.load(name)(lr=0.1)
    state = tx.init(params)
    for _ in range(2):
        params, state = jax.jit(tx.step)(params, state, g)
    assert bool(jnp.all(jnp.isnan(params["tall"])))
    assert bool(jnp.all(jnp.isfinite(params["square"])))
