"""`python -m tests.coverage` writes docs/coverage.md: names that people look for, and what there is."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests import parity
from tests.support.coverage_rows import Row, rows

PAGE = Path(__file__).parents[1] / "docs" / "coverage.md"

HEAD = """\
# Coverage

What people look for by name, and what there is for it: a spec of the library, a composition, or the reason
why not. `tests/test_coverage.py` asks torch and optax for their names, and compiles what stands in the second
column; "compared" is a row of [parity.md](parity.md) against that library. `make coverage` wrote this page.

{summary}
"""
PEERS = {"torch.optim": ("torch",), "optax": ("optax",), "optax.contrib": ("optax",)}


def compared(row: Row) -> bool:
    """Whether docs/parity.md has it against the library that the name is of."""
    peers = PEERS.get(row.source, ())
    return any(case.spec == row.ours and case.peer.startswith(peers) for case in parity.cases() if peers)


def written(table: Iterable[Row]) -> str:
    table = list(table)
    there = sum(bool(row.ours) for row in table)
    parts = [HEAD.format(summary=f"{there} of {len(table)} names are there.")]
    for source in dict.fromkeys(row.source for row in table):
        parts.append("\n".join(_section(source, [row for row in table if row.source == source])))
    return "\n".join(parts)


def _section(source: str, table: list[Row]) -> Iterator[str]:
    yield f"\n## {source}\n"
    compares = source in PEERS
    yield "| name | here | compared | |" if compares else "| name | here | |"
    yield "|---|---|---|---|" if compares else "|---|---|---|"
    for row in table:
        ours = f"`{row.ours}`".replace("|", "\\|") if row.ours else "no"
        yes = f" {'yes' if compared(row) else ''} |" if compares else ""
        yield f"| {row.name} | {ours} |{yes} {row.note} |".replace("|  |", "| |").replace("  ", " ")


if __name__ == "__main__":
    PAGE.write_text(written(rows()), encoding="utf-8")
