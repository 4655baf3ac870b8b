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
    rate = next(each.name for each in meaning(f"{name}()").hypers if Ref(Role.HYPER, each.name) not in begins)
    texts = [f"{part} | {name}" for part in names_in("transforms")]
    texts += [f"{name} | {part}" for part in names_in("transforms")]
    texts += [f"{name}({rate} = {part})" for part in names_in("schedules")]
    for text in texts:
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


AVERAGED = """# Polyak & Juditsky 1992, with weights that fade: what is evaluated is the average.
wrapper Ema(inner)
hyper decay = 0.5 in [0, 1)
state avg[0] = theta[0]
theta[t] = inner(theta[t-1])
avg[t] = decay*avg[t-1] + (1 - decay)*theta[t]
output x = avg[t]

optimizer Mine = schedule_free_sgd | ema(3/4)
"""


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_views_of_parts(framework: str, tmp_path: Path) -> None:
    """A wrapper's state is kept for its view alone; the outermost view is the one that `eval` shows."""
    path = tmp_path / "averaged.opt"
    path.write_text(AVERAGED)
    inner, view = np.array([1.0, -2.0]), np.array([1.0, -2.0])
    alone = arrays("schedule_free_sgd")(inner, lr=0.1)
    params: Any = view.copy()
    if framework == "torch":
        params = torch.nn.Parameter(torch.from_numpy(params))
    opt = getattr(optdsl, framework).load(path)([params], lr=0.1)
    for t in range(1, 5):
        g = np.array([0.5, 1.0 - t])
        alone.step(g)
        view = 0.75 * view + 0.25 * inner
        if framework == "torch":
            params.grad = torch.from_numpy(g)
            opt.step()
        else:
            opt.step([g])

    def shown() -> Any:
        return params.detach().numpy() if framework == "torch" else params

    opt.eval()
    np.testing.assert_allclose(shown(), view, rtol=1e-15)
    opt.train()
    np.testing.assert_allclose(shown(), inner, rtol=1e-15)
    alone.eval()  # what schedule_free_sgd itself evaluates at is there too, under a name that is free
    assert opt.layout.views == ("ema_x", "x")
    with opt.view("x"):
        np.testing.assert_allclose(shown(), inner, rtol=1e-15)


GIVEN = """# Somebody, 2024: both parts read the loss, which has one name.
transform Weighed
input loss
out = g[t]*loss

wrapper Half(inner)
input loss
theta[t] = if loss > 1 then theta[t-1] + (inner(theta[t-1]) - theta[t-1])/2 else inner(theta[t-1])

optimizer Mine = weighed | gd(1) | half
"""


def test_a_step_is_given_what_any_part_is_given(tmp_path: Path) -> None:
    path = tmp_path / "given.opt"
    path.write_text(GIVEN)
    x = np.zeros(1)
    opt = arrays(path)(x)
    opt.step([1.0], loss=4.0)
    assert float(x[0]) == -2.0  # half of 4 times the gradient
    opt.step([1.0], loss=0.5)
    assert float(x[0]) == -2.5
    with pytest.raises(TypeError, match="loss"):
        opt.step([1.0])


CENTRALIZED = """# Yong, Huang, Hua & Zhang, "Gradient Centralization", ECCV 2020, equation (1), for matrices.
transform Centralized
when rank(theta) >= 2
  out = g[t] - mean(g[t] over cols)
else
  out = g[t]
end

# Two ways to say the same, so that a wrapper has rules, too.
wrapper Same(inner)
when rank(theta) >= 2
  theta[t] = inner(theta[t-1])
else
  theta[t] = theta[t-1] + (inner(theta[t-1]) - theta[t-1])
end

optimizer Mine = centralized | adafactor | same
"""


def test_rules_by_rank_in_all_parts(tmp_path: Path) -> None:
    path = tmp_path / "centralized.opt"
    path.write_text(CENTRALIZED)
    random = np.random.default_rng(0)
    mine, theirs = ([x.copy() for x in (np.ones((3, 4)), np.ones(5))] for _ in range(2))
    opt, peer = arrays(path)(mine), arrays("adafactor")(theirs)
    for _ in range(3):
        matrix, vector = random.standard_normal((3, 4)), random.standard_normal(5)
        opt.step([matrix, vector])
        peer.step([matrix - matrix.mean(axis=1, keepdims=True), vector])
    for x, y in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13)


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
