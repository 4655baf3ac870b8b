"""What a step costs beside its arithmetic: many tiny tensors, as ratios within one run; a table in Markdown.

400 tensors of one element: nothing is left but looking at tensors, building arguments and calling kernels.
Contestants step in turns, and the shortest step of each counts: whatever else runs only makes steps longer.
torch's own class has `fused=True` where it knows that.

    python benchmarks/overhead.py
"""

from time import perf_counter
from typing import Any

import torch

import optdsl.torch
from benchmarks.cpu import TORCH

TENSORS = 400
FUSED = ("adam", "adamw", "sgd", "adagrad")
ROUNDS = 200


def parameters() -> list[torch.Tensor]:
    made = [torch.ones(1, requires_grad=True) for _ in range(TENSORS)]
    for p in made:
        p.grad = torch.ones(1)
    return made


def microseconds(opt: Any) -> float:
    started = perf_counter()
    opt.step()
    return (perf_counter() - started) * 1e6


def compared(ours: Any, theirs: Any) -> tuple[float, float]:
    """The shortest steps."""
    for opt in (ours, theirs):
        for _ in range(5):
            opt.step()
    rounds = [(microseconds(ours), microseconds(theirs)) for _ in range(ROUNDS)]
    return min(a for a, _ in rounds), min(b for _, b in rounds)


def main() -> None:
    print(f"| {TENSORS} tensors of 1 | ours, us | torch's, us | torch : ours |\n|---|---|---|---|")
    for name in (*FUSED, *(other for other in TORCH if other not in FUSED)):
        class_name, options = TORCH[name]
        how = {"fused": True} if name in FUSED else {}
        cls: Any = optdsl.torch.load(name)
        theirs = getattr(torch.optim, class_name)(parameters(), **options, **how)
        a, b = compared(cls(parameters(), **options), theirs)
        print(f"| {name} | {a:.0f} | {b:.0f} ({'fused' if how else 'default'}) | {b / a:.2f} |")


if __name__ == "__main__":
    main()
