"""Benchmarks: what a spec is held against moves as many bytes as it does, and `optdsl bench` tells it."""

import json

import pytest
from click.testing import CliRunner

from optdsl import driver
from optdsl.bench import as_many_bytes, comparable
from optdsl.cli import cli
from optdsl.cost import cost
from optdsl.diagnostics import Source
from optdsl.files import library_names
from tests.support import programs


@pytest.mark.parametrize("name", library_names())
def test_same_bytes(name: str) -> None:
    spec = cost(programs.meaning(name), {})
    if programs.meaning(name).inputs or not comparable(spec):
        return  # not in the table
    twin = cost(driver.front(Source("twin.opt", as_many_bytes(spec)))[0], {})
    assert [each.bytes_moved for each in twin.passes] == [each.bytes_moved for each in spec.passes]


@pytest.mark.parametrize("without_torch", [False, True])
def test_bench_tells_ratios_of_one_run(without_torch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if without_torch:
        monkeypatch.setattr("optdsl.bench.find_spec", lambda name: None)
    words = ["bench", "adamw", "--elements", "3x1000", "--rounds", "3", "--threads", "1"]
    result = CliRunner().invoke(cli, [*words, "--format", "json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["tensors"], told["elements"], told["bytes_moved"]) == (3, 3000, 28)
    torch = set() if without_torch else {"torch fused", "torch foreach", "torch default"}
    assert {row["name"] for row in told["rows"]} == {"ours", "same bytes"} | torch
    assert next(row["to_ours"] for row in told["rows"] if row["name"] == "ours") == 1
    shown = CliRunner().invoke(cli, words).stdout
    assert "AdamW, accurate: 3 tensors, 3,000 elements of float32, 1 thread of" in shown
    assert "28 bytes an element" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["muon"], "works on matrices"),
        (["adahessian"], "it is given hvp"),
        (["adam", "--elements", "none"], "is not a number of elements"),
        (["adam", "--elements", "0"], "is not a number of elements"),
        (["adam", "--elements", "9999999999"], "is not a number of elements"),
    ],
)
def test_bench_says_what_it_cannot_measure(words: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, ["bench", *words])
    assert result.exit_code == 2
    assert says in result.stderr
