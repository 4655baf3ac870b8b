"""`input loss` and `input hvp`: what a step is given besides the gradient, from text to proofs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import optdsl
from optdsl import driver
from optdsl.checks import check
from optdsl.checks.compare import compare
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import Source
from optdsl.language.optimizer import Optimizer

BOTH = """# A rule that reads everything a step can be given.
optimizer Both
hyper lr = 0.1 in [0, inf)
input hvp
state f[0] = 0
input loss
state m[0] = 0
f[t] = f[t-1]/2 + loss
m[t] = m[t-1]/2 + hvp*loss
theta[t] = theta[t-1] - lr*(g[t] + m[t] + f[t]*hvp)
"""
SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (4, 5), (0,))
Load = Callable[..., Any]


@pytest.fixture
def both(tmp_path: Path) -> Path:
    path = tmp_path / "both.opt"
    path.write_text(BOTH)
    return path


def drawn(seed: int) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.standard_normal(shape)) for shape in SHAPES]


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_step_reads_what_it_is_given(framework: str, maximize: bool, both: Path) -> None:
    """Against the same lines in NumPy; to maximize f is to minimize -f."""
    theta = drawn(0)
    params: list[Any] = [x.copy() for x in theta]
    sign = -1.0 if maximize else 1.0
    if framework == "torch":
        params = [torch.nn.Parameter(torch.from_numpy(x)) for x in params]
    optimizer = getattr(optdsl, framework).load(both)(params, maximize=maximize)
    f, m = 0.0, [np.zeros(shape) for shape in SHAPES]
    for t in range(1, 5):
        grads, hvp, loss = drawn(t), drawn(-t % 97), 3.0 / t
        if framework == "torch":
            for p, g in zip(params, grads, strict=True):
                p.grad = torch.from_numpy(g.copy())
            if t % 2:
                optimizer.step(loss=torch.tensor(loss), hvp=[torch.from_numpy(h) for h in hvp])
            else:
                found = optimizer.step(
                    lambda at=loss: torch.tensor(at), hvp=[torch.from_numpy(h) for h in hvp]
                )
                assert found.item() == pytest.approx(loss, rel=1e-6)
                loss = found.item()
            loss = torch.tensor(loss).item()
        else:
            optimizer.step(grads, loss=loss, hvp=hvp)
        f = f / 2 + sign * loss
        for i, (g, h) in enumerate(zip(grads, hvp, strict=True)):
            m[i] = m[i] / 2 + h * loss
            theta[i] = theta[i] - 0.1 * (sign * g + m[i] + f * sign * h)
            shown = params[i].detach().numpy() if framework == "torch" else params[i]
            np.testing.assert_allclose(shown, theta[i], rtol=1e-12, atol=1e-14)


def test_inputs_of_other_strides_and_in_the_way_are_read_as_they_are(both: Path) -> None:
    """A transpose, and the parameter's own memory: worth what they were before the step."""
    for given in (lambda p: torch.arange(12.0).reshape(4, 3).T, lambda p: p.data):
        p = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))
        before, h = p.detach().clone(), given(p).clone()
        p.grad = torch.zeros(3, 4)
        optdsl.torch.load(both)([p]).step(loss=1.0, hvp=[given(p)])
        torch.testing.assert_close(p.detach(), before - 0.1 * (h + h))
    x = np.arange(12.0).reshape(3, 4)
    expected = x - 0.1 * (x + x)
    optdsl.numpy.load(both)(x).step(np.zeros((3, 4)), loss=1.0, hvp=x)
    np.testing.assert_allclose(x, expected)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_what_is_missing_or_wrong_is_refused_before_anything_changes(framework: str, both: Path) -> None:
    make: Callable[[], Any] = (lambda: torch.ones(3)) if framework == "torch" else (lambda: np.ones(3))
    p: Any = torch.nn.Parameter(make()) if framework == "torch" else make()
    if framework == "torch":
        p.grad = make()
    optimizer = getattr(optdsl, framework).load(both)([p])
    grads = [] if framework == "torch" else [[make()]]
    empty: Any = optimizer.state_dict()
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({}, TypeError, "Both reads the (loss|hvp) of every step"),
        ({"hvp": [make()]}, TypeError, "Both reads the loss of every step"),
        ({"loss": make(), "hvp": [make()]}, TypeError, "must be one number, and has 3 elements"),
        ({"loss": "1", "hvp": [make()]}, TypeError, "must be a number, not str"),
        ({"loss": 1.0, "hvp": [make(), make()]}, ValueError, "hvp"),
        ({"loss": 1.0, "hvp": [make()[:2]]}, ValueError, "the hvp of parameter 0.* has shape"),
        ({"loss": 1.0, "hvp": [None]}, (TypeError, ValueError), "the hvp of parameter 0"),  # type: ignore[list-item]
    ]
    for given, error, words in wrong:
        with pytest.raises(error, match=words):
            optimizer.step(*grads, **given)
    assert p.tolist() == [1.0] * 3
    assert optimizer.state_dict() == empty
    sgd = getattr(optdsl, framework).load("sgd")([p])
    with pytest.raises(TypeError, match="SGD reads no loss; call step without it"):
        sgd.step(*grads, loss=1.0)
    optimizer.step(*grads, loss=1.0, hvp=[make()])
    assert p.tolist() != [1.0] * 3


