"""One text for a composition and the parts that it takes from elsewhere.

In: the syntax of a file, and the texts of a library by name. Out: a source with the
texts of those parts above the file's own, its syntax, and what the parts call themselves. The joined text
is a spec that needs nothing else, so every span and every comment in generated code has a place in it.
A part that there is not is left to `compose` to report. Nothing else is read here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from optdsl.diagnostics import InternalError, Report, Source
from optdsl.language import syntax
from optdsl.language.parser import parse
from optdsl.language.shapes import parts_of

Library = Mapping[str, Source]
"""The texts of specs by their names."""


@dataclass(frozen=True)
class Linked:
    """`names` says what the parts that were taken from elsewhere call themselves: `gd` is GradientDescent."""

    source: Source
    file: syntax.File
    names: Mapping[str, str]


def link(source: Source, file: syntax.File, library: Library) -> Linked:
    """The file with all parts that it names and does not define above."""
    pieces: dict[str, Source] = {}
    names: dict[str, str] = {}

    def collect(part: syntax.File) -> None:
        for place, definition in enumerate(part.definitions):
            if not isinstance(definition, syntax.Composition):
                continue
            above = {same(each.name) for each in part.definitions[:place]}
            for name in parts_named(definition):
                if same(name) in above or name in names or name not in library:
                    continue
                text = library[name]
                found = _parsed(text)
                names[name] = found.definitions[-1].name
                collect(found)  # what it needs stands above it
                pieces[name] = text

    collect(file)
    if not pieces:
        return Linked(source, file, names)
    joined = Source.joined(source.name, (*pieces.values(), source))
    return Linked(joined, replace(_parsed(joined), header=file.header), names)


def _parsed(source: Source) -> syntax.File:
    report = Report(source)
    file = parse(source, report)
    if file is None or report.has_errors:
        raise InternalError(f"the spec {source.name} of the library cannot be read")
    return file


def same(name: str) -> str:
    """Equal for names that mean the same part: `clip_by_value` and `ClipByValue`."""
    return name.replace("_", "").lower()


def snake(name: str) -> str:
    """`ClipByValue` as it is written in a composition: `clip_by_value`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def parts_named(composition: syntax.Composition) -> Iterator[str]:
    """Every part, and everything in their arguments that can be one: a call, or a name."""
    for stage in composition.stages:
        yield stage.name
        for argument in stage.arguments:
            yield from _named(argument.value)


def _named(expr: syntax.Expr) -> Iterator[str]:
    match expr:
        case syntax.Name(name):
            yield name
        case syntax.Call(function):
            yield function
    for part in parts_of(expr):
        yield from _named(part)
