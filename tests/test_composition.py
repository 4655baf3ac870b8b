"""Compositions: what the parts compute, against torch and the papers, and what becomes of them together."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.optim import lr_scheduler

import optdsl
from optdsl import driver
from optdsl.diagnostics import OptdslError, Source
from optdsl.files import PART_FOLDERS, composition, library_names, names_in, read_library
from optdsl.kernel.ir import Access, Precision, Type
from optdsl.kernel.walk import nodes
from optdsl.language.optimizer import Optimizer
from optdsl.language.parts import Part

Array = npt.NDArray[np.float64]
STEPS = 300
SIZES = ((), (3,), (4, 5))


def meaning(text: str) -> Optimizer:
    return driver.front(composition(text))[0]


# --- schedules ---------------------------------------------------------------------------------------


def values(schedule: str, steps: int = STEPS) -> list[float]:
    """The learning rates of so many steps: gradient descent from 0 with gradient -1."""
    x, found = np.zeros(1), []
    opt = optdsl.numpy.load(f"gd(lr = {schedule})")(x)
    for _ in range(steps):
        x[:] = 0
        opt.step([-1.0])
        found.append(float(x[0]))
    return found


def rates(make: Callable[..., Any], lr: float, steps: int = STEPS) -> list[float]:
    """What a scheduler of torch sets."""
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, found = make(opt), []
    for _ in range(steps):
        found.append(float(opt.param_groups[0]["lr"]))
        opt.step()
        scheduler.step()
    return found


def warmup_cosine(opt: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """From 1e-9 of the rate, as torch refuses to begin at 0."""
    line = lr_scheduler.LinearLR(opt, start_factor=1e-9, total_iters=50)
    cosine = lr_scheduler.CosineAnnealingLR(opt, 400, eta_min=0.1)
    return lr_scheduler.SequentialLR(opt, [line, cosine], [50])


TORCH: dict[str, tuple[float, Callable[..., Any]]] = {
    "constant(2, 1/4, 7)": (2, lambda o: lr_scheduler.ConstantLR(o, 0.25, 7)),
    "step(2, 40, 0.3)": (2, lambda o: lr_scheduler.StepLR(o, 40, 0.3)),
    "multi_step(2, 30, 80, 200, gamma = 0.2)": (2, lambda o: lr_scheduler.MultiStepLR(o, [30, 80, 200], 0.2)),
    "multi_step(2, 30, 80)": (2, lambda o: lr_scheduler.MultiStepLR(o, [30, 80])),
    "exponential(2, 0.97)": (2, lambda o: lr_scheduler.ExponentialLR(o, 0.97)),
    "cosine(2, 400, 0.1)": (2, lambda o: lr_scheduler.CosineAnnealingLR(o, 400, 0.1)),
    "cosine(2, 299, eta_min = 0.1)": (2, lambda o: lr_scheduler.CosineAnnealingLR(o, 299, 0.1)),
    "cosine_restarts(2, 40, 1, 0.1)": (2, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 40, 1, 0.1)),
    "cosine_restarts(2, 10, 2)": (2, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2)),
    "cosine_restarts(2, 1, 10)": (2, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, 10)),
    "polynomial(2, 200, 1.7)": (2, lambda o: lr_scheduler.PolynomialLR(o, 200, 1.7)),
    "linear(2, 100, 1/3, 0.9)": (2, lambda o: lr_scheduler.LinearLR(o, 1 / 3, 0.9, 100)),
    "warmup(50, 2, 0.01)": (2, lambda o: lr_scheduler.LinearLR(o, 0.01, 1, 50)),
    "warmup(50, cosine(2, 400), 0.01)": (
        2,
        lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(o, 0.01, 1, 50), lr_scheduler.CosineAnnealingLR(o, 400)]
        ),
    ),
    "cyclical(1, 6, 37)": (1, lambda o: lr_scheduler.CyclicLR(o, 1, 6, 37, cycle_momentum=False)),
    "cyclical(1, 6, 37, triangular2 = true)": (
        1,
        lambda o: lr_scheduler.CyclicLR(o, 1, 6, 37, mode="triangular2", cycle_momentum=False),
    ),
    "cyclical(1, 6, 37, 0.99, exp_range = true)": (
        1,
        lambda o: lr_scheduler.CyclicLR(o, 1, 6, 37, mode="exp_range", gamma=0.99, cycle_momentum=False),
    ),
    "one_cycle(2, 300)": (2, lambda o: lr_scheduler.OneCycleLR(o, 2, 301, cycle_momentum=False)),
    "one_cycle(2, 400, 0.25, 10, 100)": (
        2,
        lambda o: lr_scheduler.OneCycleLR(
            o, 2, 400, pct_start=0.25, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
}


@pytest.mark.filterwarnings("ignore")  # what torch says of its own schedulers
@pytest.mark.parametrize("schedule", TORCH)
def test_schedules_are_torchs(schedule: str) -> None:
    lr, make = TORCH[schedule]
    expected = rates(make, lr)
    if schedule == "one_cycle(2, 300)":  # torch takes no step after the last: it is given one more
        expected = rates(lambda o: lr_scheduler.OneCycleLR(o, 2, 300, cycle_momentum=False), lr, STEPS - 1)
    np.testing.assert_allclose(values(schedule, len(expected)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_warmup_then_cosine_is_torchs_sequence() -> None:
    found = values("warmup_cosine(2, 50, 400, 0.1)")
    np.testing.assert_allclose(found, rates(warmup_cosine, 2), rtol=1e-12, atol=1e-8)
    assert found[:3] == [0, 2 / 50, 4 / 50]


def stable_then_down(u: int) -> float:
    """Hu et al. 2024, section 4.2, with a warm-up of 40, 100 stable and 60 falling steps, from 2 to 0.5."""
    return 2 * u / 40 if u < 40 else 2 if u < 140 else 2 - 1.5 * (u - 140) / 60 if u < 200 else 0.5


def transformer(u: int) -> float:
    """Vaswani et al. 2017, equation (3): d_model = 8, warmup_steps = 25."""
    return float(8**-0.5 * min((u + 1) ** -0.5, (u + 1) * 25**-1.5))


PAPERS: dict[str, Callable[[int], float]] = {
    "wsd(2, 40, 100, 60, 0.5)": stable_then_down,
    "inverse_sqrt(0.070710678118654752440, 25)": transformer,  # 1/sqrt(8*25)
    "polynomial(2, 100, 2, 0.5)": lambda u: 0.5 + 1.5 * (1 - min(u, 100) / 100) ** 2,  # optax's formula
}


@pytest.mark.parametrize("schedule", PAPERS)
def test_schedules_are_their_papers(schedule: str) -> None:
    expected = [PAPERS[schedule](u) for u in range(STEPS)]
    np.testing.assert_allclose(values(schedule), expected, rtol=1e-12, atol=1e-15)


def test_every_schedule_is_compared() -> None:
    compared = {text.split("(")[0] for text in (*TORCH, *PAPERS)} | {"warmup_cosine"}
    assert compared == set(names_in("schedules"))


# --- transforms and wrappers -------------------------------------------------------------------------


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
    "scale(-0.5)": each(lambda g, p: -0.5 * g),
}


def cautious(step: Array, g: Array) -> Array:
    """github.com/kyleliang919/C-Optim, c_adamw.py: mask.div_(mask.mean().clamp_(min=1e-3))."""
    mask = (step * g < 0).astype(np.float64)
    return step * mask / max(mask.mean(), 1e-3)


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
    opt = optdsl.numpy.load(optimizer)(params)
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


OPTIMIZERS = ("gd(lr = 0.3)", "sgd(0.1, momentum = 0.9, nesterov = true)", "adam", "adamw(weight_decay = 0.5)",
              "lamb", "rprop", "radam")  # fmt: skip
AFTER = ("", "decoupled_decay(0.02)", "cautious", "lookahead(3, 0.3)", "scale(1/4)")
CASES = [
    *((before, OPTIMIZERS[i % 7], AFTER[i % 5]) for i, before in enumerate(BEFORE)),
    *(("clip_by_value(0.4)", OPTIMIZERS[i], AFTER[(i + 3) % 5]) for i in range(1, 7)),
]


@pytest.mark.parametrize(("before", "optimizer", "after"), CASES)
def test_parts_are_applied_from_left_to_right(before: str, optimizer: str, after: str) -> None:
    ours, theirs = start(), start()
    opt = optdsl.numpy.load(" | ".join(filter(None, (before, "scale(2)", optimizer, after))))(ours)
    for grads in gradients():
        opt.step(grads)
    by_hand(theirs, [BEFORE[before], each(lambda g, p: 2 * g)], optimizer, after, gradients())
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)


def test_every_part_is_compared() -> None:
    compared = {text.split("(")[0] for text in (*BEFORE, *AFTER)} - {""}
    assert compared == {*names_in("transforms"), *names_in("wrappers")}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_three_parts_are_torchs_three_pieces(dtype: torch.dtype, tolerance: float) -> None:
    """clip_grad_norm_, then AdamW, whose rate LinearLR sets; over two groups."""
    random = torch.Generator().manual_seed(3)

    def tensors(size: float) -> list[torch.Tensor]:
        return [size * torch.randn(each, generator=random, dtype=torch.float64).to(dtype) for each in SIZES]

    ours = [torch.nn.Parameter(p) for p in tensors(1) + tensors(1)]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    text = "clip_by_global_norm(0.5, 1e-6) | adamw(lr = linear(0.1, 30, 1/2, 1/4), weight_decay = 0.1)"
    mine = optdsl.torch.load(text)([{"params": ours[:3]}, {"params": ours[3:], "weight_decay": 0.3}])
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


@pytest.mark.parametrize("name", library_names())
def test_parts_that_change_nothing_change_nothing(name: str) -> None:
    """Before and after every optimizer: its own kernel's numbers, and a wrapper's that takes all of the step."""
    results = []
    for text in (name, f"scale(1) | {name} | scale(1) | lookahead(1, 1)"):
        params = start()
        opt = optdsl.numpy.load(text)(params)
        for grads in gradients(5):
            opt.step(grads if name != "nesterov" else lambda grads=grads: grads)
        results.append(params)
    for x, y in zip(*results, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-15)


# --- one optimizer -----------------------------------------------------------------------------------


def traffic(text: str) -> dict[str, dict[str, Access]]:
    """By kernel: which buffers it loads or stores."""
    program = driver.build(meaning(text), Precision("accurate", Type.F32))
    found = {}
    for kernel in (program.update, *program.reductions):
        loaded = {
            node.buffer
            for phase in kernel.phases
            for stmt in phase.body
            for node in nodes(stmt.value)
            if hasattr(node, "buffer")
        }
        found[kernel.name] = {
            each.name: each.access
            for each in kernel.buffers
            if each.name in loaded or each.access is not Access.READ
        }
    return found


def test_a_composition_moves_what_its_optimizer_moves() -> None:
    adamw = traffic("adamw()")
    assert traffic("clip_by_value(1) | adamw(lr = warmup(10, cosine)) | decoupled_decay") == adamw
    clipped = traffic("clip_by_global_norm(1) | adamw")
    assert clipped.pop("reduce0") == {"g": Access.READ}  # one more pass, over the gradient alone
    assert clipped == adamw
    adamw["update"]["slow"] = Access.UPDATE
    assert traffic("adamw | lookahead") == adamw


def test_names() -> None:
    found = meaning(
        "add_l2(0.1) | scale(eps) | adamw(lr = cosine(1, 2, low = 3)) | lookahead | scale".replace(
            "(eps)", ""
        )
    )
    assert [hyper.name for hyper in found.hypers] == [
        *("base", "t_max", "low", "beta1", "beta2", "eps", "weight_decay"),  # of adamw and its schedule
        *("add_l2_weight_decay", "factor", "k", "alpha", "scale_factor"),
    ]
    aliases = {hyper.name: (hyper.alias.name, hyper.alias.index) for hyper in found.hypers if hyper.alias}
    assert aliases == {"beta1": ("betas", 0), "beta2": ("betas", 1)}
    defaults = {hyper.name: float(hyper.default) for hyper in found.hypers}
    assert (defaults["base"], defaults["t_max"], defaults["low"]) == (1, 2, 3)
    assert (defaults["weight_decay"], defaults["add_l2_weight_decay"]) == (0.01, 0.1)
    assert {state.name: state.alias for state in found.states} == {
        **{"m": "exp_avg", "v": "exp_avg_sq", "vmax": "max_exp_avg_sq"},
        "slow": None,
    }


def test_arguments_go_by_torchs_names_too() -> None:
    found = meaning("scale(factor = 2) | sgd(momentum = 0.5, nesterov = true)")
    assert {h.name: float(h.default) for h in found.hypers}["mu"] == 0.5
    assert [(flag.name, flag.default) for flag in found.flags] == [("nesterov", True)]


def test_state_dict_is_that_of_torchs_class() -> None:
    p, q = (torch.nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    mine = optdsl.torch.load("clip_by_value(10) | adamw(weight_decay = 0.1) | lookahead(100)")([p])
    peer = torch.optim.AdamW([q], weight_decay=0.1)
    for value in (1.0, -2.0, 3.0):
        p.grad, q.grad = torch.full_like(p, value), torch.full_like(q, value)
        mine.step()
        peer.step()
    state, expected = mine.state_dict()["state"][0], peer.state_dict()["state"][0]
    assert state.keys() == expected.keys() | {"slow"}
    for key in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(state[key], expected[key], rtol=1e-15, atol=0)
    assert torch.equal(state["slow"], torch.ones(4, dtype=torch.float64))
    other = torch.nn.Parameter(p.detach().clone())
    restored = type(mine)([other])
    restored.load_state_dict(mine.state_dict())
    p.grad, other.grad = torch.ones_like(p), torch.ones_like(p)
    mine.step()
    restored.step()
    assert torch.equal(p, other)


OWN = """# Somebody, 2024: parts of this file's own.
transform Halved
hyper by = 2 in (0, inf)
out = g[t]/by

