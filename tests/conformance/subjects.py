"""What is tried: every class of the library, and how to train any of them without knowing which it is.

A step is given everything that a class may ask for: gradients, the loss, an estimate of the Hessian's
diagonal, a closure. Everything comes from seeds, so that two twins see the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

import optdsl.torch
from optdsl.library import library_classes
from optdsl.runtime.layout import Layout, Variant

Parameters = list[nn.Parameter]
SHAPES: tuple[tuple[int, ...], ...] = ((3,), (2, 3), ())
MATRICES: tuple[tuple[int, ...], ...] = ((3, 1), (2, 3), (4, 3))
_TORCH = {name.lower(): found for name, found in vars(torch.optim).items() if isinstance(found, type)}
_LOSS = 0.75


@dataclass(frozen=True)
class Subject:
    """A class of the library, and torch's own class of the same name if there is one."""

    spec: str
    name: str

    @cached_property
    def cls(self) -> Any:
        return optdsl.torch.load(self.spec)

    @property
    def torch_class(self) -> Any:
        return _TORCH.get(self.name.lower())

    @property
    def layout(self) -> Layout:
        layout: Layout = self.cls.layout
        return layout

    @property
    def variants(self) -> list[Variant]:
        own = self.layout.variants.values()
        return [each for variant in own for each in (variant, variant.below) if each is not None]

    @property
    def couples(self) -> bool:
        """Whether something is summed over all parameters, or drawn by their places: each has to be there."""
        summed = (each for variant in self.variants for each in variant.reductions_float32)
        return self.draws or any(each.keys_over_all for each in summed)

    @property
    def by_rows(self) -> bool:
        return any(variant.below is not None or variant.reduced for variant in self.variants)

    @property
    def draws(self) -> bool:
        """Whether a step draws random numbers: they depend on which parameter it is, and which element."""
        return any(variant.draws for variant in self.variants)

    @property
    def only_matrices(self) -> bool:
        return any(variant.only_matrices for variant in self.variants)

    def ones(self, size: int) -> Tensor:
        """As many as that, in a row."""
        return torch.ones((1, size) if self.only_matrices else (size,))

    def parameters(
        self,
        dtype: torch.dtype = torch.float32,
        shapes: Iterable[tuple[int, ...]] | None = None,
        seed: int = 0,
    ) -> Parameters:
        """Of all ranks, where the class takes them; `shapes`: of these."""
        chosen = (MATRICES if self.only_matrices else SHAPES) if shapes is None else shapes
        generator = torch.Generator().manual_seed(seed)
        return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in chosen]

    @property
    def has_rate(self) -> bool:
        return "lr" in self.layout.options

    @property
    def needs_closure(self) -> bool:
        return any(variant.query is not None for variant in self.variants)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What `step` is given beside gradients."""
        return tuple(each.name for each in self.layout.inputs if each.name in ("loss", "hvp"))

    def __str__(self) -> str:
        return self.name

    def make(self, params: Iterable[Any], **options: Any) -> Any:
        if not self.has_rate:
            options.pop("lr", None)
        return self.cls(params, **options)

    def give(self, opt: Any, gradients: Sequence[Tensor | None], *, sign: float = 1.0) -> Any:
        """A step with these gradients, one for each parameter of all groups; returns what `step` returns.

        The Hessian's diagonal is given as a copy of the gradients, the loss as the same number times `sign`.
        """
        parameters = [p for group in opt.param_groups for p in group["params"]]
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
        return self.take(opt, sign=sign)

    def take(
        self,
        opt: Any,
        *,
        sign: float = 1.0,
        curvature: Sequence[Tensor | None] | None = None,
        step: Callable[..., Any] | None = None,
    ) -> Any:
        """A step with the gradients that are there; `step` instead of the optimizer's own.

        `curvature`: for what reads the Hessian's diagonal, instead of the gradients.
        """
        step = opt.step if step is None else step
        given: dict[str, Any] = {}
        if "hvp" in self.inputs:
            grads = (p.grad for group in opt.param_groups for p in group["params"])
            given["hvp"] = curvature or list(grads)
        if "loss" in self.inputs:
            given["loss"] = _LOSS * sign
        if self.needs_closure:
            return step(lambda: torch.tensor(_LOSS), **given)
        return step(**given)


@cache
def subjects() -> tuple[Subject, ...]:
    known = sorted(library_classes().items(), key=lambda item: item[1])
    return tuple(Subject(spec, name) for name, spec in known)


def gradients(params: Sequence[Tensor], seed: int) -> list[Tensor]:
    """New ones at each call, the same for the same seed."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in params]


def train(subject: Subject, opt: Any, params: Sequence[nn.Parameter], first: int, last: int) -> None:
    for seed in range(first, last):
        subject.give(opt, gradients(params, seed))


def same(these: Iterable[Tensor], those: Iterable[Tensor]) -> None:
    """Bit for bit; NaN would be the same as NaN, and is not what anybody wants."""
    for number, (x, y) in enumerate(zip(these, those, strict=True)):
        assert torch.equal(x.detach(), y.detach()), f"parameter {number}: {x.tolist()} and {y.tolist()}"
        assert bool(torch.isfinite(x.detach()).all()), f"parameter {number} is {x.tolist()}"


def same_state(one: Any, other: Any) -> None:
    """Of two optimizers, parameter by parameter."""
    pairs = zip(one.param_groups, other.param_groups, strict=True)
    for p, q in ((p, q) for a, b in pairs for p, q in zip(a["params"], b["params"], strict=True)):
        x, y = one.state.get(p, {}), other.state.get(q, {})
        assert x.keys() == y.keys(), f"{sorted(x)} and {sorted(y)}"
        for key in x:
            assert x[key].dtype == y[key].dtype, f"{key}: {x[key].dtype} and {y[key].dtype}"
            assert torch.equal(x[key], y[key]), f"{key}: {x[key].tolist()} and {y[key].tolist()}"


class Frozen:
    """What must not change: `with Frozen(opt, params): ...` fails if a parameter or the state has moved."""

    def __init__(self, opt: Any, params: Sequence[Tensor], *, written: bool = False) -> None:
        """`written`: a parameter may be written to, if it comes back."""
        self.opt, self.params = opt, [p for p in params if p.device.type == "cpu"]
        self.written = written

    def _now(self) -> tuple[list[Tensor], list[int], dict[Any, dict[str, Any]]]:
        state = {
            p: {key: x.clone() if isinstance(x, Tensor) else x for key, x in entry.items()}
            for p, entry in self.opt.state.items()
        }
        values = [p.detach().clone() for p in self.params]
        return values, [p._version for p in self.params], state

    def __enter__(self) -> None:
        self.before = self._now()

    def __exit__(self, *_: object) -> None:
        (values, versions, state), (now, new_versions, new_state) = self.before, self._now()
        assert all(torch.equal(x, y) for x, y in zip(values, now, strict=True)), "a parameter has changed"
        assert self.written or versions == new_versions, "a parameter was written to"
        assert state.keys() == new_state.keys(), "state has come or gone"
        for p, entry in state.items():
            assert entry.keys() == new_state[p].keys(), "state has come or gone"
            assert all(torch.equal(entry[key], new_state[p][key]) for key in entry), "state has changed"
