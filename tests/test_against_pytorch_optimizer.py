"""The specs that pytorch_optimizer, timm or Keras have and torch has not, against these: 200 steps of
tensors of every rank, and the states that have a name in both.

Where a peer differs, the case's note says in what and why; a difference that is a bug of the peer's is
refuted in `tests/bugs`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer as po
import torch
from pytorch_optimizer.base.optimizer import BaseOptimizer

import optdsl
from tests.support import parity, peers
from tests.support.programs import meaning
from tests.support.race import MATRICES, Case, Stepper, Transcribed, differences

NAME = "pytorch_optimizer 4.1.0"
BOUND = {
    torch.float64: 1e-12,
    # Ours computes in float64 and rounds what it stores: 200 roundings of 2^-25 add up to some 2^-21.
    torch.float32: 1e-6,
}
WIDER = {"adasmooth": 1e-3, "stableadamw": 1e-4, "focus": 1e-5}
"""In float32. FOCUS adds the same step again and again, and with it the same rounding. AdaSmooth adds up how
far theta moved, differences of 2^-10 of stored numbers rounded by 2^-25; StableAdamW's rate follows the
largest g^2/v of a tensor, with v as it is stored."""
ABSENT = {"max_exp_avg_sq", "momentum_buffer"}
"""Kept by a peer only where its options need it."""


class QHAdam(po.QHAdam):
    """With its sums of weights in float64: they are float32 whatever the parameters are."""

    def init_group(self, group: dict[str, Any], **kwargs: Any) -> None:
        super().init_group(group, **kwargs)
        for p in group["params"]:
            for key in ("beta1_weight", "beta2_weight"):
                self.state[p][key] = self.state[p][key].double()


def without_root_eps(cls: type[Any]) -> type[Any]:
    """The class without the 1e-15 that it adds inside of the root."""
    bound = partial(BaseOptimizer.apply_ams_bound, exp_avg_sq_eps=0.0)
    return type(cls.__name__, (cls,), {"apply_ams_bound": staticmethod(bound)})


def one_scale(cls: type[Any]) -> Callable[..., Stepper]:
    """The class with one scale for every tensor."""

    def make(params: Any, scale: float, **options: Any) -> Stepper:
        found = type(cls.__name__, (cls,), {"get_scale": staticmethod(lambda p: scale)})
        optimizer: Stepper = found(params, **options)
        return optimizer

    make.__name__ = cls.__name__
    return make


def from_step_zero(cls: type[Any]) -> Callable[..., Stepper]:
    """The class with its first step counted as 0."""

    def make(params: Any, **options: Any) -> Stepper:
        optimizer: Stepper = cls(params, **options)
        optimizer.param_groups[0]["step"] = -1
        return optimizer

    make.__name__ = cls.__name__
    return make


def same(
    spec: str,
    make: Callable[..., Any],
    *variants: dict[str, Any],
    note: str = "",
    schedule: bool = False,
    **fixed: Any,
) -> Iterator[Case]:
    """Cases whose options have the same names on both sides. `fixed` goes to the peer in all of them."""
    for options in variants or ({},):
        theirs = {"foreach": False, **fixed, **options}
        yield Case(spec, f"{NAME} {make.__name__}", make, options, theirs, note, schedule)


ROOT = "the peer adds 1e-15 inside of the root: left out here"
EARLY = ROOT + "; it adds eps before the correction, which 1e-30 does not show"

CASES = [
    *same(
        "accsgd", po.AccSGD, {},
        {"lr": 1e-2, "kappa": 50.0, "xi": 5.0, "constant": 0.5, "weight_decay": 0.1},
    ),
    *same(
        "adamg", po.AdamG, {},
        {"lr": 0.05, "betas": (0.5, 0.9, 0.8), "p": 0.5, "q": 0.4, "weight_decay": 0.1},
    ),
    *same(
        "adamp", po.AdamP, {"eps": 1e-30}, {"eps": 1e-30, "delta": 5.0, "weight_decay": 0.1},
        {"eps": 1e-30, "lr": 0.05, "betas": (0.5, 0.9), "delta": 0.5, "wd_ratio": 0.3, "weight_decay": 0.1},
        {"eps": 1e-30, "delta": 0.2, "nesterov": True, "weight_decay": 0.1},
        note="the peer adds eps before the correction, which 1e-30 does not show",
    ),
    *same("adamod", po.AdaMod, {}, {"betas": (0.5, 0.9, 0.8), "weight_decay": 0.1, "eps": 1e-3}),
    *same(
        "adapnm", without_root_eps(po.AdaPNM),
        {}, {"ams_bound": False, "weight_decay": 0.1}, {"betas": (0.5, 0.9, 0.5), "eps": 1e-3},
        note=ROOT,
    ),
    *same(
        "amos", one_scale(po.Amos),
        {"scale": 0.5, "momentum": 0.9},
        {"lr": 0.05, "scale": 2.0, "beta": 0.9, "momentum": 0.5, "eps": 1e-6},
        note="the peer guesses the scale from the shape: given to both here",
    ),
    *same(
        "focus", po.FOCUS, {"lr": 1e-3, "betas": (0.9, 0.5)},
        {"lr": 1e-3, "betas": (0.5, 0.75), "gamma": 0.5, "weight_decay": 0.1},
        note="in the first step the peer takes the sign of a rounding, unless 1 - beta2 is a power of two",
    ),
    *same("adasmooth", po.AdaSmooth, {}, {"betas": (0.3, 0.9), "eps": 1e-3}),
    *same("aggmo", po.AggMo, {}, {"betas": (0.1, 0.5, 0.9), "weight_decay": 0.1}),
    *same("came", po.CAME, {}, {"lr": 1e-2, "betas": (0.5, 0.9, 0.99), "weight_decay": 0.1},
          {"clip_threshold": 0.5, "eps1": 1e-3, "eps2": 1e-2}),
    *same(
        "diffgrad", without_root_eps(po.DiffGrad),
        {}, {"betas": (0.5, 0.9), "weight_decay": 0.1, "eps": 1e-3}, note=ROOT,
    ),
    *same("exadam", po.EXAdam, {}, {"betas": (0.5, 0.9), "weight_decay": 0.1, "eps": 1e-3}),
    *same("ftrl", po.FTRL, {"beta": 1.0}, {"beta": 0.5, "lr": 0.1, "lambda_1": 0.5, "lambda_2": 0.1}),
    *same("grams", po.Grams, {}, {"betas": (0.5, 0.9), "weight_decay": 0.1, "eps": 1e-3}),
    *same(
        "grokfast", po.GrokFastAdamW, {},
        {"betas": (0.5, 0.9), "grokfast_alpha": 0.5, "grokfast_lamb": 0.5, "weight_decay": 0.1, "eps": 1e-3},
        {"normalize_lr": False, "weight_decay": 0.1},
    ),
    *same(
        "adai", po.Adai, {}, {"lr": 0.1, "betas": (0.2, 0.9), "eps": 1e-2, "weight_decay": 0.1},
        stable_weight_decay=False,
    ),
    *same(
        "stableadamw", po.StableAdamW, {"betas": (0.9, 0.99)},
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}, kahan_sum=False,
    ),
    *same(
        "mars", without_root_eps(po.MARS),
        {"eps": 1e-30}, {"lr": 0.01, "betas": (0.8, 0.9), "gamma": 0.5, "eps": 1e-30, "weight_decay": 0.1},
        note=EARLY, optimize_1d=True,
    ),
    *same(
        "laprop", without_root_eps(po.LaProp),
        {"eps": 1e-30}, {"eps": 1e-30, "weight_decay": 0.1}, note=EARLY,
    ),
    *same("msvag", po.MSVAG, {}, {"lr": 1e-3, "beta": 0.5}),
    *same("padam", po.PAdam, {}, {"lr": 1e-2, "betas": (0.5, 0.9), "partial": 0.125, "weight_decay": 0.1},
          {"partial": 0.5, "eps": 1e-3}),
    *same(
        "pid", po.PID, {"momentum": 0.9},
        {"momentum": 0.5, "dampening": 0.5, "derivative": 2.0, "integral": 1.0, "weight_decay": 0.1},
    ),
    *same("pnm", po.PNM, {}, {"betas": (0.5, 0.5), "weight_decay": 0.1}),
    *same(
        "qhadam", QHAdam, {}, {"nus": (0.7, 1.0), "betas": (0.995, 0.999)},
        {"nus": (0.5, 0.5), "weight_decay": 0.1, "eps": 1e-3},
        note="the peer keeps its sums of weights in float32: in float64 here",
    ),
    *same(
        "qhm", po.QHM, {},
        {"momentum": 0.999, "nu": 0.7}, {"momentum": 0.5, "nu": 0.5, "weight_decay": 0.1},
    ),
    *same(
        "sgdw", po.SGDW, {}, {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}, {"dampening": 0.5},
    ),
    *same(
        "srmm", from_step_zero(po.SRMM), {}, {"beta": 0.9, "memory_length": 30},
        note="the peer counts its first step as the second (tests/bugs), and not here",
    ),
    *same("tiger", po.Tiger, {}, {"beta": 0.5, "weight_decay": 0.1}),
    *same(
        "adamc", without_root_eps(po.AdamC), {"eps": 1e-30, "weight_decay": 0.3},
        note=EARLY, schedule=True, normalized=True,
    ),
]  # fmt: skip


def transcribed(
    spec: str, peer: str, rule: Callable[..., Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> Case:
    return Case(spec, f"{peer} (transcribed)", partial(Transcribed, rule), ours, theirs)


CASES += [
    transcribed(
        "ftrl", "Keras Ftrl", peers.keras_ftrl,
        {"lr": 0.1, "beta": 0.5, "lambda_1": 0.3, "lambda_2": 0.2, "initial_accumulator_value": 0.1},
        {"lr": 0.1, "beta": 0.5, "l1": 0.3, "l2": 0.1},
    ),
    transcribed("laprop", "timm LaProp", peers.timm_laprop, {}, {"lr": 4e-4}),
    transcribed(
        "laprop", "timm LaProp", peers.timm_laprop,
        *[{"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}] * 2,
    ),
    transcribed("nadamw_timm", "timm NAdamW", peers.timm_nadamw, {}, {"lr": 1e-3}),
    transcribed(
        "nadamw_timm", "timm NAdamW", peers.timm_nadamw,
        *[{"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}] * 2,
    ),
    transcribed(
        "adamc", "timm AdamW", peers.timm_adamc,
        *[{"lr": 0.003, "max_lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3}] * 2,
    ),
    transcribed(
        "qhadam", "qhoptim QHAdam", peers.qhoptim_qhadam,
        *[{"lr": 0.01, "nus": (0.7, 0.9), "weight_decay": 0.1, "eps": 1e-3}] * 2,
    ),
    transcribed(
        "proximal", "TensorFlow ProximalGradientDescent", peers.tensorflow_proximal,
        *[{"lr": 0.01, "l1": 0.3, "l2": 0.1}] * 2,
    ),
]  # fmt: skip


AVERAGED: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1, "warmup_steps": 20, "r": 0.5}
for spec, rule, each in (
    ("schedule_free_sgd", peers.schedule_free_sgd, {"momentum": 0.8}),
    ("schedule_free_adamw", peers.schedule_free_adamw, {"betas": (0.8, 0.95), "eps": 1e-3}),
):
    for options in ({"lr": 0.0025}, {**AVERAGED, **each}):
        CASES += [transcribed(spec, "the authors' schedule_free", rule, options, options)]


def penalised(params: list[torch.Tensor], *, l1: float, l2: float, **options: Any) -> Stepper:
    """torch's SGD on a loss with the penalty written out, whose gradient autograd takes."""

    class Penalised(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            with torch.enable_grad():
                penalties = [l1 * p.abs().sum() + l2 / 2 * p.square().sum() for p in params]
            for p, slope in zip(params, torch.autograd.grad(penalties, params), strict=True):
                assert p.grad is not None
                p.grad = p.grad + slope
            return super().step(closure)

    return Penalised(params, **options)


CASES += [
    Case(
        "sgd_l1",
        "torch 2.13 SGD, the penalty by autograd",
        penalised,
        ours={"lr": 0.01, "l1": 0.3, "l2": 0.1},
        theirs={"lr": 0.01, "l1": 0.3, "l2": 0.1},
    ),
]


CASES += [
    replace(case, shapes=MATRICES)
    for case in same(
        "shampoo", po.Shampoo, {}, {"lr": 0.1, "matrix_eps": 0.1, "weight_decay": 0.1},
        note="of vectors and matrices: tensors of more dimensions are batches of matrices here",
    )
]  # fmt: skip


def soap(x: Any, g: Any, state: dict[str, Any], t: int, **options: Any) -> Any:
    """Algorithm 3 of the paper, with a first step that only takes bases, and Adam's corrections."""
    (beta1, beta2), lr, eps = options["betas"], options["lr"], options["eps"]
    rows, columns = g @ g.T, g.T @ g
    if t == 1:
        state |= {"m": 0 * g, "v": 0 * g, "l": 0.5 * rows, "r": 0.5 * columns}
        state["p"], state["q"] = np.linalg.eigh(state["l"])[1], np.linalg.eigh(state["r"])[1]
        return x
    p, q = state["p"], state["q"]
    state["m"] = beta1 * state["m"] + (1 - beta1) * g
    state["v"] = beta2 * state["v"] + (1 - beta2) * (p.T @ g @ q) ** 2
    m, v = state["m"] / (1 - beta1 ** (t - 1)), state["v"] / (1 - beta2 ** (t - 1))
    # eps is added before the correction
    n = p @ ((p.T @ m @ q) / (np.sqrt(v) + eps / np.sqrt(1 - beta2 ** (t - 1)))) @ q.T
    state["l"], state["r"] = 0.5 * (state["l"] + rows), 0.5 * (state["r"] + columns)
    if (t - 1) % options["every"] == 0:
        state["p"], state["q"] = np.linalg.qr(state["l"] @ p)[0], np.linalg.qr(state["r"] @ q)[0]
    return (1 - lr * options["weight_decay"]) * (x - lr * n)


def from_largest(x: Any, g: Any, state: dict[str, Any], t: int, **options: Any) -> Any:
    """`soap` with bases that begin with the largest eigenvalue, as the authors have them."""
    found = soap(x, g, state, t, **options)
    if t == 1:
        state["p"], state["q"] = state["p"][:, ::-1], state["q"][:, ::-1]
    return found


_SOAP = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-3, "weight_decay": 0.1}
CASES += [
    replace(case, shapes=((7,), (4, 4), (3, 3)))  # others have no eigenvectors of their own for zero
    for case in same(
        "soap", po.SOAP, {"precondition_frequency": 1000}, {**_SOAP, "precondition_frequency": 1000},
        note="of square matrices, with one basis for all steps: the peer sorts columns before a new one",
    )
]  # fmt: skip
CASES += [
    Case(
        "soap", "Algorithm 3 (transcribed)", partial(Transcribed, from_largest),
        {**_SOAP, "shampoo_beta": 0.5, "precondition_frequency": 3}, {**_SOAP, "every": 3},
        shapes=MATRICES[1:],
    ),
]  # fmt: skip


