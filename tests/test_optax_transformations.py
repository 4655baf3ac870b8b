"""Specs as optax transformations: the NumPy classes' path, and everything that JAX and optax do with them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optdsl
from optdsl import driver
from optdsl.emit.optax_module import not_for_optax
from optdsl.files import library_names, resolve_target
from optdsl.language.inputs import asked_for
from optdsl.language.optimizer import Optimizer
from optdsl.language.reductions import totals
from optdsl.runtime.layout import OPTAX_INPUTS
from tests.support.programs import meaning

Tree = Any
SHAPES: dict[str, tuple[int, ...]] = {
    "tensor": (2, 3, 2), "vector": (4,), "number": (), "empty": (0, 3),
}  # fmt: skip
STEPS = 30


def start(dtype: Any = np.float64) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {name: np.asarray(random.standard_normal(shape) + 2, dtype) for name, shape in SHAPES.items()}


def gradients(dtype: Any = np.float64, seed: int = 1) -> dict[str, Any]:
    """Of all steps, first axis first; a tenth is zero."""
    random = np.random.default_rng(seed)
    drawn = {name: random.standard_normal((STEPS, *shape)) for name, shape in SHAPES.items()}
    return {name: np.where(random.random(g.shape) < 0.1, 0, g).astype(dtype) for name, g in drawn.items()}


QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
LOSSES = 10 * 0.9 ** np.arange(STEPS)


def path(tx: Any, theta: Tree, given: Tree, views: tuple[str, ...] = (), **extra: Tree) -> Tree:
    """The parameters after every step, and views of them: one compiled loop.

    The gradient is `given`, and more by a tenth of how far its point is from the parameters.
    """

    def one(carry: Any, at: Any) -> Any:
        params, state = carry
        g, own = at
        first = {"first_gradient": g}
        point = tx.query(state, params, **first)
        g = jax.tree.map(lambda g, x, p: g + 0.1 * (x - p), g, point, params)
        updates, state = tx.update(g, state, params, at=point, **first, **own)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, [tx.view(state, params, name) for name in views])

    return jitted(lambda x, g: jax.lax.scan(one, (x, tx.init(x)), (g, extra))[1])(theta, given)


def names() -> Iterator[str]:
    """Specs that optax can have; their other flags are compared by `test_backends`."""
    for name in library_names():
        if not_for_optax(meaning(name)) is None:
            yield name


COMPOSED = (
    "clip_by_global_norm(1) | adamw(lr = warmup(10, cosine(3e-2, 20))) | lookahead(5)",
    "adafactor | sam(adaptive = true)",
)


def of_spec(spec: Optimizer, tree: Tree) -> Tree:
    """All tensors for what looks at more than an element; else one is enough, and compiled in no time."""
    if totals(spec.lines) or totals(spec.query_lines) or any(flag.rank is not None for flag in spec.flags):
        return tree
    return {"tensor": tree["tensor"]}


def of_ranks(name: str, tree: Tree) -> Tree:
    """Muon takes matrices alone: the rows of what has three dimensions."""
    if name != "muon":
        return tree
    key = "tensor"
    return {key: tree[key].reshape(*tree[key].shape[:-3], -1, tree[key].shape[-1])}


@pytest.mark.parametrize("name", [*names(), *COMPOSED])
def test_the_path_is_that_of_numpy(name: str) -> None:
    spec = driver.front(resolve_target(name))[0]
    views = tuple(output.name for output in spec.outputs)
    begin, given = (of_ranks(name, of_spec(spec, x)) for x in (start(), gradients()))
    every = {"loss": LOSSES, "hvp": of_spec(spec, gradients(seed=2))}
    inputs = asked_for(spec.inputs)
    extra = {OPTAX_INPUTS.get(each, each): every[each] for each in inputs}
    with jax.enable_x64(True):
        found, shown = path(optdsl.optax.load(name)(), begin, given, views, **extra)
    theta = {key: value.copy() for key, value in begin.items()}
    make: Any = optdsl.numpy.load(name)
    ours = make(theta)
    for t in range(STEPS):
        before = {key: value.copy() for key, value in theta.items()}

        def gradient(point: Tree, t: int = t, before: Tree = before) -> Tree:
            return {key: g[t] + 0.1 * (point[key] - before[key]) for key, g in given.items()}

        ours.step(gradient, **{each: jax.tree.map(lambda x, t=t: x[t], every[each]) for each in inputs})
        for key, value in theta.items():
            np.testing.assert_allclose(found[key][t], value, rtol=1e-9, atol=1e-12, err_msg=f"{t} {key}")
        for view, in_jax in zip(views, shown, strict=True):
            with ours.view(view):
                for key, value in theta.items():
                    np.testing.assert_allclose(in_jax[key][t], value, rtol=1e-9, atol=1e-12)


ADAM = {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1}


def tree() -> Tree:
    return {key: jnp.asarray(value, jnp.float32) for key, value in start().items()}


def first_gradient() -> Tree:
    return {key: jnp.asarray(value[0], jnp.float32) for key, value in gradients().items()}


KINDS = ("adafactor", "prodigy", "sophia", "polyak_sgd", "nesterov")
"""Rows, columns and ranks; sums over all; inputs; another point."""


def jitted(function: Any) -> Any:
    return jax.jit(function, compiler_options=QUICKLY)


def step(tx: Any, g: Tree, state: Any, params: Tree) -> Any:
    """With everything that any of them asks for."""
    return tx.update(g, state, params, value=jnp.array(2.5), hvp=g, at=params, first_gradient=g)


@pytest.mark.parametrize("name", KINDS)
def test_a_step_is_pure_and_can_be_mapped(name: str) -> None:
    tx = optdsl.optax.load(name)()
    params, g = tree(), first_gradient()
    state = tx.init(params)
    before = jax.tree.map(np.array, (params, g, state))
    updates, new = step(tx, g, state, params)
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, (params, g, state)))
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), (params, g))
    mapped = jitted(jax.vmap(lambda p, g: step(tx, g, tx.init(p), p)[0]))(*stacked)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y, rtol=1e-5, atol=1e-7), mapped, updates)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_go_through_steps_of_every_kind(name: str) -> None:
    """How the end of a path depends on the rate, by JAX and by differences."""

    def end(lr: Any) -> Any:
        tx = optdsl.optax.load(name)(lr=lr)
        params = {"matrix": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "vector": jnp.array([0.3, -0.7])}
        state = tx.init(params)
        for t in range(3):
            g = jax.tree.map(lambda p, t=t: jnp.cos(p + t), params)
            updates, state = step(tx, g, state, params)
            params = optax.apply_updates(params, updates)
        return sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    with jax.enable_x64(True):
        both = jitted(jax.value_and_grad(end))
        (high, _), (low, _), (_, slope) = (map(float, both(x)) for x in (0.003001, 0.002999, 0.003))
    assert slope == pytest.approx((high - low) / 2e-6, rel=1e-5, abs=1e-8)
    assert slope != 0


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


@pytest.mark.parametrize("name", ["adafactor", "prodigy", "sophia", "extragradient"])
def test_combinations_of_optax(name: str) -> None:
    """Each is what the parts do one after the other, or on their own leaves."""
    make = optdsl.optax.load(name)
    params, g = ({key: x[key] for key in ("tensor", "vector")} for x in (tree(), first_gradient()))
    alone = make(lr=0.01)

    def once(tx: Any, params: Tree = params, g: Tree = g) -> Tree:
        return jitted(lambda params, g: step(tx, g, tx.init(params), params)[0])(params, g)

    def same(found: Tree, expected: Tree) -> None:
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-7), found, expected)

    clipped = jax.tree.map(lambda x: jnp.clip(x, -0.1, 0.1), g)
    chained = optax.chain(optax.clip(0.1), alone, optax.scale(2.0))
    if name != "sophia":  # whose estimate of the Hessian is here the gradient, and not clipped
        same(once(chained), jax.tree.map(lambda x: 2 * x, once(alone, g=clipped)))

    one, others = {"tensor"}, params.keys() - {"tensor"}
    part = {key: params[key] for key in one}, {key: g[key] for key in one}
    apart = once(alone, *part)["tensor"]
    masked = once(optax.masked(alone, {key: key in one for key in params}))
    same(masked["tensor"], apart)
    assert all(np.array_equal(masked[key], g[key]) for key in others)
    labels = {key: "ours" if key in one else "gd" for key in params}
    parts = once(optax.partition({"ours": alone, "gd": optdsl.optax.GradientDescent(lr=0.5)}, labels))
    same(parts, {key: apart if key in one else -0.5 * g[key] for key in params})

    same(once(optax.inject_hyperparams(make)(lr=0.01)), once(alone))
    same(once(optax.inject_hyperparams(make)(lr=lambda count: 0.01 + count)), once(alone))
    same(once(optax.apply_if_finite(alone, 3)), once(alone))
    finite = once(optax.apply_if_finite(alone, 3), g=jax.tree.map(lambda x: x / 0, g))
    assert not any(np.any(x) for x in jax.tree.leaves(finite))

    several = optax.MultiSteps(alone, every_k_schedule=2)
    quiet, state = step(several, g, several.init(params), params)
    loud, _ = step(several, g, state, params)
    assert not any(np.any(x) for x in jax.tree.leaves(quiet))
    same(loud, once(alone))


def test_states_follow_the_parameters() -> None:
    """What is mapped over all that has the structure of the parameters, as for sharding them."""
    tx, params = optdsl.optax.Adam(), tree()
    negative = optax.tree_map_params(tx, lambda x: x - 1, tx.init(params))
    assert all(np.all(x == -1) for x in jax.tree.leaves((negative.states, negative.numbers)))
    assert negative.count == 0


SHARDED = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, numpy as np, optdsl
jax.config.update("jax_enable_x64", True)
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((2,), ("data",))
random = np.random.default_rng(0)
shapes = {"rows": (4, 6), "columns": (3, 8), "vector": (6,), "number": ()}
specs = {"rows": ("data",), "columns": (None, "data"), "vector": ("data",), "number": ()}
placed = {name: NamedSharding(mesh, PartitionSpec(*spec)) for name, spec in specs.items()}
theta = {name: random.standard_normal(shape) for name, shape in shapes.items()}
grads = [{name: random.standard_normal(shape) for name, shape in shapes.items()} for _ in range(3)]
for name in ("adafactor", "clip_by_global_norm(0.1) | lamb"):
    tx = optdsl.optax.load(name)(lr=0.01)
    update = jax.jit(tx.update)
    ends = []
    for put in (lambda x: x, lambda x: jax.tree.map(jax.device_put, x, placed)):
        params = put({name: jax.numpy.asarray(x) for name, x in theta.items()})
        state = tx.init(params)
        for g in grads:
            updates, state = update(put(g), state, params)
            params = jax.tree.map(lambda p, u: p + u, params, updates)
        ends.append(params)
    for key in theta:
        np.testing.assert_allclose(*(end[key] for end in ends), rtol=1e-12)
        end = ends[1][key]
        assert end.sharding.is_equivalent_to(placed[key], end.ndim), (name, key, end.sharding)
    for state in jax.tree.leaves(tx.init(put(theta))):
        assert not state.is_fully_replicated or state.size < 24, state.sharding
print("same on", len(jax.devices()))
"""


