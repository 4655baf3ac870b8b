"""`python -m tests.support.resumed_training DIRECTORY`: trains, saves after every step, goes on where it was.

Prints the number of each step that is saved, and at the end what the parameters and states hash to.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optdsl.torch import load

STEPS = 30
NAMES = ("adamw", "prodigy")


def start() -> tuple[dict[str, list[nn.Parameter]], dict[str, Any], dict[str, Any]]:
    """Parameters of 32 and of 16 bits, an optimizer of each name, and a schedule for it."""
    generator = torch.Generator().manual_seed(0)
    params, opts, schedules = {}, {}, {}
    for name in NAMES:
        made = [torch.randn(shape, generator=generator) for shape in ((7,), (3, 4), ())]
        params[name] = [nn.Parameter(x.bfloat16() if x.dim() == 1 else x) for x in made]
        cls: Any = load(name)
        opts[name] = cls(params[name], lr=0.1)
        schedules[name] = torch.optim.lr_scheduler.OneCycleLR(opts[name], 0.2, total_steps=STEPS + 1)
    return params, opts, schedules


def take(step: int, params: Any, opts: Any, schedules: Any) -> None:
    """Gradients that depend on the parameters and on the number of the step."""
    generator = torch.Generator().manual_seed(step)
    for name in NAMES:
        for p in params[name]:
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.grad = (p.detach() - 0.5) * noise
        opts[name].step()
        schedules[name].step()


def save(path: Path, step: int, params: Any, opts: Any, schedules: Any) -> None:
    """A whole file or the one before: written beside it, then put in its place."""
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        torch.save(
            {
                "step": step,
                "params": {name: [p.detach() for p in params[name]] for name in NAMES},
                "opts": {name: opts[name].state_dict() for name in NAMES},
                "schedules": {name: schedules[name].state_dict() for name in NAMES},
            },
            file,
        )
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def restore(path: Path, params: Any, opts: Any, schedules: Any) -> int:
    """How many steps were taken."""
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name in NAMES:
            for p, x in zip(params[name], saved["params"][name], strict=True):
                p.copy_(x)
            opts[name].load_state_dict(saved["opts"][name])
            schedules[name].load_state_dict(saved["schedules"][name])
    return int(saved["step"])


def digest(params: Any, opts: Any) -> str:
    """Of every bit of the parameters and of the state."""
    found = hashlib.sha256()
    for name in NAMES:
        for p in params[name]:
            for x in (p.detach(), *(opts[name].state[p][key] for key in sorted(opts[name].state[p]))):
                found.update(x.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def uninterrupted() -> str:
    params, opts, schedules = start()
    for step in range(STEPS):
        take(step, params, opts, schedules)
    return digest(params, opts)


def main(directory: str) -> None:
    path = Path(directory) / "checkpoint.pt"
    params, opts, schedules = start()
    for step in range(restore(path, params, opts, schedules), STEPS):
        take(step, params, opts, schedules)
        save(path, step + 1, params, opts, schedules)
        print(step + 1, flush=True)
    print(digest(params, opts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