def rows() -> Iterator[parity.Row]:
    """Every case's largest difference in float64: what docs/parity.md shows."""
    for case in CASES:
        yield case.row(max(x.difference for x in differences(case) if x.dtype is torch.float64))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_path(case: Case) -> None:
    """The parameters, and every state that the spec gives a name of the peer's."""
    aliases = {state.alias for state in meaning(case.spec).states} - {None}
    for row in differences(case):
        bound = BOUND[row.dtype]
        if row.dtype is torch.float32:
            bound = WIDER.get(case.spec, bound)
        assert row.difference <= bound, (row.dtype, row.difference, case.note)
        if case.peer.startswith(NAME):
            assert aliases - ABSENT <= row.states


def test_a_difference_is_seen() -> None:
    """The comparison is no stronger than this: a relative change of an option by 1e-9 must show."""
    case = next(case for case in CASES if case.spec == "aggmo")
    changed = Case(case.spec, case.peer, case.make, {**case.ours, "lr": 1e-3 * (1 + 1e-9)}, case.theirs)
    assert max(row.difference for row in differences(changed) if row.dtype is torch.float64) > 1e-12


def test_adahessian() -> None:
    """Given the same estimates of the Hessian's diagonal; its step is handed them as `hessian`."""
    random = torch.Generator().manual_seed(0)
    shapes = ((), (7,), (5, 3), (2, 3, 4))
    mine = [torch.nn.Parameter(torch.randn(s, generator=random, dtype=torch.float64)) for s in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in mine]
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}
    ours = optdsl.torch.load("adahessian")(mine, **options)
    peer = po.AdaHessian(theirs, **options, weight_decouple=True)
    for _ in range(200):
        given = [torch.randn(s, generator=random, dtype=torch.float64) for s in shapes]
        for p, q in zip(mine, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=random, dtype=torch.float64)
            q.grad = p.grad.clone()
        ours.step(hvp=given)
        peer.step(hessian=given)
    for p, q in zip(mine, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)
