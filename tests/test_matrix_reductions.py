"""Reductions over rows and columns, states of these shapes, and rules by rank, from text to parameters.

Against the same lines in NumPy, on tensors of every rank, of several chunks, and in every order of memory.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import optdsl
from optdsl import driver
from optdsl.backend import get_backend
from optdsl.checks.compare import compare
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import Source
from optdsl.kernel.ir import Type
from optdsl.library import lookup
from optdsl.runtime.launch import CHUNK, LEAST_ROWS, Chunks
from tests.support import programs

EVERY_KIND = """# Each reduction, along rows and down columns; states of both shapes; passes that read others.
optimizer EveryKind
hyper lr = 0.1 in [0, inf)
state longest[0] = 0.5
state total[0] = 1
state size[0] = 0
n = norm(g[t] over cols)
s = sum(g[t]*theta[t-1] over rows)
d = dot(g[t], theta[t-1] over cols)
longest[t] = max(longest[t-1], max(abs(g[t]) over rows))
total[t] = 0.5*total[t-1] + s/2
size[t] = size[t-1] + n^2
c = g[t] - mean(g[t] over cols)
m = mean(size[t] over rows)
w = max(n over rows) + mean(n)
u = c/(1 + n) + 0.01*d + 0.1*s/(1 + longest[t]) + total[t]/(1 + m) + norm(c over rows)/(1 + w)
theta[t] = theta[t-1] - lr*u/(1 + norm(u))
"""


def every_kind(theta: Any, g: Any, states: dict[str, Any], lr: float = 0.1) -> Any:
    """The lines above; rows and columns are those of the last two dimensions, a vector is one row."""
    shape = theta.shape
    while theta.ndim < 2:
        theta, g = theta[None], g[None]
    n = np.sqrt((g * g).sum(-1, keepdims=True))
    s = (g * theta).sum(-2, keepdims=True)
    d = (g * theta).sum(-1, keepdims=True)
    states["longest"] = np.maximum(states.get("longest", 0.5), abs(g).max(-2, keepdims=True))
    states["total"] = 0.5 * states.get("total", 1.0) + s / 2
    states["size"] = states.get("size", 0.0) + n**2
    c = g - g.mean(-1, keepdims=True)
    m = states["size"].mean(-2, keepdims=True)
    w = n.max(-2, keepdims=True) + n.mean()
    u = c / (1 + n) + 0.01 * d + 0.1 * s / (1 + states["longest"]) + states["total"] / (1 + m)
    u = u + np.sqrt((c * c).sum(-2, keepdims=True)) / (1 + w)
    return (theta - lr * u / (1 + np.sqrt((u * u).sum()))).reshape(shape)


SHAPES: tuple[tuple[int, ...], ...] = (
    (), (7,), (5, 9), (1, 4), (6, 1), (3, 4, 6), (2, 3, 5, 3), (300, 170), (3, CHUNK + 5), (2, 40, 1030),
)  # fmt: skip


def compiled(tmp_path: Path, text: str, framework: str) -> Any:
    path = tmp_path / "spec.opt"
    path.write_text(text)
    return getattr(optdsl, framework).load(path)


def numbers(seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape) for shape in SHAPES]


def as_it_is(x: Any) -> Any:
    return np.array(x, order="C")


def columns_first(x: Any) -> Any:
    """The same numbers; in memory, the first dimension is the nearest."""
    return np.array(x, order="F")


def with_gaps(x: Any) -> Any:
    wide = np.zeros((*x.shape, 2))
    wide[..., 0] = x
    return wide[..., 0]


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("order", [as_it_is, columns_first, with_gaps])
def test_every_kind_of_reduction(framework: str, order: Callable[[Any], Any], tmp_path: Path) -> None:
    params: list[Any] = [order(x) for x in numbers(0)]
    if framework == "torch":
        params = [torch.nn.Parameter(torch.from_numpy(x)) for x in params]
    optimizer = compiled(tmp_path, EVERY_KIND, framework)(params)
    theta, states = numbers(0), [dict[str, Any]() for _ in SHAPES]
    for step in range(1, 5):
        grads = numbers(step)
        theta = [every_kind(x, g, own) for x, g, own in zip(theta, grads, states, strict=True)]
        if framework == "torch":
            for p, g in zip(params, grads, strict=True):
                p.grad = torch.from_numpy(order(g))
            optimizer.step()
        else:
            optimizer.step([order(g) for g in grads])
    kept = optimizer.state_dict()["state"]
    for index, (p, x, shape) in enumerate(zip(params, theta, SHAPES, strict=True)):
        found = p.detach().numpy() if framework == "torch" else p
        np.testing.assert_allclose(found, x, rtol=1e-11, atol=1e-12)
        for name, value in states[index].items():
            state = np.asarray(kept[index][name])
            assert state.ndim == len(shape)
            np.testing.assert_allclose(state.ravel(), np.ravel(value), rtol=1e-11, atol=1e-12)
    assert np.asarray(kept[6]["size"]).shape == (2, 3, 5, 1)
    assert np.asarray(kept[6]["total"]).shape == (2, 3, 1, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_change_no_bit(dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = compiled(tmp_path, EVERY_KIND, "torch")
    results = []
    for threads in ("1", "2", "4", "7"):
        monkeypatch.setenv("OPTDSL_NUM_THREADS", threads)
        random = torch.Generator().manual_seed(3)
        shapes = ((700, 900), (3, 70_000), (50, 70, 90), (4000, 37), (5,))
        params = [torch.nn.Parameter(torch.randn(shape, generator=random, dtype=dtype)) for shape in shapes]
        optimizer = make(params)
        for _ in range(3):
            for p in params:
                p.grad = torch.randn(p.shape, generator=random, dtype=dtype)
            optimizer.step()
        kept = [x.numpy().tobytes() for p in params for x in optimizer.state[p].values()]
        results.append([*(p.detach().numpy().tobytes() for p in params), *kept])
    assert all(result == results[0] for result in results[1:])


@pytest.mark.parametrize(
    "dims", [(1, 1), (3, 5), (200, 300), (2, 50_000), (50_000, 2), (1, 70_000), (128, 128)]
)
@pytest.mark.parametrize("matrices", [1, 2, 7])
def test_chunks_are_whole_rows(dims: tuple[int, int], matrices: int) -> None:
    """Of one matrix, or whole matrices; every element once; and few columns for the elements in a chunk."""
    size = dims[0] * dims[1] * matrices
    chunks = Chunks(np.array([size, 0]), np.array([0, 1]), np.array([dims, (0, 3)]))
    ends = [0]
    places = 0
    for tensor, start, count, _, rows, columns, part in chunks.table.tolist():
        assert (tensor, start, rows, columns, part) == (0, ends[-1], *dims, places)
        assert start % columns == count % columns == 0 < count
        whole = count // (rows * columns)
        if whole:
            assert (start % (rows * columns), count) == (0, whole * rows * columns)
        else:
            assert start // (rows * columns) == (start + count - 1) // (rows * columns)
            last = (start + count) % (rows * columns) == 0
            assert last or count >= max(CHUNK, LEAST_ROWS * columns)
        places += columns * max(whole, 1)
        ends.append(start + count)
    assert (ends[-1], places) == (size, chunks.width)


BY_RANK = """# A reduction over all parameters that matrices know a pass later than vectors do.
optimizer ByRank
hyper lr = 0.1 in [0, inf)
when rank(theta) >= 2
  state r[0] = 0 as row
  r[t] = r[t-1] + mean(g[t]^2 over cols)
  u = g[t]/sqrt(mean(r[t] over rows))
