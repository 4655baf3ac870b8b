"""What there is to know about the specs of the library at a glance: the rows of `optdsl list`.

In: the library. Out: facts. Nothing is proved here: `claims` counts what the files claim, and that those
claims are proved is what the project's own tests check.
"""

import re
from dataclasses import dataclass

from optdsl.cost import cost
from optdsl.driver import front
from optdsl.driver import meaning as load_meaning
from optdsl.files import library_names, names_in, objective_names, read_library
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Optimizer
from optdsl.language.parts import Part
from optdsl.language.syntax import Claim

_YEAR = re.compile(r"(?<![\d.:/])(?:1[89]|20)\d\d(?!\d|\.\d)")  # not part of an arXiv number
_QUOTED = re.compile(r'["“]([^"”]+)["”]')


@dataclass(frozen=True)
class Citation:
    """What the first paragraph of a header says: the paper, its year, and where in it."""

    title: str
    year: int | None
    where: str


def citation(doc: str) -> Citation:
    """The first title in quotes and the first year behind it; without quotes the whole is the title."""
    text = " ".join(doc.strip().split("\n\n", 1)[0].split())
    quoted = _QUOTED.search(text)
    title, rest = (quoted[1].rstrip(",."), text[quoted.end() :]) if quoted else (text.rstrip("."), text)
    year = _YEAR.search(rest)
    where = rest[year.end() :].lstrip(" ,.;:").rstrip(".") if year and quoted else ""
    return Citation(title, int(year[0]) if year else None, where)


@dataclass(frozen=True)
class Entry:
    """An optimizer of the library, its flags at their defaults.

    `state_bytes` and `bytes_moved` are for one float32 parameter and one step, `numbers` is what is kept
    once for each tensor, `lines` what for each row or column, `squares` what for each
    pair of these; `sharding` is one of `cost.CLASSES`.
    """

    name: str
    title: str
    where: str
    year: int | None
    sharding: str
    state_bytes: float
    numbers: int
    lines: int
    squares: int
    passes: int
    bytes_moved: float
    claims: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class ObjectiveEntry:
    """An objective of the library."""

    name: str
    title: str
    where: str
    year: int | None
    variables: tuple[str, ...]
    claims: int


@dataclass(frozen=True)
class PartEntry:
    """A transform, schedule or wrapper of the library, and what it takes."""

    name: str
    title: str
    where: str
    year: int | None
    arguments: tuple[str, ...]
    claims: int


def entries() -> list[Entry]:
    """The optimizers of the library, in alphabetical order. Raises `OptdslError` if a spec is wrong."""
    return [entry(name, front(read_library(name))[0]) for name in library_names()]


def objective_entries() -> list[ObjectiveEntry]:
    """Every objective of the library, in alphabetical order."""
    found = ((name, load_meaning(read_library(name))[0]) for name in objective_names())
    return [objective_entry(name, spec) for name, spec in found if isinstance(spec, Objective)]


def part_entries(folder: str) -> list[PartEntry]:
    """The parts in a folder of the library, in alphabetical order."""
    found = ((name, load_meaning(read_library(name))[0]) for name in names_in(folder))
    return [part_entry(name, spec) for name, spec in found if isinstance(spec, Part)]


def entry(name: str, optimizer: Optimizer) -> Entry:
    cited, costs = citation(optimizer.doc), cost(optimizer, {})
    return Entry(
        name,
        cited.title,
        cited.where,
        cited.year,
        costs.sharding,
        costs.state_bytes,
        costs.numbers,
        costs.lines,
        costs.squares,
        len(costs.passes),
        costs.bytes_moved,
        _proved(optimizer.claims),
        tuple(flag.name for flag in optimizer.flags if flag.rank is None),
    )


def objective_entry(name: str, objective: Objective) -> ObjectiveEntry:
    cited = citation(objective.doc)
    variables = tuple(variable.name for variable in objective.variables)
    return ObjectiveEntry(name, cited.title, cited.where, cited.year, variables, _proved(objective.claims))


def part_entry(name: str, part: Part) -> PartEntry:
    cited = citation(part.doc)
    arguments = (*(each.name for each in part.hypers), *(each.name for each in part.flags))
    return PartEntry(name, cited.title, cited.where, cited.year, arguments, _proved(part.stand_in.claims))


def _proved(claims: tuple[Claim, ...]) -> int:
    return sum(not claim.refuted and not claim.estimate for claim in claims)
