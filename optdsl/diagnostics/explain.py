"""The long story behind a code, for `optdsl explain`: the docstring of its class in the catalogues."""

import difflib
import inspect
import re
from collections.abc import Iterator

from optdsl.diagnostics import catalogue, catalogue_files
from optdsl.diagnostics.model import Problem


def problem_classes() -> dict[str, type[Problem]]:
    """Every kind of finding there is, by its code."""
    return dict(
        sorted((found.code, found) for module in (catalogue, catalogue_files) for found in _in(module))
    )


def _in(module: object) -> Iterator[type[Problem]]:
    for member in vars(module).values():
        if isinstance(member, type) and issubclass(member, Problem) and member is not Problem:
            yield member


def explanation(code: str) -> str | None:
    """The text, or None when there is no such code."""
    problem = problem_classes().get(code)
    if problem is None:
        return None
    parts = [f"{problem.severity}[{code}]: {_open(problem.title)}", _open(inspect.getdoc(problem) or "")]
    if problem.note:
        parts.append(f"note: {_open(problem.note)}")
    if problem.advice:
        parts.append(f"help: {_open(problem.advice)}")
    return "\n\n".join(parts)


def _open(template: str) -> str:
    """What a template says before its facts are filled in: `{name}` is `<name>`."""
    return re.sub(r"\{(\w+)\}", r"<\1>", template)


def closest_codes(code: str) -> str:
    """A hint for somebody who asked for a code that there is not."""
    known = list(problem_classes())
    close = difflib.get_close_matches(code.upper(), known, n=3, cutoff=0.7)
    return f"did you mean {', '.join(close)}?" if close else f"codes go from {known[0]} to {known[-1]}."
