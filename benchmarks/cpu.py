"""How fast a step is on this machine's CPU, as ratios within one run: a table in Markdown.

Every contestant steps its own copy of the same tensors, in turns that change from round to round; a ratio
is the median of the ratios of single rounds, so that what disturbs the machine disturbs both sides.
`same bytes` is a kernel of the same runtime that reads and writes the same buffers once and only adds:
nothing that updates the same memory can be faster. Its batch is prepared beforehand, as nobody else's is.

    python benchmarks/cpu.py             Adam
    python benchmarks/cpu.py --all       every elementwise and per-tensor spec, on one large tensor

With `--all`, `same bytes` is a spec that makes the same passes over as many buffers, and only adds in them.
"""

import argparse
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import optdsl.numpy
import optdsl.torch
from optdsl.bench import Step, as_many_bytes, comparable, machine, measure
from optdsl.bench import ratio as median_ratio
from optdsl.cost import Cost, cost
from optdsl.files import library_names
from optdsl.runtime.batch import Batch
from optdsl.runtime.launch import Chunks, launch

TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "sgd": ("SGD", {"lr": 1e-3, "momentum": 0.9}),
    "adagrad": ("Adagrad", {}),
    "rmsprop": ("RMSprop", {}),
    "adadelta": ("Adadelta", {}),
    "adamax": ("Adamax", {}),
    "nadam": ("NAdam", {}),
    "radam": ("RAdam", {}),
    "rprop": ("Rprop", {}),
}


TO_ALL = 10_000_000  # elements of the one tensor of `--all`: no buffer fits into a cache


def sizes(name: str) -> list[int]:
    """Elements of each tensor; always the same ones."""
    generator = np.random.default_rng(0)
    if name == "25M x 1":
        return [25_000_000]
    high = 10_000 if name == "400 of 1 to 10k" else 300_000
    return [int(size) for size in generator.integers(1, high, 400, endpoint=True)]


SETS = {"large": "25M x 1", "small": "400 of 1 to 10k", "mixed": "400 of 1 to 300k"}


