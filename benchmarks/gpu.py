"""How fast a step is on this machine's GPU, and whether it has the CPU's bits: tables in Markdown, and JSON.

One command, some five minutes, 24 GB of memory; what it has not come to after nine minutes is left out, and
said:

    python benchmarks/gpu.py [--json out.json]

`copy` is torch's copy of a tensor that fits into no cache: the speed of memory. `same bytes` is a kernel of
ours that reads and writes the same buffers and only adds; nothing that updates the same memory can be faster.
`graph` replays a step that was captured once. Times are medians of single steps between two events on the
GPU; `host` is what a step takes of the processor until it returns. Bits are compared with the CPU's in the
modes `accurate` and `fma`, and in a graph's replays.
Assumed: torch with CUDA, a GPU of compute capability 8.0 or later, nobody else on it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor

import optdsl.torch
from optdsl.runtime.cuda.driver import CudaError, driver

Step = Callable[[], object]

LIMIT = 540.0  # seconds
TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "adamw": ("AdamW", {}), "rmsprop": ("RMSprop", {}), "nadam": ("NAdam", {}), "radam": ("RAdam", {}),
    "adamax": ("Adamax", {}), "adadelta": ("Adadelta", {}), "rprop": ("Rprop", {}),
}  # fmt: skip
"""Specs and torch's classes of them; of those without one, only the bytes are compared."""
TORCH_FUSED = ("adamw",)
VARIANTS = ("fused", "foreach")
SPECS = (*TORCH, "lion", "lamb")
SAME_BITS = ("sgd", "adamw", "rmsprop", "nadam", "radam", "lion", "lamb")
HOWS = (("accurate", False), ("fma", False), ("fma", True))  # modes, and whether a graph is replayed


@dataclass
class Sizes:
    """Elements of each tensor, by the name of a set."""

    copied: int = 1 << 28
    sets: dict[str, list[int]] = field(default_factory=lambda: {
        "1 x 134M": [1 << 27],
        "300 x 1k": [1024] * 300,
        "ResNet-50": resnet50(),
        "4 Llama layers": llama(4, 4096, 11008),
    })  # fmt: skip


def resnet50() -> list[int]:
    """He et al., "Deep Residual Learning for Image Recognition", table 1: 161 tensors, 25.6M."""
    found, width = [7 * 7 * 3 * 64, 64, 64], 64
    for depth, inner in ((3, 64), (4, 128), (6, 256), (3, 512)):
        outer = 4 * inner
        for block in range(depth):
            convolutions = [width * inner, 9 * inner * inner, inner * outer]
            found += [x for c, n in zip(convolutions, (inner, inner, outer), strict=True) for x in (c, n, n)]
            found += [width * outer, outer, outer] if block == 0 else []
            width = outer
    return [*found, 2048 * 1000, 1000]


def llama(layers: int, width: int, inner: int) -> list[int]:
    """Touvron et al., "LLaMA", 2023: attention, gated feed-forward network, two norms."""
    return [*[width * width] * 4, *[width * inner] * 3, width, width] * layers


def tensors(elements: list[int], device: str) -> list[Tensor]:
    made = []
    for size in elements:
        tensor = torch.zeros(size, device=device).requires_grad_()
        tensor.grad = torch.full((size,), 1e-3, device=device)
        made.append(tensor)
    return made


def median_ms(step: Step, rounds: int = 21) -> float:
    """Of single steps, on the GPU; after three that do not count."""
    for _ in range(3):
        step()
    found, event = [], cast(Any, torch.cuda.Event)
    for _ in range(rounds):
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        step()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return float(median(found))


def host_us(step: Step, rounds: int = 50) -> float:
    """What the processor is busy with a step; the GPU has done everything before each of them."""
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        started = perf_counter()
        step()
        found.append(perf_counter() - started)
    return 1e6 * median(found)


