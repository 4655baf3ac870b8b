"""A few short runs that are easy to reckon with, to find a witness in."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product

from optdsl.checks.context import Context
from optdsl.checks.trace import IllDefinedError, UndecidedError, Value, replay
from optdsl.checks.walk import Key
from optdsl.language.inputs import drawn
from optdsl.language.optimizer import Optimizer

Run = list[dict[Key, Value]]
Found = tuple[dict[str, Fraction], tuple[Fraction, ...], Run]

_GRADIENTS = (Fraction(0), Fraction(1), Fraction(-2), Fraction(2), Fraction(1, 2))
_INPUTS = (Fraction(1), Fraction(0), Fraction(-2))
_LENGTHS = (1, 2)
_LONG = (
    (Fraction(1), Fraction(0), Fraction(0)),
    (Fraction(1), Fraction(-1), Fraction(1)),
    (Fraction(3), Fraction(1), Fraction(-2)),
)


def sequences() -> Iterator[tuple[Fraction, ...]]:
    """Gradients, the shortest first."""
    for length in _LENGTHS:
        yield from product(_GRADIENTS, repeat=length)
    yield from _LONG


def hyper_points(context: Context) -> Iterator[dict[str, Fraction]]:
    """The defaults, then halves where they are allowed, then the ends of domains that are closed; each with
    a few values of the inputs, the same in every step of a run.
    """
    given = context.optimizer.inputs
    for point in _hyper_points(context):
        for value in _INPUTS if given else ():
            yield {**point, **{name: _possible(name, value) for name in given}}
        if not given:
            yield point


def _possible(name: str, value: Fraction) -> Fraction:
    """What is drawn uniformly lies between 0 and 1."""
    draw = drawn(name)
    return Fraction(1, 2) + value / 8 if draw is not None and draw[0] == "uniform" else value


def _hyper_points(context: Context) -> Iterator[dict[str, Fraction]]:
    yield dict(context.defaults)
    for nice in (Fraction(1, 2), Fraction(1)):
        yield {
            name: nice if nice in around else context.defaults[name]
            for name, around in context.domains.items()
        }
    ends = {
        name: around.low if around.low is not None and not around.low_open else context.defaults[name]
        for name, around in context.domains.items()
    }
    yield ends


def refuting_run(context: Context, fails: Callable[[Run, int], bool]) -> Found | None:
    """The first run of which `fails(run, t)` says at its last step (counted from 0) that something fails."""
    for hypers in hyper_points(context):
        for gradients in sequences():
            try:
                run = replay(context.optimizer, hypers, gradients)
                if fails(run, len(run) - 1):
                    return hypers, gradients, run
            except (IllDefinedError, UndecidedError):
                continue
    return None


def ill_defined_run(
    optimizer: Optimizer, context: Context
) -> tuple[dict[str, Fraction], tuple[Fraction, ...], IllDefinedError] | None:
    """The first run that divides by zero or leaves the reals."""
    for hypers in hyper_points(context):
        for gradients in sequences():
            try:
                replay(optimizer, hypers, gradients)
            except IllDefinedError as error:
                return hypers, gradients, error
            except UndecidedError:
                continue
    return None
