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
SIZES = ((), (3,), (4, 5))


def arrays(text: str | Path) -> Any:
    return optdsl.numpy.load(text)


def tensors_of(text: str) -> Any:
    return optdsl.torch.load(text)


def meaning(text: str) -> Optimizer:
    return driver.front(composition(text))[0]


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


@pytest.mark.parametrize("name", library_names())
def test_parts_that_change_nothing_change_nothing(name: str) -> None:
    """Before and after every optimizer: the numbers are its own."""
    results = []
    for text in (name, f"scale(1) | {name} | scale(1) | lookahead(1, 1)"):
        params = start()
        opt = arrays(text)(params)
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
    mine = tensors_of("clip_by_value(10) | adamw(weight_decay = 0.1) | lookahead(100)")([p])
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
    opt = arrays(path)(x)
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
    first, second = (each.split("import math")[1].split("\nclass ")[0] for each in (module, again))
    assert first == second


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
    assert " 3 | out = g[t]/(1 - c)\n   |       ^^^^^^^^^^^^" in shown


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


def test_checks_see_one_optimizer() -> None:
    """What is right about a part, and wrong about the whole."""
    _, found, _ = driver.check(composition("scale(-1) | gd"))
    assert [diagnostic.code for diagnostic in found] == ["OD605"]
    assert "along the gradient" in found[0].notes[0]
    assert not driver.check(composition("gd | scale(1/2)"))[1]
