"""What the names of one definition stand for, line by line: declarations, and what has been set so far."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from optdsl.diagnostics import Report, Span
from optdsl.language import syntax
from optdsl.language.optimizer import Shape

Declaration = syntax.HyperDecl | syntax.FlagDecl | syntax.StateDecl | syntax.InputDecl


@dataclass
class Scope:
    """`values` and `new` grow as the lines are read; `excused` are names that a line with an error of
    syntax may have set, about which nothing is said.
    """

    report: Report
    hypers: dict[str, syntax.HyperDecl] = field(default_factory=dict)
    flags: dict[str, syntax.FlagDecl] = field(default_factory=dict)
    states: dict[str, syntax.StateDecl] = field(default_factory=dict)
    inputs: dict[str, syntax.InputDecl] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    excused: frozenset[str] = frozenset()
    later: dict[str, Span] = field(default_factory=dict)  # values that some line sets, and where
    values: dict[str, Span] = field(default_factory=dict)  # values set so far
    new: dict[str, Span] = field(default_factory=dict)  # states (and theta) whose new value is set
    draws: list[str] | None = None  # what is drawn so far, in the order of the calls; None: nothing can be
    gradient_read: Span | None = None
    poisoned: set[str] = field(default_factory=set)  # set by a line with an error
    loop: dict[str, Shape] = field(default_factory=dict)  # names inside of the `repeat` that is being read
    count: str = ""  # the k of the loop over what is remembered that is being read
    rounds: dict[str, tuple[str, Shape]] = field(default_factory=dict)  # `a[k]`: whose line, and its shape
    past_loops: set[str] = field(default_factory=set)  # lines that are loops over what is remembered
    elsewhere: set[str] = field(default_factory=set)  # set in a branch of a `when`, and this is not it

    def declaration(self, name: str) -> Declaration | None:
        for declared in (self.hypers, self.flags, self.states, self.inputs):
            if name in declared:
                return declared[name]
        return None

    def subscripted(self, name: str) -> str | None:
        """What `m_t` means where `m` changes with time: the subscript of a printed formula."""
        stem = name.removesuffix("_t")
        return stem if stem != name and (stem in self.states or stem in ("theta", "g")) else None

    def readable(self) -> Iterator[str]:
        """Names for suggestions, as they would be written."""
        yield from (*self.hypers, *self.flags, *self.inputs, *self.values, *self.states, "t")

    def __contains__(self, name: str) -> bool:
        return self.declaration(name) is not None or name in self.values