schedule Falling
hyper base = 1 in (0, inf)
out = base/t

optimizer Fast = halved | gd(lr = falling(3))

optimizer Mine = scale(2) | fast(by = 4) | lookahead(2)
"""


def test_a_file_defines_parts_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.opt"
    path.write_text(OWN)
    spec = optdsl.load(path)
    assert (spec.name, spec.doc) == ("Mine", "Somebody, 2024: parts of this file's own.")
    assert not spec.warnings
    x = np.zeros(1)
    opt = optdsl.numpy.load(path)(x)
    places = []
    for _ in range(4):
        opt.step([1.0])
        places.append(float(x[0]))
    # steps -2/4 * 3/t: -3/2, -3/4; after two of them, half of -9/4 from 0: -9/8. Then -1/2, -3/8: half of it.
    assert places == [-1.5, -1.125, -1.625, (-1.125 - 2.0) / 2]


@pytest.mark.parametrize("text", ["clip_by_value(1) | gd(lr = cosine) | lookahead", "scale | nesterov"])
def test_the_comments_of_a_module_are_a_spec_that_needs_nothing_else(text: str) -> None:
    module = driver.compile_source(composition(text), framework="numpy")
    comments = module.split('"""', 1)[0].split("# precision:", 1)[1].splitlines()[2:]
    spec = "\n".join(line.removeprefix("#").removeprefix("   ") for line in comments) + "\n"
    again = driver.compile_source(Source("again.opt", spec), framework="numpy")
    assert module.split('"""', 1)[1] == again.split('"""', 1)[1]


