"""How fast a step is on this machine, as ratios within one run: `optdsl bench`.

In: an optimizer and the sizes of tensors. Out: rows of times. Every contestant steps its own copy of the same
tensors, in turns that change from round to round; a ratio is the median of the ratios of single rounds, so
that what disturbs the machine disturbs both sides. `same bytes` makes the same passes over as many buffers,
and only adds in them: nothing that moves the same memory can be faster.
With torch installed, its own class of the same name is there, too, in every form that it has.
"""

import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from optdsl.api import load
from optdsl.cost import ELEMENTWISE, PER_TENSOR, Cost, cost
from optdsl.language.optimizer import Optimizer

Step = Callable[[], object]
OURS, SAME = "ours", "same bytes"
FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("torch fused", {"fused": True}),
    ("torch foreach", {"foreach": True}),
    ("torch default", {}),
)


@dataclass(frozen=True)
class Row:
    """A contestant: milliseconds of a step, and how many times as long as ours it takes."""

    name: str
    milliseconds: float
    to_ours: float


@dataclass(frozen=True)
class Result:
    """`bytes_moved`: of each element, in a step; `gigabytes`: in a second, of ours."""

    optimizer: str
    tensors: int
    elements: int
    mode: str
    threads: int
    machine: str
    bytes_moved: float
    gigabytes: float
    rows: tuple[Row, ...]


def comparable(costs: Cost) -> bool:
    """Elementwise and per-tensor specs; not those of matrices, and none that waits for all tensors."""
    return costs.sharding in (ELEMENTWISE, PER_TENSOR) and not costs.lines


def as_many_bytes(costs: Cost) -> str:
    """A spec that makes the passes of another one, over as many buffers, and adds in them."""
    *before, update = (each for each in costs.passes if "theta" not in each.name)
    names = dict.fromkeys(name for each in costs.passes for name in (*each.reads, *each.writes))
    states = {name: f"s{i}" for i, name in enumerate(names) if name not in ("theta", "g", "its copy")}

    def old(names: Iterable[str]) -> list[str]:
        return ["g[t]" if name == "g" else f"{states.get(name, name)}[t-1]" for name in names]

    lines = ["optimizer SameBytes", *(f"state {name}[0] = theta[0]" for name in states.values())]
    known: list[str] = []
    for number, each in enumerate(before):
        if each.name == "query":
            lines.append(f"g[t] = grad({' + '.join(old(each.reads))})")
        else:
            lines.append(f"n{number} = sum({' + '.join([*old(each.reads), *known])})")
            known = [f"1e-30*n{number}"]
    moved = known + (["g[t]"] if "g" in update.reads else [])
    for name, state in states.items():
        change = "g[t]" if "g" in update.reads else "theta[t-1]"
        if name not in update.writes:
            lines.append(f"{state}[t] = {state}[t-1]")
        else:
            lines.append(f"{state}[t] = {f'{state}[t-1] + ' if name in update.reads else ''}{change}")
        if name in (*update.reads, *update.writes):
            moved.append(f"{state}[t{'-1' if name not in update.writes else ''}]")
    return "\n".join([*lines, f"theta[t] = theta[t-1] + {' + '.join(moved)}", ""])


def measure(steps: Mapping[str, Step], rounds: int, repeat: int) -> dict[str, list[float]]:
    """Seconds of a step of each contestant, round by round; the first step of every turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(rounds):
        order = order[1:] + order[:1]
        for name in order:
            steps[name]()
            started = perf_counter()
            for _ in range(repeat):
                steps[name]()
            seconds[name].append((perf_counter() - started) / repeat)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return median(a / b for a, b in zip(above, below, strict=True))


def machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def bench(target: str, elements: Sequence[int], *, mode: str, rounds: int, threads: int) -> Result:
    """Steps of float32 tensors with so many elements each. Raises `OptdslError` for what is no optimizer."""
    optimizer = load(target).optimizer
    costs = cost(optimizer, {})
    os.environ["OPTDSL_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        twin = Path(folder, "same_bytes.opt")
        twin.write_text(as_many_bytes(costs), encoding="utf-8")
        steps = dict(_contestants(target, optimizer, twin, elements, mode, threads))
        seconds = measure(steps, rounds, min(max(1, 10_000_000 // max(sum(elements), 1)), 20))
    ours = seconds[OURS]
    rows = tuple(Row(name, median(some) * 1e3, ratio(some, ours)) for name, some in seconds.items())
    total = sum(elements)
    moved = total * costs.bytes_moved / median(ours) / 1e9
    return Result(
        optimizer.name, len(elements), total, mode, threads, machine(), costs.bytes_moved, moved, rows
    )


def not_for_bench(optimizer: Optimizer) -> str | None:
    """Why there is nothing to compare a spec with, as the end of a sentence; None if there is."""
    if optimizer.inputs:
        return f"it is given {', '.join(optimizer.inputs)}, which a benchmark has not"
    if not comparable(cost(optimizer, {})):
        return "it works on matrices, or waits for all tensors"
    return None


def _contestants(
    target: str, optimizer: Optimizer, twin: Path, elements: Sequence[int], mode: str, threads: int
) -> Iterator[tuple[str, Step]]:
    if find_spec("torch") is None:
        yield from _in_numpy(target, twin, elements, mode)
        return
    import torch

    import optdsl.torch

    torch.set_num_threads(threads)

    def tensors() -> list[torch.Tensor]:
        generator, made = torch.Generator().manual_seed(0), []
        for size in elements:
            tensor = torch.randn(size, generator=generator).requires_grad_()
            tensor.grad = torch.randn(size, generator=generator)
            made.append(tensor)
        return made

    def stepping(made: torch.optim.Optimizer) -> Step:
        return lambda: made.step(lambda: 0.0)  # the closure is for specs that choose where g is taken

    same: Any = optdsl.torch.load(twin, mode="fast")
    ours: Any = optdsl.torch.load(target, mode=mode)
    yield SAME, stepping(same(tensors()))
    yield OURS, stepping(ours(tensors()))
    for name, choice in FORMS if hasattr(torch.optim, optimizer.name) else ():
        try:
            yield name, getattr(torch.optim, optimizer.name)(tensors(), **choice).step
        except (TypeError, RuntimeError):
            continue  # torch has no such kernel


def _in_numpy(target: str, twin: Path, elements: Sequence[int], mode: str) -> Iterator[tuple[str, Step]]:
    import optdsl.numpy

    for name, spec, how in ((SAME, twin, "fast"), (OURS, target, mode)):
        made: Any = optdsl.numpy.load(spec, mode=how)
        rng = np.random.default_rng(0)
        theta, g = ([rng.standard_normal(size, np.float32) for size in elements] for _ in range(2))
        stepper = made(theta)

        def step(stepper: Any = stepper, g: list[Any] = g) -> object:
            return stepper.step(lambda theta: g)

        yield name, step
