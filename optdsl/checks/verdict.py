"""What a check says: proved, refuted or unknown, and why. Never a boolean.

An `estimate` is none of these: what was found for it is certified numerically, when it was asked to be run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import NoReturn

from optdsl.diagnostics import Span


class Outcome(StrEnum):
    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    ESTIMATED = "certified numerically"
    NOT_RUN = "not run"

    def __bool__(self) -> NoReturn:
        raise TypeError("a verdict is no truth value: compare it with Outcome.PROVED")


@dataclass(frozen=True)
class Witness:
    """A concrete case in which a claim fails, reached from the initial state and computed exactly.

    `values` are the hyperparameters and inputs, `gradients` one per step; `found` and `expected` the two
    sides of what should have been equal, as text.
    """

    values: Mapping[str, Fraction]
    gradients: tuple[Fraction, ...] = ()
    found: str = ""
    expected: str = ""

    def __str__(self) -> str:
        parts = [f"{name} = {value}" for name, value in self.values.items()]
        if self.gradients:
            parts.append(f"g = {', '.join(map(str, self.gradients))}")
        sides = f"{self.found} instead of {self.expected}" if self.expected else self.found
        return ": ".join(filter(None, (", ".join(parts), sides)))


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim or default check.

    derivation   the steps of a proof, or of the search for one, as lines of text
    witness      with REFUTED: the case that a reader can work out by hand
    residual     with UNKNOWN: what was left over, and which fact would help; with NOT_RUN: what runs it
    assumptions  what the verdict rests on besides the spec (such as independent gradients)
    """

    claim: str
    outcome: Outcome
    summary: str = ""
    derivation: tuple[str, ...] = ()
    witness: Witness | None = None
    residual: str = ""
    assumptions: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)
    declared: bool = False  # a claim of the file; otherwise a check that runs by default
    expected_refuted: bool = False  # `expect refuted`
    part: str = ""  # of a composition, whose claim this is: asked of the whole, and never a finding

    def __bool__(self) -> NoReturn:
        raise TypeError("a verdict is no truth value: look at .outcome")

    @property
    def verdict(self) -> str:
        """The outcome as text: "proved", "refuted", "unknown"..."""
        return str(self.outcome)
