"""Several processes, each with a part of the parameters, against one that has them whole."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support import rank_checkpoints, rank_tools, ranks

EXAMPLE = ranks.ROOT / "examples" / "fsdp2_resume.py"


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # which is what is meant
def test_on_two_and_three_processes(tmp_path: Path) -> None:
    """Every case; 3 processes, and this one alone, go on from a checkpoint of 2."""
    assert ranks.run(2, tmp_path) == []
    network = rank_tools.model()
    optimizer = rank_tools.load("lamb")(network.parameters(), lr=0.5)
    rank_checkpoints.resume(network, optimizer, rank_checkpoints.saved(tmp_path, 2))
    rank_tools.train(network, optimizer, 2, seed=4)
    for p, q in zip(network.parameters(), torch.load(tmp_path / "trained.pt"), strict=True):
        torch.testing.assert_close(p.detach(), q, rtol=1e-5, atol=1e-6)
    assert ranks.run(3, tmp_path) == []


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """The example: kill -9 of one of two processes between two checkpoints, and the command once more."""
    assert example(tmp_path / "whole") == [0, 0]
    codes = example(tmp_path / "killed", "--kill-at", "6")
    assert codes[0] > 0  # which raised, and did not wait
    assert codes[1] == -9
    assert example(tmp_path / "killed") == [0, 0]
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == ["step-000004", "step-000008"]
    for name in names:
        for file in (tmp_path / "whole" / name).glob("*.distcp"):
            assert file.read_bytes() == (tmp_path / "killed" / name / file.name).read_bytes()


def example(folder: Path, *arguments: str) -> list[int]:
    """The exit codes of its two processes, which torchrun would start in the same way."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        str(EXAMPLE),
        "--folder",
        str(folder),
        "--steps",
        "8",
        "--every",
        "4",
        *arguments,
    ]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen(command, env=os.environ | place | {"RANK": str(rank)}) for rank in range(2)]
    try:
        return [process.wait(150) for process in started]
    finally:
        for process in started:
            process.kill()