def test_sharded_parameters() -> None:
    """On two devices as on one: XLA completes the sums; the states lie where their parameters do."""
    found = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout.strip()) == (0, "same on 2"), found.stderr


def test_views_are_those_of_optax() -> None:
    """x of schedule-free SGD after steps, and the parameters before the first one."""
    ours, peer = optdsl.optax.ScheduleFreeSGD(lr=0.5), optax.contrib.schedule_free_sgd(0.5)
    here = there = jnp.array([3.0, -2.0])
    state, of_peer = ours.init(here), peer.init(there)
    np.testing.assert_array_equal(ours.view(state, here), here)
    np.testing.assert_array_equal(optdsl.optax.ASGD().view(optdsl.optax.ASGD().init(here), here), here)
    for t in range(5):
        g = jnp.array([1.0, t - 2.0])
        updates, state = ours.update(g, state, here)
        theirs, of_peer = peer.update(g, of_peer, there)
        here, there = here + updates, there + theirs
    expected = optax.contrib.schedule_free_eval_params(of_peer, there)
    np.testing.assert_allclose(ours.view(state, here, "x"), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="has no view 'y' of its parameters; it has x"):
        ours.view(state, here, "y")
    adam = optdsl.optax.Adam()
    with pytest.raises(ValueError, match="has no view None of its parameters; it has none"):
        adam.view(adam.init(here), here)


