"""Every spec that optax has, against optax itself: 200 steps on tensors of every rank, from the same start
and on the same gradients. Where optax departs from the paper, the test says how, and why the paper is right.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optdsl
from optdsl.checks.verdict import Outcome
from optdsl.files import library_names, read_library
from optdsl.language.reductions import totals
from tests.support.claims import verdict
from tests.support.optax_cases import CASES, Case, betas
from tests.support.optax_numbers import SHAPES, STEPS, Tensors, gradients, in_tensors, inputs, start
from tests.support.parity import Row, difference
from tests.support.programs import meaning

# --- the two paths -------------------------------------------------------------------------------


def our_path(case: Case, dtype: Any) -> Tensors:
    """The parameters after every step, stored as `dtype`."""
    theta = [x.astype(dtype) for x in case.of(start())]
    optimizer = optdsl.numpy.load(case.spec)(theta, **case.ours)
    path = []
    for t in range(STEPS):
        given: dict[str, Any] = {name: inputs()[name][t] for name in meaning(case.spec).inputs}
        if "hvp" in given:
            given["hvp"] = [x.astype(dtype) for x in in_tensors(given["hvp"])]
        optimizer.step([g[t].astype(dtype) for g in case.of(gradients())], **given)
        path.append([x.copy() for x in theta])
        if t == 0:
            optimizer.hyper.update(case.later)
    return tuple(np.stack(each) for each in zip(*path, strict=True))


def optax_path(case: Case, dtype: Any) -> Tensors:
    """As above. Where rules work element by element, optax gets one long vector, and all steps in one
    compiled function: that is three times faster than five tensors."""

    def one(carry: Any, at: Any) -> Any:
        theta, state = carry
        g, given = at
        updates, state = transformation.update(g, state, theta, **given)
        theta = optax.apply_updates(theta, updates)
        return (theta, state), theta

    with jax.enable_x64(dtype == np.float64):
        transformation = optax.with_extra_args_support(case.transformation())
        of_optax = {"loss": "value", "hvp": "hvp"}
        given = {of_optax[name]: jnp.asarray(inputs()[name], dtype) for name in meaning(case.spec).inputs}
        if totals(meaning(case.spec).lines):
            several = tuple(jnp.asarray(x, dtype) for x in case.of(start()))
            each = tuple(jnp.asarray(g, dtype) for g in case.of(gradients()))
            run = jax.jit(lambda x, g: jax.lax.scan(one, (x, transformation.init(x)), g)[1])
            return tuple(np.asarray(x) for x in run(several, (each, given)))
        theta = jnp.asarray(np.concatenate([x.ravel() for x in start()]), dtype)
        of_all = jnp.asarray(np.concatenate([g.reshape(STEPS, -1) for g in gradients()], axis=1), dtype)
        run = jax.jit(lambda x, g: jax.lax.scan(one, (x, transformation.init(x)), g)[1])
        path = np.asarray(run(theta, (of_all, given)))
    ends = np.cumsum([x.size for x in start()])[:-1]
    parts = np.split(path, ends, axis=1)
    return tuple(part.reshape(STEPS, *shape) for part, shape in zip(parts, SHAPES, strict=True))


@dataclass(frozen=True)
class Precision:
    """What the two sides store, and how far apart 200 steps may take them."""

    ours: type
    theirs: type
    rtol: float


# Ours computes in float64 and rounds what it stores by at most 2^-24 of it. Where all steps are the same
# (signSGD, Lion), 200 roundings go to the same side, in ours as in optax's: 200 * 2^-24 = 1.2e-5.
STORED = STEPS * 2**-24
PRECISIONS = {
    "float64": Precision(np.float64, np.float64, 0),
    "float32-to-float64": Precision(np.float32, np.float64, STORED),
    "float32": Precision(np.float32, np.float32, 2 * STORED),
}


@cache
def expected(number: int, dtype: type) -> Tensors:
    return optax_path(CASES[number], dtype)


@pytest.mark.filterwarnings("ignore:`optimistic_adam` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("number", range(len(CASES)), ids=map(str, CASES))
def test_path(number: int) -> None:
    case = CASES[number]
    for name, precision in PRECISIONS.items():
        found = case.derived(our_path(case, precision.ours))
        apart = difference(found, expected(number, precision.theirs))
        allowed = max(case.rtol, precision.rtol, case.stored if precision.rtol else 0.0)
        assert apart <= allowed, f"{name}: {apart}"


def rows() -> Iterator[Row]:
    """What docs/parity.md is made of."""
    for number, case in enumerate(CASES):
        path = case.derived(our_path(case, np.float64))
        yield case.row(difference(path, expected(number, np.float64)))


# --- where optax is wrong, or different ----------------------------------------------------------

LINEAR_ADAN = (
    "optimizer LinearAdan\nhyper lr = 0.1 in (0, inf)\nhyper b = 0.9 in (0, 1)\n"
    "state m[0] = 0\nstate r[0] = 0\nstate last[0] = 0\n"
    "last[t] = g[t]\nm[t] = b*m[t-1] + (1 - b)*g[t]\nr[t] = b*r[t-1] + (1 - b)*(g[t] - last[t-1])\n"
    "theta[t] = theta[t-1] - lr*(m[t] + {weight}*r[t])\n"
)


def test_adan_weights_differences_by_beta2() -> None:
    """Adan is Nesterov's momentum without the point ahead (Lemma 1 of the paper): with one b for both
    averages and nothing to divide by, m + b*r is Nesterov's up to lr, and m + (1 - b)*r, which optax
    computes, is no Nesterov momentum whatever lr and mu are. Transfer functions, with z for one step back:
    (1 - b)*(1 + w*(1 - z))/(1 - b*z) is to be K*(1 + mu - mu*z)/(1 - mu*z), so mu = b and w = b.
    """
    specs = {"right": LINEAR_ADAN.format(weight="b"), "wrong": LINEAR_ADAN.format(weight="(1 - b)")}
    claim = "same_oracle(nesterov) free lr, mu"
    assert verdict("right", claim, specs).outcome is Outcome.PROVED
    assert verdict("wrong", claim, specs).outcome is Outcome.REFUTED


def test_adan_of_optax_is_still_wrong() -> None:
    """When this fails, optax has been mended: give the case of Adan its default betas."""
    (case,) = (case for case in CASES if case.spec == "adan")
    ours, theirs = {**case.ours, "betas": (0.98, 0.92, 0.99)}, {**case.theirs, **betas(0.98, 0.92, 0.99)}
    theirs_path = optax_path(Case("adan", "adan", theirs=theirs), np.float64)
    assert difference(our_path(Case("adan", "adan", ours), np.float64), theirs_path) > 1e-3


def test_centering_by_the_old_mean() -> None:
    """g - m[t] = beta1*(g - m[t-1]), so optax's s is 1/beta1^2 times that of the paper, eps_root included:
    its steps are beta1 times as long but for the first, which divides by nothing.
    """
    text = read_library("acprop").text
    centred = {"centred": text.replace("(g[t] - m[t])^2", "(beta1*(g[t] - m[t-1]))^2")}
    assert centred["centred"] != text
    assert verdict("centred", "reduces(acprop)", centred).outcome is Outcome.PROVED
    assert verdict("centred", "reduces(acprop) with lr = beta1*lr", centred).outcome is Outcome.REFUTED


def test_momo_of_optax_decays_beside_its_model() -> None:
    """One element, the first step: g = 1 at theta = 2, lr = weight_decay = 1. The loss is modelled as
    f + (x - 2), with x = (2 - tau)/2. f = 5/4: tau = 2*(5/4 - 2) + 2 = 1/2 makes it zero: x = 3/4, and
    5/4 + 3/4 - 2 = 0. optax, with the same tau, is at 2/2 - 1/2 = 1/2, where the model is -1/4.
    """
    theta = np.array([2.0])
    optdsl.numpy.load("momo")(theta, lr=1.0, weight_decay=1.0).step(np.array([1.0]), loss=1.25)
    assert theta[0] == 0.75
    peer = optax.contrib.momo(1.0, weight_decay=1.0)
    start = jnp.array([2.0])
    update, _ = peer.update(jnp.array([1.0]), peer.init(start), start, value=1.25)
    assert float(start[0] + update[0]) == 0.5  # when this fails, optax has been mended


# Factors of the two largest dimensions, random numbers, factorisations, a rule around any other.
NOT_YET = {
    *("adafactor noisy_sgd".split()),
    "lbfgs",  # of a loss that is convex: test_history
    *("dpsgd galore schedule_free".split()),
}


def test_nothing_is_left_out() -> None:
    """Whatever in optax takes a learning rate, but for what the language has not got yet."""
    found = {
        name
        for module in (optax, optax.contrib)
        for name, make in vars(module).items()
        if isinstance(make, FunctionType | partial) and not name.startswith(("_", "scale_by_"))
        if {"learning_rate", "max_learning_rate"} & inspect.signature(make).parameters.keys()
    }
    assert found - NOT_YET == {case.peer for case in CASES}
    named = {name for name in library_names() if name in found - NOT_YET}
    assert named - {case.spec for case in CASES} == set()
