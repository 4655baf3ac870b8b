"""Every spec that torch.optim has, against torch's own class (its loop over tensors): the path of the
parameters, the state tensors under torch's keys, `state_dict` in both directions, the constructor.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import optdsl
from optdsl.files import library_names
from tests.support.muon import Muon
from tests.support.parity import Row, told

SHAPES = ((), (7,), (5, 3), (2, 3, 4), (2, 3, 2, 3))
MATRICES = ((5, 3), (3, 5), (4, 4), (1, 7), (16, 9))
STEPS = 200


NOTES = {
    "nadam": "torch keeps the product of momenta in float32",
    "muon": "torch's own code, but for the rounding to bfloat16 of what it iterates on",
}


@dataclass(frozen=True)
class Case:
    spec: str
    torch_class: Callable[..., torch.optim.Optimizer]
    options: dict[str, Any] = field(default_factory=dict)

    def row(self, apart: float) -> Row:
        note = NOTES.get(self.spec, "")
        return Row(self.spec, f"torch.optim.{self.torch_class.__name__}", told(self.options), apart, note)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return MATRICES if self.spec == "muon" else SHAPES

    def __str__(self) -> str:
        return "-".join([self.spec, *(f"{name}={value}" for name, value in self.options.items())])


def cases(spec: str, torch_class: type[torch.optim.Optimizer], *variants: dict[str, Any]) -> Iterator[Case]:
    return (Case(spec, torch_class, options) for options in ({}, *variants))


CASES = [
    *cases(
        "sgd", torch.optim.SGD,
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        {"dampening": 0.5, "lr": 0.02},
    ),
    *cases(
        "adagrad", torch.optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "eps": 1e-4},
    ),
    *cases("adadelta", torch.optim.Adadelta, {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}),
    *cases(
        "rmsprop", torch.optim.RMSprop,
        {"centered": True},
        {"momentum": 0.9, "alpha": 0.5, "weight_decay": 0.1},
        {"momentum": 0.5, "centered": True, "lr": 1e-3, "eps": 1e-3},
    ),
    *cases("rprop", torch.optim.Rprop, {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2)}),
    *cases(
        "adam", torch.optim.Adam,
        {"amsgrad": True},
        {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1},
    ),
    *cases("adamw", torch.optim.AdamW, {"amsgrad": True, "weight_decay": 0.3, "betas": (0.5, 0.9)}),
    *cases(
        "adafactor", torch.optim.Adafactor,
        {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-3, 0.01), "d": 2.0, "weight_decay": 0.1},
    ),
    *cases(
        "asgd", torch.optim.ASGD,
        {"lr": 0.1, "lambd": 0.01, "alpha": 0.5, "t0": 50.0, "weight_decay": 0.1},
        {"t0": 0.0},
    ),
    *cases("adamax", torch.optim.Adamax, {"betas": (0.5, 0.9), "weight_decay": 0.1, "eps": 1e-3}),
    *cases(
        "muon", Muon,
        {"nesterov": False, "weight_decay": 0.0, "lr": 0.02},
        {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.5, "eps": 0.5},
        {"adjust_lr_fn": "original", "ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5)},
    ),
    *cases(
        "nadam", torch.optim.NAdam,
        {"betas": (0.5, 0.9), "weight_decay": 0.1, "momentum_decay": 0.1},
        {"weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
    *cases(
        "radam", torch.optim.RAdam,
        {"betas": (0.5, 0.9), "weight_decay": 0.1},
        {"weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Precision:
    """What the two sides store, and how far apart 200 steps may take them."""

    ours: torch.dtype
    theirs: torch.dtype
    rtol: float


PRECISIONS = {
    "float64": Precision(torch.float64, torch.float64, 1e-12),
    # Ours computes in float64 and rounds what it stores: 200 roundings of 2^-25 add up to some 2^-21.
    "float32-to-float64": Precision(torch.float32, torch.float64, 1e-6),
    # torch also rounds what it multiplies by, always to the same side: 200 times (1 - lr*weight_decay) or
    # beta2 in float32 are up to 200 * 2^-25 = 6e-6 off. This one is torch's error, as the line above shows.
    "float32": Precision(torch.float32, torch.float32, 1e-5),
}


def tensors(
    drawn_as: torch.dtype, dtype: torch.dtype, shapes: tuple[tuple[int, ...], ...] = SHAPES
) -> list[torch.Tensor]:
    """Every rank, and values away from zero: a decaying weight that reaches it moves by its sign alone."""
    random = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]
    return [(value + value.sign() * 2).to(drawn_as).to(dtype).requires_grad_() for value in drawn]


def gradients(steps: int, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> Iterator[list[torch.Tensor]]:
    """Sizes over four decades; a tenth is exactly zero, at step 1 too, where most rules would be 0/0."""
    random = torch.Generator().manual_seed(1)

    def gradient(shape: tuple[int, ...]) -> torch.Tensor:
        size = 10 ** (4 * torch.rand(shape, generator=random) - 3)
        value = size * torch.randn(shape, generator=random)
        value[torch.rand(shape, generator=random) < 0.1] = 0
        return value

    return ([gradient(shape) for shape in shapes] for _ in range(steps))


@dataclass
class Race:
    """Our class and torch's, side by side on the same numbers."""

    case: Case
    precision: Precision
    loaded: bool = False  # whether both have another's state

    def __post_init__(self) -> None:
        self.ours = tensors(self.precision.ours, self.precision.ours, self.case.shapes)
        self.theirs = tensors(self.precision.ours, self.precision.theirs, self.case.shapes)
        self.start(**self.case.options)

    def start(self, **options: Any) -> None:
        self.optimizer = optdsl.torch.load(self.case.spec)(self.ours, **options)
        one_by_one = {} if self.case.spec == "muon" else {"foreach": False}
        self.torch_optimizer = self.case.torch_class(self.theirs, **one_by_one, **options)

    def step(self, values: list[torch.Tensor]) -> None:
        for mine, other, value in zip(self.ours, self.theirs, values, strict=True):
            mine.grad, other.grad = value.to(mine.dtype), value.to(other.dtype)
        self.optimizer.step()
        self.torch_optimizer.step()

    def compare(self, when: str, *, states: bool = False) -> None:
        for mine, other in zip(self.ours, self.theirs, strict=True):
            what = f"{when}, shape {tuple(other.shape)}"
            self._assert_close(mine.detach(), other.detach(), what)
            if not states:
                continue
            found, expected = self.optimizer.state[mine], self.torch_optimizer.state[other]
            kept = {key: value for key, value in expected.items() if value is not None}
            if not self.case.options.get("momentum"):
                # torch keeps no buffer then, nor looks at one that was loaded; ours is ready for a
                # momentum that changes.
                kept.pop("momentum_buffer", None)
            assert found.keys() - kept.keys() <= {"momentum_buffer", *(["step"] * (self.case.spec == "muon"))}
            for key, value in kept.items():
                self._assert_close(found[key], value, f"{what}, state {key}")

    def apart(self) -> float:
        """The largest difference of parameters, relative to the largest element of their tensor."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return max(float((x - y).abs().max() / y.abs().max()) for x, y in pairs)

    def _assert_close(self, found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
        """Relative to each element and to the tensor's largest: single elements pass through zero."""
        rtol = self.precision.rtol
        if self.loaded and self.case.spec == "asgd":  # loading makes eta float64, and torch rounds it still
            rtol = max(rtol, 1e-7)
        if self.case.spec == "nadam":  # torch rounds the product of momenta to float32 at every step
            rtol = max(rtol, 1e-7)
        torch.testing.assert_close(
            found,
            expected,
            rtol=rtol,
            atol=rtol * float(expected.abs().max()),
            check_dtype=self.precision.ours is self.precision.theirs,
            msg=lambda text: f"{what}: {text}",
        )


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_path(case: Case, precision: Precision) -> None:
    race = Race(case, precision)
    for t, values in enumerate(gradients(STEPS, case.shapes), start=1):
        race.step(values)
        if t in (1, 2, 6, 20, STEPS):
            race.compare(f"step {t}", states=t in (1, STEPS))


