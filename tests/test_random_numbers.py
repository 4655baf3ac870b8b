"""`normal()` and `uniform()`: the generator, the same numbers everywhere, and what is known of them."""

from pathlib import Path
from typing import Any

import jax
import mpmath
import numpy as np
import optax
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray

import optdsl
from optdsl import driver
from optdsl.checks import check
from optdsl.checks.verdict import Outcome
from optdsl.cost import cost
from optdsl.diagnostics import Source
from optdsl.files import composition
from optdsl.runtime.threefry import key_of, numbers_of, threefry, words
from tests.support import programs

Array = NDArray[np.float64]
SHAPES: tuple[tuple[int, ...], ...] = ((), (7,), (0, 3), (50, 30), (3, 40000))

TWO = """# Two calls in a step, one of them read twice.
optimizer Two
hyper lr = 1 in [0, inf)
state m[0] = 0
n = normal()
m[t] = m[t-1]/2 + n*uniform()
theta[t] = theta[t-1] - lr*(g[t] + m[t] + n^2)
"""


# --- the generator -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_published_vectors(counter: Any, key: Any, expected: tuple[int, int]) -> None:
    """Of Random123, tests/kat_vectors, "threefry2x32 20"."""
    assert tuple(map(int, threefry(key, counter))) == expected


@pytest.mark.parametrize("seed", [0, 1, 123456789, 2**32 - 1])
def test_keys_are_folded_as_by_jax(seed: int) -> None:
    """And its numbers are ours: 64 bits an element are the two words."""
    key = jax.random.key(np.uint32(seed), impl="threefry2x32")
    for data in (5, 2, 3):
        key = jax.random.fold_in(key, data)
    ours = key_of(np.uint32(seed), np.uint32(5), 2, np.uint32(3))
    assert jax.random.key_data(key).tolist() == [int(word) for word in ours]
    with jax.enable_x64(True):
        theirs = np.asarray(jax.random.bits(key, (1000,), np.uint64))
    first, second = words(ours, np.arange(1000, dtype=np.uint64))
    assert np.array_equal(first.astype(np.uint64) << np.uint64(32) | second, theirs)


def test_box_and_muller() -> None:
    first = np.array([0, 1, 2**31, 2**32 - 1, 12345], np.uint32)
    second = np.array([0, 7, 2**30, 2**32 - 1, 99], np.uint32)
    uniform = numbers_of("uniform", first, second, np.float64)
    assert uniform.min() > 0
    assert uniform.max() < 1
    with mpmath.workprec(200):
        for u, v, found in zip(first, second, numbers_of("normal", first, second, np.float64), strict=True):
            one, two = ((mpmath.mpf(int(x)) + 0.5) / 2**32 for x in (u, v))
            exact = mpmath.sqrt(-2 * mpmath.log(one)) * mpmath.cos(2 * mpmath.pi * two)
            assert abs(found - exact) < 1e-14


# --- the same everywhere -------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.opt"
    path.write_text(TWO)
    return path


def begin() -> list[Array]:
    random = np.random.default_rng(0)
    return [np.asarray(random.standard_normal(shape)) for shape in SHAPES]


def by_hand(steps: int, seed: int = 11, direction: float = 1.0) -> list[Array]:
    """The lines of TWO in NumPy; the gradient is theta."""
    theta, m = begin(), [np.zeros(shape) for shape in SHAPES]
    for t in range(1, steps + 1):
        for place, x in enumerate(theta):
            index = np.arange(x.size, dtype=np.uint64)
            drawn = []
            for call, kind in enumerate(("normal", "uniform")):
                key = key_of(np.uint32(seed), np.uint32(t), call, np.uint32(place))
                drawn.append(numbers_of(kind, *words(key, index), np.float64).reshape(x.shape))
            m[place] = m[place] / 2 + drawn[0] * drawn[1]
            theta[place] = x - 0.01 * (direction * x + m[place] + drawn[0] ** 2)
    return theta


