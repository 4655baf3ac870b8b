"""Everything there is to say about one spec, or about two: maths, what is proved, what it costs.

In: sources or meanings. Out: text for `optdsl explain NAME` and `optdsl diff A B`. Decides nothing.
"""

from collections.abc import Iterator, Mapping

from optdsl import driver
from optdsl.checks.catalogue import Lookup
from optdsl.checks.compare import compare
from optdsl.checks.context import Context
from optdsl.checks.lints import Lint, dtype_lints
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.cost import cost
from optdsl.diagnostics import Source
from optdsl.kernel.storing import EIGHT, PARAMETERS
from optdsl.language import maths
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Optimizer
from optdsl.language.specialise import flag_settings, specialise
from optdsl.language.syntax import Composition
from optdsl.language.unparse import as_definition
from optdsl.storing import all_states
from optdsl.training import training_code

_WIDTH = len(Outcome.REFUTED)
LOW_PRECISION = "In low precision, to nearest (optdsl: scalars in float64; fewer bits than 32 at random)"


def explain(source: Source, lookup: Lookup | None = None, *, rates: bool = False) -> str:
    """The text, by sections; `rates` runs estimates, too. Raises `OptdslError` when the spec is wrong."""
    spec, _, verdicts = driver.check(source, lookup, rates=rates)
    sections = [
        spec.doc or spec.name,
        _section("Equations", (f"  {line}" for line in equations(source, maths.UNICODE))),
        *(_of_objective(spec, verdicts) if isinstance(spec, Objective) else ()),
        *(_in_training_code(spec) if isinstance(spec, Optimizer) else ()),
        _section("Claims", _claims(verdict for verdict in verdicts if verdict.declared)),
        _section("Claims of its parts, asked of the whole", _of_parts(verdicts)),
        _section("Checks", (f"  {_line(each)}" for each in verdicts if not each.declared and not each.part)),
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
    yield _section("Cost per float32 parameter", _costs(optimizer))
    yield _section("Kept in fewer bits (see docs/precision.md), per parameter", _stored(optimizer))


def shown(source: Source, flags: Mapping[str, bool], mode: str) -> str:
    """What `optdsl show NAME` prints: the text, the equations and, of an optimizer, the kernel."""
    parts = [source.text.strip(), _section("Equations", (f"  {x}" for x in equations(source, maths.UNICODE)))]
    spec = driver.meaning(source)[0]
    if isinstance(spec, Optimizer):
        parts += _in_training_code(spec)
        chosen = ", ".join(f"{name} = {str(value).lower()}" for name, value in flags.items())
        title = f"Kernel for float32 parameters, {mode}" + (f", with {chosen}" if chosen else "")
        kernel = dict(driver.stages(source, mode=mode, flags=flags))["source"]
        parts.append(_section(title, (f"  {line}".rstrip() for line in kernel.rstrip().split("\n"))))
    return "\n\n".join(parts)


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


def _in_training_code(optimizer: Optimizer) -> list[str]:
    """As a list, so that there is no empty section."""
    found = list(training_code(optimizer))
    return [_section("In training code", (f"  {line}" for line in found))] if found else []


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


def _of_parts(verdicts: driver.Verdicts) -> Iterator[str]:
    for verdict in verdicts:
        if verdict.part:
            line = _line(verdict)
            said = f"{line[:_WIDTH]}  {verdict.part}: {line[_WIDTH:].lstrip()}"
            yield f"  {said}"
            if verdict.witness:
                yield f"      {verdict.witness}"


def _stored(optimizer: Optimizer) -> Iterator[str]:
    """What some choices cost; nothing where there is no choice."""
    for form, store in (("bf16", ""), (EIGHT, ""), *(("", store) for store in PARAMETERS), (EIGHT, "sr")):
        chosen = all_states(optimizer, form, store)
        if chosen is None:
            continue
        dtype = "bfloat16" if store else "float32"
        found = cost(optimizer, {}, chosen.precisions("accurate")[dtype])
        kept = f"states in {form}, " if form else ""
        told = f"state {found.state_bytes:.4g} B, traffic {found.bytes_moved:.4g} B a step"
        yield f"  {kept}{dtype} parameters{f', {store}' if store else ''}: {told}"


def _costs(optimizer: Optimizer) -> Iterator[str]:
    ranks = {flag.name: flag.rank for flag in optimizer.flags if flag.rank is not None}
    for setting in flag_settings(optimizer):
        found = cost(optimizer, setting)
        chosen = [flag for flag, value in setting.items() if value and flag not in ranks]
        chosen += [f"rank {'>=' if setting[flag] else '<'} {rank}" for flag, rank in ranks.items()]
        passes = f" in {len(found.passes)} passes over memory" if len(found.passes) > 1 else ""
        numbers = f", {found.numbers} number{'s' * (found.numbers > 1)} a tensor" if found.numbers else ""
        lines = f", {found.lines} a row or column" if found.lines else ""
        lines += (
            f", {found.squares} square{'s' * (found.squares > 1)} of rows or columns" if found.squares else ""
        )
        told = (
            f"state {found.state_bytes:g} B{numbers}{lines}, traffic {found.bytes_moved:g} B a step{passes}"
        )
        yield f"  {told} (with {', '.join(chosen)})" if chosen else f"  {told}"
        if passes:
            yield from (f"    pass {number}, {each}" for number, each in enumerate(found.passes, 1))
