"""Where text came from, and where in it something stands."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of code-point offsets into a `Source`."""

    start: int
    end: int

    def __or__(self, other: "Span") -> "Span":
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.end, other.end))


@dataclass(frozen=True)
class Source:
    """A spec's text under the name that a reader knows it by.

    Line ends are `\n` only (`files.read_spec` turns `\r\n` into it). A source may be put together from
    others: then `text` is theirs, one after the other, and every offset belongs to one of the `pieces`.
    """

    name: str
    text: str
    pieces: tuple["Source", ...] = ()

    @classmethod
    def joined(cls, name: str, pieces: Iterable["Source"]) -> "Source":
        """The texts of some sources as one, with an empty line between them."""
        whole = tuple(replace(each, text=each.text.rstrip("\n") + "\n\n") for each in pieces)
        return cls(name, "".join(each.text for each in whole), whole)

    def piece(self, offset: int) -> "tuple[Source, int]":
        """The source that an offset belongs to, and where in this one it begins: itself, when it is whole."""
        begin = 0
        for each in self.pieces:
            if offset < begin + len(each.text) or each is self.pieces[-1]:
                return each, begin
            begin += len(each.text)
        return self, 0

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, char in enumerate(self.text) if char == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1, in code points."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (counted from 1), without its end."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start:] if end < 0 else self.text[start:end]

    def slice(self, span: Span) -> str:
        return self.text[span.start : span.end]
