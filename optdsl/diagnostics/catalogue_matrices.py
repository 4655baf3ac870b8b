"""What is wrong with matrices and loops, worded once: OD305 and the following. See `catalogue`."""

from dataclasses import dataclass

from optdsl.diagnostics.model import Problem


@dataclass(frozen=True, kw_only=True)
class LoopForm(Problem):
    """A loop goes around a known number of times, with one matrix that each round makes new:

        o = repeat(5, x = u/norm(u), a = x @ transpose(x), 1.5*x - 0.5*a @ x)

    First how often, a number or something made of hypers and `t`; then what goes around, with its start;
    then, if need be, values of a round, each with a name; last, without a name, what goes around next. The
    value of the whole is the last of these.
    """

    code = "OD305"
    title = "this loop cannot go around: {reason}"
    label = "in this loop"
    advice = "write `repeat(5, x = START, NEW)`, where NEW is made of x; values of a round stand between"
    reason: str
