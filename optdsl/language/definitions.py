"""A whole file to its meaning: the one thing that it defines, or the composition that it ends with.

In: a `syntax.File`, perhaps with lines left out that did not parse, and with the parts that it takes from
elsewhere (`link`). Out: the meaning of its last definition, or None; all that is wrong goes to the `Report`.
Each kind of definition is read in a module of its own.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from optdsl.diagnostics import Report, Span
from optdsl.diagnostics import catalogue_parts as problem
from optdsl.diagnostics.catalogue import NotYet, OneOptimizer, ShapeClash
from optdsl.language import declarations, syntax
from optdsl.language.arguments import Meaning
from optdsl.language.compose import compose
from optdsl.language.link import same
from optdsl.language.names import closest
from optdsl.language.objective import VALUE
from optdsl.language.optimizer import Optimizer, Shape
from optdsl.language.parts import PARTS, Part, stand_in
from optdsl.language.resolve import resolve_optimizer
from optdsl.language.resolve_objective import resolve_objective


def resolve(
    file: syntax.File,
    report: Report,
    excused: frozenset[str] = frozenset(),
    names: Mapping[str, str] = MappingProxyType({}),
    library: Collection[str] = (),
) -> Meaning | None:
    """The meaning of a file: of its one definition, or of the composition that is its last.

    `excused` are names on lines that did not parse; `names` says what parts that were taken from elsewhere
    call themselves, `library` what else there is, for suggestions.
    """
    if isinstance(file.definitions[-1], syntax.Composition):
        return _Compositions(file, report, excused, names, library).resolve()
    for other in file.definitions[1:]:
        report.add(OneOptimizer(span=other.name_span))
    first = file.definitions[0]
    if isinstance(first, syntax.Composition):
        return None
    return _definition(first, file.header, report, excused)


def _definition(
    definition: syntax.Definition, header: str, report: Report, excused: frozenset[str]
) -> Meaning | None:
    if definition.kind is syntax.Kind.OBJECTIVE:
        return resolve_objective(definition, header, report, excused)
    if definition.kind in PARTS:
        return _part(definition, header, report, excused)
    return resolve_optimizer(definition, header, report, excused)


def _part(definition: syntax.Definition, header: str, report: Report, excused: frozenset[str]) -> Part | None:
    as_optimizer = stand_in(definition, report)
    if as_optimizer is None:
        return None
    meaning = resolve_optimizer(as_optimizer, header, report, excused)
    if meaning is None:
        return None
    kind, inner = definition.kind, definition.formals[0].name if definition.formals else ""
    for line in meaning.lines if kind is syntax.Kind.TRANSFORM else ():
        if line.target.name == VALUE and line.target.shape is not Shape.ELEMENT:
            report.add(
                ShapeClash(
                    span=line.value.span,
                    reason="a transform gives a value for every element, as a gradient has",
                    found="one value per tensor"
                    if line.target.shape is Shape.TENSOR
                    else "one value per step",
                    choice="what is the same for all elements is a factor: `out = g[t]*...`",
                )
            )
            return None
    return Part(kind, meaning, inner)


class _Compositions:
    """A file whose last definition is a composition: what stands above is there to be a part of it."""

    def __init__(
        self,
        file: syntax.File,
        report: Report,
        excused: frozenset[str],
        names: Mapping[str, str],
        library: Collection[str],
    ) -> None:
        self.file, self.report, self.excused, self.names = file, report, excused, names
        self.library = library
        self.meanings: list[Meaning | None] = []
        self.used = {len(file.definitions) - 1}

    def resolve(self) -> Optimizer | None:
        for definition in self.file.definitions:
            header = self.file.header
            if isinstance(definition, syntax.Composition):
                declarations.check_name(definition.name, definition.name_span, self.report)
                if definition.kind is not syntax.Kind.OPTIMIZER:
                    what = f"a {definition.kind} made of others"
                    self.report.add(NotYet(span=definition.span, what=what))
                    self.meanings.append(None)
                else:
                    self.meanings.append(compose(definition, header, self._find, self.report))
            else:
                self.meanings.append(_definition(definition, header, self.report, self.excused))
        for place, definition in enumerate(self.file.definitions):
            if place not in self.used and not self.report.has_errors:
                self.report.add(problem.UnusedPart(span=definition.name_span, name=definition.name))
        last = self.meanings[-1]
        assert last is None or isinstance(last, Optimizer)
        return None if self.report.has_errors else last

    def _find(self, name: str, span: Span) -> Meaning | None:
        """The nearest definition above of this name."""
        wanted = {same(name), same(self.names.get(name, name))}
        places = [i for i, each in enumerate(self.file.definitions) if same(each.name) in wanted]
        above = [place for place in places if place < len(self.meanings)]
        if above:
            self.used.add(above[-1])
            return self.meanings[above[-1]]
        if places:
            self.report.add(problem.PartOfItself(span=span, name=name))
        else:
            near = closest(name, (*self.library, *(each.name for each in self.file.definitions[:-1])))
            self.report.add(problem.UnknownPart(span=span, name=name, suggestion=near))
        return None
