"""Which function of optax a spec is compared with, with which options on either side, on which numbers."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from tests.support.optax_numbers import SHAPES, Tensors, gradients, start
from tests.support.parity import Row, told

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A spec and a function of optax, each with its options.

    `later`: our options after the first step. `derived`: what optax's path has to be, given ours, where
    optax is wrong. `rtol`: what optax's own rounding asks for; `stored`: what float32 parameters do to a rule
    that adds up how far they have come. `ranks`: of the tensors that optax treats as the spec does.
    """

    spec: str
    peer: str
    ours: Options = field(default_factory=dict)
    theirs: Options = field(default_factory=dict)
    later: Options = field(default_factory=dict)
    derived: Callable[[Tensors], Tensors] = lambda path: path
    rtol: float = 1e-12
    stored: float = 0.0
    note: str = ""
    ranks: tuple[int, ...] = tuple(map(len, SHAPES))

    def __str__(self) -> str:
        return "-".join([self.spec, self.peer, *(f"{name}={value}" for name, value in self.ours.items())])

    def of(self, tensors: Tensors) -> Tensors:
        """Those of the ranks that are compared."""
        return tuple(x for x, shape in zip(tensors, SHAPES, strict=True) if len(shape) in self.ranks)

    def row(self, apart: float) -> Row:
        return Row(self.spec, f"optax.{self.peer}", told(self.ours), apart, self.note)

    def transformation(self) -> Any:
        make = getattr(optax.contrib if hasattr(optax.contrib, self.peer) else optax, self.peer)
        return make(**self.theirs)


def same(spec: str, peer: str, *variants: tuple[Options, Options]) -> Iterator[Case]:
    return (Case(spec, peer, ours, theirs) for ours, theirs in variants)


def betas(*values: float) -> dict[str, float]:
    return {f"b{i}": value for i, value in enumerate(values, start=1)}


def half_life(count: Any) -> Any:
    """AdEMAMix's beta3 from 0.9 to 0.999 in 150 steps; optax counts from 0. (Paper, section 3.)"""
    part = jnp.minimum((count + 1.0) / 150, 1)
    low, high = math.log(0.9), math.log(0.999)
    return jnp.exp(low * high / ((1 - part) * high + part * low))


def one_step_late(path: Tensors) -> Tensors:
    """What optax 0.2.8 makes of Rprop's path. It stores the new update and returns the one stored before,
    unless the gradient has just changed its sign: `where(s < 0, 0, prev_g)`, where `prev_g` is the state that
    was read. So its first step is zero, and every move comes at the next step.
    """
    late = []
    for x, g, theta in zip(path, gradients(), start(), strict=True):
        moves = np.diff(x, axis=0, prepend=theta[None])
        before = np.concatenate([np.zeros_like(moves[:1]), moves[:-1]])
        late.append(theta + np.cumsum(np.where(g * before > 0, 0, before), axis=0))
    return tuple(late)


GIVEN = {
    "hessian_diagonal_fn": optax.GradientTransformationExtraArgs(
        lambda params: (), lambda g, state, params=None, hvp=None, **_: (hvp, state)
    )
}
"""optax computes its own estimates; here it is handed ours."""
SOPHIA = {"gamma": 0.01, "eps": 1e-8, "weight_decay": 1e-4}
SLICES = "vectors and matrices: of more dimensions optax takes slices along each, and no numbers"
LATE = "after our path is delayed: optax 0.2.8 returns the update of the step before"
ROOT = "optax takes the root of t in float32, always"
LR = {"learning_rate": 1e-3}
VANISHING = 1e-30
"""An eps that no sum of the test feels, where optax adds it at another place than torch."""
UPDATED = {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3}
UPDATED_THERE = {"learning_rate": 0.01, **betas(0.5, 0.9), "eps": 1e-3}

