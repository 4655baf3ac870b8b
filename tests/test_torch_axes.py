"""The axes of torch's own optimizer tests, `optim_db`, on our classes of the same names.

`torch.testing._internal.common_optimizers` ships with torch: options for every class, schedulers, and what is
refused in which words. Here they are given to our classes, and to torch's beside them.
"""

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optdsl.library import library_classes
from optdsl.torch import load

pytest.importorskip("expecttest", reason="torch's own tests need it")

from torch.testing._internal.common_optimizers import (
    OptimizerErrorEnum,
    _get_optim_inputs_including_global_cliquey_kwargs,
    optim_db,
)


def name_of(info: Any) -> str:
    return str(info.optim_cls.__name__)


SPECS = {name.lower(): spec for name, spec in library_classes().items()}
INFOS = [info for info in optim_db if name_of(info).lower() in SPECS]
NOT_OURS = {
    "LBFGS": "a step of it is many, with a closure",
    "Muon": "it needs products of matrices",
    "SparseAdam": "gradients are dense",
}
"""torch's classes that are not tried; those that the library has by now are."""

# torch's limits, which are none here: its multi-tensor path takes no options that are tensors.
TAKEN_HERE = (
    "lr as a Tensor is not supported for capturable=False and foreach=True",
    "betas must be either both floats or both Tensors",
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True",
)


def ours(info: Any) -> Any:
    return load(SPECS[name_of(info).lower()])


def inputs(info: Any) -> list[Any]:
    """Every setting of torch's own tests that a step can have, `foreach` and `fused` among them."""
    return list(
        _get_optim_inputs_including_global_cliquey_kwargs(
            "cpu", torch.float32, info, skip=("differentiable",)
        )
    )


SETTINGS = [
    pytest.param(info, given.kwargs, id=f"{name_of(info)}-{given.desc}")
    for info in INFOS
    for given in inputs(info)
]
# torch's defaults for float32 and float64; its state has 16 bits where the parameter has.
TOLERANCES = {
    torch.float64: (1e-7, 1e-7),
    torch.float32: (1.3e-6, 1e-5),
    torch.complex64: (1.3e-6, 1e-5),
    torch.bfloat16: (1.6e-2, 5e-3),
    torch.float16: (5e-3, 5e-3),
}
SHAPES = [(10, 5), (5,), ()]


def weights(dtype: torch.dtype, info: Any) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [shape for shape in SHAPES if len(shape) == 2 or name_of(info) != "Muon"]  # it takes matrices
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A copy: tensors among them are shared by torch's tests."""
    return {key: x.clone() if isinstance(x, Tensor) else x for key, x in kwargs.items()}


def test_every_class_of_torch_is_tried() -> None:
    tried = {name_of(info) for info in INFOS}
    assert {name_of(info) for info in optim_db} - tried <= NOT_OURS.keys()


@pytest.mark.parametrize(("info", "kwargs"), SETTINGS)
def test_steps_as_torch_does(info: Any, kwargs: dict[str, Any]) -> None:
    for dtype, (rtol, atol) in TOLERANCES.items():
        given, theirs = options(kwargs), options(kwargs)
        if dtype.is_complex and not info.supports_complex:
            continue  # ours refuses them, in torch's words
        if kwargs.get("fused") and dtype.is_complex:
            theirs["fused"] = False  # torch's fused kernels take none
        if kwargs.get("fused") and dtype.itemsize == 2 and info.optim_cls is torch.optim.SGD:
            theirs["fused"] = False  # torch 2.13 leaves nearly all elements as they are (pytorch #191763)
        if dtype == torch.float16 and "eps" in ours(info).layout.lengths and name_of(info) != "Adafactor":
            given["eps"] = theirs["eps"] = 0.1  # in float16 torch's own 1e-8 is 0
        if name_of(info) == "Muon":  # torch multiplies matrices in bfloat16; test_against_torch looks closer
            if dtype.itemsize == 2:
                continue
            rtol, atol = 0.0, 0.25 * float(given.get("lr", 1e-3))
        ps, qs = weights(dtype, info), weights(dtype, info)
        a, b = ours(info)(ps, **given), info.optim_cls(qs, **theirs)
        generator = torch.Generator().manual_seed(1)
        for _ in range(5):
            for p, q in zip(ps, qs, strict=True):
                q.grad = torch.randn(p.shape, generator=generator, dtype=dtype)
                p.grad = q.grad.clone()
            a.step()
            b.step()
        for p, q in zip(ps, qs, strict=True):
            torch.testing.assert_close(p, q, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("info", "kwargs"), SETTINGS)
def test_goes_in_the_right_direction(info: Any, kwargs: dict[str, Any]) -> None:
    """torch's own test: 20 steps of a small regression, without and with its schedulers."""
    for makers in ((), *info.scheduler_inputs):
        first, last = regression(ours(info), options(kwargs), makers)
        assert math.isfinite(last)
        assert (last > first) if kwargs.get("maximize") else (last < first)


def regression(cls: Any, given: dict[str, Any], makers: Iterable[Any]) -> tuple[float, float]:
    """The losses before and after."""
    weight = nn.Parameter(torch.randn(10, 5, generator=torch.Generator().manual_seed(0)))
    bias = nn.Parameter(torch.randn(10, generator=torch.Generator().manual_seed(1)))
    x = torch.randn(5, generator=torch.Generator().manual_seed(2))
    opt = cls([weight] if cls.__name__ == "Muon" else [weight, bias], **given)
    schedules = [make(opt) for make in makers]

    def closure() -> Tensor:
        opt.zero_grad()
        loss: Tensor = (weight.mv(x) + bias).pow(2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    first = closure().item()
    for _ in range(20):
        loss = opt.step(closure)
        for schedule in schedules:
            plateau = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
            schedule.step(*([loss] if plateau else []))
    return first, closure().item()


@pytest.mark.parametrize("given", [{}, {"momentum": 0.9, "dampening": 0.5}])
def test_nesterov_needs_momentum(given: dict[str, Any]) -> None:
    classes: tuple[Any, ...] = (torch.optim.SGD, load("sgd"))
    for cls in classes:
        with pytest.raises(ValueError, match="Nesterov momentum requires a momentum and zero dampening"):
            cls([nn.Parameter(torch.ones(1))], nesterov=True, **given)


REFUSED = [
    pytest.param(info, error, id=f"{name_of(info)}-{error.optimizer_error_input.desc}")
    for info in INFOS
    for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
]


@pytest.mark.parametrize(("info", "error"), REFUSED)
def test_refuses_in_torchs_words(info: Any, error: Any) -> None:
    given = error.optimizer_error_input
    params = given.params
    if params is None:
        params = [nn.Parameter(torch.randn(2, 3))]
    if error.error_regex in TAKEN_HERE:
        ours(info)(params, **given.kwargs)
        return
    if error.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR:
        if issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                ours(info)(params, **given.kwargs)
            return
        with pytest.raises(error.error_type, match=error.error_regex):
            ours(info)(params, **given.kwargs)
        return
    opt = ours(info)(params, **given.kwargs)
    with pytest.raises(error.error_type, match=error.error_regex):
        opt.step()
