"""What the checks find, worded once: OD6xx. See `catalogue` for how a class is read."""

from dataclasses import dataclass

from optdsl.diagnostics.model import Problem, Severity


@dataclass(frozen=True, kw_only=True)
class ClaimRefuted(Problem):
    """A `prove` line does not hold: the note gives a case, worked out exactly from the initial state.

    Either the formula is wrong, or the claim is. `expect refuted` keeps a claim that is known to be wrong.
    """

    code = "OD601"
    title = "refuted: {claim}"
    label = "does not hold"
    note = "{witness}"
    claim: str
    witness: str


@dataclass(frozen=True, kw_only=True)
class ClaimUnknown(Problem):
    """Neither a proof nor a counterexample was found. That says nothing about the claim."""

    code = "OD602"
    severity = Severity.WARNING
    title = "unknown: {claim}"
    label = "neither proved nor refuted"
    note = "{residual}"
    claim: str
    residual: str


@dataclass(frozen=True, kw_only=True)
class NotRefuted(Problem):
    """A line `expect refuted` names a claim that is not refuted."""

    code = "OD603"
    title = "expected to be refuted, and {outcome}: {claim}"
    label = "not refuted"
    note = "{reason}"
    claim: str
    outcome: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class IllDefined(Problem):
    """On a run that begins at the initial state, a number is divided by zero, or a root or power has no
    real value: the parameters become NaN or infinite. Often an `eps` is missing. What a later line would not
    use counts, too: exclude the case where the value is made.
    """

    code = "OD604"
    title = "this {kind} can divide by zero or leave the real numbers"
    label = "has no value"
    note = "{witness}"
    advice = "exclude the case on this line, as in `if d > 0 then n/d else 0`, or add an eps above 0"
    witness: str
    kind: str = "optimizer"


@dataclass(frozen=True, kw_only=True)
class Suspicious(Problem):
    """A property that nearly every optimizer has is refuted by a concrete run. If it is meant so, write
    `expect refuted NAME` into the file and the warning goes.

    fixed_point: with a zero gradient nothing but decay moves; decay_direction: decay makes parameters
    smaller; descent: the first step does not climb; coasting: with zero gradients the parameters come to
    rest; idle_step: lr = 0 and g = 0 change nothing.
    """

    code = "OD605"
    severity = Severity.WARNING
    title = "refuted: {check}"
    label = "{summary}"
    note = "{witness}"
    check: str
    summary: str
    witness: str