CASES = [
    *same("gd", "sgd", ({"lr": 0.1}, {"learning_rate": 0.1})),
    *same(
        "sgd", "sgd",
        ({"momentum": 0.9}, {**LR, "momentum": 0.9}),
        ({"momentum": 0.8, "nesterov": True}, {**LR, "momentum": 0.8, "nesterov": True}),
    ),
    *same("momentum", "sgd", ({"lr": 1e-3, "momentum": 0.9}, {**LR, "momentum": 0.9})),
    Case("sm3", "sm3", {}, {"learning_rate": 0.1}, ranks=(1, 2), note=SLICES),
    Case("sm3", "sm3", {"lr": 0.01, "momentum": 0.0}, {"learning_rate": 0.01, "momentum": 0.0},
         ranks=(1, 2), note=SLICES),
    *same("sign_sgd", "sign_sgd", ({}, {"learning_rate": 1e-4})),
    *same(
        "signum", "signum",
        ({}, {"learning_rate": 1e-4}),
        ({"lr": 0.01, "momentum": 0.3}, {"learning_rate": 0.01, "beta": 0.3}),
    ),
    *same(
        "lion", "lion",
        ({"weight_decay": 1e-3}, {"learning_rate": 1e-4}),
        (
            {"lr": 0.01, "betas": (0.5, 0.8), "weight_decay": 0.3},
            {"learning_rate": 0.01, **betas(0.5, 0.8), "weight_decay": 0.3},
        ),
    ),
    *same(
        "optimistic_gradient_descent", "optimistic_gradient_descent",
        ({}, {"learning_rate": 1e-2}),
        ({"lr": 0.1, "alpha": 0.7, "beta": 0.4}, {"learning_rate": 0.1, "alpha": 0.7, "beta": 0.4}),
    ),
    *same(
        "optimistic_adam", "optimistic_adam_v2",
        ({"nesterov": True}, LR),
        (
            {**UPDATED, "alpha": 0.7, "beta": 0.4},
            {**UPDATED_THERE, "alpha": 0.7, "beta": 0.4, "nesterov": False},
        ),
    ),
    *same(
        "optimistic_adam", "optimistic_adam",
        ({"nesterov": True}, LR),
        ({"beta": 0.1, "nesterov": True}, {**LR, "optimism": 1e-4}),
    ),
    *same(
        "adagrad", "adagrad",
        ({"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_in_sqrt": True}, {"learning_rate": 1e-2}),
        (
            {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3, "eps_in_sqrt": True},
            {"learning_rate": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
        ),
    ),
    *same(
        "adadelta", "adadelta",
        ({}, {"learning_rate": 1.0}),
        (
            {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1},
            {"learning_rate": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1},
        ),
    ),
    *same(
        "rmsprop", "rmsprop",
        ({"alpha": 0.9, "eps_in_sqrt": True}, {"learning_rate": 1e-2}),
        ({"alpha": 0.9}, {"learning_rate": 1e-2, "eps_in_sqrt": False}),
        (
            {"alpha": 0.5, "momentum": 0.9, "eps_in_sqrt": True},
            {"learning_rate": 1e-2, "decay": 0.5, "momentum": 0.9},
        ),
        (
            {"alpha": 0.9, "centered": True, "eps": 1e-3, "eps_in_sqrt": True},
            {"learning_rate": 1e-2, "centered": True, "eps": 1e-3},
        ),
        (
            {"alpha": 0.9, "centered": True, "eps": 1e-3, "momentum": 0.5},
            {"learning_rate": 1e-2, "centered": True, "eps": 1e-3, "eps_in_sqrt": False, "momentum": 0.5},
        ),
    ),
    Case("rprop", "rprop", {}, {"learning_rate": 1e-2}, derived=one_step_late, note=LATE),
    Case(
        "rprop", "rprop",
        {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2)},
        {
            "learning_rate": 0.1, "eta_minus": 0.3, "eta_plus": 1.5,
            "min_step_size": 1e-3, "max_step_size": 0.2,
        },
        derived=one_step_late, note=LATE,
    ),
    *same("adam", "adam", ({}, LR), (UPDATED, UPDATED_THERE)),
    *same(
        "adamw", "adamw",
        ({"weight_decay": 1e-4}, LR),
        ({**UPDATED, "weight_decay": 0.3}, {**UPDATED_THERE, "weight_decay": 0.3}),
    ),
    *same("adamax", "adamax", ({}, {"learning_rate": 2e-3}), (UPDATED, UPDATED_THERE)),
    *same(
        "adamaxw", "adamaxw",
        ({}, {"learning_rate": 2e-3}),
        ({**UPDATED, "weight_decay": 0.3}, {**UPDATED_THERE, "weight_decay": 0.3}),
    ),
    *(
        Case(
            "amsgrad", "amsgrad",
            {**UPDATED, "bias_correction_mu": mu, "bias_correction_nu": nu},
            {**UPDATED_THERE, "bias_correction_mu": mu, "bias_correction_nu": nu},
        )
        for mu in (False, True)
        for nu in (False, True)
    ),
    *same("amsgrad", "amsgrad", ({"bias_correction_mu": True, "bias_correction_nu": True}, LR)),
    # A decay of momentum so long that 0.96^(t*psi) = 0 in float64: mu is beta1 in every step.
    *same("nadam", "nadam", ({"momentum_decay": 1e5}, {"learning_rate": 2e-3})),
    *same("nadamw", "nadam", ({"weight_decay": 0}, {"learning_rate": 2e-3})),
    *same(
        "nadamw", "nadamw",
        ({"weight_decay": 1e-4}, {"learning_rate": 2e-3}),
        ({**UPDATED, "weight_decay": 0.3}, {**UPDATED_THERE, "weight_decay": 0.3}),
    ),
    Case(
        "radam", "radam", {"eps": VANISHING}, {**LR, "eps": VANISHING},
        note="with an eps that vanishes: optax adds it after the correction, torch before",
    ),
    *same(
        "adabelief", "adabelief",
        ({}, LR),
        ({**UPDATED, "eps_root": 1e-4}, {**UPDATED_THERE, "eps_root": 1e-4}),
    ),
    *same(
        "yogi", "yogi",
        ({"initial_momentum": 1e-6}, {"learning_rate": 1e-2}),
        ({**UPDATED, "initial_momentum": 1e-6}, UPDATED_THERE),
    ),
    Case(
        "acprop", "acprop",
        {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-3, "eps_root": 0.81e-6},
        {**LR, "eps": 1e-3, "eps_root": 1e-6},
        later={"lr": 0.9e-3, "eps": 0.9e-3},
        note="with lr, eps, sqrt(eps_root) times beta1: optax centres by m[t-1], paper and authors by m[t]",
    ),
    Case(
        "adan", "adan",
        {"betas": (0.98, 0.5, 0.99), "eps_root": 1e-8, "weight_decay": 0.1, "no_prox": True},
        {**LR, **betas(0.98, 0.5, 0.99), "weight_decay": 0.1},
        note="with beta2 = 1/2 only: optax weights differences by 1 - beta2, paper and authors by beta2",
    ),
    *same(
        "ademamix", "ademamix",
        ({"alpha": 5}, LR),
        (
            {"betas": (0.9, 0.99, 0.999), "alpha": 8, "alpha_warmup": 100, "beta3_warmup": 150,
             "weight_decay": 0.1},
            {**LR, **betas(0.9, 0.99), "b3": half_life, "weight_decay": 0.1,
             "alpha": lambda count: 8 * jnp.minimum((count + 1.0) / 100, 1)},
        ),
    ),
    *same(
        "simplified_ademamix", "simplified_ademamix",
        ({}, LR),
        (
            {**UPDATED, "alpha": 2, "weight_decay": 0.1},
            {**UPDATED_THERE, "alpha": 2.0, "weight_decay": 0.1},
        ),
    ),
    *same(
        "adopt", "adopt",
        ({}, LR),
        ({**UPDATED, "nesterov": True}, {**UPDATED_THERE, "nesterov": True}),
        ({**UPDATED, "clipping": False}, {**UPDATED_THERE, "use_clipping": False}),
    ),
    *same(
        "cocob", "cocob",
        ({}, {}),
        (
            {"lr": 0.5, "alpha": 10, "eps": 1e-3, "weight_decay": 0.1},
            {"learning_rate": 0.5, "alpha": 10, "eps": 1e-3, "weight_decay": 0.1},
        ),
    ),
    Case("madgrad", "madgrad", {}, {"learning_rate": 1e-2}, rtol=1e-7, note=ROOT),
    Case(
        "madgrad", "madgrad",
        {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3},
        {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.1, "eps": 1e-3},
        rtol=1e-7, note=ROOT,
    ),
    *same(
        "lamb", "lamb",
        ({}, LR),
        ({**UPDATED, "weight_decay": 0.1}, {**UPDATED_THERE, "weight_decay": 0.1}),
    ),
    *same(
        "lars", "lars",
        ({"lr": 0.1}, {"learning_rate": 0.1, "eps": 1e-8}),
        (
            {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "trust_coefficient": 0.1, "eps": 1e-3,
             "nesterov": True},
            {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.1, "trust_coefficient": 0.1,
             "eps": 1e-3, "nesterov": True},
        ),
    ),
    *same("fromage", "fromage", ({}, {"learning_rate": 1e-2})),
    *same(
        "novograd", "novograd",
        ({}, LR),
        ({**UPDATED, "weight_decay": 0.1}, {**UPDATED_THERE, "weight_decay": 0.1}),
    ),
    *same("dog", "dog", ({}, {}), ({"lr": 0.5, "r_eps": 1e-3, "eps": 1e-3, "weight_decay": 0.1},
          {"learning_rate": 0.5, "init_step": ("heuristic", 1e-3), "eps": 1e-3, "weight_decay": 0.1})),
    Case("dowg", "dowg", stored=1e-3),
    Case(
        "dowg", "dowg",
        {"lr": 0.5, "eps": 1e-3, "weight_decay": 0.1},
        {"learning_rate": 0.5, "eps": 1e-3, "weight_decay": 0.1},
        stored=1e-3,
    ),
    *same(
        "prodigy", "prodigy",
        ({}, {}),
        (
            {"lr": 0.5, "betas": (0.8, 0.99), "eps": 1e-3, "d0": 1e-3, "d_coef": 2, "weight_decay": 0.1},
            {"learning_rate": 0.5, "betas": (0.8, 0.99), "eps": 1e-3, "estim_lr0": 1e-3, "estim_lr_coef": 2.0,
             "weight_decay": 0.1},
        ),
        ({"safeguard_warmup": True, "d0": 1e-3}, {"safeguard_warmup": True, "estim_lr0": 1e-3}),
    ),
    *same(
        "dadapt_adamw", "dadapt_adamw",
        ({}, {}),
        (
            {"lr": 0.5, "betas": (0.8, 0.99), "eps": 1e-3, "d0": 1e-3, "weight_decay": 0.1},
            {"learning_rate": 0.5, "betas": (0.8, 0.99), "eps": 1e-3, "estim_lr0": 1e-3, "weight_decay": 0.1},
        ),
    ),
    *same(
        "polyak_sgd", "polyak_sgd",
        ({}, {}),
        ({"max_learning_rate": 0.02, "f_min": 1.0}, {"max_learning_rate": 0.02, "f_min": 1.0}),
        ({"plus": True, "f_min": 5.0}, {"variant": "sps+", "f_min": 5.0}),
    ),
    Case(  # s*min(gap/|s*g|^2, M) = min(gap/|g|^2, s^2*M)/s
        "polyak_sgd", "polyak_sgd", {"lr": 2.0, "max_learning_rate": 0.005},
        {"scaling": 0.5, "max_learning_rate": 0.02},
        note="with our options for it: optax takes the norm after `scaling`, where its page has it before",
    ),
    *same(
        "momo", "momo",
        ({}, {}),
        ({"lr": 0.01, "beta": 0.5, "lb": 2.0}, {"learning_rate": 0.01, "beta": 0.5, "lower_bound": 2.0}),
        (
            {"lr": 0.5, "use_fstar": True, "lb": -3.0},
            {"learning_rate": 0.5, "adapt_lower_bound": True, "lower_bound": -3.0},
        ),
    ),
    *same(
        "momo_adam", "momo_adam",
        ({}, {}),
        (
            {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "lb": 2.0},
            {"learning_rate": 0.1, **betas(0.5, 0.9), "eps": 1e-3, "lower_bound": 2.0},
        ),
        (
            {"use_fstar": True, "lb": -3.0, "betas": (0.5, 0.9)},
            {"adapt_lower_bound": True, "lower_bound": -3.0, **betas(0.5, 0.9)},
        ),
    ),
    *same(
        "sophia", "sophia",
        ({"late": True, "corrected": True, **SOPHIA}, {"learning_rate": 1e-4, **SOPHIA, **GIVEN}),
        (
            {"late": True, "corrected": True, "lr": 0.01, "betas": (0.5, 0.9), "gamma": 0.3,
             "eps": 1e-3, "weight_decay": 0.2, "update_period": 3},
            {"learning_rate": 0.01, **betas(0.5, 0.9), "gamma": 0.3,
             "eps": 1e-3, "weight_decay": 0.2, "update_interval": 3, **GIVEN},
        ),
    ),
    *same(
        "schedule_free_sgd", "schedule_free_sgd",
        ({}, {}),
        (
            {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1},
            {"learning_rate": 0.01, "b1": 0.5, "weight_decay": 0.1},
        ),
    ),
    *same(
        "schedule_free_adamw", "schedule_free_adamw",
        ({"corrected": True}, {}),
        (
            {"corrected": True, "lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1},
            {"learning_rate": 0.01, **betas(0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1},
        ),
    ),
    # Of the one matrix, 5 x 3: optax takes sqrt(max(1, columns/rows)), the other way around.
    Case(
        "muon", "muon",
        {"lr": 0.02, "eps": 1e-30, "adjust_lr_fn": "match_rms_adamw", "bias_correction": True},
        {"learning_rate": 0.02, "weight_decay": 0.1, "eps": 1e-30, "consistent_rms": 0.2},
        ranks=(2,),
    ),
    Case(
        "muon", "muon",
        {"lr": 0.02, "weight_decay": 0.0, "eps": 1e-30, "momentum": 0.5, "nesterov": False},
        {"learning_rate": 0.02*math.sqrt(5/3), "eps": 1e-30, "beta": 0.5, "nesterov": False},
        ranks=(2,),
        note="with the rate times sqrt(5/3): optax lengthens the step of the transposed matrix",
    ),
]  # fmt: skip
