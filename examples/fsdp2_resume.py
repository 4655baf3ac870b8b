"""FSDP2 on two processes, with checkpoints to go on from after a kill.

    torchrun --standalone --nproc-per-node 2 examples/fsdp2_resume.py --folder checkpoints

trains; run again, it goes on from the last checkpoint, with any number of processes. With `--kill-at 20` a
process kills itself in step 20, and the others end with an error, their parameters as they were.

Every parameter is sharded over all processes, and so is its state. The optimizer clips the gradient by its
norm over all parameters, and LAMB needs two norms of every tensor: each step sends two small messages for
them, and one in which the processes agree that all of them can take the step.

What a step does depends on the parameters, the state and the number of the step, and on nothing else; so a
run that was killed and started again ends with the same bits as one that was not.
"""

import argparse
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard

import optdsl

BATCH, INPUTS = 64, 20


def main() -> None:
    parser = argparse.ArgumentParser(description="FSDP2 with checkpoints to go on from after a kill")
    parser.add_argument("--folder", type=Path, required=True, help="where checkpoints are, or will be")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=8, help="steps between two checkpoints")
    parser.add_argument("--kill-at", type=int, help="in this step the last process kills itself")
    options = parser.parse_args()
    train(options.folder, options.steps, options.every, options.kill_at)


def train(folder: Path, steps: int, every: int, kill_at: int | None) -> None:
    # A process that waits longer than this for a message raises, where it would wait for half an hour.
    distributed.init_process_group("gloo", timeout=timedelta(minutes=2))
    rank, last = distributed.get_rank(), distributed.get_world_size() - 1
    model = network(seed=0)
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    optimizer = optdsl.torch.load("clip_by_global_norm(1) | lamb")(model.parameters(), lr=0.02)

    done = resume(folder, model, optimizer)
    for step in range(done + 1, steps + 1):
        x, y = batch(step, rank)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        if step == kill_at and rank == last:
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.step()
        if step % every == 0 or step == steps:
            save(folder, step, model, optimizer)
        distributed.all_reduce(loss)
        if rank == 0:
            print(f"step {step}: loss {loss.item() / (last + 1):.6f}", flush=True)
    distributed.destroy_process_group()


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """A kill at any time leaves the last whole checkpoint: this one gets its name when it is written."""
    unfinished, finished = folder / "unfinished", folder / f"step-{step:06}"
    state, optimizer_state = get_state_dict(model, optimizer)
    checkpoint.save({"model": state, "optimizer": optimizer_state}, checkpoint_id=unfinished)  # type: ignore[attr-defined]
    if distributed.get_rank() == 0:
        shutil.rmtree(finished, ignore_errors=True)
        unfinished.rename(finished)
    distributed.barrier()


def resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Loads the last checkpoint, whatever number of processes it was saved by, and returns its step."""
    if distributed.get_rank() == 0:
        shutil.rmtree(folder / "unfinished", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    distributed.barrier()
    found = sorted(folder.glob("step-*"))
    if not found:
        return 0
    state, optimizer_state = get_state_dict(model, optimizer)
    content: dict[str, Any] = {"model": state, "optimizer": optimizer_state}
    checkpoint.load(content, checkpoint_id=found[-1])  # type: ignore[attr-defined]
    set_state_dict(model, optimizer, model_state_dict=content["model"], optim_state_dict=content["optimizer"])
    return int(found[-1].name.removeprefix("step-"))


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(INPUTS, 33), nn.Tanh(), nn.Linear(33, 5))


def batch(step: int, rank: int) -> tuple[Tensor, Tensor]:
    """What another network answers; of each step and process its own, and the same every time."""
    random = torch.Generator().manual_seed(1000 * step + rank)
    x = torch.randn(BATCH, INPUTS, generator=random)
    with torch.no_grad():
        return x, TEACHER(x)


TEACHER = network(seed=1)

if __name__ == "__main__":
    main()
