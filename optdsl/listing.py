"""The library as text: what `optdsl list` prints, section by section.

In: what to leave out, and how wide a line may be. Out: text, or a dictionary for each spec. A kind of spec is
one section: one row of `_SECTIONS`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from optdsl.console import table
from optdsl.cost import cost
from optdsl.facts import Entry, ObjectiveEntry, PartEntry, entries, objective_entries, part_entries
from optdsl.files import PART_FOLDERS
from optdsl.library import lookup
from optdsl.storing import all_states

LEGEND = """\
state   bytes kept for each float32 parameter, + numbers kept once for each tensor, + lines: for each row or
        column of a matrix, + squares: for each pair of its rows, or columns; flags at their defaults
moved   bytes that a step reads and writes for each float32 parameter, in so many passes over memory
class   what a step needs to know: of each element alone, of matrices, of its tensor, of all tensors
claims  what the file has proved; counted here, proved by the tests of optdsl and by `optdsl explain NAME`"""


@dataclass(frozen=True)
class Wanted:
    """Which specs: every word is in the name, the title or the place in the paper."""

    words: tuple[str, ...] = ()
    sharding: str | None = None
    max_state: int | None = None
    state: str = ""  # the format that states of elements are kept in

    def __call__(self, entry: Any) -> bool:
        text = f"{entry.name} {entry.title} {entry.where}".lower()
        if not all(word.lower() in text for word in self.words):
            return False
        if self.sharding is None and self.max_state is None:
            return True
        if not isinstance(entry, Entry):
            return False  # has neither
        fits = self.max_state is None or entry.state_bytes <= self.max_state
        return fits and self.sharding in (None, entry.sharding)


@dataclass(frozen=True)
class _Section:
    head: tuple[str, ...]
    entries: Callable[[], Sequence[Any]]
    row: Callable[[Any], tuple[str, ...]]


def _optimizer(entry: Entry) -> tuple[str, ...]:
    state = f"{entry.state_bytes:.4g} B" + (f" + {entry.numbers}" if entry.numbers else "")
    state += " + lines" if entry.lines else ""
    state += " + squares" if entry.squares else ""
    counts = state, str(entry.passes), f"{entry.bytes_moved:.4g} B", str(entry.claims)
    return entry.name, _year(entry), entry.sharding, *counts, _line(entry)


def _objective(entry: ObjectiveEntry) -> tuple[str, ...]:
    return entry.name, _year(entry), " ".join(entry.variables), str(entry.claims), _line(entry)


def _part(entry: PartEntry) -> tuple[str, ...]:
    return entry.name, _year(entry), " ".join(entry.arguments), str(entry.claims), _line(entry)


def _year(entry: Entry | ObjectiveEntry | PartEntry) -> str:
    return str(entry.year or "")


def _line(entry: Entry | ObjectiveEntry | PartEntry) -> str:
    return entry.title + (f", {entry.where}" if entry.where else "")


_SECTIONS = (
    _Section(
        ("optimizer", "year", "class", "state", "passes", "moved", "claims", "paper"), entries, _optimizer
    ),
    _Section(("objective", "year", "variables", "claims", "paper"), objective_entries, _objective),
    *(
        _Section(
            (folder.removesuffix("s"), "year", "arguments", "claims", "paper"),
            partial(part_entries, folder),
            _part,
        )
        for folder in PART_FOLDERS
    ),
)


def _chosen(section: _Section, wanted: Wanted) -> Iterator[Any]:
    """Those that are wanted, and with `state` those that can be kept so."""
    kept = (
        (_stored(entry, wanted.state) for entry in section.entries()) if wanted.state else section.entries()
    )
    return (entry for entry in kept if entry is not None and wanted(entry))


def _stored(entry: Any, form: str) -> Entry | None:
    """What an optimizer costs with all states of elements in that format; None where they cannot be."""
    if not isinstance(entry, Entry):
        return None
    optimizer = lookup(entry.name)
    chosen = all_states(optimizer, form)
    if chosen is None:
        return None
    found = cost(optimizer, {}, chosen.precisions("accurate")["float32"])
    return replace(entry, state_bytes=found.state_bytes, bytes_moved=found.bytes_moved)


def rows(wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Everything that is known of each spec."""
    for section in _SECTIONS:
        for entry in _chosen(section, wanted):
            yield {"kind": section.head[0], **asdict(entry)}


def text(wanted: Wanted, width: int | None = None) -> str:
    """The sections that have anything, and a legend; lines cut at `width`. Empty when nothing fits."""
    parts = []
    for section in _SECTIONS:
        found = [section.row(entry) for entry in _chosen(section, wanted)]
        if found:
            parts.append(_cut(table([section.head, *found]), width))
    return "\n\n".join([*parts, LEGEND]) if parts else ""


def _cut(text: str, width: int | None) -> str:
    if width is None:
        return text
    lines = text.split("\n")
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in lines)
