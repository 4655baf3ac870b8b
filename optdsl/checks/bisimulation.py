"""`reduces(other)`: under conditions on the hypers, this spec is that one.

In: the claim, this spec, and a way to look the other up. Proved when both take the gradient at the same
points and have the same theta after every step, for every sequence of gradients: by an invariant between
the states (`relation`). Refuted by a run in which they differ (`runs`).
States correspond by their names or, failing that, by a linear relation that is found (`linear`).
"""

from optdsl.checks.catalogue import Lookup
from optdsl.checks.context import Context
from optdsl.checks.linear import find_either, told
from optdsl.checks.pairing import Pair, UnreadableError, claim_text, pair
from optdsl.checks.relation import RELATED, Part, Relation, identity, invariant
from optdsl.checks.runs import first_difference
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.language import syntax
from optdsl.language.optimizer import Ref

FEW = 3


def claim_reduces(claim: syntax.Claim, context: Context, lookup: Lookup) -> Verdict:
    text = claim_text(claim)
    try:
        specs = pair(claim, context, lookup)
    except UnreadableError as error:
        return Verdict(text, Outcome.UNKNOWN, residual=str(error))
    if specs.free:
        return Verdict(text, Outcome.UNKNOWN, residual="`free` belongs to `equivalent` and `same_oracle`")
    if (witness := first_difference(specs, count=FEW)) is not None:  # cheaper than a proof that fails
        return _refuted(text, specs, witness)
    relation = identity(specs)
    parts = invariant(specs, relation)
    if parts >= RELATED:
        return Verdict(
            text,
            Outcome.PROVED,
            f"the same theta as {specs.other} after every step, for every sequence of gradients",
            derivation=derivation(specs, relation, parts),
            assumptions=_assumptions(specs, parts),
        )
    found = find_either(specs, same_theta=True)
    if found is not None:
        summary, lines, assumptions = told(found)
        summary = f"the same theta as {specs.other} after every step, {summary}"
        return Verdict(text, Outcome.PROVED, summary, lines, assumptions=assumptions)
    if (witness := first_difference(specs)) is not None:
        return _refuted(text, specs, witness)
    missing = "theta" if ("related", "theta") not in parts else "the point where the gradient is taken"
    return Verdict(
        text,
        Outcome.UNKNOWN,
        residual=f"not shown that {missing} agrees, and no run was found in which they differ",
        derivation=specs.notes,
    )


def _refuted(text: str, specs: Pair, witness: Witness) -> Verdict:
    summary = f"{witness.found}, in {specs.other} {witness.expected.rpartition(' (')[0]}"
    return Verdict(text, Outcome.REFUTED, summary, specs.notes, witness)


def derivation(specs: Pair, relation: Relation, parts: frozenset[Part]) -> tuple[str, ...]:
    """The invariant in words."""
    lines = list(specs.notes)
    for kind, spec in (("left", "here"), ("right", specs.other)):
        for state in specs.left.states if kind == "left" else specs.right.states:
            if (kind, state.name) in parts:
                lines.append(f"{state.name} never leaves {state.name}[0] ({spec})")
    same = [
        f"{name} = {expr.name}" if name != expr.name else name
        for name, expr in relation.items()
        if ("related", name) in parts and ("right", name) not in parts and isinstance(expr, Ref)
    ]
    lines.append(f"the same in both: {', '.join(same)}")
    lines.append("base: after step 1 from the initial states")
    lines.append(f"step: kept by every step t >= 2; {specs.other}'s step minus this one is 0")
    return tuple(lines)


def _assumptions(specs: Pair, parts: frozenset[Part]) -> tuple[str, ...]:
    """A state that stays where a hyper has put it needs the hyper to stay too."""
    begins = {("left", state.name): state.initial for state in specs.left.states}
    begins |= {("right", state.name): state.initial for state in specs.right.states}
    if any(isinstance(begins.get(part), Ref) for part in parts):
        return ("hypers do not change from step to step",)
    return ()
