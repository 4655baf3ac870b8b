"""States in fewer bits and parameters in bfloat16: bytes, speed and accuracy, as tables in Markdown.

Speed: Adam over one large tensor, contestants in turns, the shortest step of each, as a ratio to float32
within this run, beside the ratio of the bytes that are moved. Accuracy: Adam's m and v after 2,000 steps of
normal gradients, against the same in float64 in NumPy; and what a small network has learned of handwritten
digits, against float64.

    python benchmarks/precision.py [--elements 10000000]
"""

import argparse
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

import optdsl.torch
from optdsl.cost import cost
from optdsl.demo.digits import batches, load_digits
from optdsl.library import lookup
from optdsl.storing import storing

BOTH = ("bf16", "f16", "8bit")
CHOICES: tuple[tuple[dict[str, str], str], ...] = (
    ({}, ""),
    *(({"m": form, "v": form}, "") for form in BOTH),
    *(({}, store) for store in ("nearest", "sr", "kahan", "extra16")),
    ({"m": "bf16", "v": "bf16"}, "sr"),
    ({"m": "8bit", "v": "8bit"}, "sr"),
)
ROUNDS, STEPS, EPOCHS = 25, 2000, 30


def said(states: Mapping[str, str], store: str) -> str:
    kept = f"m, v in {states['m']}" if states else "m, v in float32"
    return f"{'bfloat16, ' + store if store else 'float32'}; {kept}"


def costs(states: Mapping[str, str], store: str) -> tuple[float, float]:
    """Bytes of state, and bytes moved in a step, of each parameter."""
    precision = storing(lookup("adam"), states, store).precisions("accurate")
    found = cost(lookup("adam"), {}, precision["bfloat16" if store else "float32"])
    return found.state_bytes, found.bytes_moved


def optimizer(p: Tensor, states: dict[str, str], store: str, mode: str = "accurate", **options: Any) -> Any:
    cls: Any = optdsl.torch.load("adam", mode=mode, state=states, param_store=store)
    return cls([p], **options)


def stepped(elements: int, states: dict[str, str], store: str, mode: str) -> Any:
    dtype = torch.bfloat16 if store else torch.float32
    p = torch.randn(elements).to(dtype).requires_grad_()
    p.grad = torch.randn(elements).to(dtype)
    made = optimizer(p, states, store, mode)
    made.step()
    return made


def speed(elements: int) -> None:
    print("| parameters; states | state, B | moved, B | bytes | time, accurate | time, fast |")
    print("|---|---|---|---|---|---|")
    made = {
        (mode, place): stepped(elements, *choice, mode)
        for mode in ("accurate", "fast")
        for place, choice in enumerate(CHOICES)
    }
    best = dict.fromkeys(made, float("inf"))
    for _ in range(ROUNDS):
        for key, each in made.items():
            started = perf_counter()
            each.step()
            best[key] = min(best[key], perf_counter() - started)
    for place, choice in enumerate(CHOICES):
        kept, moved = costs(*choice)
        ratios = (f"{best[mode, place] / best[mode, 0]:.2f}" for mode in ("accurate", "fast"))
        bytes_ = f"{moved / costs(*CHOICES[0])[1]:.2f}"
        print(f"| {said(*choice)} | {kept:.4g} | {moved:.4g} | {bytes_} | {' | '.join(ratios)} |")


def moments(states: dict[str, str]) -> tuple[float, float]:
    """The errors of m and v, root mean square, as parts of the root mean square of what they should be."""
    count = 20_000
    p = torch.zeros(count, requires_grad=True)
    made = optimizer(p, states, "", lr=1e-3)
    m, v = np.zeros(count), np.zeros(count)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        p.grad = torch.randn(count, generator=generator)
        g = p.grad.double().numpy()
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        made.step()
    found = made.state[p]
    errors = []
    for key, exact in (("exp_avg", m), ("exp_avg_sq", v)):
        value = decoded(found, key).double().numpy()
        errors.append(float(np.sqrt(np.mean((value - exact) ** 2) / np.mean(exact**2))))
    return errors[0], errors[1]


def decoded(state: Mapping[str, Tensor], key: str) -> Tensor:
    """A state as float32. Numbers of 8 bits by the definition of their formats: Adam's v has no sign."""
    kept = state[key]
    if kept.dtype != torch.uint8:
        return kept.float()
    signed = key == "exp_avg"
    codes = kept.numpy().astype(np.int64)
    magnitude, bias = (codes & 127, 15) if signed else (codes, 31)
    exponent, fraction = magnitude >> 3, (magnitude & 7) / 8
    small = exponent == 0
    value = np.where(small, fraction, 1 + fraction) * 2.0 ** (np.where(small, 1, exponent) - bias)
    value = np.where(signed & (codes > 127), -value, value)
    scale = np.repeat(state[f"{key}_scale"].numpy(), 256)[: value.size]
    return torch.tensor(value * scale, dtype=torch.float32)


def learned(states: dict[str, str], store: str, *, wide: bool = False) -> float:
    """The mean loss over the digits after training, with the forward pass in float64 of what the parameters
    are: only the optimizer is in low precision.
    """
    digits = load_digits()
    images = torch.tensor(digits.train, dtype=torch.float64)
    labels = torch.tensor(digits.train_labels, dtype=torch.int64)
    generator = torch.Generator().manual_seed(1)
    dtype = torch.float64 if wide else torch.bfloat16 if store else torch.float32
    shapes = ((64, 32), (32,), (32, 10), (10,))
    start = [
        torch.randn(shape, generator=generator) / (shape[0] ** 0.5 if len(shape) > 1 else 1e9)
        for shape in shapes
    ]
    parameters = [x.bfloat16().to(dtype).requires_grad_() for x in start]
    cls: Any = optdsl.torch.load("adam", state=states, param_store=store)
    made = cls(parameters, lr=1e-3)

    def loss(some: Any) -> Tensor:
        w1, b1, w2, b2 = (p.double() for p in parameters)
        hidden = torch.relu(images[some] @ w1 + b1)
        return torch.nn.functional.cross_entropy(hidden @ w2 + b2, labels[some])

    for batch in batches(len(images), EPOCHS):
        made.zero_grad()
        loss(torch.tensor(batch)).backward()  # type: ignore[no-untyped-call]
        made.step()
    with torch.no_grad():
        return float(loss(slice(None)))


def accuracy() -> None:
    print("| m, v in | error of m | error of v |\n|---|---|---|")
    for form in ("f32", *BOTH):
        m, v = moments({"m": form, "v": form})
        print(f"| {form} | {m:.1e} | {v:.1e} |")
    print(f"\n| parameters; states | loss after {EPOCHS} epochs |\n|---|---|")
    print(f"| float64; m, v in float64 | {learned({}, '', wide=True):.4f} |")
    for choice in CHOICES:
        print(f"| {said(*choice)} | {learned(*choice):.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=10_000_000)
    speed(parser.parse_args().elements)
    print()
    accuracy()


if __name__ == "__main__":
    main()
