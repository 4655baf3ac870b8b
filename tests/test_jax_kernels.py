"""Compiled kernels called from JAX: the bits of the NumPy classes, under everything that JAX and optax do."""

import subprocess
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optdsl
from optdsl import driver
from optdsl.files import resolve_target
from optdsl.language.inputs import asked_for
from optdsl.language.optimizer import Shape
from optdsl.runtime.jax import xla_call
from optdsl.runtime.layout import OPTAX_INPUTS
from tests.test_optax_transformations import COMPOSED, names

Tree = Any
KERNELS = "numba_cpu"
STEPS = 4


def start(dtype: Any, seed: int = 0, *, matrices: bool = False) -> Tree:
    random = np.random.default_rng(seed)
    shapes = {"empty": (0, 3), "matrix": (3, 5), "number": (), "tensor": (2, 2, 3)}  # in the order of trees
    made = {name: np.asarray(random.standard_normal(shape) + 0.5, dtype) for name, shape in shapes.items()}
    return {"empty": made["empty"], "matrix": made["matrix"]} if matrices else made


@pytest.mark.parametrize("name", [*names(), *COMPOSED])
def test_the_bits_are_those_of_numpy(name: str) -> None:
    """Numbers that are kept for a tensor are float64 in NumPy: with them, parameters are, too."""
    spec = driver.front(resolve_target(name))[0]
    only = name == "muon"
    numbers = any(state.shape <= Shape.TENSOR for state in spec.states)
    given = {each: OPTAX_INPUTS.get(each, each) for each in asked_for(spec.inputs)}
    for dtype in (np.float64 if numbers else np.float32,):
        with jax.enable_x64(dtype == np.float64):
            make: Any = optdsl.numpy.load(name)
            theta = start(dtype, matrices=only)
            ours = make(theta)
            tx = optdsl.optax.load(name, backend=KERNELS)()
            params = jax.tree.map(jnp.array, theta)
            state = tx.init(params)
            query, step = jax.jit(tx.query), jax.jit(tx.step, donate_argnums=(0, 1))
            for t in range(STEPS):
                g = start(dtype, 10 + t, matrices=only)
                every = {"loss": 2.5 - 0.25 * t, "hvp": start(dtype, 20 + t, matrices=only)}
                extra = {word: every[each] for each, word in given.items()}
                before = jax.tree.map(np.copy, theta)

                def gradient(point: Tree, g: Tree = g, before: Tree = before) -> Tree:
                    moved = jax.tree.map(lambda x, p: np.asarray(x) - np.asarray(p), point, before)
                    return jax.tree.map(lambda g, d: (g + g.dtype.type(0.5) * d).astype(g.dtype), g, moved)

                ours.step(gradient, **{each: every[each] for each in given})
                first = {"first_gradient": g}
                point = query(state, params, **first)
                params, state = step(params, state, gradient(point), at=point, **first, **extra)
                for key, value in theta.items():
                    np.testing.assert_array_equal(params[key], value, err_msg=f"{dtype} {t} {key}")
            for place, kept in enumerate(ours.state_dict()["state"]):
                key = list(theta)[place]
                for word in kept.keys() - {"step"}:
                    found = {**state.states, **state.numbers}[word][key]
                    np.testing.assert_array_equal(found, kept[word], err_msg=f"{dtype} {word} {key}")


def adam(**options: Any) -> Any:
    return optdsl.optax.load("adam", backend=KERNELS)(lr=0.1, **options)


def small() -> tuple[Tree, Tree]:
    both = ({"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.array([2.0, -1.0])}, {"a": 0.5, "b": -3.0})
    return both[0], jax.tree.map(lambda p, x: jnp.full_like(p, x), *both)


def same(found: Tree, expected: Tree) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_donated_buffers_are_stepped_in_place() -> None:
    params, g = small()
    state = adam().init(params)
    step = jax.jit(adam().step, donate_argnums=(0, 1))

    def where(*trees: Tree) -> list[int]:
        return [x.unsafe_buffer_pointer() for x in jax.tree.leaves(trees)]

    params, state = step(params, state, g)
    old = where(params, state.states)
    new, state = step(params, state, g)
    assert where(new, state.states) == old
    assert params["a"].is_deleted()


def test_what_is_not_donated_stays() -> None:
    """The same array as parameter, gradient and state's start, in and outside of what is compiled."""
    p = jnp.array([1.0, -2.0, 3.0])
    tx, before = adam(), np.array(p)
    state = tx.init(p)
    eager, compiled = tx.step(p, state, p), jax.jit(lambda p: tx.step(p, tx.init(p), p))(p)
    same(eager, compiled)
    np.testing.assert_array_equal(p, before)
    same(state, tx.init(p))
    theta = before.copy()
    make: Any = optdsl.numpy.load("adam")
    make(theta, lr=0.1).step(before)
    np.testing.assert_array_equal(eager[0], theta)


def test_loops_and_members() -> None:
    """`scan` is steps one after the other, `vmap` one member after the other."""
    tx = adam()
    params, g = small()
    grads = jax.tree.map(lambda x: jnp.stack([x, -x, 3 * x]), g)

    def body(carry: Any, g: Tree) -> Any:
        return tx.step(*carry, g), None

    scanned = jax.jit(lambda p: jax.lax.scan(body, (p, tx.init(p)), grads)[0])(params)
    one, state = params, tx.init(params)
    for t in range(3):
        one, state = jax.jit(tx.step)(one, state, jax.tree.map(lambda x, t=t: x[t], grads))
    same(scanned, (one, state))
    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), params)
    mapped = jax.jit(jax.vmap(lambda p: tx.step(p, tx.init(p), g)))(many)
    for i in range(2):
        member = jax.tree.map(lambda x, i=i: x[i], many)
        same(jax.tree.map(lambda x, i=i: x[i], mapped), tx.step(member, tx.init(member), g))


