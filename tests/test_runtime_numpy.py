"""The NumPy base class against the torch one (itself compared with torch), and its own conventions."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.support.sample_adam import Adam, ArrayAdam
from tests.support.sample_small import SGD, ArrayLookaround, ArrayNadam, ArraySGD, Nadam

Array = NDArray[Any]
SHAPES: list[tuple[int, ...]] = [(), (0, 3), (5,), (3, 4)]


def arrays(dtype: Any, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (ArrayAdam, Adam, {"amsgrad": True, "weight_decay": 0.1}),
        (ArraySGD, SGD, {"momentum": 0.9, "nesterov": True, "maximize": True}),
        (ArrayNadam, Nadam, {}),
    ],
)
def test_steps_as_with_torch(ours: Any, theirs: Any, options: dict[str, Any], dtype: Any) -> None:
    mine = arrays(dtype)
    other = [torch.from_numpy(array.copy()).requires_grad_() for array in mine]
    a, b = ours(mine, lr=0.01, **options), theirs(other, lr=0.01, **options)
    for step in range(10):
        grads: list[Any] = arrays(dtype, seed=step + 1)
        if step % 3 == 1:
            grads[2] = None
        for p, g in zip(other, grads, strict=True):
            p.grad = None if g is None else torch.from_numpy(g.copy())
        if step == 5:
            a.hyper["lr"] = b.param_groups[0]["lr"] = 0.1
        a.step(grads)
        b.step()
    for array, p in zip(mine, other, strict=True):
        # Numbers that are kept (NAdam's product) are float64 here, and float32 in torch.
        np.testing.assert_allclose(array, p.detach().numpy(), rtol=1e-6, atol=1e-8)


def test_structures() -> None:
    """An array alone, a list and a dict are stepped alike."""
    start = np.array([1.0, 2.0, 3.0])
    alone, listed, named = start.copy(), [start.copy()], {"w": start.copy()}
    for opt, grads in (
        (ArrayAdam(alone), start),
        (ArrayAdam(listed), [start]),
        (ArrayAdam(named), {"w": start}),
    ):
        opt.step(grads)
    assert not np.array_equal(alone, start)
    assert np.array_equal(alone, listed[0])
    assert np.array_equal(alone, named["w"])


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "permuted": lambda x: np.ascontiguousarray(x.transpose(1, 2, 0)).transpose(2, 0, 1),
    "gaps": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1],
    "misaligned": lambda x: _misaligned(x),
}


def _misaligned(x: Array) -> Array:
    y: Array = np.frombuffer(bytearray(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


@pytest.mark.parametrize("gradient", LAYOUTS)
@pytest.mark.parametrize("parameter", LAYOUTS)
def test_layouts(parameter: str, gradient: str) -> None:
    start = np.random.default_rng(0).standard_normal((3, 4, 5))
    p, q = LAYOUTS[parameter](start.copy()), start.copy()
    a, b = ArrayAdam(p, lr=0.1), ArrayAdam(q, lr=0.1)
    for step in range(3):
        g = np.random.default_rng(step + 1).standard_normal((3, 4, 5))
        a.step(LAYOUTS[gradient](g))
        b.step(g)
    assert np.array_equal(p, q)
    assert np.array_equal(a.state_dict()["state"][0]["exp_avg"], b.state_dict()["state"][0]["exp_avg"])


def test_a_gradient_that_is_the_parameter_is_read_first() -> None:
    p = np.arange(1.0, 5.0)
    ArraySGD(p, lr=0.5).step(p)
    assert np.array_equal(p, np.arange(1.0, 5.0) / 2)


def test_gradients_of_other_types_are_converted() -> None:
    p = np.ones(3, np.float32)
    ArraySGD(p, lr=1.0).step([1, 2, 3])
    assert np.array_equal(p, [0.0, -1.0, -2.0])


def test_gradient_at_another_point() -> None:
    theta: Any = np.array([1.0, -1.0])
    b: Any = np.zeros(2)
    params = {"x": theta.copy()}
    opt = ArrayLookaround(params, lr=0.05, momentum=0.9)
    for _ in range(5):
        point = theta + 0.9 * b
        seen: list[Array] = []

        def gradient(now: dict[str, Array], seen: list[Array] = seen) -> dict[str, Array]:
            seen.append(now["x"].copy())
            return {"x": now["x"]}  # the gradient of half the square, as a view of the parameter

        opt.step(gradient)
        np.testing.assert_allclose(seen[0], point, rtol=1e-14)
        b = 0.9 * b - 0.05 * point
        theta = theta + b
    np.testing.assert_allclose(params["x"], theta, rtol=1e-13)
    with pytest.raises(RuntimeError, match="pass a function of the parameters"):
        opt.step({"x": theta})


def test_a_gradient_that_fails_changes_nothing() -> None:
    p = np.ones(2)
    opt = ArrayLookaround(p)
    opt.step(lambda x: x)
    before = p.copy()

    def fails(x: Array) -> Array:
        raise KeyError("no data")

    with pytest.raises(KeyError):
        opt.step(fails)
    assert np.array_equal(p, before)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([1.0, 2.0], TypeError, "parameter 0 is a float, not a NumPy array"),
        ({"w": np.ones(2, np.float16)}, TypeError, "parameter 'w' is float16"),
        (np.ones(2, np.int64), TypeError, "the parameter is int64"),
        (np.ones(2).astype(">f8"), TypeError, "the parameter is >f8"),
        (np.ones(2, complex), TypeError, "the parameter is complex128"),
        (np.broadcast_to(np.ones(1), 3), ValueError, "the parameter is read-only"),
        (np.lib.stride_tricks.as_strided(np.ones(4), (3, 2), (8, 8)), RuntimeError, "share memory"),
        ([], ValueError, "there are no parameters"),
    ],
)
def test_arrays_that_cannot_be_updated(params: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        ArrayAdam(params)


def test_arrays_that_share_memory() -> None:
    whole = np.ones(6)
    with pytest.raises(RuntimeError, match="parameter 0 and parameter 1 share memory"):
        ArrayAdam([whole[:4], whole[3:]])
    ArrayAdam([whole[::2], whole[1::2]])  # interleaved, and apart


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ({"a": np.ones(2)}, ValueError, "these differ: 'b'"),
        ({"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}, ValueError, "these differ: 'c'"),
        ([np.ones(2), np.ones(2)], ValueError, "must be a dict"),
        ({"a": np.ones(2), "b": np.ones(3)}, ValueError, r"the gradient of parameter 'b' has shape \(3,\)"),
        (
            {"a": np.ones(2), "b": np.ones(2, complex)},
            TypeError,
            "the gradient of parameter 'b' is complex128",
        ),
    ],
)
def test_gradients_that_do_not_match(grads: Any, error: Any, message: str) -> None:
    params = {"a": np.ones(2), "b": np.ones(2)}
    opt = ArrayAdam(params)
    with pytest.raises(error, match=message):
        opt.step(grads)
    assert np.array_equal(params["a"], np.ones(2))
    assert opt.state_dict()["state"] == [{}, {}]


def test_options_are_attributes_and_are_checked() -> None:
    p = np.ones(2)
    opt = ArrayAdam(p, lr=0.25)
    assert opt.lr == 0.25
    opt.lr = 0.5
    assert opt.hyper["lr"] == 0.5
    opt.lr = -1
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        opt.step(np.ones(2))
    opt.lr = 0.5
    opt.hyper["learning_rate"] = 0.1
    with pytest.raises(ValueError, match="Adam has no learning_rate; it has amsgrad, betas"):
        opt.step(np.ones(2))
    assert np.array_equal(p, np.ones(2))
    with pytest.raises(ValueError, match=r"Invalid beta parameter at index 0: 1\.0"):
        ArrayAdam(p, betas=(1.0, 0.5))
    with pytest.raises(AttributeError, match="no attribute 'momentum'"):
        _ = opt.momentum


@pytest.mark.parametrize("way", ["file", "dict", "pickle", "deepcopy"])
def test_training_goes_on(way: str, tmp_path: Path) -> None:
    mine, other = arrays(np.float32), arrays(np.float32)
    a, b = ArrayNadam(mine, lr=0.1), ArrayNadam(other, lr=0.1)
    for step in range(8):
        if step == 4:
            if way == "file":
                b.save(tmp_path / "state.npz")
                b = ArrayNadam(other)
                b.load(tmp_path / "state.npz")
            elif way == "dict":
                saved, b = b.state_dict(), ArrayNadam(other)
                b.load_state_dict(saved)
            else:
                b = copy.deepcopy(b) if way == "deepcopy" else pickle.loads(pickle.dumps(b))
                other = b.params
        grads = arrays(np.float32, seed=step + 1)
        a.step(grads)
        b.step(grads)
    assert b.hyper == a.hyper
    for p, q in zip(mine, other, strict=True):
        assert np.array_equal(p, q)


def test_saved_files_are_whole_or_refused(tmp_path: Path) -> None:
    p, path = np.ones(3), tmp_path / "state.npz"
    opt = ArrayAdam(p)
    opt.step(np.ones(3))
    opt.save(path)
    data, before = path.read_bytes(), opt.state_dict()
    for damaged in (b"", b"PK", data[: len(data) // 2], data[:-7], b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a whole state file"):
            opt.load(path)
    np.save(path.with_suffix(".npy"), np.ones(3))
    with pytest.raises(ValueError, match="not a whole state file"):
        opt.load(path.with_suffix(".npy"))
    with pytest.raises(FileNotFoundError):
        opt.load(tmp_path / "none.npz")
    np.testing.assert_equal(opt.state_dict(), before)
    with pytest.raises(OSError, match=r"No such file|Is a directory|Not a directory"):
        opt.save(tmp_path / "no folder" / "state.npz")
    assert {file.name for file in tmp_path.iterdir()} == {"state.npz", "state.npy"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("state"), "no state_dict"),
        (lambda s: s.update(optimizer="SGD"), "the state of SGD, not of Adam"),
        (lambda s: s["hyper"].update(momentum=0.1), "Adam has no momentum"),
        (lambda s: s["hyper"].update(lr=-1.0), "Invalid learning rate"),
        (lambda s: s["state"].append({}), "of 2 arrays, not of 1"),
        (lambda s: s["state"][0].pop("step"), "lacks step"),
        (lambda s: s["state"][0].update(exp_avg=np.zeros(4)), r"exp_avg of the parameter has shape \(4,\)"),
        (lambda s: s["state"][0].update(exp_avg=np.array(["a", "b", "c"])), "not real numbers"),
    ],
)
def test_a_damaged_state_dict_changes_nothing(change: Any, message: str) -> None:
    opt = ArrayAdam(np.ones(3))
    opt.step(np.ones(3))
    damaged, before = opt.state_dict(), opt.state_dict()
    change(damaged)
    with pytest.raises(ValueError, match=message):
        opt.load_state_dict(damaged)
    np.testing.assert_equal(opt.state_dict(), before)
