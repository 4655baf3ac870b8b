"""Handwritten digits with the Trainer of Hugging Face's transformers, and an optimizer from a spec.

    pip install transformers accelerate
    python examples/hf_trainer.py

`optimizer_cls_and_kwargs` takes the class that `optdsl.torch.load` gives. The Trainer makes two parameter
groups, with `weight_decay` for weights and without for the rest, and schedules `lr`.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import optdsl

TEST = 360


class Reader(nn.Module):
    """Pixels (batch, 64) in; the loss and the logits out, as the Trainer wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.layers(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class BackToTraining(TrainerCallback):  # type: ignore[misc]
    """For specs with a second view (schedule-free, ASGD): the Trainer evaluates with it, and would save it,
    in place of what training goes on with."""

    def on_evaluate(self, *_: Any, optimizer: Any, **__: Any) -> None:
        if optimizer is not None:  # there is none before training
            optimizer.train()


def dataset() -> list[dict[str, Tensor]]:
    images, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images / 16).float()
    return [{"pixels": x, "labels": y} for x, y in zip(pixels, torch.from_numpy(labels), strict=True)]


def trainer(folder: Path, steps: int, made: Any, every: int = 100, **options: Any) -> Trainer:
    """`made`: the class of the optimizer; it is evaluated and saved in `folder` every so many steps."""
    torch.manual_seed(0)
    arguments = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=64, weight_decay=0.1, logging_steps=every,
        save_steps=every, eval_strategy="steps", eval_steps=every, report_to=[], use_cpu=True,
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    digits = dataset()
    return Trainer(
        Reader(), arguments, train_dataset=digits[TEST:], eval_dataset=digits[:TEST],
        optimizer_cls_and_kwargs=(made, options), callbacks=[BackToTraining()],
    )  # fmt: skip


def main(steps: int = 300) -> float:
    """Trains, and returns the loss of digits that were never seen."""
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(Path(folder), steps, optdsl.torch.load("lion"), lr=3e-3)
        made.train()
        found = float(made.evaluate()["eval_loss"])
    print(f"the loss of digits never seen: {found:.4f}")
    return found


if __name__ == "__main__":
    main()
