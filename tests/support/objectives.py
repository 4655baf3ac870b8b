"""Objectives that tests write in a line or two."""

from optdsl import driver
from optdsl.diagnostics import Source
from optdsl.language.objective import Objective


def text(variables: str, *lines: str) -> str:
    """`x, y` and lines, with a start at 1, 1."""
    start = ", ".join(f"{name} = 1" for name in variables.split(", "))
    return f"objective Test({variables})\n" + "\n".join(lines) + f"\nstart {start}\n"


def objective(variables: str, *lines: str) -> Objective:
    found, _ = driver.meaning(Source("test.opt", text(variables, *lines)))
    assert isinstance(found, Objective)
    return found
