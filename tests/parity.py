"""`python -m tests.parity` writes docs/parity.md: every spec against every library that has it."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from tests import test_against_optax, test_against_pytorch_optimizer, test_against_torch
from tests.support.parity import Row

PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
AGAINST = (test_against_torch, test_against_optax, test_against_pytorch_optimizer)

HEAD = """\
# Parity

Every spec against every library that has it: 200 steps in float64 on tensors of ranks 0 to 4, gradients over
four decades and a tenth of them zero. "Apart" is the largest difference of a parameter at any step, relative
to the largest element of its tensor. `tests/test_against_*.py` makes the comparison (and that in float32) at
each run of the tests; `make parity` wrote this table, with {versions}.

"""


def cases() -> Iterator[Row]:
    """All rows but for their numbers."""
    return (case.row(0.0) for module in AGAINST for case in module.CASES)


def written(rows: Iterable[Row]) -> str:
    lines = ["| spec | peer | options | apart | |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row.spec, row.peer)):
        lines.append(f"| {row.spec} | {row.peer} | {row.options} | {row.apart:.0e} | {row.note} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    versions = ", ".join(
        f"{name} {version(name).partition('+')[0]}" for name in ("torch", "optax", "pytorch_optimizer")
    )
    rows = [row for module in AGAINST for row in module.rows()]
    PAGE.write_text(HEAD.format(versions=versions) + written(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
