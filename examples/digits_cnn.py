"""Handwritten digits with a convolutional network in torch, trained by a composition of specs.

    python examples/digits_cnn.py

Clipping, AdamW, its schedule and Lookahead are one optimizer, and one fused kernel: there is no
`clip_grad_norm_` and no scheduler in the loop. As with torch's own classes, parameter groups have options of
their own: what is no weight does not decay.
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import optdsl

RULE = "clip_by_global_norm(1) | adamw(lr = warmup(20, cosine(1e-2, {steps}))) | lookahead(5)"
TEST = 360
BATCH = 64


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def main(steps: int = 300) -> float:
    """Trains, and returns the share of right answers for digits that were never seen."""
    torch.manual_seed(0)
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    images = (images / 16).float().reshape(-1, 1, 8, 8)
    order = torch.randperm(len(labels))
    test, train = order[:TEST], order[TEST:]

    model = network()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = optdsl.torch.load(RULE.format(steps=steps))(groups)

    for step in range(1, steps + 1):
        batch = train[torch.randint(len(train), (BATCH,))]
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.4f}")

    with torch.no_grad():
        right = float((model(images[test]).argmax(1) == labels[test]).double().mean())
    print(f"{right:.1%} of {TEST} digits never seen are read right")
    return right


if __name__ == "__main__":
    main()