def run(framework: str, path: Path, steps: int, **options: Any) -> list[Array]:
    if framework == "optax":
        with jax.enable_x64(True):
            tx = optdsl.optax.load(path)(0.01, seed=11, **options)
            x: Any = [jax.numpy.asarray(value) for value in begin()]
            state = tx.init(x)
            step = jax.jit(tx.update)
            for _ in range(steps):
                updates, state = step(x, state, x)
                x = optax.apply_updates(x, updates)
        return [np.asarray(value) for value in x]
    if framework == "numpy":
        arrays = begin()
        stepping = optdsl.numpy.load(path)(arrays, lr=0.01, seed=11, **options)
        for _ in range(steps):
            stepping.step([x.copy() for x in arrays])
        return arrays
    params = [torch.from_numpy(x).requires_grad_() for x in begin()]
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    optimizer = optdsl.torch.load(path)(groups, lr=0.01, seed=11, **options)
    for _ in range(steps):
        for p in params:
            p.grad = p.detach().clone()
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("framework", ["torch", "numpy", "optax"])
def test_every_framework_draws_the_same(framework: str, maximize: bool, two: Path) -> None:
    """To maximize turns the gradient, and no noise."""
    expected = by_hand(3, direction=-1.0 if maximize else 1.0)
    for found, wanted in zip(run(framework, two, 3, maximize=maximize), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_threads_change_nothing(framework: str, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OPTDSL_NUM_THREADS", threads)
        found.append([x.tobytes() for x in run(framework, two, 3)])
    assert found[0] == found[1] == found[2]


def test_numbers_stay_with_their_element(two: Path) -> None:
    """Whatever the strides are, and whoever else has a gradient; in float32 they are rounded once."""
    load = optdsl.torch.load(two)

    def drawn(p: torch.Tensor, others: bool = True) -> torch.Tensor:
        q = torch.zeros(5, dtype=p.dtype, requires_grad=True)
        q.grad = torch.zeros_like(q) if others else None
        p.grad = torch.zeros_like(p)
        load([q, p], lr=1.0, seed=3).step()
        return p.detach().contiguous()

    plain = drawn(torch.zeros(30, 20, dtype=torch.float64, requires_grad=True))
    turned = torch.zeros(20, 30, dtype=torch.float64).t().requires_grad_()
    assert torch.equal(drawn(turned), plain)
    assert torch.equal(drawn(torch.zeros(30, 20, dtype=torch.float64, requires_grad=True), False), plain)
    single = drawn(torch.zeros(30, 20, requires_grad=True))
    torch.testing.assert_close(single, plain.float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_resumed_run_draws_what_it_would_have(framework: str, two: Path) -> None:
    x = begin()
    params: list[Any] = [torch.from_numpy(v).requires_grad_() for v in x] if framework == "torch" else x

    def make() -> Any:
        return getattr(optdsl, framework).load(two)(params, lr=0.01, seed=11)

    optimizer = make()
    for step in range(4):
        if step == 2:
            state = optimizer.state_dict()
            optimizer = make()
            optimizer.load_state_dict(state)
        if framework == "torch":
            for p in params:
                p.grad = p.detach().clone()
            optimizer.step()
        else:
            optimizer.step([v.copy() for v in x])
    assert all(np.array_equal(a, b) for a, b in zip(x, run(framework, two, 4), strict=True))


def test_parts_draw_apart_and_have_one_seed() -> None:
    """noisy_sgd twice over would be one noise twice as large, if the calls had the same number."""
    noise = (
        "# Noise.\ntransform Noise\nout = g[t] + normal()\n\n"
        "optimizer Both = noise | noisy_sgd(eta = 1, gamma = 0)"
    )
    optimizer = driver.front(Source("both.opt", noise))[0]
    assert [hyper.name for hyper in optimizer.hypers] == ["lr", "eta", "gamma", "seed"]
    assert optimizer.inputs == ("normal_draw0", "normal_draw1")
    seeded = driver.front(composition("add_l2(0.1) | noisy_sgd(seed = 5)"))[0]
    assert [hyper.default for hyper in seeded.hypers if hyper.name == "seed"] == [5]
    for seeds in (("", "seed = 5"), ("seed = 5", "eta = 1"), ("seed = 5", "seed = 5")):
        text = noise.replace("noise | noisy_sgd(eta", f"noise({seeds[0]}) | noisy_sgd({seeds[1]}, eta")
        text = text.replace(", eta = 1, gamma = 0", "").replace("noise()", "noise")
        told = driver.front(Source("both.opt", text))[0]
        assert [hyper.default for hyper in told.hypers if hyper.name == "seed"] == [5]


# --- what the numbers are like -------------------------------------------------------------------


def drawn(kind: str, seed: int, t: int, call: int, place: int, size: int = 200_000) -> Array:
    key = key_of(np.uint32(seed), np.uint32(t), call, np.uint32(place))
    found: Array = numbers_of(kind, *words(key, np.arange(size, dtype=np.uint64)), np.float64)
    return found


@pytest.mark.parametrize(
    ("kind", "law"), [("normal", scipy.stats.norm()), ("uniform", scipy.stats.uniform())]
)
def test_distribution(kind: str, law: Any) -> None:
    assert scipy.stats.kstest(drawn(kind, 0, 1, 0, 0), law.cdf).pvalue > 0.01


def test_what_differs_in_one_number_is_independent() -> None:
    base = drawn("normal", 0, 1, 0, 0)
    for other in ((1, 1, 0, 0), (0, 2, 0, 0), (0, 1, 1, 0), (0, 1, 0, 1)):
        assert abs(np.corrcoef(base, drawn("normal", *other))[0, 1]) < 5 / np.sqrt(base.size)
    assert abs(np.corrcoef(base[1:], base[:-1])[0, 1]) < 5 / np.sqrt(base.size)


def test_noisy_sgd_is_sgd_with_that_much_noise() -> None:
    """Against optax: the same step without noise, and as much noise (its numbers are others)."""
    x, g = np.zeros(200_000), np.ones(200_000)
    optdsl.numpy.load("noisy_sgd")(x, lr=0.1, eta=0.0).step(g)
    assert np.array_equal(x, np.full_like(x, -0.1))
    with jax.enable_x64(True):
        tx = optax.noisy_sgd(0.1, eta=0.5, gamma=0.9, key=0)
        theirs: Any = jax.numpy.zeros(200_000)
        state = tx.init(theirs)
        y = np.zeros_like(x)
        ours = optdsl.numpy.load("noisy_sgd")(y, lr=0.1, eta=0.5, gamma=0.9)
        for _ in range(3):
            y[...] = 0
            ours.step(g)
            updates, state = tx.update(jax.numpy.asarray(g), state, theirs)
            updates = np.asarray(updates)
            assert y.mean() == pytest.approx(updates.mean(), abs=5 * 0.1 / np.sqrt(x.size))
            assert y.std() == pytest.approx(updates.std(), rel=5 / np.sqrt(x.size))


def test_sgld_samples() -> None:
    """Of N(0, 1), where x' = (1 - lr/2)*x + sqrt(lr)*n: in the end the variance is 1/(1 - lr/4)."""
    x = np.zeros(40_000)
    optimizer = optdsl.numpy.load("sgld")(x, lr=0.5, seed=1)
    for _ in range(40):
        optimizer.step(x.copy())
    assert x.mean() == pytest.approx(0, abs=5 * 1.07 / np.sqrt(x.size))
    assert x.var() == pytest.approx(1 / (1 - 0.5 / 4), rel=5 * np.sqrt(2 / x.size))


# --- what is proved ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "about", "outcome"),
    [
        ("1/uniform()", "well_defined", Outcome.PROVED),
        ("sqrt(1 - uniform())", "well_defined", Outcome.PROVED),
        ("sqrt(uniform() - 1/2)", "well_defined", Outcome.REFUTED),
        ("1/normal()", "well_defined", Outcome.REFUTED),
        ("normal()", "fixed_point", Outcome.UNKNOWN),
        ("normal()", "idle_step", Outcome.PROVED),
        ("theta[t-1]^2*normal()/theta[t-1] + lr", "units", Outcome.REFUTED),
    ],
)
def test_verdicts(noise: str, about: str, outcome: Outcome) -> None:
    text = f"optimizer Test\nhyper lr = 0.1 in [0, inf)\nn = {noise}\ntheta[t] = theta[t-1] - lr*(g[t] + n)\n"
    report = check(driver.front(Source("test.opt", text))[0])
    (found,) = (each.outcome for each in report.verdicts if each.claim == about)
    assert found is outcome


@pytest.mark.parametrize("claim", ["E[n] = 0", "E[n] = E[g]", "constant_gradient_step = -lr*c"])
def test_claims_about_noise_are_not_answered(claim: str) -> None:
    text = (
        "optimizer Test\nhyper lr = 0.1 in [0, inf)\nn = normal()\n"
        f"theta[t] = theta[t-1] - lr*(g[t] + n)\nprove {claim}\n"
    )
    report = check(driver.front(Source("test.opt", text))[0])
    (found,) = (each for each in report.verdicts if each.declared)
    assert found.outcome is Outcome.UNKNOWN


def test_what_it_costs() -> None:
    """The noise is written, then read: 8 bytes more than gradient descent."""
    passes = [each.bytes_moved for each in cost(programs.meaning("noisy_sgd"), {}).passes]
    assert passes == [4, 16]