def test_combinations_of_optax() -> None:
    """Each is what the parts do one after the other; a traced rate is the float32 that it is."""
    params, g = small()
    make = optdsl.optax.load("adam", backend=KERNELS)

    def once(tx: Any, g: Tree = g) -> Tree:
        return jax.jit(lambda p, g: tx.update(g, tx.init(p), p)[0])(params, g)

    alone = once(make(lr=0.125))
    same(once(optax.chain(optax.scale(2.0), make(lr=0.125))), once(make(lr=0.125), jax.tree.map(
        lambda x: 2 * x, g)))  # fmt: skip
    rounded = {"betas": (0.875, 0.75), "eps": 2.0**-20}  # injected options are float32
    injected = optax.inject_hyperparams(make, static_args=("betas",))(lr=0.125, **rounded)
    same(once(injected), once(make(lr=0.125, **rounded)))
    same(once(make(lr=lambda count: 0.125 + count)), alone)
    masked = once(optax.masked(make(lr=0.125), {"a": True, "b": False}))
    same(masked, {"a": alone["a"], "b": g["b"]})
    several = optax.MultiSteps(make(lr=0.125), every_k_schedule=2)
    state = several.init(params)
    quiet, state = jax.jit(several.update)(g, state, params)
    loud, _ = jax.jit(several.update)(g, state, params)
    assert not any(np.any(x) for x in jax.tree.leaves(quiet))
    same(loud, alone)
    lrs = jnp.array([0.125, 0.5])
    by_rate = jax.jit(jax.vmap(lambda lr: once(make(lr=lr))))(lrs)
    same(jax.tree.map(lambda x: x[0], by_rate), alone)


def test_numbers_of_python_keep_all_their_bits() -> None:
    """In float64 parameters with lr = 0.1, which is no float32; the same by hand: -lr*g of one step."""
    with jax.enable_x64(True):
        tx = optdsl.optax.load("gd", backend=KERNELS)(lr=0.1)
        p = jnp.array([0.0])
        assert float(tx.step(p, tx.init(p), jnp.array([1.0]))[0][0]) == -0.1
    assert optdsl.optax.load("gd", backend=KERNELS)(lr=0.1, maximize=True).step(
        p := jnp.array([0.0]), tx.init(p), jnp.array([1.0])
    )[0][0] == np.float32(0.1)


def test_derivatives_and_other_dtypes_are_refused() -> None:
    tx = adam()
    p = jnp.ones(3)
    with pytest.raises(TypeError, match=r"a step of Adam by compiled kernels has no derivative.*'jnp'"):
        jax.grad(lambda g: jnp.sum(tx.step(p, tx.init(p), g)[0]))(p)
    z = p.astype(jnp.complex64)
    with pytest.raises(TypeError, match="real floating-point leaves, and one is complex64"):
        tx.step(z, tx.init(z), z)
    with pytest.raises(ValueError, match="backend must be one of jnp, numba_cpu, not 'cuda'"):
        optdsl.optax.load("adam", backend="cuda")


def test_an_error_inside_is_the_computations(monkeypatch: pytest.MonkeyPatch) -> None:
    tx, p = adam(), jnp.ones(3)
    state, step = tx.init(p), jax.jit(tx.step)
    monkeypatch.setenv("OPTDSL_NUM_THREADS", "many")
    with pytest.raises(Exception, match="OPTDSL_NUM_THREADS must be a number from 1 to 1024"):
        np.asarray(step(p, state, p)[0])
    monkeypatch.delenv("OPTDSL_NUM_THREADS")
    np.testing.assert_allclose(step(p, state, p)[0], 0.9, rtol=1e-6)


@pytest.mark.parametrize(
    ("what", "value", "reason"),
    [
        ("version", lambda: (0, 99), r"XLA's interface for custom calls is 0\.99 in jax .*, not 0\.3"),
        ("version", lambda: None, "is none in jax"),
        ("jax.default_backend", lambda: "tpu", "they run on the CPU, and JAX on tpu"),
        ("jax.local_device_count", lambda: 8, "whole arrays, and JAX has 8 devices to share them among"),
    ],
)
def test_without_kernels_there_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, what: str, value: Any, reason: str
) -> None:
    monkeypatch.setattr(f"optdsl.runtime.jax.xla_call.{what}", value)
    xla_call.why_not.cache_clear()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        tx = optdsl.optax.load("adam", backend=KERNELS)(lr=0.1)
        p = jnp.ones(3)
        np.testing.assert_allclose(tx.step(p, tx.init(p), p)[0], 0.9, rtol=1e-6)
        jax.grad(lambda g: jnp.sum(tx.step(p, tx.init(p), g)[0]))(p)  # it is XLA's code
    xla_call.why_not.cache_clear()
    (warning,) = (each for each in found if each.category is RuntimeWarning)
    assert warning.filename == __file__
    with pytest.raises(RuntimeWarning, match=reason):
        raise warning.message  # type: ignore[misc]


ENDS = """
import jax, jax.numpy as jnp, optdsl
p = jnp.ones((1200, 1200))
tx = optdsl.optax.load("adam", backend="numba_cpu")(0.1)
state, step = tx.init(p), jax.jit(tx.step)
jax.block_until_ready(step(p, state, p))
slow = jax.jit(lambda x: x @ x @ x @ x @ x)
jax.block_until_ready(slow(p))
kept = step(p, state, slow(p))
step(p, state, slow(p))
print("done")
"""


def test_python_ends_though_steps_are_on_their_way() -> None:
    """Without the gate, they wait for Python's lock for ever."""
    found = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=100)
    assert (found.returncode, found.stdout) == (0, "done\n"), found.stderr
