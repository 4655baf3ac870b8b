"""Specs as optax transformations: the NumPy classes' path, and everything that JAX and optax do with them."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optdsl
from optdsl.diagnostics import OptdslError
from optdsl.emit.optax_module import not_for_optax
from optdsl.files import library_names
from tests.support.programs import meaning

Tree = Any
SHAPES: dict[str, tuple[int, ...]] = {"matrix": (3, 2), "vector": (4,), "number": ()}
STEPS = 30


def start(dtype: Any = np.float64) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {name: np.asarray(random.standard_normal(shape) + 2, dtype) for name, shape in SHAPES.items()}


def gradients(dtype: Any = np.float64) -> dict[str, Any]:
    """Of all steps, first axis first; a tenth is zero."""
    random = np.random.default_rng(1)
    drawn = {name: random.standard_normal((STEPS, *shape)) for name, shape in SHAPES.items()}
    return {name: np.where(random.random(g.shape) < 0.1, 0, g).astype(dtype) for name, g in drawn.items()}


def path(tx: Any, theta: Tree, given: Tree) -> Tree:
    """The parameters after every step: one compiled loop."""

    def one(carry: Any, g: Tree) -> Any:
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda x, g: jax.lax.scan(one, (x, tx.init(x)), g)[1])(theta, given)


def names() -> Iterator[str]:
    """Specs that optax can have; their other flags are compared by `test_backends`."""
    for name in library_names():
        if not_for_optax(meaning(name)) is None:
            yield name


COMPOSED = "clip_by_global_norm(1) | adamw(lr = warmup(10, cosine(3e-2, 20))) | lookahead(5)"


@pytest.mark.parametrize("name", [*names(), COMPOSED])
def test_the_path_is_that_of_numpy(name: str) -> None:
    theta = {key: value.copy() for key, value in start().items()}
    make: Any = optdsl.numpy.load(name)
    ours = make(theta)
    with jax.enable_x64(True):
        found = path(optdsl.optax.load(name)(), start(), gradients())
        for t in range(STEPS):
            ours.step({key: g[t] for key, g in gradients().items()})
            for key, value in theta.items():
                np.testing.assert_allclose(found[key][t], value, rtol=1e-9, atol=1e-12, err_msg=f"{t} {key}")


ADAM = {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1}


def tree() -> Tree:
    return {key: jnp.asarray(value, jnp.float32) for key, value in start().items()}


def first_gradient() -> Tree:
    return {key: jnp.asarray(value[0], jnp.float32) for key, value in gradients().items()}


@pytest.mark.parametrize("name", ["adam", "lamb", "nadam", "prodigy"])
def test_a_step_is_pure_and_can_be_mapped(name: str) -> None:
    tx = optdsl.optax.load(name)()
    params, g = tree(), first_gradient()
    state = tx.init(params)
    before = jax.tree.map(np.array, (params, g, state))
    updates, _ = tx.update(g, state, params)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, (params, g, state)))
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), (params, g))
    mapped = jax.vmap(lambda p, g: tx.update(g, tx.init(p), p)[0])(*stacked)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y, rtol=1e-5, atol=1e-7), mapped, updates)


def test_gradients_go_through_steps() -> None:
    """d theta_1 / d lr of Adam's first step is -sign(g) (up to eps), by JAX and by hand."""

    def first(lr: Any) -> Any:
        tx = optdsl.optax.Adam(lr=lr)
        return tx.update(jnp.array(2.0), tx.init(jnp.array(1.0)), jnp.array(1.0))[0]

    assert float(jax.grad(first)(0.1)) == pytest.approx(-1.0, rel=1e-6)


def test_schedules_and_injected_hyperparameters() -> None:
    """optax counts from 0: the first step has schedule(0)."""
    schedule = optax.linear_schedule(0.1, 0.0, 10)
    plain, injected = (
        optdsl.optax.GradientDescent(lr=schedule),
        optax.inject_hyperparams(optdsl.optax.GradientDescent)(lr=schedule),
    )
    for tx in (plain, injected):
        params = jnp.array(1.0)
        state = tx.init(params)
        for expected in (0.1, 0.09, 0.08):
            updates, state = jax.jit(tx.update)(jnp.array(1.0), state, params)
            assert float(updates) == pytest.approx(-expected, rel=1e-5)


