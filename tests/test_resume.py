"""Training that is killed and goes on from its last checkpoint ends with the bits of one that was not."""

import random
import subprocess
import sys
from pathlib import Path

from tests.support import resumed_training


def test_resume_after_kill(tmp_path: Path) -> None:
    """`kill -9` at a random moment: while a step is taken, or while a checkpoint is written."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    command = [sys.executable, "-m", "tests.support.resumed_training", str(tmp_path)]
    saved = 0
    for kill in (True, False):
        steps = chance.randint(1, resumed_training.STEPS // 3)
        with subprocess.Popen(
            command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(steps)] if kill else process.stdout.readlines()
            process.kill()
        # What is known to be saved is not done again; a step more may have been saved before the end.
        assert int(lines[0]) > saved, f"seed {seed}"
        saved = int(lines[-1] if kill else lines[-2])
    assert saved == resumed_training.STEPS, f"seed {seed}"
    assert lines[-1].strip() == resumed_training.uninterrupted(), f"seed {seed}"