def same_bytes(states: int) -> Any:
    """A class whose step reads theta, g and so many states, writes theta and the states, and only adds."""
    names = [f"s{number}" for number in range(states)]
    lines = [
        "optimizer SameBytes",
        *(f"state {name}[0] = 0" for name in names),
        *(f"{name}[t] = {name}[t-1] + g[t]" for name in names),
        f"theta[t] = theta[t-1] + {' + '.join(f'{name}[t]' for name in names) or 'g[t]'}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "same_bytes.opt")
        path.write_text("\n".join(lines))
        return optdsl.torch.load(path, mode="fast")


def states_of(spec: str, device: str) -> int:
    """How many tensors of its size an optimizer keeps for a parameter."""
    cls: Any = optdsl.torch.load(spec)
    optimizer = cls(tensors([8], device))
    optimizer.step()
    p = optimizer.param_groups[0]["params"][0]
    return sum(x.shape == p.shape for x in optimizer.state[p].values())


@dataclass
class Row:
    """A contestant on a set of tensors; `bytes`: what a step moves at least."""

    set: str
    spec: str
    who: str
    ms: float
    host_us: float
    bytes: int

    @property
    def gb_per_s(self) -> float:
        return self.bytes / self.ms / 1e6


class Replay:
    """A step that was captured. Its optimizer is kept, since the graph uses its memory."""

    def __init__(self, optimizer: Any) -> None:
        for _ in range(3):
            optimizer.step()
        self.optimizer = optimizer
        self.graph = cast(Any, torch.cuda.CUDAGraph)()
        with cast(Any, torch.cuda.graph)(self.graph):
            optimizer.step()

    def __call__(self) -> None:
        self.graph.replay()


def contestants(spec: str, states: int) -> Iterator[tuple[str, Callable[[list[Tensor]], Step]]]:
    """Names, and what makes a step of tensors; it raises where there is no such thing."""
    load: Any = optdsl.torch.load
    yield "ours", partial(ordinary, load(spec))
    yield "ours, graph", partial(captured, load(spec))
    for mode in ("fast", "fma"):
        yield f"ours, {mode}", partial(ordinary, load(spec, mode=mode))
    yield "same bytes", partial(ordinary, same_bytes(states))
    if spec not in TORCH:
        return
    name, options = TORCH[spec]
    for variant in VARIANTS if spec in TORCH_FUSED else VARIANTS[1:]:
        peer = partial(getattr(torch.optim, name), **options, **{variant: True})
        yield f"torch {variant}", partial(ordinary, peer)
        yield f"torch {variant}, graph", partial(captured, peer)
    if spec in TORCH_FUSED:
        yield "torch compile", partial(compiled, partial(getattr(torch.optim, name), **options))


def ordinary(make: Any, given: list[Tensor]) -> Step:
    step: Step = make(given).step
    return step


def captured(make: Any, given: list[Tensor]) -> Step:
    return Replay(make(given, capturable=True))


def compiled(make: Any, given: list[Tensor]) -> Step:
    optimizer = make(given)
    step: Step = torch.compile(lambda: optimizer.step())
    return step


def timed(sizes: Sizes, device: str, until: float) -> Iterator[Row]:
    """One optimizer at a time is in memory: together they may be larger than the GPU's."""
    for set_, elements in sizes.sets.items():
        for spec in SPECS:
            if perf_counter() > until:
                print(f"{set_}, {spec}: left out, since the time is over", file=sys.stderr)
                continue
            states = states_of(spec, device)
            for who, make in contestants(spec, states):
                step: Step | None = None
                try:
                    step = make(tensors(elements, device))
                    step()
                    moved = (3 + 2 * states) * 4 * sum(elements)
                    yield Row(set_, spec, who, median_ms(step), host_us(step), moved)
                except Exception as error:  # no memory, no compiler: the others are still worth it
                    words = str(error).strip().split("\n")[0]
                    print(
                        f"{set_}, {spec}, {who}: left out: {type(error).__name__}: {words}", file=sys.stderr
                    )
                step = None  # and its memory, before the next one takes its own


def copy_speed(elements: int, device: str) -> float:
    """GB/s, read and written."""
    x = torch.zeros(elements, device=device)
    y = torch.empty_like(x)
    return 8 * elements / median_ms(lambda: y.copy_(x)) / 1e6


def differing_bits(
    spec: str,
    device: str,
    mode: str = "accurate",
    replayed: bool = False,
    back: Callable[[Tensor], Tensor] = Tensor.cpu,
) -> int:
    """Elements of parameters and states that are not, bit for bit, what the CPU makes in three steps.

    NaN is compared as NaN. `replayed`: the last two are replays of a graph. `back`: how a tensor comes to the
    CPU.
    """
    torch.manual_seed(0)
    special = torch.tensor([0.0, -0.0, 1e-42, 3e38, -3e38, 1e-30, 1.0])
    given = [special, torch.randn(3), torch.randn(1025, 37), torch.randn(40_000)]
    here = [x.clone().requires_grad_() for x in given]
    there = [x.to(device=torch.device(device)).requires_grad_() for x in given]
    cls: Any = optdsl.torch.load(spec, mode=mode)
    one, other = cls(here), cls(there, capturable=replayed)
    graph: Any = None
    for number in range(3):
        for p, q in zip(here, there, strict=True):
            p.grad = torch.randn(p.shape)
            if graph is None:
                q.grad = p.grad.to(device=torch.device(device))
            else:
                cast(Tensor, q.grad).copy_(p.grad)
        one.step()
        if graph is None:
            other.step()
        else:
            graph.replay()
        if replayed and number == 0:
            graph = cast(Any, torch.cuda.CUDAGraph)()
            with cast(Any, torch.cuda.graph)(graph):
                other.step()
    wrong = 0
    for p, q in zip(here, there, strict=True):
        pairs = [(p.detach(), q.detach()), *((x, other.state[q][key]) for key, x in one.state[p].items())]
        for x, y in pairs:
            found = back(y) if y.device.type != "cpu" else y
            x, found = x.reshape(-1), found.reshape(-1)
            differ = (x.view(torch.uint8) != found.view(torch.uint8)).reshape(x.numel(), -1).any(1)
            wrong += int((differ & ~(x.isnan() & found.isnan())).sum())
    return wrong


def bits(device: str) -> dict[str, int | str]:
    """`differing_bits` of every run, or what went wrong."""
    found: dict[str, int | str] = {}
    for spec in SAME_BITS:
        for mode, replayed in HOWS:
            name = f"{spec}, {mode}{', graph' if replayed else ''}"
            try:
                found[name] = differing_bits(spec, device, mode, replayed)
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


def table(rows: list[Row], speed: float) -> str:
    lines = ["| tensors | optimizer | who | ms | host us | GB/s | of copy |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        values = (f"{row.ms:.3f}", f"{row.host_us:.0f}", f"{row.gb_per_s:.0f}", f"{row.gb_per_s / speed:.2f}")
        lines.append(f"| {row.set} | {row.spec} | {row.who} | {' | '.join(values)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None, sizes: Sizes | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="all numbers, as a file")
    chosen = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("torch sees no GPU here: nothing was measured", file=sys.stderr)
        return 2
    started = perf_counter()
    sizes = sizes or Sizes()
    try:
        version = ".".join(map(str, driver().version))
    except CudaError as error:
        print(error, file=sys.stderr)
        return 2
    about = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "driver, for CUDA": version}
    print(", ".join(f"{what}: {value}" for what, value in about.items()))
    wrong = bits("cuda:0")
    found_wrong = {name: count for name, count in wrong.items() if count}
    print(f"elements whose bits are not the CPU's, in {len(wrong)} runs: {found_wrong or 'none'}")
    speed = copy_speed(sizes.copied, "cuda:0")
    print(f"copy: {speed:.0f} GB/s\n")
    rows = list(timed(sizes, "cuda:0", started + LIMIT))
    print(table(rows, speed))
    if chosen.json is not None:
        found = {"about": about, "differing bits": wrong, "copy GB/s": speed, "rows": list(map(asdict, rows))}
        chosen.json.write_text(json.dumps(found, indent=1))
    return int(any(wrong.values()))


if __name__ == "__main__":
    raise SystemExit(main())