else
  state v[0] = 0 as diagonal
  v[t] = v[t-1] + g[t]^2
  u = g[t]/sqrt(v[t])
end
theta[t] = theta[t-1] - lr*u/norm(u over all)
"""


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_tensor_chooses_its_rules_by_rank(framework: str, tmp_path: Path) -> None:
    shapes: tuple[tuple[int, ...], ...] = ((), (7,), (5, 9), (2, 3, 4))
    random = np.random.default_rng(0)
    theta = [random.standard_normal(shape) for shape in shapes]
    params: list[Any] = [x.copy() for x in theta]
    if framework == "torch":
        params = [torch.nn.Parameter(torch.from_numpy(x)) for x in params]
    make = compiled(tmp_path, BY_RANK, framework)
    optimizer = make(params)
    states: list[Any] = [0.0] * len(shapes)
    for step in range(6):
        grads = [random.standard_normal(shape) for shape in shapes]
        directions = []
        for i, g in enumerate(grads):
            square = g**2 if g.ndim < 2 else (g**2).mean(-1, keepdims=True)
            states[i] = states[i] + square
            scale = states[i] if g.ndim < 2 else states[i].mean(-2, keepdims=True)
            directions.append(g / np.sqrt(scale))
        length = np.sqrt(sum((u**2).sum() for u in directions))
        theta = [x - 0.1 * u / length for x, u in zip(theta, directions, strict=True)]
        if framework == "torch":
            for p, g in zip(params, grads, strict=True):
                p.grad = torch.from_numpy(g)
            optimizer.step()
        else:
            optimizer.step(grads)
        if step == 2:  # a checkpoint holds what each rank needs
            kept = optimizer.state_dict()
            keys = [set(kept["state"][i]) - {"step"} for i in range(len(shapes))]
            assert keys == [{"diagonal"}, {"diagonal"}, {"row"}, {"row"}]
            optimizer = make(params)
            optimizer.load_state_dict(kept)
    for p, x in zip(params, theta, strict=True):
        np.testing.assert_allclose(p.detach().numpy() if framework == "torch" else p, x, rtol=1e-11)


def test_a_state_of_another_shape_is_refused(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = compiled(tmp_path, BY_RANK, "torch")([parameter])
    parameter.grad = torch.ones(3, 4)
    optimizer.step()
    kept = optimizer.state_dict()
    kept["state"][0]["row"] = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"state row of .* has shape \(3, 4\) and should have \(3, 1\)"):
        optimizer.load_state_dict(kept)


@pytest.mark.parametrize(
    ("mode", "storage"), [("accurate", Type.F32), ("accurate", Type.F64), ("fast", Type.F32)]
)
def test_the_reference_agrees(mode: str, storage: Type) -> None:
    """The meaning walked in NumPy, which knows nothing of chunks, passes and buffers."""
    program = programs.program_of(EVERY_KIND, mode, storage)
    optimizer = program.optimizer
    data = programs.initial_data(optimizer, [1, 12, 37 * 41, 37 * 41 * 20, 0], storage, rows=2)
    expected, hypers = data.copy(), programs.hyper_rows(optimizer, 2)
    for t in range(1, 4):
        programs.run(get_backend("numba_cpu").load(program), optimizer, data, hypers, t)
        programs.run(get_backend("reference").load(program), optimizer, expected, hypers, t)
    tolerance = 1e-12 if storage is Type.F64 else 1e-6 if mode == "accurate" else 1e-4
    for found, wanted in zip(data.arrays, expected.arrays, strict=True):
        for name, array in found.items():
            np.testing.assert_allclose(array, wanted[name], rtol=tolerance, atol=tolerance)


def verdicts(text: str) -> Iterator[tuple[str, Outcome]]:
    _, _, found = driver.check(Source("spec.opt", text), lookup)
    return ((verdict.claim, verdict.outcome) for verdict in found if verdict.declared)


CLAIMED = """optimizer Claimed
hyper lr = 0.1 in [0, inf)
when rank(theta) >= 2
  state r[0] = 0
  r[t] = r[t-1] + mean(g[t]^2 over cols)
  a = mean(r[t] over rows)
  u = g[t]/sqrt(1 + a^2)
