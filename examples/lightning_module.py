"""Handwritten digits with Lightning, and an optimizer from a spec.

    pip install lightning
    python examples/lightning_module.py

`configure_optimizers` returns the optimizer as it would one of torch's. Lightning runs the forward and the
backward pass in the closure that it hands to `step`; so specs that take their gradient elsewhere (here
Nesterov's, at the point ahead) work without more.
"""

import logging
from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import optdsl

TEST = 360


class Reader(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, spec: str, **options: Any) -> None:
        super().__init__()
        self.spec, self.options = spec, options
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.layers(pixels)
        return found

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        pixels, labels = batch
        return nn.functional.cross_entropy(self(pixels), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = optdsl.torch.load(self.spec)(self.parameters(), **self.options)
        return made


def digits() -> tuple[Tensor, Tensor]:
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    return (images / 16).float(), labels


def trainer(steps: int, **options: Any) -> lightning.Trainer:
    return lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def main(steps: int = 300) -> float:
    """Trains, and returns the share of right answers for digits that were never seen."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(0, verbose=False)
    images, labels = digits()
    loader = DataLoader(TensorDataset(images[TEST:], labels[TEST:]), batch_size=64, shuffle=True)
    model = Reader("nesterov", lr=0.05)
    trainer(steps, gradient_clip_val=1.0).fit(model, loader)
    with torch.no_grad():
        right = float((model(images[:TEST]).argmax(1) == labels[:TEST]).double().mean())
    print(f"{right:.1%} of {TEST} digits never seen are read right")
    return right


if __name__ == "__main__":
    main()
