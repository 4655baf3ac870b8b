"""What a terminal may be shown: colour and progress, and only where somebody is looking."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO


def wants_color(choice: str, stream: TextIO) -> bool:
    """`always` and `never` are said on the command line; `auto` asks the environment, then the stream.

    NO_COLOR goes before FORCE_COLOR, and both before TERM=dumb and what is no terminal.
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width(stream: TextIO) -> int | None:
    """How wide the terminal is; None where nobody is looking, and lines are as long as they are."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar on standard error; the function given takes a word about each step that is done.

    Where standard error is no terminal nothing is written.
    """
    if not is_terminal(sys.stderr) or os.environ.get("CI"):
        yield lambda word: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[word]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, word="")
        yield lambda word: bar.update(task, advance=1, word=word)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns two blanks apart, ends of lines trimmed; every row has the same number of cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
