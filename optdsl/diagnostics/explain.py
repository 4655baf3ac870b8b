"""The long story behind a code, for `optdsl explain`: the docstring of its class in the catalogues."""

import difflib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module

from optdsl import diagnostics
from optdsl.diagnostics.model import Problem


def problem_classes() -> dict[str, type[Problem]]:
    """Every kind of finding there is, by its code, in their order."""
    return dict(sorted((found.code, found) for found in defined_problems()))


def defined_problems() -> Iterator[type[Problem]]:
    """All that the modules of this package called `catalogue...` define."""
    for module in pkgutil.iter_modules(diagnostics.__path__):
        if module.name.startswith("catalogue"):
            for member in vars(import_module(f"{diagnostics.__name__}.{module.name}")).values():
                if isinstance(member, type) and issubclass(member, Problem) and hasattr(member, "code"):
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
    digits = code.upper().removeprefix("OD").replace("O", "0").replace("I", "1")
    close = difflib.get_close_matches(f"OD{digits}", known, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else f"codes go from {known[0]} to {known[-1]}."
