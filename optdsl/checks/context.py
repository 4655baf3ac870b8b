"""What a check is given: one optimizer with its flags chosen, and what is known about its numbers.

`CHECKS` and `CLAIMS` (in `catalogue`) are functions of a `Context`; nothing here decides anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from optdsl.checks.interval import Interval, exactly
from optdsl.checks.walk import Key
from optdsl.language.optimizer import Domain, Hyper, Number, Optimizer, State


@dataclass(frozen=True)
class Context:
    """`optimizer` is specialised: it has no flags left; `ranks` are those that a tensor decides."""

    optimizer: Optimizer
    ranks: Mapping[str, bool] = field(default_factory=dict)

    @cached_property
    def domains(self) -> dict[str, Interval]:
        """The declared domain of every hyper."""
        return {hyper.name: interval_of(hyper.domain) for hyper in self.optimizer.hypers}

    @cached_property
    def defaults(self) -> dict[str, Fraction]:
        return {hyper.name: hyper.default for hyper in self.optimizer.hypers}

    @cached_property
    def hypers(self) -> dict[str, Hyper]:
        return {hyper.name: hyper for hyper in self.optimizer.hypers}

    @cached_property
    def states(self) -> dict[str, State]:
        return {state.name: state for state in self.optimizer.states}

    @cached_property
    def facts(self) -> dict[Key, Interval]:
        """Where every input of a step can be: domains, t >= 1, and the states' invariants."""
        from optdsl.checks.invariants import facts_of

        return facts_of(self)

    def initial_interval(self, state: State) -> Interval:
        """Where a state begins: a number, a hyper's domain, or anywhere (a copy of theta)."""
        match state.initial:
            case Number(value=value):
                return exactly(value)
            case ref if getattr(ref, "name", "") in self.domains:
                return self.domains[ref.name]  # type: ignore[union-attr]
            case _:
                return Interval()


def interval_of(domain: Domain) -> Interval:
    return Interval(domain.low, domain.high, not domain.low_closed, not domain.high_closed)