def test_combinations_of_optax() -> None:
    params, g = tree(), first_gradient()
    chained = optax.chain(optax.clip(0.1), optdsl.optax.Adam(**ADAM))
    clipped = jax.tree.map(lambda x: jnp.clip(x, -0.1, 0.1), g)
    alone = optdsl.optax.Adam(**ADAM)
    expected, _ = alone.update(clipped, alone.init(params), params)
    found, _ = chained.update(g, chained.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, found, expected)

    mask = {"matrix": True, "vector": False, "number": False}
    masked = optax.masked(optdsl.optax.LAMB(), mask)
    found, _ = masked.update(g, masked.init(params), params)
    np.testing.assert_array_equal(found["vector"], g["vector"])
    assert not np.array_equal(found["matrix"], g["matrix"])

    labels = {"matrix": "adam", "vector": "gd", "number": "gd"}
    parts = optax.partition({"adam": alone, "gd": optdsl.optax.GradientDescent(lr=0.5)}, labels)
    found, _ = parts.update(g, parts.init(params), params)
    np.testing.assert_allclose(found["vector"], -0.5 * g["vector"], rtol=1e-5, atol=1e-6)

    several = optax.MultiSteps(optdsl.optax.GradientDescent(lr=1.0), every_k_schedule=2)
    state = several.init(params)
    quiet, state = several.update(g, state, params)
    loud, state = several.update(g, state, params)
    assert not any(np.any(x) for x in jax.tree.leaves(quiet))
    np.testing.assert_allclose(loud["vector"], -g["vector"], rtol=1e-5, atol=1e-6)


def test_dtypes_stay() -> None:
    """Parameters in bfloat16: updates and states too, as optax has it."""
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree())
    tx = optdsl.optax.LAMB()
    updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    assert {x.dtype for x in jax.tree.leaves((updates, state.states))} == {jnp.dtype(jnp.bfloat16)}


def test_corrections_are_exact_in_float32() -> None:
    """1 - beta2^t does not cancel: a constant gradient moves Adam by lr in every step."""
    tx = optdsl.optax.Adam(lr=1.0, eps=1e-30)
    params, state = jnp.array(0.0), tx.init(jnp.array(0.0))
    for _ in range(5):
        updates, state = tx.update(jnp.array(3.0), state, params)
        assert abs(float(updates) + 1.0) < 8 * 2**-24


def test_what_is_refused() -> None:
    params = jnp.array(1.0)
    with pytest.raises(ValueError, match="Invalid lr value: -1"):
        optdsl.optax.Adam(lr=-1.0)
    with pytest.raises(TypeError, match="switches"):
        jax.jit(lambda flag: optdsl.optax.Adam(amsgrad=flag).init(params))(True)
    tx = optdsl.optax.Adam()
    with pytest.raises(ValueError, match="params"):
        tx.update(params, tx.init(params))
    with pytest.raises(OptdslError, match="OD801"):
        optdsl.optax.load("nesterov")
    climbing = optdsl.optax.GradientDescent(lr=0.5, maximize=True)
    assert float(climbing.update(params, climbing.init(params), params)[0]) == 0.5


def test_a_module_is_written_and_imported(tmp_path: Any) -> None:
    from optdsl.cli import main

    target = tmp_path / "mine.py"
    assert main(["compile", "lion", "--for", "optax", "-o", str(target)]) == 0
    namespace: dict[str, Any] = {}
    exec(compile(target.read_text(), str(target), "exec"), namespace)
    tx = namespace["Lion"](lr=0.5)
    assert float(tx.update(jnp.array(2.0), tx.init(jnp.array(1.0)), jnp.array(1.0))[0]) == -0.5
