"""What of a definition has no influence on the parameters: states, values, hypers, flags, the gradient.

Assumes a resolved `Optimizer` without errors, in which every flag is still open: a state that only
`if amsgrad` reads is used. Says nothing about zeros that follow from arithmetic: that is for the checks.
"""

from optdsl.diagnostics import Report
from optdsl.diagnostics import catalogue as problem
from optdsl.language.optimizer import Assign, Optimizer, Ref, Role, choices, references
from optdsl.language.scope import Scope
from optdsl.language.shapes import names_in


def report_unused(optimizer: Optimizer, scope: Scope) -> None:
    report = scope.report
    setters: dict[str, list[Assign]] = {}
    for line in optimizer.lines:
        setters.setdefault(line.target.name, []).append(line)
    read = _reaching(optimizer, setters)
    read_names = {ref.name for ref in read}
    claimed = {
        name
        for claim in optimizer.claims
        for part in (claim.left, claim.right)
        if part
        for name in names_in(part)
    }
    for state in optimizer.states:
        if state.name not in read_names:
            report.add(problem.StateNotRead(span=scope.states[state.name].name_span, name=state.name))
    for name, lines in setters.items():
        if lines[0].target.role is Role.VALUE and name not in read_names | claimed:
            report.add(problem.Unused(span=lines[0].target.span, what="value", name=name))
    _declared(optimizer, scope, read_names | claimed, report)
    if "g" not in read_names:
        report.add(problem.GradientNotRead(span=setters["theta"][0].span, name=optimizer.name))


def _declared(optimizer: Optimizer, scope: Scope, used: set[str], report: Report) -> None:
    initial = {ref.name for state in optimizer.states for ref in references(state.initial)}
    for hyper in optimizer.hypers:
        if hyper.name in scope.hypers and hyper.name not in used | initial:
            span = scope.hypers[hyper.name].name_span
            report.add(problem.Unused(span=span, what="hyperparameter", name=hyper.name))
    for given in optimizer.inputs:
        if given in scope.inputs and given not in used:
            report.add(problem.Unused(span=scope.inputs[given].name_span, what="input", name=given))
    together = {flag.name: members for members in choices(optimizer.flags).values() for flag in members}
    for flag in optimizer.flags:
        if used.intersection(other.name for other in together.get(flag.name, ())):
            continue
        if flag.rank is None and flag.name not in used:
            report.add(problem.Unused(span=scope.flags[flag.name].name_span, what="flag", name=flag.name))


def _reaching(optimizer: Optimizer, setters: dict[str, list[Assign]]) -> set[Ref]:
    """Every reference on a path to `theta`, to an output or to the point where the gradient is taken."""
    found: set[Ref] = set(references(optimizer.query)) if optimizer.query else set()
    for output in optimizer.outputs:
        found |= references(output.value)
    visited: set[str] = set()
    waiting = ["theta", *(ref.name for ref in found)]
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        for line in setters.get(name, ()):
            refs = references(line.value) | (references(line.first) if line.first else frozenset())
            if line.target.role is Role.STATE:  # a state that only feeds itself reaches nothing
                refs = frozenset(ref for ref in refs if ref.name != name)
            found |= refs
            waiting.extend(ref.name for ref in refs)
    return found
