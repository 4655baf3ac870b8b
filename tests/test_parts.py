"""What transforms and wrappers compute: against torch, papers, and the same parts applied by hand."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.optim import lr_scheduler

import optdsl
from optdsl.files import library_names, names_in

Array = npt.NDArray[np.float64]
SIZES = ((), (3,), (4, 5))


def arrays(text: str) -> Any:
    return optdsl.numpy.load(text)


def tensors_of(text: str) -> Any:
    return optdsl.torch.load(text)


def torch_clip(function: Callable[..., Any], *arguments: float) -> Callable[[list[Array], list[Array]], Any]:
    def clipped(grads: list[Array], _: list[Array]) -> list[Array]:
        params = [torch.zeros(g.shape, dtype=torch.float64) for g in grads]
        for p, g in zip(params, grads, strict=True):
            p.grad = torch.tensor(g)
        function(params, *arguments)
        return [p.grad.numpy() for p in params if p.grad is not None]

    return clipped


def each(function: Callable[[Array, Array], Any]) -> Callable[[list[Array], list[Array]], Any]:
    return lambda grads, params: [function(g, p) for g, p in zip(grads, params, strict=True)]


def short(g: Array, _: Array) -> Array:
    """Pascanu et al. 2013, Algorithm 1."""
    length = float(np.sqrt(np.sum(g * g)))
    return g * (0.7 / length) if length > 0.7 else g


def together(grads: list[Array], _: list[Array]) -> list[Array]:
    length = float(np.sqrt(sum(np.sum(g * g) for g in grads)))
    return [g / length * 1.5 if length > 1.5 else g for g in grads]


Map = Callable[[list[Array], list[Array]], Any]
BEFORE: dict[str, Map] = {
    "clip_by_value(0.4)": torch_clip(torch.nn.utils.clip_grad_value_, 0.4),
    "clip_by_norm(0.7)": each(short),
    "clip_by_global_norm(1.5)": together,
    "clip_by_global_norm(1.5, 1e-6)": torch_clip(torch.nn.utils.clip_grad_norm_, 1.5),
    "add_l2(0.3)": each(lambda g, p: g + 0.3 * p),
    "add_l1(0.3)": each(lambda g, p: g + 0.3 * np.sign(p)),
    "centralize": each(lambda g, p: g - g.mean(1, keepdims=True) if g.ndim > 1 else g),
    "scale(-0.5)": each(lambda g, p: -0.5 * g),
}


def cautious(step: Array, g: Array) -> Array:
    """github.com/kyleliang919/C-Optim, c_adamw.py: mask.div_(mask.mean().clamp_(min=1e-3))."""
    mask = (step * g < 0).astype(np.float64)
    return np.asarray(step * mask / max(mask.mean(), 1e-3))


class Lookahead:
    """Algorithm 1 of Zhang et al. 2019: k = 3, alpha = 0.3."""

    def __init__(self, params: list[Array]) -> None:
        self.slow = [p.copy() for p in params]

    def __call__(self, step: int, params: list[Array]) -> None:
        if step % 3 == 0:
            for slow, fast in zip(self.slow, params, strict=True):
                slow += 0.3 * (fast - slow)
                fast[...] = slow


def by_hand(
    params: list[Array], before: list[Map], optimizer: str, after: str, grads: Iterator[list[Array]]
) -> None:
    """The parts one after the other, over the optimizer alone."""
    lookahead = Lookahead(params)
    opt = arrays(optimizer)(params)
    for step, raw in enumerate(grads, 1):
        given, old = raw, [p.copy() for p in params]
        for function in before:
            given = function(given, old)
        opt.step([np.asarray(g) for g in given])
        for p, q, g in zip(params, old, raw, strict=True):
            if after.startswith("decoupled_decay"):
                p -= 0.02 * q
            elif after.startswith("cautious"):
                p[...] = q + cautious(p - q, g)
            elif after.startswith("scale"):
                p[...] = q + 0.25 * (p - q)
        if after.startswith("lookahead"):
            lookahead(step, params)


def gradients(steps: int = 12) -> Iterator[list[Array]]:
    random = np.random.default_rng(7)
    for step in range(steps):
        yield [np.asarray(random.standard_normal(size)) * 4.0 ** (step % 3 - 1) for size in SIZES]


def start() -> list[Array]:
    random = np.random.default_rng(1)
    return [np.asarray(random.standard_normal(size)) for size in SIZES]


NESTEROV = "sgd(0.1, momentum = 0.9, nesterov = true)"
OPTIMIZERS = ("gd(lr = 0.3)", NESTEROV, "adam", "adamw(weight_decay = 0.5)", "lamb", "rprop", "radam")
AFTER = ("", "decoupled_decay(0.02)", "cautious", "lookahead(3, 0.3)", "scale(1/4)")
CASES = [
    *((before, OPTIMIZERS[i % 7], AFTER[i % 5]) for i, before in enumerate(BEFORE)),
    *(("clip_by_value(0.4)", OPTIMIZERS[i], AFTER[(i + 3) % 5]) for i in range(1, 7)),
]


@pytest.mark.parametrize(("before", "optimizer", "after"), CASES)
def test_parts_are_applied_from_left_to_right(before: str, optimizer: str, after: str) -> None:
    ours, theirs = start(), start()
    opt = arrays(" | ".join(filter(None, (before, "scale(2)", optimizer, after))))(ours)
    for grads in gradients():
        opt.step(grads)
    by_hand(theirs, [BEFORE[before], each(lambda g, p: 2 * g)], optimizer, after, gradients())
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


def test_every_part_is_compared() -> None:
    compared = {text.split("(")[0] for text in (*BEFORE, *AFTER)} - {""}
    assert compared | {"sam"} == {*names_in("transforms"), *names_in("wrappers")}  # test_second_gradient.py


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_three_parts_are_torchs_three_pieces(dtype: torch.dtype, tolerance: float) -> None:
    """clip_grad_norm_, then AdamW, whose rate LinearLR sets; over two groups."""
    random = torch.Generator().manual_seed(3)

    def tensors(size: float) -> list[torch.Tensor]:
        return [size * torch.randn(each, generator=random, dtype=torch.float64).to(dtype) for each in SIZES]

    ours = [torch.nn.Parameter(p) for p in tensors(1) + tensors(1)]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    text = "clip_by_global_norm(0.5, 1e-6) | adamw(lr = linear(0.1, 30, 1/2, 1/4), weight_decay = 0.1)"
    mine = tensors_of(text)([{"params": ours[:3]}, {"params": ours[3:], "weight_decay": 0.3}])
    groups: list[dict[str, Any]] = [{"params": theirs[:3]}, {"params": theirs[3:], "weight_decay": 0.3}]
    peer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1)
    scheduler = lr_scheduler.LinearLR(peer, 1 / 2, 1 / 4, 30)
    for step in range(50):
        size = 3.0 ** (step % 4 - 2)  # below and above the limit
        for p, q, g in zip(ours, theirs, tensors(size) + tensors(size), strict=True):
            p.grad, q.grad = g.clone(), g.clone()
        mine.step()
        torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        peer.step()
        scheduler.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)


def given(grads: list[Array], _: list[Array]) -> list[Array]:
    """The same gradient, wherever it is taken."""
    return grads


@pytest.mark.parametrize("name", library_names())
def test_parts_that_change_nothing_change_nothing(name: str) -> None:
    """Before and after every optimizer: the numbers are its own."""
    results = []
    first = SIZES.index((4, 5)) if name == "muon" else 0  # which takes nothing but matrices
    for text in (name, f"scale(1) | {name} | scale(1) | lookahead(1, 1)"):
        params = start()[first:]
        opt = arrays(text)(params)
        moves = any(variant.query for variant in opt.layout.variants.values())
        for every in gradients(5):
            grads = every[first:]
            inputs = {"loss": 2.0, "hvp": [g * g for g in grads]}
            asked = {each.name: inputs[each.name] for each in opt.layout.inputs if each.name in inputs}
            opt.step(partial(given, grads) if moves else grads, **asked)
        results.append(params)
    for x, y in zip(*results, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-15)
