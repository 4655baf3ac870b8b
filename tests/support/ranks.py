"""Runs the cases of some modules on several processes that know each other, once for each number of them.

In: a number of processes and a folder. Out: what went wrong, by case and process; nothing for a good run.
A message that one process waits for in vain ends its case after `PATIENCE`, and the whole run after `LIMIT`.
"""

import os
import subprocess
import sys
import time
import traceback
from datetime import timedelta
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MODULES = "rank_cases", "rank_refusals", "rank_checkpoints"
PATIENCE = timedelta(seconds=30)
LIMIT = 150.0


def run(world: int, folder: Path, *arguments: str) -> list[str]:
    """The failures; the case after one that failed is not run, since processes may be out of step."""
    started = last = time.monotonic()  # `last`: that nobody had failed
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPTDSL_NUM_THREADS": "1"}
    logs = [folder / f"{world}-{rank}.log" for rank in range(world)]
    processes = []
    for rank, log in enumerate(logs):
        command = [
            sys.executable,
            "-m",
            "tests.support.ranks",
            str(rank),
            str(world),
            str(folder),
            *arguments,
        ]
        with log.open("w") as output:
            processes.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
            )
    try:
        while any(process.poll() is None for process in processes):
            failed = any(process.poll() for process in processes)
            if time.monotonic() - started > LIMIT or (failed and time.monotonic() - last > PATIENCE.seconds):
                return [f"no end\n{log.read_text()[-3000:]}" for log in logs]
            last = last if failed else time.monotonic()
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [
        f"process {rank} of {world}:\n{log.read_text()[-5000:]}"
        for rank, (process, log) in enumerate(zip(processes, logs, strict=True))
        if process.returncode
    ]


def _main(rank: int, world: int, folder: Path, only: str = "") -> None:
    import torch
    from torch import distributed

    from tests.support.rank_tools import CASES, Context

    for module in MODULES:
        import_module(f"tests.support.{module}")  # which fills CASES
    chosen = {name: case for name, case in CASES.items() if only in name}
    assert chosen
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/init-{world}", rank=rank, world_size=world, timeout=PATIENCE
    )
    for name, case in chosen.items():
        start = time.monotonic()
        try:
            case(Context(rank, world, folder))
            distributed.barrier()
        except BaseException:
            print(f"--- {name}", flush=True)
            traceback.print_exc()
            os._exit(1)
        print(f"{time.monotonic() - start:6.2f} s {name}", flush=True)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
