"""Everything there is to say about one spec, or about two: maths, what is proved, what it costs.

In: sources or meanings. Out: text for `optdsl explain NAME` and `optdsl diff A B`. Decides nothing.
"""

from collections.abc import Iterator

from optdsl import driver
from optdsl.checks.catalogue import Lookup
from optdsl.checks.compare import compare
from optdsl.checks.context import Context
from optdsl.checks.lints import Lint, dtype_lints
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.diagnostics import Source
from optdsl.facts import state_bytes
from optdsl.kernel.ir import Access, Precision, Type
from optdsl.language import maths
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Optimizer, Shape
from optdsl.language.specialise import flag_settings, specialise
from optdsl.language.syntax import Composition
from optdsl.language.unparse import as_definition

_WIDTH = len(Outcome.REFUTED)
LOW_PRECISION = "In low precision (optdsl: scalars in float64, states and t in float32 or float64)"


def explain(source: Source, lookup: Lookup | None = None, *, rates: bool = False) -> str:
    """The text, by sections; `rates` runs estimates, too. Raises `OptdslError` when the spec is wrong."""
    spec, _, verdicts = driver.check(source, lookup, rates=rates)
    sections = [
        spec.doc or spec.name,
        _section("Equations", (f"  {line}" for line in equations(source, maths.UNICODE))),
        *(_of_objective(spec, verdicts) if isinstance(spec, Objective) else ()),
        _section("Claims", _claims(verdict for verdict in verdicts if verdict.declared)),
        _section("Checks", (f"  {_line(verdict)}" for verdict in verdicts if not verdict.declared)),
        *(_of_optimizer(spec) if isinstance(spec, Optimizer) else ()),
    ]
    return "\n\n".join(section for section in sections if section)


def _of_objective(objective: Objective, verdicts: driver.Verdicts) -> Iterator[str]:
    from optdsl.objectives import gradient, hessian

    yield _section("Gradient", (f"  {line}" for line in gradient(objective)))
    yield _section("Hessian", (f"  {line}" for line in hessian(objective)))
    for verdict in verdicts:
        if verdict.claim == "critical_points" and not verdict.declared:
            where = f", at {', '.join(verdict.assumptions)}" if verdict.assumptions else ""
            lines = verdict.derivation or (verdict.summary or f"not known: {verdict.residual}",)
            yield _section(f"Critical points{where}", (f"  {line}" for line in lines))


def _of_optimizer(optimizer: Optimizer) -> Iterator[str]:
    yield _section(LOW_PRECISION, (f"  {lint}" for lint in lints(optimizer)))
    yield _section("Cost per float32 parameter", _cost(optimizer))


def latex(source: Source) -> str:
    """The equations as an `align*` environment."""
    driver.meaning(source)
    lines = [line.replace(" = ", " &= ", 1) for line in equations(source, maths.LATEX)]
    return "\\begin{align*}\n" + " \\\\\n".join(f"  {line}" for line in lines) + "\n\\end{align*}"


def equations(source: Source, style: maths.Style) -> list[str]:
    definition = driver.syntax_of(source).file.definitions[-1]
    if isinstance(definition, Composition):
        definition = as_definition(driver.front(source)[0])
    return list(maths.equations(definition, style))


def lints(optimizer: Optimizer) -> Iterator[Lint]:
    return dtype_lints(Context(specialise(optimizer, {})))


def diff(a: Optimizer, b: Optimizer) -> tuple[str, bool]:
    """What differs between two specs, and whether they are proved to be the same optimizer."""
    found = compare(a, b)
    lines = []
    for name, only in ((a.name, found.only_a), (b.name, found.only_b)):
        if only:
            lines.append(f"only {name}: {', '.join(only)}")
    for name, mine, theirs in found.defaults:
        lines.append(f"default of {name}: {float(mine):g} in {a.name}, {float(theirs):g} in {b.name}")
    verdict = found.verdict
    lines.append(f"{verdict.claim}: {verdict.outcome}" + (f", {verdict.summary}" if verdict.summary else ""))
    if verdict.witness:
        lines.append(f"    {verdict.witness}")
    if verdict.residual:
        lines.append(f"    {verdict.residual}")
    for setting in found.equal_when:
        shown = " and ".join(f"{name} = {value}" for name, value in setting.items())
        lines.append(f"{verdict.claim} when {shown}: proved")
    return "\n".join(lines), verdict.outcome is Outcome.PROVED


def _section(title: str, lines: Iterator[str]) -> str:
    body = "\n".join(lines)
    return f"{title}\n{body}" if body else ""


def _line(verdict: Verdict) -> str:
    said = verdict.summary or verdict.residual
    return f"{verdict.outcome:{_WIDTH}}  {verdict.claim}" + (f": {said}" if said else "")


def _claims(verdicts: Iterator[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        expected = " (as expected)" if verdict.expected_refuted and verdict.outcome is Outcome.REFUTED else ""
        yield f"  {_line(verdict)}{expected}"
        yield from (f"      {step}" for step in verdict.derivation)
        if verdict.witness:
            yield f"      {verdict.witness}"
        yield from (f"      assuming {assumption}" for assumption in verdict.assumptions)


def _cost(optimizer: Optimizer) -> Iterator[str]:
    for setting in flag_settings(optimizer):
        program = driver.build(optimizer, Precision("accurate", Type.F32), setting)
        kernels = [program.update] + ([program.query] if program.query else [])
        buffers = [each for kernel in kernels for each in kernel.buffers if each.shape is Shape.ELEMENT]
        reads = sum(buffer.access is not Access.WRITE for buffer in buffers)
        writes = sum(buffer.access is not Access.READ for buffer in buffers)
        state = state_bytes(optimizer, setting)
        flags = ", ".join(flag for flag, value in setting.items() if value)
        yield f"  state {state} B, traffic {4 * (reads + writes)} B a step" + (
            f" (with {flags})" if flags else ""
        )
