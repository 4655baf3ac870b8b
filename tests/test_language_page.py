"""docs/language.md holds: its specs are clean, its commands print what it shows, its tables are complete."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optdsl import driver
from optdsl.diagnostics import OptdslError, Source
from optdsl.language.inputs import DRAWN
from optdsl.language.operators import OPERATORS, REDUCTIONS, RESERVED_FUNCTIONS

PAGE = (Path(__file__).parents[1] / "docs" / "language.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = [match.groups() for match in BLOCK.finditer(PAGE)]
DRAFTS = ("draft.opt",)  # shown with what is wrong with it
HEAD = "optimizer A\nhyper lr = 0.1 in [0, inf)\n"
TAIL = "\ntheta[t] = theta[t-1] - lr*g[t]\n"


def sessions() -> Iterator[tuple[str, str]]:
    """Every command with the text below it."""
    for language, _, text in BLOCKS:
        if language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, printed = part.partition("\n")
                yield command, printed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of the page, and what its commands write."""
    made = tmp_path_factory.mktemp("page")
    for language, name, text in BLOCKS:
        if language in ("opt", "python"):
            made.joinpath(name).write_text(text, encoding="utf-8")
    return made


def run(command: str, folder: Path) -> str:
    program, *arguments = shlex.split(command)
    start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
    done = subprocess.run(
        [*start, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


def test_commands_print_what_is_shown(folder: Path) -> None:
    """In the order of the page; `...` stands for lines that are left out."""
    for command, shown in sessions():
        wanted = ".*".join(map(re.escape, re.split(r"^\.\.\.$", shown.rstrip(), flags=re.MULTILINE)))
        printed = run(command, folder).rstrip()
        assert re.fullmatch(wanted, printed, re.DOTALL), f"{command} prints\n{printed}"


@pytest.mark.parametrize("name", [name for language, name, _ in BLOCKS if language == "opt"])
def test_specs_are_clean(name: str, folder: Path) -> None:
    if name not in DRAFTS:
        assert run(f"optdsl check --strict -q {name}", folder) == ""


def test_every_operator_is_there() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    named = set(re.findall(r"`(\w+)\(", "\n".join(rows)))
    known = {name for name, row in OPERATORS.items() if row.callable} - {"where"}
    known |= {row.spelled for row in REDUCTIONS.values()}
    assert known <= named
    assert named & set(OPERATORS) <= known
    infix = {row.infix for row in OPERATORS.values() if row.infix}
    sentence = PAGE[PAGE.index("## Expressions") : PAGE.index("### Conditions")]
    assert {word for word in infix if word not in sentence} == set()


def refused() -> list[str]:
    section = PAGE[PAGE.index("## Not there yet") :]
    return [
        row[0] for line in section.splitlines() if (row := re.findall(r"`([^`]+)`", line)) and line[0] == "|"
    ]


@pytest.mark.parametrize("statement", refused())
def test_what_is_not_there_yet_is_refused(statement: str) -> None:
    body = f"{statement}\nx = 1\nend" if statement.startswith("when") else statement
    with pytest.raises(OptdslError) as caught:
        driver.front(Source("a.opt", HEAD + body + TAIL))
    assert "OD801" in {each.code for each in caught.value.diagnostics}


def test_reserved_functions_are_told() -> None:
    told = PAGE[PAGE.index("## Not there yet") :]
    assert {
        name for name in RESERVED_FUNCTIONS - DRAWN - {"dim", "rank", "hvp", "grad"} if name not in told
    } == set()