def test_a_parameter_without_a_gradient_needs_no_input(both: Path) -> None:
    ps = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    ps[1].grad = torch.ones(2)
    optdsl.torch.load(both)(ps).step(loss=0.0, hvp=[None, torch.zeros(2)])
    assert [p[0].item() for p in ps] == [1.0, pytest.approx(0.9)]


def test_sophia_needs_an_estimate_only_every_k_steps() -> None:
    """NaN in between changes nothing: it is not read."""
    paths = []
    for between in (np.full(3, np.nan), np.zeros(3)):
        theta = np.ones(3)
        optimizer = optdsl.numpy.load("sophia")(theta, update_period=3)
        for t in range(7):
            optimizer.step(np.full(3, t - 2.0), hvp=np.array([1.0, 2.0, -1.0]) if t % 3 == 0 else between)
        paths.append(theta)
    np.testing.assert_array_equal(paths[0], paths[1])
    assert np.isfinite(paths[0]).all()


# --- what is decided about them ------------------------------------------------------------------


def spec(lines: str, declared: str = "input loss") -> Optimizer:
    head = f"optimizer Test\nhyper lr = 0.1 in [0, inf)\n{declared}\n"
    return driver.front(Source("test.opt", f"{head}{lines}\n"))[0]


STEP = "theta[t] = theta[t-1] - lr*g[t]"


@pytest.mark.parametrize(
    ("lines", "claim", "outcome"),
    [
        # an input may be anything, and another number in every step
        (f"u = abs(loss)\n{STEP}*u", "nonnegative(u)", Outcome.PROVED),
        (f"u = 2*loss\n{STEP}*u", "nonnegative(u)", Outcome.REFUTED),
        (f"state s[0] = 0\ns[t] = s[t-1]/2 + loss^2\n{STEP}/(1 + s[t])", "nonnegative(s)", Outcome.PROVED),
        (f"state s[0] = 0\ns[t] = s[t-1] + loss^2\n{STEP}/(1 + s[t])", "nondecreasing(s)", Outcome.PROVED),
        (f"state s[0] = 0\ns[t] = loss\n{STEP}*s[t]", "nondecreasing(s)", Outcome.REFUTED),
        (f"{STEP}*loss", "unit(lr) = P^2/L^2", Outcome.PROVED),
        (f"{STEP}*loss", "unit(lr) = P^2/L", Outcome.REFUTED),
        (f"{STEP}*loss", "well_defined", Outcome.PROVED),
        (f"{STEP}/(1 + loss)", "well_defined", Outcome.UNKNOWN),
        (f"{STEP}/loss", "well_defined", Outcome.REFUTED),
        # what takes a step to depend on the gradient alone says nothing, though loss = 1 would make it so
        (f"{STEP}*loss", "equivalent(gd) free lr", Outcome.UNKNOWN),
        (f"{STEP}*loss", "odd", Outcome.UNKNOWN),
        (f"{STEP}*loss", "E[g] = E[g]", Outcome.UNKNOWN),
        (f"{STEP}*loss", "limit(lr) = lr", Outcome.UNKNOWN),
        (f"{STEP}*loss", "stable iff lr < 2/lam", Outcome.UNKNOWN),
        (f"{STEP}*loss", "step <= lr", Outcome.UNKNOWN),
    ],
)
def test_claims(lines: str, claim: str, outcome: Outcome) -> None:
    from optdsl.library import lookup

    *_, verdict = check(spec(f"{lines}\nprove {claim}"), lookup).verdicts
    assert verdict.declared
    assert verdict.outcome is outcome, verdict


def test_units_of_the_diagonal() -> None:
    newton = spec("theta[t] = theta[t-1] - g[t]/hvp - lr*0*g[t]\nprove unit(lr) = P^2/L", "input hvp")
    assert check(newton).verdicts[-2].outcome is Outcome.PROVED  # units: g/hvp is a P
    clash = spec("theta[t] = theta[t-1] - lr*g[t]*0 - g[t]/loss", "input loss")
    (units,) = (verdict for verdict in check(clash).verdicts if verdict.claim == "units")
    assert units.outcome is Outcome.REFUTED


def test_a_spec_without_inputs_is_not_compared_with_one_that_reads_them() -> None:
    reader = spec(f"{STEP}*loss")
    with_hyper = spec(f"{STEP}*loss", "hyper loss = 1 in (-inf, inf)")
    assert compare(reader, with_hyper).verdict.outcome is Outcome.UNKNOWN
    assert compare(reader, reader).verdict.outcome is Outcome.PROVED
    other = spec(f"{STEP}*(2*loss)")
    assert compare(reader, other).verdict.outcome is Outcome.REFUTED

    def lookup(name: str) -> Optimizer:
        return reader

    *_, verdict = check(spec(f"{STEP}\nprove reduces(reader)", ""), lookup).verdicts
    assert verdict.outcome is Outcome.UNKNOWN