def tensors(elements: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for size in elements:
        tensor = torch.randn(size, generator=generator).requires_grad_()
        tensor.grad = torch.randn(size, generator=generator)
        made.append(tensor)
    return made


def same_bytes(elements: list[int], states: int, threads: int) -> Step:
    """A kernel over theta, g and so many states that does nothing but add."""
    names = [f"s{number}" for number in range(states)]
    spec = "\n".join(
        [
            "optimizer SameBytes",
            *(f"state {name}[0] = 0" for name in names),
            *(f"{name}[t] = {name}[t-1] + g[t]" for name in names),
            f"theta[t] = theta[t-1] + {' + '.join(f'{name}[t]' for name in names) or 'g[t]'}",
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "same_bytes.opt")
        path.write_text(spec)
        variant = optdsl.numpy.load(path, mode="fast").layout.variants[()]
    prepare, update = variant.float32
    # Torch's memory, since NumPy asks the system for larger pages; and no zeros, which would all be one page.
    buffers = [[torch.full((size,), 1e-6) for size in elements] for _ in variant.buffers]
    addresses = [[tensor.data_ptr() for tensor in row] for row in zip(*buffers, strict=True)]
    batch = Batch(
        addresses=np.array(addresses, np.uint64),
        sizes=np.array(elements, np.int64),
        rows=np.zeros(len(elements), np.int64),
        hypers=np.zeros((1, 0)),
        t=np.ones(1),
        direction=np.ones(1),
        scalar_states=np.zeros((1, 0)),
    )
    chunks = Chunks(batch.sizes, batch.rows)

    def step(kept: object = buffers) -> None:
        launch(prepare, update, batch, variant.scalar_count, threads, chunks)

    return step


def states_of(spec: str) -> int:
    """How many arrays of the parameter's size the optimizer keeps."""
    parameters = tensors([2])
    optimizer = optdsl.torch.load(spec)(parameters, **TORCH[spec][1])
    optimizer.step()
    return sum(value.numel() == 2 for value in optimizer.state[parameters[0]].values())


def contestants(spec: str, elements: list[int], states: int, threads: int) -> Iterator[tuple[str, Step]]:
    name, options = TORCH[spec]
    yield "same bytes", same_bytes(elements, states, threads)
    yield "ours", optdsl.torch.load(spec)(tensors(elements), **options).step
    yield "ours, fast", optdsl.torch.load(spec, mode="fast")(tensors(elements), **options).step
    for variant, choice in (("fused", {"fused": True}), ("foreach", {"foreach": True}), ("default", {})):
        try:
            yield f"torch {variant}", getattr(torch.optim, name)(tensors(elements), **options, **choice).step
        except (TypeError, RuntimeError):
            continue  # torch has no such kernel


def ratio(seconds: dict[str, list[float]], above: str, below: str) -> str:
    if above not in seconds:
        return "-"
    return f"{median_ratio(seconds[above], seconds[below]):.2f}"


HEAD = ("optimizer", "tensors", "ours, ms", "GB/s of same bytes", "ours : same bytes", "fast : same bytes",
        "torch fused : ours", "torch foreach : ours", "torch default : ours")  # fmt: skip


def row(spec: str, name: str, threads: int, rounds: int) -> tuple[str, ...]:
    elements, states = sizes(name), states_of(spec)
    steps = dict(contestants(spec, elements, states, threads))
    seconds = measure(steps, rounds, 1 if sum(elements) > 10_000_000 else 10)
    traffic = sum(elements) * 4 * (3 + 2 * states)  # theta and the states are read and written, g is read
    return (
        spec,
        name,
        f"{median(seconds['ours']) * 1e3:.2f}",
        f"{traffic / median(seconds['same bytes']) / 1e9:.1f}",
        ratio(seconds, "ours", "same bytes"),
        ratio(seconds, "ours, fast", "same bytes"),
        *(ratio(seconds, f"torch {variant}", "ours") for variant in ("fused", "foreach", "default")),
    )


# --- every spec of the library ---------------------------------------------------------------------


def stepping(optimizer: torch.optim.Optimizer) -> Step:
    """A step; the closure costs nothing, and is there for specs that choose where the gradient is taken."""
    return lambda: optimizer.step(lambda: 0.0)


def library_row(spec: str, costs: Cost, rounds: int) -> tuple[str, ...]:
    name, options = TORCH.get(spec, ("", {}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "same_bytes.opt")
        path.write_text(as_many_bytes(costs))
        twin = optdsl.load(path).optimizer
        assert cost(twin, {}).bytes_moved == costs.bytes_moved, spec
        same: Any = optdsl.torch.load(path, mode="fast")
    elements = [TO_ALL]
    steps = {
        "same bytes": stepping(same(tensors(elements))),
        "ours": stepping(optdsl.torch.load(spec)(tensors(elements), **options)),
    }
    if name:
        steps["torch default"] = stepping(getattr(torch.optim, name)(tensors(elements), **options))
    seconds = measure(steps, rounds, 1)
    return (
        spec,
        costs.sharding,
        str(len(costs.passes)),
        str(costs.bytes_moved),
        f"{median(seconds['ours']) * 1e3:.1f}",
        f"{TO_ALL * costs.bytes_moved / median(seconds['ours']) / 1e9:.1f}",
        ratio(seconds, "ours", "same bytes"),
        ratio(seconds, "torch default", "ours"),
    )


LIBRARY_HEAD = (
    *("optimizer", "class", "passes", "bytes", "ours, ms", "GB/s"),
    *("ours : same bytes", "torch default : ours"),
)


def library_table(rounds: int) -> Iterator[tuple[str, ...]]:
    for name in library_names():
        optimizer = optdsl.load(name).optimizer
        costs = cost(optimizer, {})
        if comparable(costs) and not optimizer.inputs:
            yield library_row(name, costs, rounds)


# --- the command -----------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints each row as soon as it is there."""
    print("|", " | ".join(head), "|\n|", " | ".join("---" for _ in head), "|", flush=True)
    for cells in rows:
        print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("specs", nargs="*", default=["adam"], help="library names (default: adam)")
    parser.add_argument("--all", action="store_true", help="every elementwise and per-tensor spec")
    parser.add_argument("--set", choices=SETS, action="append", help="only these tensors")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    os.environ["OPTDSL_NUM_THREADS"] = str(options.threads)
    how = f"{options.threads} threads, torch {torch.__version__}, float32, {options.rounds} rounds"
    print(f"{machine()}, {how}\n")
    if options.all:
        table(LIBRARY_HEAD, library_table(min(options.rounds, 7)))
        return
    chosen = ((spec, name) for spec in options.specs for name in options.set or SETS)
    table(HEAD, (row(spec, SETS[name], options.threads, options.rounds) for spec, name in chosen))


if __name__ == "__main__":
    main()