else
  state v[0] = 0
  v[t] = v[t-1] + {vector}
  a = v[t]
  u = g[t]/sqrt(1 + a^2)
end
theta[t] = theta[t-1] - lr*u
{claim}
"""


@pytest.mark.parametrize(
    ("vector", "claim", "outcome"),
    [
        ("g[t]^2", "prove nonnegative(r)", Outcome.PROVED),
        ("g[t]^2", "prove nonnegative(v)", Outcome.PROVED),
        ("g[t]", "prove nonnegative(v)", Outcome.REFUTED),
        # both branches set `a`: what is so for matrices alone is not proved
        ("g[t]^2", "prove nonnegative(a)", Outcome.PROVED),
        ("g[t]", "prove nonnegative(a)", Outcome.REFUTED),
    ],
)
def test_claims_hold_for_every_rank(vector: str, claim: str, outcome: Outcome) -> None:
    ((_, found),) = verdicts(CLAIMED.format(vector=vector, claim=claim))
    assert found is outcome


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        # of one element, its mean is itself; of more, it is not: nothing may be proved of g from g > 0
        ("u = if g[t] > 0 then mean(g[t] over cols) else 0", Outcome.UNKNOWN),
        ("u = mean(g[t]^2 over cols)", Outcome.PROVED),
        ("u = max(g[t]^2 over rows)", Outcome.PROVED),
        ("u = max(-g[t]^2 over rows)", Outcome.REFUTED),
        ("u = sum(g[t] over rows)", Outcome.REFUTED),
    ],
)
def test_the_sign_of_an_element_stays_out_of_reductions(line: str, outcome: Outcome) -> None:
    text = f"optimizer S\nhyper lr = 0.1 in [0, inf)\n{line}\ntheta[t] = theta[t-1] - lr*u*g[t]\n"
    ((_, found),) = verdicts(f"{text}prove nonnegative(u)\n")
    assert found is outcome


ONLY_VECTORS = """optimizer OnlyVectors
hyper lr = 0.1 in [0, inf)
when rank(theta) >= 2
  u = sign(g[t])
else
  u = g[t]
end
theta[t] = theta[t-1] - lr*u
"""


def test_specs_are_compared_for_every_rank() -> None:
    """It is itself; gradient descent for vectors alone is not that, nor signSGD for matrices alone."""
    spec, _ = driver.front(Source("spec.opt", ONLY_VECTORS))
    assert compare(spec, spec).verdict.outcome is Outcome.PROVED
    for other in ("gd", "sign_sgd"):
        assert compare(spec, lookup(other)).verdict.outcome is Outcome.REFUTED
        ((_, found),) = verdicts(f"{ONLY_VECTORS}prove reduces({other})\n")
        assert found is Outcome.REFUTED


@pytest.mark.parametrize(
    "line", ["mean(g[t] over cols)", "max(g[t] over rows)", "sum(g[t] over rows)", "mean(g[t]) + 0*g[t]"]
)
def test_no_step_against_a_mean_is_one_against_the_gradient(line: str) -> None:
    """g = (-1, 5) has the mean 2 and the largest 5: both move the first element along its gradient."""
    text = f"optimizer S\nhyper lr = 0.1 in [0, inf)\ntheta[t] = theta[t-1] - lr*({line})\n"
    _, _, found = driver.check(Source("spec.opt", text))
    assert next(each.outcome for each in found if each.claim == "descent") is Outcome.UNKNOWN