def test_lines_of_a_kernel_carry_the_line_of_the_part() -> None:
    module = driver.compile_source(composition("clip_by_value(1) | gd(lr = cosine)"), framework="torch")
    for above, below in (
        ("# out = w*base + (1 - w)*low", "lr = w * base"),
        ("# out = clip(g[t], -clip_value, clip_value)", "out = minimum("),
        ("# theta[t] = theta[t-1] - lr*g[t]", "theta = theta_old - lr * out"),
    ):
        assert any(
            above == one.strip() and two.strip().startswith(below)
            for one, two in zip(module.splitlines(), module.splitlines()[1:], strict=False)
        ), above


def test_findings_point_into_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Source("half.opt", "transform Half\nhyper c = 1 in (0, inf)\nout = g[t]/(1 - c)\n")
    monkeypatch.setattr(driver, "LIBRARY", {"half": part, "gd": read_library("gd")})
    spec, found, _ = driver.check(composition("half(1/2) | gd"))
    (problem,) = found
    shown = str(OptdslError(found, spec.source))
    assert problem.code == "OD604"
    assert "half.opt:3:7" in shown
    assert "3 | out = g[t]/(1 - c)\n  |       ^^^^^^^^^^^^" in shown


@pytest.mark.parametrize("name", [name for folder in PART_FOLDERS for name in names_in(folder)])
def test_parts_of_the_library(name: str) -> None:
    """Cited, short, without findings, proved to have values; and refused when they are compiled alone."""
    spec, found, verdicts = driver.check(read_library(name))
    assert isinstance(spec, Part)
    assert not found
    assert all(verdict.verdict == "proved" for verdict in verdicts)
    assert spec.name.lower() == name.replace("_", "")
    with pytest.raises(OptdslError) as error:
        driver.compile_source(read_library(name), framework="torch")
    assert error.value.diagnostics[0].code == "OD906"


