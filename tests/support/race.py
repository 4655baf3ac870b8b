"""A spec and a peer side by side on the same numbers: how far apart they get.

In: a `Case`, a spec of the library with options and what it is compared with, an optimizer class or a rule in
plain NumPy (`support/peers.py`). Out: a `Difference` for each precision of ours, the largest over all steps,
tensors and shared state. The peer always computes in float64: what it rounds is not our concern.
Nothing is asserted here; tests do that, and tables in the docs are made of the rows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

import optdsl
from tests.support import parity

SHAPES = ((), (7,), (5, 3), (2, 3, 4), (2, 3, 2, 3))
MATRICES = ((7,), (5, 3), (3, 5), (4, 4), (1, 4))
"""For what the peer does to tensors of more dimensions in another way, or not at all."""
STEPS = 200
COMPARED = frozenset((1, 2, 3, 5, 6, 10, 20, 50, 100, 150, STEPS))
PRECISIONS = (torch.float64, torch.float32)
Options = Mapping[str, Any]


class Stepper(Protocol):
    """What is compared: parameters given at the start, updated in place from their `.grad`."""

    param_groups: list[dict[str, Any]]
    state: Any

    def step(self) -> Any: ...


@dataclass(frozen=True)
class Case:
    """`ours` and `theirs` are options of one meaning; `note` says what is not as the peer has it, and why."""

    spec: str
    peer: str
    make: Callable[..., Stepper]
    ours: Options = field(default_factory=dict)
    theirs: Options = field(default_factory=dict)
    note: str = ""
    schedule: bool = False  # whether lr falls during the run
    shapes: tuple[tuple[int, ...], ...] = SHAPES

    def row(self, apart: float) -> parity.Row:
        return parity.Row(self.spec, self.peer, parity.told(self.ours), apart, self.note)

    def __str__(self) -> str:
        peer = self.peer.split()[0]
        return "-".join([self.spec, peer, *(f"{name}={value}" for name, value in self.ours.items())])


@dataclass(frozen=True)
class Difference:
    case: Case
    dtype: torch.dtype
    difference: float  # largest, relative to the element and to the tensor's largest
    states: frozenset[str]  # that were compared too

    @property
    def spec(self) -> str:
        return self.case.spec

    @property
    def peer(self) -> str:
        return self.case.peer


def tensors(dtype: torch.dtype, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Tensor]:
    """Every rank; numbers that float32 has, away from zero: where a decay ends, only signs are left."""
    random = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=random) for shape in shapes]
    return [(value + value.sign() * 2).to(dtype).requires_grad_() for value in drawn]


def gradients(shapes: tuple[tuple[int, ...], ...] = SHAPES) -> Iterator[list[Tensor]]:
    """Sizes over four decades; a tenth is exactly zero, at step 1 too, where most rules would be 0/0."""
    random = torch.Generator().manual_seed(1)

    def gradient(shape: tuple[int, ...]) -> Tensor:
        size = 10 ** (4 * torch.rand(shape, generator=random) - 3)
        value = size * torch.randn(shape, generator=random)
        value[torch.rand(shape, generator=random) < 0.1] = 0
        return value

    return ([gradient(shape) for shape in shapes] for _ in range(STEPS))


def differences(case: Case) -> Iterator[Difference]:
    """One run of the peer, next to one of ours for each precision."""
    expected = tensors(torch.float64, case.shapes)
    peer = case.make(expected, **case.theirs)
    found = {dtype: tensors(dtype, case.shapes) for dtype in PRECISIONS}
    ours = {
        dtype: optdsl.torch.load(case.spec)(parameters, **case.ours) for dtype, parameters in found.items()
    }
    rates = {id(each): each.param_groups[0]["lr"] for each in (peer, *ours.values())}
    largest = dict.fromkeys(PRECISIONS, 0.0)
    names: frozenset[str] = frozenset()
    for t, values in enumerate(gradients(case.shapes), start=1):
        for each in (peer, *ours.values()):
            for p, value in zip(each.param_groups[0]["params"], values, strict=True):
                p.grad = value.to(p.dtype).clone()  # some peers change it
            if case.schedule:
                each.param_groups[0]["lr"] = rates[id(each)] * (1 - t / (STEPS + 50))
            each.step()
        if t not in COMPARED:
            continue
        for dtype, parameters in found.items():
            for mine, theirs in zip(parameters, expected, strict=True):
                pairs = {"theta": (mine.detach(), theirs.detach())}
                if t in (1, STEPS):
                    pairs |= shared(ours[dtype].state[mine], peer.state[theirs])
                largest[dtype] = max(largest[dtype], *(distance(*pair) for pair in pairs.values()))
                names |= pairs.keys()
    return (Difference(case, dtype, largest[dtype], names - {"theta"}) for dtype in PRECISIONS)


def shared(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """What both keep under one name, but for counters."""
    return {
        key: (mine[key], theirs[key].reshape(mine[key].shape))  # a dimension of size 1 may be left out
        for key in mine.keys() & theirs.keys()
        if key != "step" and isinstance(theirs[key], Tensor)
    }


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative to each element and to the tensor's largest: single elements pass through zero."""
    mine, theirs = found.double(), expected.double()
    if not torch.equal(mine.isfinite(), theirs.isfinite()):
        return float("inf")
    scale = theirs.abs() + theirs.abs().max()
    return float(((mine - theirs).abs() / scale.clamp_min(1e-300)).max())


# --- rules in NumPy ------------------------------------------------------------------------------

Rule = Callable[..., Any]
"""`rule(x, g, state, t, **options)` gives the new x and keeps what it needs in `state`, a dict."""


class Transcribed:
    """A rule, in the clothes of an optimizer: one dict of state per parameter."""

    def __init__(self, rule: Rule, params: list[Tensor], **options: Any) -> None:
        self.rule = rule
        self.options = options
        self.kept: dict[Tensor, dict[str, Any]] = {p: {} for p in params}
        self.param_groups: list[dict[str, Any]] = [{"params": params, "lr": options["lr"]}]
        self.state: dict[Tensor, dict[str, Any]] = {p: {} for p in params}  # none under the names of ours
        self.t = 0

    @torch.no_grad()
    def step(self) -> None:
        self.t += 1
        options = {**self.options, "lr": self.param_groups[0]["lr"]}
        for p in self.param_groups[0]["params"]:
            assert p.grad is not None
            x = self.rule(p.numpy().copy(), p.grad.numpy().copy(), self.kept[p], self.t, **options)
            p.copy_(torch.as_tensor(np.asarray(x)))
