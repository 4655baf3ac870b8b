"""Every stage of every spec, as files that are read in review: `golden/<spec>/<stage>`.

A change of the compiler shows itself here as a change of what users get. To accept one, run
`pytest tests/test_golden.py --update-golden` and read the difference.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from optdsl import driver, load
from optdsl.files import library_names, read_library

GOLDEN = Path(__file__).parent / "golden"
IN_LLVM = ("adam", "lamb", "padam", "amos")
FOR_NUMBA_CUDA = {"adam": "fast", "lamb": "fma", "adamax": "accurate"}  # and the mode
STORED: dict[str, tuple[dict[str, str], str]] = {
    "adam": ({"m": "bf16", "v": "8bit"}, "sr"),
    "lamb": ({"m": "8bit", "v": "f16"}, "kahan"),
    "lion": ({"m": "bf16"}, "extra16"),
}
"""How states and parameters are kept."""
SUFFIX = {"syntax": ".opt", "source": ".py"}


Golden = Callable[[Path, str], None]


@pytest.mark.parametrize("name", library_names())
def test_stages(name: str, golden: Golden) -> None:
    shown = dict(driver.stages(read_library(name)))
    assert tuple(shown) == driver.STAGES
    for stage, text in shown.items():
        golden(GOLDEN / name / f"{stage}{SUFFIX.get(stage, '.txt')}", text.rstrip() + "\n")


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("name", library_names())
def test_modules(name: str, framework: str, golden: Golden) -> None:
    text = driver.compile_source(read_library(name), framework=framework)
    ast.parse(text)
    golden(GOLDEN / name / f"for_{framework}.py", text)


def test_no_golden_file_is_left_over() -> None:
    expected = {f"{stage}{SUFFIX.get(stage, '.txt')}" for stage in driver.STAGES}
    expected |= {"for_torch.py", "for_numpy.py"}
    for folder in GOLDEN.iterdir():
        assert folder.name in library_names()
        more = {"source.ll", "library.h"} if folder.name in IN_LLVM else set()
        more |= {"numba_cuda.py"} if folder.name in FOR_NUMBA_CUDA else set()
        more |= {"stored_for_torch.py"} if folder.name in STORED else set()
        assert {path.name for path in folder.iterdir()} == expected | more


def test_modules_are_the_same_bytes_in_every_process() -> None:
    """Hash randomisation must not reach the text."""
    program = (
        "from optdsl import driver; from optdsl.files import read_library; "
        "print(driver.compile_source(read_library('nadam'), framework='torch'))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


@pytest.mark.parametrize("name", STORED)
def test_what_is_kept_in_fewer_bits(name: str, golden: Golden) -> None:
    """Every form of states and parameters is in one of them."""
    text = load(name).compile(mode="fast", state=STORED[name][0], param_store=STORED[name][1])
    golden(GOLDEN / name / "stored_for_torch.py", text)


@pytest.mark.parametrize("name", IN_LLVM)
def test_llvm(name: str, golden: Golden) -> None:
    """One that goes through memory once, two that sum, one with a function that is no instruction."""
    text = dict(driver.stages(read_library(name), mode="fma", backend="llvm"))["source"]
    golden(GOLDEN / name / "source.ll", text)
    made = driver.compile_files(read_library(name), backend="llvm", form="o", mode="fma", by="for a test")
    golden(GOLDEN / name / "library.h", made[f"{name}.h"].decode())


@pytest.mark.parametrize("name", FOR_NUMBA_CUDA)
def test_numba_cuda(name: str, golden: Golden) -> None:
    """One that goes through memory once, one that sums, one that computes in float64."""
    mode = FOR_NUMBA_CUDA[name]
    made = driver.compile_files(
        read_library(name), backend="numba_cuda", form="py", mode=mode, by=f"for a test, mode {mode}"
    )
    golden(GOLDEN / name / "numba_cuda.py", made[f"{name}.py"].decode())
