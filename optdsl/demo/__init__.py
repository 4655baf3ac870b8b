"""The whole of optdsl at work in a minute: a spec is compiled, and a network learns to read with it.

The same network is trained twice in lockstep on scikit-learn's 1,797 handwritten digits, from the same
start and on the same batches: with the Adam that is compiled from the library's `adam.opt`, and with the
one that people use today (torch's, or a plain one in NumPy). Their losses must agree at every step.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import optdsl
from optdsl import console
from optdsl.demo.digits import BATCH, Digits, batches, load_digits

LR = 1e-3
ALLOWED = 1e-5
"""So far the two losses may be apart at any step."""


class Learner(Protocol):
    """A network and the optimizer that trains it."""

    def learn(self, images: NDArray[np.float32], digits: NDArray[np.int64]) -> tuple[float, float]:
        """One step on a batch: its loss, and the seconds that the optimizer's own step took."""
        ...

    def accuracy(self, images: NDArray[np.float32], digits: NDArray[np.int64]) -> float: ...


@dataclass
class Run:
    """What became of one learner: the loss of every batch, the seconds of every step."""

    name: str
    learner: Learner
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def step_microseconds(self) -> float:
        """The median step; the first few, which compile or load kernels, do not count."""
        return 1e6 * median(self.seconds[5:] or self.seconds)


def run(out: str, *, without_torch: bool, epochs: int, say: Callable[[str], None]) -> bool:
    """Trains, reports through `say`, writes the curves to the PNG file `out`; True when the losses agree.

    Raises `optdsl.OptdslError` when `out` cannot be written.
    """
    framework = "numpy" if without_torch or find_spec("torch") is None else "torch"
    started = perf_counter()
    spec = optdsl.load("adam")
    lines = spec.compile(framework=framework).count("\n")
    say(f"compiled {spec.source.name} to {lines} lines of Python for {framework}: {_since(started)}")
    digits = load_digits()
    say(f"training on {len(digits.train)} handwritten digits, {epochs} epochs, batches of {BATCH}, float32")
    runs = _pair(framework)
    started = perf_counter()
    with threadpool_limits(1):  # the work is small: a second thread waits longer than it helps
        _train(runs, digits, epochs)
    say(f"trained both, {len(runs[0].losses)} steps each: {_since(started)}\n")
    apart = float(np.abs(np.subtract(runs[0].losses, runs[1].losses)).max())  # NaN if either is
    say(_report(runs, digits))
    _draw(runs, out)
    say(f"curves: {out}")
    agreed = apart <= ALLOWED
    verdict, steps = "agree" if agreed else "DISAGREE", len(runs[0].losses)
    say(f"losses {verdict}: at most {apart:.1e} apart in {steps} steps (allowed: {ALLOWED:.0e})")
    return agreed


def _since(started: float) -> str:
    return f"{perf_counter() - started:.2f} s"


def _pair(framework: str) -> tuple[Run, Run]:
    """Two runs from the same start: the compiled optimizer, then the one it is compared with."""
    if framework == "torch":
        from optdsl.demo.torch_network import compiled, usual

        return Run("optdsl", compiled(LR)), Run("torch.optim.Adam", usual(LR))
    from optdsl.demo import numpy_network

    return Run("optdsl", numpy_network.compiled(LR)), Run("plain NumPy Adam", numpy_network.usual(LR))


def _train(runs: tuple[Run, Run], digits: Digits, epochs: int) -> None:
    schedule = list(batches(len(digits.train), epochs))
    with console.progress("training", len(schedule)) as advance:
        for number, batch in enumerate(schedule):
            # Turns are taken at going first, so that neither always finds the other's data in the cache.
            for one in runs if number % 2 else runs[::-1]:
                loss, seconds = one.learner.learn(digits.train[batch], digits.train_labels[batch])
                one.losses.append(loss)
                one.seconds.append(seconds)
            advance(f"loss {runs[0].losses[-1]:.4f}")


def _report(runs: tuple[Run, Run], digits: Digits) -> str:
    last = -(-len(digits.train) // BATCH)
    rows = [
        ("", *(one.name for one in runs)),
        ("loss, mean of the last epoch", *(f"{np.mean(one.losses[-last:]):.6f}" for one in runs)),
        (
            f"accuracy on {len(digits.test)} other digits",
            *(f"{one.learner.accuracy(digits.test, digits.test_labels):.2%}" for one in runs),
        ),
        ("time of an optimizer step, median", *(f"{one.step_microseconds:.0f} us" for one in runs)),
    ]
    ratio = runs[1].step_microseconds / runs[0].step_microseconds
    return f"{console.table(rows)}\n{runs[1].name} takes {ratio:.1f} times as long for a step\n"


def _draw(runs: tuple[Run, Run], out: str) -> None:
    from optdsl.demo.picture import draw
    from optdsl.files import atomic_write

    atomic_write(out, draw({one.name: one.losses for one in runs}, ALLOWED), force=True)
