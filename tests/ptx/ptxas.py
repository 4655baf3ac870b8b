"""NVIDIA's assembler, where there is one: what each entry of a module takes of a multiprocessor.

In: PTX. Out: registers, spills, stack and shared memory of each entry, as `ptxas -v` says. Raises
`RuntimeError` with its words for text that it refuses. Tests that need it skip where it is not.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass

PTXAS = shutil.which("ptxas")


@dataclass(frozen=True)
class Resources:
    registers: int  # of a thread
    spills: int  # bytes, stored and loaded
    stack: int  # bytes
    shared: int  # bytes


def assembled(text: str, arch: str = "sm_80") -> dict[str, Resources]:
    """For each entry. `arch`: what it is assembled for."""
    assert PTXAS is not None
    result = subprocess.run(
        [PTXAS, "-v", f"-arch={arch}", "-o", "/dev/null", "/dev/stdin"],
        input=text, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(result.stderr.strip() or result.stdout.strip())
    found: dict[str, Resources] = {}
    for part in re.split(r"Compiling entry function '", result.stderr)[1:]:
        name = part.partition("'")[0]
        stack, stores, loads = (
            _number(rf"(\d+) bytes {words}", part) for words in ("stack frame", "spill stores", "spill loads")
        )
        registers, shared = _number(r"Used (\d+) registers", part), _number(r"(\d+) bytes smem", part)
        found[name] = Resources(registers, stores + loads, stack, shared)
    return found


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match[1]) if match else 0
