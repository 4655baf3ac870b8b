"""What there is to know about a spec at a glance: the tables of `optdsl list` and `optdsl show`.

In: an `Optimizer`. Out: facts and text. Its kernels are neither made nor looked at.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from optdsl.console import table
from optdsl.driver import front
from optdsl.driver import meaning as load_meaning
from optdsl.files import library_names, names_in, objective_names, read_library
from optdsl.language.inputs import INPUTS
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Alias, Optimizer, Shape, State
from optdsl.language.parts import Part
from optdsl.language.specialise import specialise

FLOAT32_BYTES = 4
_YEAR = re.compile(r"(?<![\d.:/])(?:1[89]|20)\d\d(?!\d|\.\d)")  # not part of an arXiv number
_QUOTED = re.compile(r'["“]([^"”]+)["”]', re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A spec of the library; `state_bytes` per float32 parameter, with every flag at its default."""

    name: str
    title: str
    year: int | None
    state_bytes: int
    flags: tuple[str, ...]


def entries() -> list[Entry]:
    """The optimizers of the library, in alphabetical order. Raises `OptdslError` if a spec is wrong."""
    return [entry(name, front(read_library(name))[0]) for name in library_names()]


@dataclass(frozen=True)
class ObjectiveEntry:
    """An objective of the library."""

    name: str
    title: str
    year: int | None
    variables: tuple[str, ...]


def objective_entries() -> list[ObjectiveEntry]:
    """Every objective of the library, in alphabetical order."""
    found = ((name, load_meaning(read_library(name))[0]) for name in objective_names())
    return [
        ObjectiveEntry(name, title(spec.doc), year(spec.doc), tuple(v.name for v in spec.variables))
        for name, spec in found
        if isinstance(spec, Objective)
    ]


@dataclass(frozen=True)
class PartEntry:
    """A transform, schedule or wrapper of the library, and what it takes."""

    kind: str
    name: str
    title: str
    year: int | None
    arguments: tuple[str, ...]


def part_entries(folder: str) -> list[PartEntry]:
    """The parts in a folder of the library, in alphabetical order."""
    found = ((name, load_meaning(read_library(name))[0]) for name in names_in(folder))
    return [
        PartEntry(str(spec.kind), name, title(spec.doc), year(spec.doc), _arguments(spec))
        for name, spec in found
        if isinstance(spec, Part)
    ]


def _arguments(part: Part) -> tuple[str, ...]:
    return (*(each.name for each in part.hypers), *(each.name for each in part.flags))


def entry(name: str, optimizer: Optimizer) -> Entry:
    flags = tuple(flag.name for flag in optimizer.flags if flag.rank is None)
    return Entry(name, title(optimizer.doc), year(optimizer.doc), state_bytes(optimizer, {}), flags)


def title(doc: str) -> str:
    """The title of the paper that a header cites first; its first line when nothing is in quotes."""
    if quoted := _QUOTED.search(doc):
        return " ".join(quoted[1].split()).rstrip(",.")
    return doc.strip().split("\n", 1)[0].rstrip(".")


def year(doc: str) -> int | None:
    """The first year that a header names, or None."""
    found = _YEAR.search(doc)
    return int(found[0]) if found else None


def state_bytes(optimizer: Optimizer, flags: Mapping[str, bool]) -> int:
    """Bytes kept per float32 parameter with these flags; what is kept per tensor or row does not."""
    return sum(_bytes(state) for state in specialise(optimizer, flags).states)


def _bytes(state: State) -> int:
    return FLOAT32_BYTES if state.shape is Shape.ELEMENT else 0


def describe(spec: Optimizer | Part, flags: Mapping[str, bool]) -> str:
    """What `optdsl show` prints: the header of the spec, then its hypers, states and flags."""
    optimizer = spec.stand_in if isinstance(spec, Part) else spec
    parts = [f"{optimizer.name}\n\n{optimizer.doc.strip()}".strip()]
    called = "also called" if isinstance(spec, Part) else "in training code"
    if optimizer.hypers:
        rows = [("hyper", "default", "domain", called)]
        rows += [
            (h.name, f"{float(h.default):g}", str(h.domain), _key(h.alias, h.name)) for h in optimizer.hypers
        ]
        parts.append(table(rows))
    kept = specialise(optimizer, flags).states
    if optimizer.states:
        states = [("state", "shape", "key", "bytes per float32 parameter")]
        for state in optimizer.states:
            used = str(_bytes(state)) if state.name in {k.name for k in kept} else "not kept with these flags"
            states.append((state.name, state.shape.name.lower(), state.alias or state.name, used))
        parts.append(table(states))
    if optimizer.inputs:
        given = [("input", "shape", "given to step")]
        given += [(name, INPUTS[name].shape.name.lower(), INPUTS[name].what) for name in optimizer.inputs]
        parts.append(table(given))
    if own := [flag for flag in optimizer.flags if flag.rank is None]:
        rows = [("flag", "default", "chosen", called)]
        for flag in own:
            chosen = flags.get(flag.name, flag.default)
            rows.append((flag.name, _truth(flag.default), _truth(chosen), _key(flag.alias, flag.name)))
        parts.append(table(rows))
    return "\n\n".join(parts)


def _key(alias: Alias | None, name: str) -> str:
    if alias is None:
        return name
    return alias.name if alias.index is None else f"{alias.name}[{alias.index}]"


def _truth(value: bool) -> str:
    return "true" if value else "false"
