"""The benchmarks of GPUs run as far as they can without one, and see what they are for."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import gpu, gpu_host
from tests.ptx.fake_torch import FakeGpus

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None, reason="this torch has operators for GPUs, which are not to be replaced"
)


def test_the_benchmark_runs(
    gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """All but its clock and torch's own optimizers."""

    def once(step: Any, rounds: int = 0) -> float:
        step()
        return 2.0

    for name, replacement in (("median_ms", once), ("host_us", once), ("TORCH", {})):
        monkeypatch.setattr(gpu, name, replacement)
    monkeypatch.setattr(gpu, "SPECS", ("adamw", "lamb"))
    monkeypatch.setattr(gpu, "SAME_BITS", ("adamw",))
    monkeypatch.setattr(gpu, "HOWS", (("accurate", False), ("fma", True)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Fake")
    monkeypatch.setattr(gpu.differing_bits, "__defaults__", ("accurate", False, gpus.host))
    sizes = gpu.Sizes(copied=1000, sets={"2 x 50": [50, 50]})
    assert gpu.main(["--json", str(tmp_path / "out.json")], sizes) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    ours = ["ours", "ours, graph", "ours, fast", "ours, fma", "same bytes"]
    assert [row["who"] for row in found["rows"]] == ours * 2
    assert found["differing bits"] == {"adamw, accurate": 0, "adamw, fma, graph": 0}
    assert {row["bytes"] for row in found["rows"]} == {100 * 28}
    assert "| 2 x 50 | lamb | same bytes | 2.000 | 2 | 0 | " in capsys.readouterr().out


def test_what_fails_in_the_benchmark_is_left_out(
    gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no graphs today\nor ever")

    for name, replacement in (
        ("median_ms", lambda step: 1.0),
        ("host_us", lambda step: 1.0),
        ("Replay", never),
    ):
        monkeypatch.setattr(gpu, name, replacement)
    monkeypatch.setattr(gpu, "SPECS", ("lion",))
    rows = list(gpu.timed(gpu.Sizes(sets={"one": [9]}), "cuda:0", float("inf")))
    assert [row.who for row in rows] == ["ours", "ours, fast", "ours, fma", "same bytes"]
    assert "one, lion, ours, graph: left out: RuntimeError: no graphs today\n" in capsys.readouterr().err
    monkeypatch.setattr(gpu, "differing_bits", never)
    assert set(gpu.bits("cuda:0").values()) == {"RuntimeError: no graphs today\nor ever"}


def test_the_benchmark_sees_other_bits(gpus: FakeGpus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.differing_bits("adamw", "cuda:0", back=gpus.host) == 0

    def wrong(x: Tensor) -> Tensor:
        found = gpus.host(x).clone()
        found.view(-1)[-1] = 7.0
        return found

    assert gpu.differing_bits("adamw", "cuda:0", back=wrong) == 4 * 3  # tensors; theta and two states


def test_what_the_host_does_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU; two launches are all that a step of AdamW is."""
    monkeypatch.setattr(gpu_host, "ROUNDS", 2)
    times, calls = gpu_host.measured("adamw", [7, 300], {})
    assert calls == 2
    assert times[0] > sum(times[1:]) / 2 > 0


def test_the_benchmark_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "nothing was measured" in capsys.readouterr().err


def test_the_sets_are_those_of_the_papers() -> None:
    """torchvision's resnet50 has 25,557,032 parameters; LLaMA-7B 6,738,415,616 with 32 layers."""
    assert sum(gpu.resnet50()) == 25_557_032
    assert sum(gpu.llama(32, 4096, 11008)) + 2 * 32000 * 4096 + 4096 == 6_738_415_616
