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

    Or it goes over what states remember, `s[t-k]`, and is a line of its own:

        back = repeat(k = 0 to m - 1, q = g[t], a[k] = dot(s[t-k], q over all), q - a[k]*s[t-k])

    First how it counts, up or down; then what goes around, a vector; then values of a round, with an index
    where a later loop reads them. Vectors are added and multiplied by numbers; these are made of `dot` and
    `norm`.
    """

    code = "OD305"
    title = "this loop cannot go around: {reason}"
    label = "in this loop"
    advice = "write `repeat(5, x = START, NEW)`, or `repeat(k = 0 to 4, x = START, NEW)` to read `s[t-k]`"
    reason: str