def rows() -> Iterator[Row]:
    """What docs/parity.md is made of."""
    for case in CASES:
        race, apart = Race(case, PRECISIONS["float64"]), 0.0
        for values in gradients(STEPS, case.shapes):
            race.step(values)
            apart = max(apart, race.apart())
        yield case.row(apart)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_state_dict_moves_both_ways(case: Case) -> None:
    """Half of the way; then two new optimizers go on, each with the other's state and options."""
    race = Race(case, PRECISIONS["float64"])
    for t, values in enumerate(gradients(20, case.shapes), start=1):
        race.step(values)
        if t == 10:
            saved, torch_saved = race.optimizer.state_dict(), race.torch_optimizer.state_dict()
            race.start()
            race.optimizer.load_state_dict(torch_saved)
            race.torch_optimizer.load_state_dict(saved)
            race.loaded = True
    race.compare("step 20", states=True)


# What says how a step runs, not what it computes: the runtime's business.
NOT_IN_SPECS = {"torch_options", "maximize", "foreach", "fused", "capturable", "differentiable"}


@pytest.mark.parametrize("case", [case for case in CASES if not case.options], ids=str)
def test_constructor(case: Case) -> None:
    """The names, their order and their defaults are torch's."""

    def options(cls: Callable[..., object]) -> list[tuple[str, object]]:
        parameters = inspect.signature(cls).parameters.values()
        return [(p.name, p.default) for p in parameters if p.name not in NOT_IN_SPECS]

    # what torch has not, and other libraries do; it comes last
    extra = [("eps_in_sqrt", False)] if case.spec in ("adagrad", "rmsprop") else []
    extra = [("bias_correction", False)] if case.spec == "muon" else extra
    known = options(case.torch_class)
    if case.spec == "adam":  # with it, torch's Adam is AdamW: here that is adamw.opt
        known = [(name, default) for name, default in known if name != "decoupled_weight_decay"]
    if case.spec == "adafactor":  # None, for the eps of the dtype: a number is for all
        known = [(name, (2**-23, 1e-3) if name == "eps" else default) for name, default in known]
    assert options(optdsl.torch.load(case.spec)) == known + extra


