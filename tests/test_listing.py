"""The library at a glance: `optdsl list` with what it may leave out, and `optdsl show NAME`."""

import json
from collections.abc import Callable

import pytest

from optdsl import cli
from optdsl.files import read_library

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def optdsl(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line that ends well; gives what it printed and what it said."""

    def run(*arguments: str) -> tuple[str, str]:
        assert cli.main(arguments) == 0
        out, err = capsys.readouterr()
        return out, err

    return run


def test_list(optdsl: Run) -> None:
    entries = {
        entry["name"]: entry for entry in map(json.loads, optdsl("list", "--format", "json")[0].splitlines())
    }
    assert entries["adam"] == {
        "schema_version": 1,
        "kind": "optimizer",
        "name": "adam",
        "title": "Adam: A Method for Stochastic Optimization",
        "where": "Algorithm 1",
        "year": 2015,
        "sharding": "elementwise",
        "state_bytes": 8,  # two moments; the third, of amsgrad, is not kept by default
        "numbers": 0,
        "lines": 0,
        "squares": 0,
        "passes": 1,
        "bytes_moved": 28,
        "claims": read_library("adam").text.count("\nprove "),
        "flags": ["amsgrad"],
    }
    assert all(entry["year"] for entry in entries.values())
    rows = optdsl("list")[0].splitlines()
    assert {row.split()[0] for row in rows if row} >= {*entries, "optimizer", "objective"}
    assert "  28 B " in next(row for row in rows if row.startswith("adam "))


@pytest.mark.parametrize(
    ("arguments", "among", "missing"),
    [
        (["amsgrad"], "amsgrad", "adam"),
        (["ADAM", "decoupled"], "adamw", "adam"),  # both words, of name and paper
        (["--class", "global"], "dog", "lamb"),
        (["--class", "per-tensor", "--max-state", "4"], "lars", "lamb"),
        (["--max-state", "0"], "gd", "sgd"),
        (["himmelblau"], "himmelblau", "beale"),
    ],
)
def test_list_may_leave_out(optdsl: Run, arguments: list[str], among: str, missing: str) -> None:
    for form in ("text", "json"):
        out = optdsl("list", "--format", form, *arguments)[0]
        names = [json.loads(row)["name"] if form == "json" else row.split(" ")[0] for row in out.splitlines()]
        assert among in names
        assert missing not in names
        assert ("rosenbrock" in names) is False


def test_list_says_when_nothing_is_left(optdsl: Run) -> None:
    out, err = optdsl("list", "adam", "--max-state", "0")
    assert (out, "optdsl list" in err) == ("", True)


def test_show(optdsl: Run) -> None:
    """The text, then the equations, then the kernel."""
    text = optdsl("show", "adam")[0]
    spec, equation, kernel = read_library("adam").text.strip(), "θₜ = θₜ₋₁ − lr·mhat", "math.sqrt(vhat)"
    assert text.startswith(spec)
    assert len(spec) < text.index(equation) < text.index(kernel)
    assert "vmax_at" not in text
    chosen = optdsl("show", "adam", "--flag", "amsgrad=true", "--mode", "fast")[0]
    assert "float32 parameters, fast, with amsgrad = true" in chosen
    assert "vmax_at" in chosen
    assert optdsl("show", "beale")[0].rstrip().endswith("(2.625 − x + x·y³)²")  # there is no kernel
