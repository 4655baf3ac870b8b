"""Compositions as one optimizer: what it moves, keeps, is called, says of itself and is told of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import optdsl
from optdsl import driver
from optdsl.diagnostics import OptdslError, Source
from optdsl.files import PART_FOLDERS, composition, library_names, names_in, read_library
from optdsl.kernel.ir import Access, Precision, Type
from optdsl.kernel.walk import nodes
from optdsl.language.optimizer import Optimizer, Ref, Role
from optdsl.language.parts import Part


def arrays(text: str | Path) -> Any:
    return optdsl.numpy.load(text)


def tensors_of(text: str) -> Any:
    return optdsl.torch.load(text)


def meaning(text: str) -> Optimizer:
    return driver.front(composition(text))[0]


@pytest.mark.parametrize("name", library_names())
def test_every_part_fits_every_optimizer(name: str) -> None:
    """What the kernels write and keep is what the optimizer does, and what a wrapper keeps besides."""
    alone = [name for name, access in traffic(f"{name}()")["update"].items() if access is not Access.READ]
    begins = {state.initial for state in meaning(f"{name}()").states}  # Rprop's steps begin at its lr
    hypers = [each.name for each in meaning(f"{name}()").hypers]
    by_lines = name in ("adafactor", "came", "lbfgs", "muon", "nd_adam", "shampoo", "sm3", "soap")
    rates = [each for each in hypers if Ref(Role.HYPER, each) not in begins][:1]  # AdGD has no other
    texts = [f"{part} | {name}" for part in names_in("transforms")]
    texts += [f"{name} | {part}" for part in names_in("transforms")]
    texts += [f"{name}({rate} = {part})" for part in names_in("schedules") for rate in rates]
    for text in texts:
        if "centralize" in text and by_lines:  # as docs/language.md says of `over fan_in`
            with pytest.raises(OptdslError, match="cannot be compiled yet"):
                traffic(text)
            continue
        written = traffic(text)["update"]
        assert [name for name, access in written.items() if access is not Access.READ] == alone, text
    slow = "lookahead_slow" if "slow" in alone else "slow"
    for wrapper, kept in (("cautious", []), ("lookahead", [slow])):
        written = traffic(f"{name} | {wrapper}")["update"]
        assert [name for name, access in written.items() if access is not Access.READ] == [*alone, *kept]


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
        *("optimizer", "objective", "transform", "schedule", "wrapper", "state")
    ]


def test_checks_see_one_optimizer() -> None:
    """What is right about a part, and wrong about the whole."""
    _, found, _ = driver.check(composition("scale(-1) | gd"))
    assert [diagnostic.code for diagnostic in found] == ["OD605"]
    assert "along the gradient" in found[0].notes[0]
    assert not driver.check(composition("gd | scale(1/2)"))[1]
    assert not driver.check(composition("adam | decoupled_decay(cosine(0.1))"))[1]  # it decays without lr