def test_muon_is_as_near_to_torch_as_bfloat16_is() -> None:
    """torch's class as it is: a step differs by about a percent of its length, which is bfloat16's."""
    for shape in ((5, 7), (64, 64), (100, 30)):
        ours, theirs = torch.zeros(shape).requires_grad_(), torch.zeros(shape).requires_grad_()
        ours.grad = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        theirs.grad = ours.grad.clone()
        optdsl.torch.load("muon")([ours]).step()
        peer: torch.optim.Optimizer = torch.optim.Muon([theirs])
        peer.step()
        apart = float((ours - theirs).detach().norm() / theirs.detach().norm())
        assert 1e-4 < apart < 0.04, (shape, apart)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_muon_is_for_matrices(shape: tuple[int, ...]) -> None:
    """Refused in torch's words, when it is made and when a group is added."""
    p, matrix = torch.zeros(shape, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match="only supports 2D") as theirs:
        torch.optim.Muon([p])
    with pytest.raises(ValueError, match="only supports 2D") as ours:
        optdsl.torch.load("muon")([p])
    assert str(ours.value) == str(theirs.value)
    optimizer = optdsl.torch.load("muon")([matrix])
    with pytest.raises(ValueError, match="only supports 2D"):
        optimizer.add_param_group({"params": [p]})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(ValueError, match="must be one of original, match_rms_adamw"):
        optdsl.torch.load("muon")([matrix], adjust_lr_fn="other")


def test_nothing_is_left_out() -> None:
    """Every spec that is named as a class of torch.optim is compared with it; L-BFGS in test_history.py,
    where gradients are those of a function.
    """
    named = {name for name in library_names() if name in {known.lower() for known in vars(torch.optim)}}
    assert named - {case.spec for case in CASES} == {"lbfgs"}
