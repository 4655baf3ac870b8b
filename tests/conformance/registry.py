"""The list of obligations, in the order of the pages that define them."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.subjects import Subject

Check = Callable[[Subject], str | None]


@dataclass(frozen=True)
class Obligation:
    """`what` is one line for the page; `topic` is the module that it stands in."""

    name: str
    what: str
    topic: str
    check: Check


OBLIGATIONS: list[Obligation] = []


def obligation(check: Check) -> Check:
    """Decorator: the function's name and the first line of its docstring are on the page."""
    what = (check.__doc__ or "").strip().split("\n")[0].rstrip(".")
    topic = check.__module__.rpartition(".")[2]
    OBLIGATIONS.append(Obligation(check.__name__, what, topic, check))
    return check
