"""A transformer that writes Shakespeare's sonnets letter by letter, in torch, with schedule-free AdamW.

    python examples/sonnets_transformer.py                       # 300 steps, then a few lines of its own
    python examples/sonnets_transformer.py run.pt --steps 600    # goes on from run.pt, and keeps it

Schedule-free AdamW takes gradients at one point and is evaluated at another: `optimizer.eval()` puts the
average into the model, `optimizer.train()` puts back what training goes on with. A run that was stopped goes
on with the same bits, since the checkpoint holds the model, the optimizer and the random numbers.

`sonnets.txt` has sonnets 18, 29, 30, 73, 116 and 130 (1609, in the public domain).
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import optdsl

CONTEXT, WIDTH, HEADS, BATCH = 48, 48, 4, 12
TEXT = (Path(__file__).parent / "sonnets.txt").read_text(encoding="utf-8")
LETTERS = sorted(set(TEXT))


class Transformer(nn.Module):
    """Two blocks; (batch, time) numbers of letters in, (batch, time, letter) logits of the next one out."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS), WIDTH)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        block = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, len(LETTERS))

    def forward(self, letters: Tensor) -> Tensor:
        time = letters.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(time)
        x = self.letters(letters) + self.places(torch.arange(time))
        out: Tensor = self.head(self.blocks(x, mask=mask, is_causal=True))
        return out


def loss_of(model: nn.Module, text: Tensor, starts: Tensor) -> Tensor:
    pieces = text[starts[:, None] + torch.arange(CONTEXT + 1)]
    return nn.functional.cross_entropy(model(pieces[:, :-1]).flatten(0, 1), pieces[:, 1:].flatten())


def save(path: Path, **state: Any) -> None:
    """Whole or not at all: a kill in between leaves the checkpoint that was there."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


@torch.no_grad()
def write(model: nn.Module, count: int, begin: str = "\n") -> str:
    letters = [LETTERS.index(letter) for letter in begin]
    for _ in range(count):
        logits = model(torch.tensor([letters[-CONTEXT:]]))[0, -1]
        letters.append(int(torch.multinomial(torch.softmax(logits / 0.5, 0), 1)))
    return "".join(LETTERS[letter] for letter in letters)


def main(steps: int = 300, checkpoint: Path | None = None, sample: int = 300) -> float:
    """Trains up to step `steps`, and returns the loss of the average on the whole text, in nats a letter."""
    torch.manual_seed(0)
    text = torch.tensor([LETTERS.index(letter) for letter in TEXT])
    model = Transformer()
    optimizer = optdsl.torch.load("schedule_free_adamw")(model.parameters(), lr=0.01, warmup_steps=20)
    done = 0
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        done = state["done"]

    for step in range(done + 1, steps + 1):
        loss = loss_of(model, text, torch.randint(len(text) - CONTEXT, (BATCH,)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 50 == 0 or step == steps:
            print(f"step {step}: loss {loss.item():.4f}")
            if checkpoint is not None:
                save(checkpoint, model=model.state_dict(), optimizer=optimizer.state_dict(),
                     random=torch.get_rng_state(), done=step)  # fmt: skip

    optimizer.eval()  # from here on the model is the average
    with torch.no_grad():
        final = float(loss_of(model, text, torch.arange(0, len(text) - CONTEXT, CONTEXT)))
    print(f"the average: {final:.4f} nats a letter\n{write(model, sample) if sample else ''}")
    optimizer.train()
    return final


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    main(given.steps, given.checkpoint)
