"""Handwritten digits in a loop of one's own with Hugging Face's Accelerate, and an optimizer from a spec.

    pip install accelerate
    python examples/accelerate_loop.py

The optimizer is prepared as torch's own are: gradients are accumulated, and in bfloat16 the step is still
that of float32 parameters.
"""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import optdsl

TEST = 360


def main(steps: int = 300) -> float:
    """Trains, and returns the share of right answers for digits that were never seen."""
    torch.manual_seed(0)
    accelerator = Accelerator(mixed_precision="bf16", cpu=True, gradient_accumulation_steps=2)
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    images = (images / 16).float()
    loader = DataLoader(TensorDataset(images[TEST:], labels[TEST:]), batch_size=32, shuffle=True)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    made = optdsl.torch.load("adan")(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(made, steps)
    model, optimizer, batches, scheduler = accelerator.prepare(network, made, loader, schedule)

    taken = 0
    while taken < steps:
        for pixels, digits in batches:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(pixels), digits)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            taken += int(accelerator.sync_gradients)
            if accelerator.sync_gradients and taken % 50 == 0:
                accelerator.print(f"step {taken}: loss {loss.item():.4f}")
            if taken == steps:
                break

    with torch.no_grad():
        right = float((model(images[:TEST]).argmax(1) == labels[:TEST]).double().mean())
    accelerator.print(f"{right:.1%} of {TEST} digits never seen are read right")
    return right


if __name__ == "__main__":
    main()
