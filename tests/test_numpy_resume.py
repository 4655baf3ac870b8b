"""A run in NumPy that was saved to a file and goes on elsewhere has the bits of one that was not stopped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optdsl
from optdsl.files import library_names
from optdsl.language.inputs import asked_for
from tests.support.programs import meaning

SHAPES = {"matrix": (4, 3), "vector": (5,), "number": (), "empty": (0, 2)}
STEPS, STOP = 6, 3


MATRICES = ("muon",)
"""Specs that take nothing but matrices."""


def drawn(seed: int, name: str) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = {key: shape for key, shape in SHAPES.items() if name not in MATRICES or key == "matrix"}
    return {key: np.asarray(random.standard_normal(shape), np.float32) for key, shape in shapes.items()}


@pytest.mark.parametrize("name", library_names())
def test_the_same_bits(name: str, tmp_path: Path) -> None:
    make: Any = optdsl.numpy.load(name)
    inputs = asked_for(meaning(name).inputs)

    def run(optimizer: Any, first: int, last: int) -> None:
        for t in range(first, last):
            given = {"loss": 1 + 1 / (t + 1), "hvp": drawn(100 + t, name)}

            def gradient(x: dict[str, Any], t: int = t) -> dict[str, Any]:
                return {key: g + np.float32(0.1) * x[key] for key, g in drawn(t, name).items()}

            optimizer.step(gradient, **{each: given[each] for each in inputs})

    whole, stopped = drawn(97, name), drawn(97, name)
    never = make(whole, maximize=True)
    run(never, 0, STEPS)
    before = make(stopped, maximize=True)
    run(before, 0, STOP)
    before.save(tmp_path / "state.npz")
    after = {key: value.copy() for key, value in stopped.items()}
    resumed = make(after)
    resumed.load(tmp_path / "state.npz")
    assert resumed.maximize is True
    run(resumed, STOP, STEPS)
    np.testing.assert_equal(after, whole)
    np.testing.assert_equal(resumed.state_dict(), never.state_dict())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adafactor", {"eps": (None, 1e-3)}),
        ("adam", {"lr": np.float32(0.25), "betas": (np.float64(0.1), 0.2), "amsgrad": True}),
        ("muon", {"adjust_lr_fn": "match_rms_adamw"}),
    ],
)
def test_options_of_every_kind_are_kept(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Nothing, numbers of NumPy, words: none of them as a pickle, which `load` would refuse."""
    before, after = (optdsl.numpy.load(name)(np.ones((2, 3)), **own) for own in (options, {}))
    before.save(tmp_path / "state.npz")
    after.load(tmp_path / "state.npz")
    assert after.hyper == before.hyper
    assert all(after.hyper[key] == value for key, value in options.items())
