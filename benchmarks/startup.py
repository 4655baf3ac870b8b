"""How long it takes until something happens: whole processes, medians of a few runs, a table in Markdown.

`cold` starts with an empty kernel cache, so that Numba compiles; `warm` finds the kernels of an earlier run.
The imports below the line are what an interpreter needs for them alone.

    python benchmarks/startup.py
"""

import os
import subprocess
import sys
import tempfile
from statistics import median
from time import perf_counter

STEP = """
import numpy as np, optdsl.numpy
theta = np.ones(1000, np.float32)
optdsl.numpy.load("adam")([theta]).step([theta.copy()])
"""
TORCH_STEP = """
import torch, optdsl.torch
theta = torch.ones(1000, requires_grad=True)
theta.grad = torch.ones(1000)
optdsl.torch.load("adam")([theta]).step()
"""


def seconds(*arguments: str, runs: int, cache: str | None = None) -> float:
    """The median time of `python arguments`; without `cache`, every run has an empty one."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as empty:
            environment = os.environ | {"OPTDSL_CACHE_DIR": cache or empty}
            started = perf_counter()
            subprocess.run(
                [sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
            )
            found.append(perf_counter() - started)
    return median(found)


def main() -> None:
    optdsl = ("-m", "optdsl")
    with tempfile.TemporaryDirectory() as cache:
        subprocess.run([sys.executable, "-c", STEP], env=os.environ | {"OPTDSL_CACHE_DIR": cache}, check=True)
        subprocess.run(
            [sys.executable, "-c", TORCH_STEP], env=os.environ | {"OPTDSL_CACHE_DIR": cache}, check=True
        )
        rows = {
            "python -c pass": seconds("-c", "pass", runs=9),
            "import optdsl": seconds("-c", "import optdsl", runs=9),
            "optdsl --help": seconds(*optdsl, "--help", runs=9),
            "optdsl check adam": seconds(*optdsl, "check", "adam", runs=5),
            "optdsl list": seconds(*optdsl, "list", runs=3),
            "optdsl compile adam (to source)": seconds(*optdsl, "compile", "adam", runs=5),
            "first NumPy step, cold": seconds("-c", STEP, runs=3),
            "first NumPy step, warm": seconds("-c", STEP, runs=5, cache=cache),
            "first torch step, cold": seconds("-c", TORCH_STEP, runs=3),
            "first torch step, warm": seconds("-c", TORCH_STEP, runs=5, cache=cache),
        }
        for module in ("numpy", "numba", "torch", "lark", "mpmath"):
            rows[f"import {module}"] = seconds("-c", f"import {module}", runs=5)
    print("| what | milliseconds |\n| --- | --- |")
    for what, taken in rows.items():
        print(f"| {what} | {taken * 1e3:.0f} |")


if __name__ == "__main__":
    main()