NEW_ORDER = "clip_by_global_norm(1) | adamw(lr = warmup(10, cosine)) | cautious | lookahead"


@pytest.mark.parametrize("command", ["check", "show", "explain", "compile"])
def test_compositions_on_the_command_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from optdsl.cli import main

    assert main([command, NEW_ORDER]) == 0
    shown = capsys.readouterr().out
    assert {
        "check": "clean",
        "show": "slow",
        "explain": "slow₀ = θ₀",
        "compile": "class ClipByGlobalNormAdamw",
    }[command] in shown


def test_list_has_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    from optdsl.cli import main

    assert main(["list"]) == 0
    sections = capsys.readouterr().out.split("\n\n")
    assert [section.split()[0] for section in sections] == [
        *("name", "objective", "transform", "schedule", "wrapper")
    ]


def test_units_and_checks_see_one_optimizer() -> None:
    """A wrong sign in one part shows in the checks of the whole."""
    _, found, _ = driver.check(composition("scale(-1) | gd"))
    assert {diagnostic.code for diagnostic in found} == set()  # a factor of either sign is the user's choice
    wrong = Source("x.opt", "transform Up\nout = -g[t]\n\noptimizer Mine = up | gd\n")
    _, found, _ = driver.check(wrong)
    assert "climbs" in " ".join(diagnostic.message for diagnostic in found)
