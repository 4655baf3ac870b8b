"""The command line: what goes where, and with which exit code."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from optdsl import __version__, cli, console
from optdsl.diagnostics.explain import defined_problems, problem_classes

BAD = "optimizer Bad\nhyper lr = 1e-3 in [0, inf)\ntheta[t] = theta[t-1] - lr*gg\n"
GOOD = "# Good.\noptimizer Good\nhyper lr = 1e-3 in [0, inf)\ntheta[t] = theta[t-1] - lr*g[t]\n"
WARNED = GOOD.replace(" in [0, inf)", "")  # a hyper without a domain


@dataclass
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def optdsl(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in an empty folder that holds good.opt, bad.opt and warned.opt."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, text in (("good", GOOD), ("bad", BAD), ("warned", WARNED)):
        Path(f"{name}.opt").write_text(text)

    def run(*arguments: str) -> Result:
        code = cli.main(arguments)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


def in_a_process(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "optdsl", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options)  # type: ignore[call-overload,no-any-return]


# --- check ---------------------------------------------------------------------------------------


def test_clean_specs(optdsl: Run) -> None:
    result = optdsl("check", "good.opt", "adam")
    assert (result.code, result.err) == (0, "")
    good, adam, *assumed = result.out.splitlines()
    assert (good.split(",")[0], adam.split(",")[0]) == ("good.opt: clean", "adam.opt: clean")
    assert adam.endswith("checks and claims proved")
    assert any(line.startswith("  E[mhat] = E[g]") and "assuming gradients" in line for line in assumed)
    assert optdsl("check", "--quiet", "good.opt") == Result(0, "", "")


def test_findings_of_several_files(optdsl: Run) -> None:
    result = optdsl("check", "bad.opt", "good.opt", "warned.opt")
    assert (result.code, result.out.startswith("good.opt: clean")) == (1, True)
    assert "--> bad.opt:3:28\n" in result.err
    assert "--> warned.opt:3:7\n" in result.err
    assert result.err.splitlines()[-1].endswith("1 warning")
    assert "\x1b" not in result.err


def test_warnings_are_findings_when_strict(optdsl: Run) -> None:
    assert optdsl("check", "warned.opt").code == 0
    assert optdsl("check", "--strict", "warned.opt").code == 1


def test_a_file_error_outweighs_findings(optdsl: Run) -> None:
    result = optdsl("check", "none.opt", "bad.opt")
    assert result.code == 2
    assert "OD001" in result.err
    assert "bad.opt:3:28" in result.err


def test_json(optdsl: Run) -> None:
    result = optdsl("check", "--format", "json", "bad.opt", "good.opt", "none.opt")
    assert (result.code, result.err) == (2, "")
    *told, summary = map(json.loads, result.out.splitlines())
    found = [each for each in told if each["kind"] == "diagnostic"]
    assert {each["file"] for each in told if each["kind"] == "verdict"} == {"good.opt"}
    assert {(each["file"], each["severity"]) for each in found} == {
        ("bad.opt", "error"),
        ("none.opt", "error"),
    }
    assert {each["schema_version"] for each in (*told, summary)} == {1}
    assert summary["errors"] == len(found)


def test_standard_input(optdsl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    result = optdsl("check", "-")
    assert result.code == 1
    assert "--> <stdin>:3:28" in result.err


# --- compile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_compile_to_a_file_and_to_standard_output(optdsl: Run, framework: str) -> None:
    result = optdsl("compile", "good.opt", "-o", "good.py", "--for", framework)
    assert (result.code, result.out) == (0, "")
    text = Path("good.py").read_text()
    compile(text, "good.py", "exec")
    assert "class Good(" in text
    assert "compiled by optdsl" in text.splitlines()[0].lower()
    assert optdsl("compile", "good.opt", "--for", framework).out == text
    assert optdsl("compile", "good.opt", "-o", "good.py", "--for", framework).code == 0  # replaces its own


@pytest.mark.parametrize("options", [["--emit", "ir"], ["--target", "numba-cpu"], ["--target", "reference"]])
def test_what_else_can_be_written(optdsl: Run, options: list[str]) -> None:
    assert optdsl("compile", "adam", "-o", "out.txt", *options).code == 0
    text = Path("out.txt").read_text()
    assert len(text.splitlines()) > 10
    assert text != optdsl("compile", "adam").out
    assert optdsl("compile", "adam", "-o", "out.txt", *options).code == 0


def test_modes_differ(optdsl: Run) -> None:
    texts = [optdsl("compile", "adam", "--mode", mode).out for mode in ("accurate", "fast")]
    assert all(texts)
    assert texts[0] != texts[1]


def test_nothing_is_written_when_something_is_wrong(optdsl: Run) -> None:
    before = sorted(os.listdir())
    Path("bad.py").write_text("mine")
    assert optdsl("compile", "bad.opt", "-o", "new.py").code == 1
    assert optdsl("compile", "none.opt", "-o", "new.py").code == 2
    assert optdsl("compile", "good.opt", "-o", "none/new.py").code == 2
    assert optdsl("compile", "good.opt", "-o", "new.py", "--target", "abacus").code == 2
    refused = optdsl("compile", "good.opt", "-o", "bad.py")
    assert (refused.code, "--force" in refused.err) == (2, True)
    assert Path("bad.py").read_text() == "mine"
    assert sorted(os.listdir()) == sorted([*before, "bad.py"])
    assert optdsl("compile", "good.opt", "-o", "bad.py", "--force").code == 0


# --- show --stage, new, explain --------------------------------------------------------------------


def test_every_stage_can_be_shown(optdsl: Run) -> None:
    from optdsl.driver import STAGES

    shown = {stage: optdsl("show", "adam", "--stage", stage) for stage in (*STAGES, "all")}
    assert {result.code for result in shown.values()} == {0}
    for stage in STAGES:
        assert shown[stage].out in shown["all"].out
    with_flag = optdsl("show", "adam", "--stage", "kernel", "--flag", "amsgrad=true").out
    assert "vmax" in with_flag
    assert "vmax" not in shown["kernel"].out


def test_a_new_spec_is_clean_and_compiles(optdsl: Run) -> None:
    assert optdsl("new", "my_adam").code == 0
    assert "optimizer MyAdam\n" in Path("my_adam.opt").read_text()
    assert optdsl("check", "--strict", "my_adam.opt").code == 0
    assert optdsl("compile", "my_adam.opt", "--for", "numpy").code == 0
    before = Path("my_adam.opt").read_text()
    assert optdsl("new", "my_adam.opt").code == 2
    assert Path("my_adam.opt").read_text() == before
    for name in ("../up", "lambda", "9lives", "a b", ""):
        assert optdsl("new", name).code == 2


@pytest.mark.parametrize("code", sorted(problem_classes()))
def test_every_code_is_explained(optdsl: Run, code: str) -> None:
    result = optdsl("explain", code.lower())
    assert result.code == 0
    head, _, story = result.out.partition("\n\n")
    assert f"[{code}]: " in head
    assert len(story.split()) > 8, "the docstring of the class is the explanation"
    assert "{" not in head


def test_no_code_means_two_things() -> None:
    assert len(set(defined_problems())) == len(problem_classes())


# --- a wrong command line, our own mistakes, signals ----------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chek"], "Did you mean 'check'?"),
        (["check"], "Missing argument"),
        (["check", "adm"], "did you mean `adam`?"),
        (["check", "--frmat", "json", "adam"], "--format"),
        (["show", "adam", "--stage", "magic"], "kernel"),
        (["show", "adam", "--flag", "amsgrd=true"], "amsgrad"),
        (["show", "adam", "--flag", "amsgrad=7"], "true or false"),
        (["show", "gd", "--flag", "amsgrad"], "it has none"),
        (["compile", "adam", "--target", "abacus"], "numba-cpu"),
        (["compile", "adam", "--for", "numpy", "--ptx"], "for modules for torch"),
        (["compile", "adam", "--emit", "ir", "--no-ptx"], "for modules for torch"),
        (["explain", "OD1O1"], "OD101"),
        (["explain", "OD888"], "codes go from OD001"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(optdsl: Run, arguments: list[str], words: str) -> None:
    result = optdsl(*arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err


def test_version(optdsl: Run) -> None:
    assert optdsl("--version") == Result(0, f"optdsl {__version__}\n", "")


def test_our_own_mistakes_are_called_so(optdsl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom \x1b[31m\nsecond line")

    monkeypatch.setattr("optdsl.driver.check", broken)
    result = optdsl("check", "good.opt")
    assert (result.code, result.out) == (3, "")
    assert "bug of optdsl" in result.err
    assert "RuntimeError: boom \\x1b[31m\n" in result.err
    assert "Traceback" not in result.err
    for arguments in (["--debug", "check", "good.opt"], ["check", "--debug", "good.opt"]):
        assert "Traceback" in optdsl(*arguments).err


def test_interrupted() -> None:
    with in_a_process("check", "-") as process:
        # Reading from standard input is where the process waits; it has installed no handler of its own.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_error() -> None:
    with in_a_process("show", "adam", "--stage", "all") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read().strip() == ""


# --- colour --------------------------------------------------------------------------------------


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("choice", "terminal", "environment", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),  # set but empty counts as not set
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", False, {"FORCE_COLOR": "1"}, True),
        ("auto", True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour(
    choice: str, terminal: bool, environment: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert console.wants_color(choice, Screen(terminal)) is expected


@pytest.mark.parametrize("arguments", [["--color", "always", "check"], ["check", "--color", "always"]])
def test_colour_can_be_asked_for_anywhere(optdsl: Run, arguments: list[str]) -> None:
    assert "\x1b[1;31m" in optdsl(*arguments, "bad.opt").err
    assert "\x1b" not in optdsl("check", "bad.opt").err  # and holds for that command line only


# --- the demonstration ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--numpy"]])
def test_demo(optdsl: Run, options: list[str]) -> None:
    result = optdsl("demo", "--epochs", "2", "--out", "curves.png", *options)
    assert result.code == 0, result.out + result.err
    assert result.out.splitlines()[-1].startswith("losses agree: ")
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_demo_notices_a_wrong_optimizer(optdsl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from optdsl.demo import numpy_network

    monkeypatch.setattr(numpy_network.PlainAdam, "eps", 1e-4)
    result = optdsl("demo", "--epochs", "2", "--numpy")
    assert result.code == 1
    assert result.out.splitlines()[-1].startswith("losses DISAGREE: ")


# --- what is proved ------------------------------------------------------------------------------


def test_explain_a_spec(optdsl: Run) -> None:
    result = optdsl("explain", "adam")
    assert result.code == 0
    assert "θₜ = θₜ₋₁ − lr·mhat/(√(vhat) + ε)" in result.out
    assert "E[m[t]] = E[g] - E[g]*beta1^t" in result.out
    assert "lr: P, beta1: 1" in result.out
    assert "  kept in bfloat16: v does not decay" in result.out
    assert "state 8 B, traffic 28 B a step" in result.out  # theta and two moments read and written, g read
    latex = optdsl("explain", "adam", "--latex").out
    assert "\\hat{m} &= \\frac{m_{t}}{1 - \\beta_{1}^{t}}" in latex


def test_diff(optdsl: Run) -> None:
    assert optdsl("diff", "adam", "adam") == Result(
        0, "Adam = Adam: proved, the same state and the same step\n", ""
    )
    result = optdsl("diff", "adam", "adamw")
    assert result.code == 1
    assert "Adam = AdamW when weight_decay = 0: proved" in result.out


def test_low_precision_is_told_to_programs_and_not_to_readers(optdsl: Run) -> None:
    assert optdsl("check", "--strict", "adam").out.startswith("adam.opt: clean")
    *told, summary = map(json.loads, optdsl("check", "--format", "json", "adam").out.splitlines())
    assert summary["warnings"] == 0
    assert {
        "schema_version": 1,
        "kind": "lint",
        "file": "adam.opt",
        "dtype": "bfloat16",
        "place": "kept",
        "subject": "t",
        "text": "t stops at 256",
    } in told
    assert {each["kind"] for each in told} == {"lint", "verdict"}


def test_verdicts_are_told_to_programs(optdsl: Run) -> None:
    lines = map(json.loads, optdsl("check", "--format", "json", "adam").out.splitlines())
    verdicts = {each["claim"]: each for each in lines if each["kind"] == "verdict"}
    mean = verdicts["E[mhat] = E[g] when weight_decay = 0"]
    assert (mean["outcome"], mean["declared"], mean["part"]) == ("proved", True, "")
    assert mean["assumptions"] == ["gradients that are stationary and independent of the state"]
    assert verdicts["well_defined"]["declared"] is False
    rotated = verdicts["rotation_equivariant"]
    assert (rotated["outcome"], rotated["expected_refuted"]) == ("refuted", True)
    assert rotated["witness"]


def test_what_is_not_proved_is_named(optdsl: Run) -> None:
    text = Path("good.opt").read_text()
    assert optdsl("check", "good.opt").out.splitlines()[0].endswith("checks and claims proved")
    Path("open.opt").write_text(text.replace("lr*g[t]", "lr*g[t]*exp(g[t])"))
    assert "checks and claims proved, not " in optdsl("check", "open.opt").out


def test_a_refuted_claim_is_a_finding(optdsl: Run) -> None:
    text = Path("good.opt").read_text()
    Path("claims.opt").write_text(text + "\nprove constant_gradient_step = 3\n")
    result = optdsl("check", "claims.opt")
    assert result.code == 1
    assert "OD601" in result.err