def test_division_by_zero_is_infinite_here_too(tmp_path: Path) -> None:
    """Of options as of arrays: Python's numbers would raise."""
    path = tmp_path / "inverse.opt"
    path.write_text(
        "optimizer Inverse\nhyper lr = 1 in [0, inf)\n"
        "theta[t] = theta[t-1] - (if lr > 0 then 1/lr else 2)*g[t]\n"
    )
    tx = optdsl.optax.load(path)(lr=0.0)
    assert float(tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)), jnp.array(0.0))[0]) == -2.0


def test_dtypes_stay() -> None:
    """Parameters in bfloat16: updates too, as optax has it; states are float32, as in torch."""
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree())
    tx = optdsl.optax.LAMB()
    updates, state = jax.jit(tx.update)(params, tx.init(params), params)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
    assert {x.dtype for x in jax.tree.leaves(state.states)} == {jnp.dtype(jnp.float32)}


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
    with pytest.raises(ValueError, match=r"the gradient of params\['w'\] has shape \(2,\), and it \(2, 2\)"):
        tx.update({"w": jnp.ones(2)}, tx.init({"w": jnp.ones((2, 2))}), {"w": jnp.ones((2, 2))})
    for name, given, message in (
        ("polyak_sgd", {}, r"reads the loss of every step: update\(.*, value=loss\)"),
        ("polyak_sgd", {"value": jnp.ones(2)}, r"value must be one real number, and is of float32\(2,\)"),
        ("sophia", {}, r"reads the hvp of every step: update\(.*, hvp=tree\)"),
        ("nesterov", {}, r"another point than the parameters: point = tx.query\(state, params\)"),
        ("extragradient", {"at": params}, r"two gradients in a step: g = gradient\(params\)"),
    ):
        tx = optdsl.optax.load(name)()
        with pytest.raises(TypeError, match=message):
            tx.update(params, tx.init(params), params, **given)
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
