"""`stability` and `stable iff COND`: how a spec behaves on the loss lam/2*x^2, lam > 0.

In: the claim and this spec. The gradient is lam times the point where it is taken; that makes a linear
spec a matrix, and stable means that all of its eigenvalues are inside of the unit circle (from every start,
theta and the states go to zero). Jury's conditions for that are simplified over the domains of the hypers.
Refuted by hypers for which the exact characteristic polynomial says otherwise.
Not done here: specs that are not linear in their states or depend on t (unknown, naming them), more than
three eigenvalues besides zeros; the first step's cases, which do not matter to what is stable.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise

from optdsl.checks.algebra import Algebra, NeedCaseError, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.interval import POSITIVE, Interval
from optdsl.checks.jury import conditions as jury
from optdsl.checks.jury import is_stable
from optdsl.checks.lti import Matrix, NotLinearError, characteristic, refuse_inputs, system
from optdsl.checks.pairing import UnreadableError, bound, claim_text, conditions, conjuncts, meaning
from optdsl.checks.rational import Poly, Rational, as_fraction, coefficients, constant, used
from optdsl.checks.region import Region, implies, region, told
from optdsl.checks.relation import LATER, Lazy, query
from optdsl.checks.runs import NICE, points
from optdsl.checks.show import shown
from optdsl.checks.step_bound import claim_step
from optdsl.checks.trace import EXACT, IllDefinedError, UndecidedError, Value
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, THETA, TIME, Key, run_step
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Expr, Kind, Optimizer

__all__ = ["claim_stability", "claim_stable", "claim_step"]

LAM: Key = ("lam", Age.NOW)
MAX_POINTS = 500
CURVATURES = tuple(Fraction(text) for text in ("1", "2", "1/2"))
IGNORED = "the first step's cases do not matter to what is stable, and are not looked at"


@dataclass(frozen=True)
class Case:
    """The conditions in one case of the signs that the lines ask for."""

    algebra: Algebra
    polynomial: list[Rational]  # det(z - A), constant first
    named: list[tuple[str, Rational]]
    region: Region

    @property
    def where(self) -> str:
        signs = {1: ">", 0: "=", -1: "<"}
        return " and ".join(
            f"{shown(self.algebra, Rational.make(poly, constant(1)))} {signs[self.algebra.signs[text]]} 0"
            for text, poly in self.algebra.asked.items()
        )

    @property
    def told(self) -> str:
        return "never stable" if self.region.never else f"stable iff {told(self.algebra, self.region)}"


class TooLargeError(Exception):
    """More eigenvalues than there are conditions for."""


def claim_stability(claim: syntax.Claim, context: Context) -> Verdict:
    """Derives the region; refuted when it is empty."""
    text = claim_text(claim)
    try:
        limits = conditions(claim, context)
        optimizer = bound(context.optimizer, limits.fixed, context.optimizer.hypers)
        found = _cases(optimizer, limits.domains)
    except (UnreadableError, NotLinearError, TooLargeError, NoFormError) as error:
        return Verdict(text, Outcome.UNKNOWN, residual=_reason(error))
    lines = _derivation(found)
    if all(case.region.never for case in found):
        witness = _witness(optimizer, limits.domains, None, found)
        if witness is not None:
            summary = f"never stable, for any hypers: {found[0].region.never}"
            return Verdict(text, Outcome.REFUTED, summary, lines, witness)
    summaries = {case.told: case.where for case in found}
    if len(summaries) == 1:
        summary = found[0].told
    else:
        summary = "; ".join(f"{case.told} (where {case.where})" for case in found)
    return Verdict(text, Outcome.PROVED, summary, lines)


def claim_stable(claim: syntax.Claim, context: Context) -> Verdict:
    """`stable iff COND`."""
    text = claim_text(claim)
    if claim.iff is None:
        return Verdict(text, Outcome.UNKNOWN, residual="say when: `stable iff lr < 2/lam`, or `stability`")
    optimizer, domains = context.optimizer, context.domains
    try:
        condition = meaning(claim.iff, (*domains, "lam"), Kind.BOOL)
        found = _cases(optimizer, domains)
        proved = all(_equal(case, claim.iff, domains) for case in found)
    except (UnreadableError, NotLinearError, TooLargeError, NoFormError) as error:
        return Verdict(text, Outcome.UNKNOWN, residual=_reason(error))
    lines = _derivation(found)
    if proved:
        return Verdict(text, Outcome.PROVED, "the claimed conditions are Jury's", lines)
    witness = _witness(optimizer, domains, condition, found)
    if witness is not None:
        summary = "; ".join(
            f"{case.told} (where {case.where})" if case.where else case.told for case in found
        )
        return Verdict(text, Outcome.REFUTED, summary, lines, witness)
    return Verdict(
        text,
        Outcome.UNKNOWN,
        residual=f"not shown to be the same as: {'; '.join(case.told for case in found)}",
        derivation=lines,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, NotLinearError):
        return f"on a quadratic loss, {', '.join(error.names)}: {error.reason}"
    return str(error)


def _derivation(found: list[Case]) -> tuple[str, ...]:
    lines = ["on the loss lam/2*x^2: g = lam*x at the point x where it is taken"]
    for case in found:
        if case.where:
            lines.append(f"where {case.where}:")
        lines.append(f"characteristic polynomial: {_polynomial(case.algebra, case.polynomial)}")
        lines += [f"{name} = {shown(case.algebra, value)} > 0" for name, value in case.named]
        lines.append(f"so {case.told}")
    return (*lines, IGNORED)


def _polynomial(algebra: Algebra, polynomial: list[Rational]) -> str:
    """`z^2 - (1 + mu - lr*lam)*z + mu`."""
    text = ""
    for k in range(len(polynomial) - 1, -1, -1):
        value, power = polynomial[k], "" if k == 0 else "z" if k == 1 else f"z^{k}"
        if value.is_zero:
            continue
        negative = shown(algebra, value).startswith("-")
        size = shown(algebra, -value if negative else value)
        if power and size == "1":
            term = power
        else:
            size = f"({size})" if (" " in size and not size.endswith(")")) or "/" in size else size
            size = f"({size})" if " " in size and not size.startswith("(") and "*(" not in size else size
            term = f"{size}*{power}" if power else size
        text += f" - {term}" if negative else f" + {term}"
    return text.removeprefix(" + ").removeprefix(" ")


# --- the loop ------------------------------------------------------------------------------------


def _cases(optimizer: Optimizer, domains: Mapping[str, Interval]) -> list[Case]:
    facts: dict[Key, Interval] = {(name, Age.NOW): domain for name, domain in domains.items()}
    facts |= {LAM: POSITIVE, TIME: LATER}
    found = []
    for algebra, _ in cases(facts, lambda algebra: _loop(optimizer, algebra)[0]):
        polynomial = [_in_case(algebra, value) for value in _loop(optimizer, algebra)]
        named = jury(polynomial)
        if named is None:
            raise TooLargeError(f"{len(polynomial) - 1} eigenvalues: conditions are known for three")
        found.append(Case(algebra, polynomial, named, region(algebra, (value for _, value in named))))
    if not found:
        raise TooLargeError("the step is not defined anywhere")
    return found


def _loop(optimizer: Optimizer, algebra: Algebra) -> list[Rational]:
    """The characteristic polynomial of a step on the quadratic."""
    refuse_inputs(optimizer)
    known: dict[Key, Rational] = {
        (hyper.name, Age.NOW): algebra.symbol((hyper.name, Age.NOW)) for hyper in optimizer.hypers
    }
    known |= {TIME: algebra.symbol(TIME), THETA: algebra.symbol(THETA)}
    for state in optimizer.states:
        known[state.name, Age.OLD] = algebra.symbol((state.name, Age.OLD))
    values = Lazy(optimizer, algebra, known, first=False)
    point = query(optimizer, algebra, values)
    known[GRADIENT] = algebra.symbol(LAM) * point
    return characteristic(system(optimizer, algebra, values, point).a)


def _in_case(algebra: Algebra, value: Rational) -> Rational:
    """With hypers that are zero in this case replaced."""
    for zero in algebra.zeros:
        (index, *others) = used(zero)
        if not others and zero.degrees()[index] == 1:
            parts = coefficients(zero, index)
            at = Rational.make(-parts[0], parts[1]) if 0 in parts else Rational.of(0)
            value = value.substituted(index, at)
    return value


# --- the claim -----------------------------------------------------------------------------------


def _equal(case: Case, condition: syntax.Expr, domains: Mapping[str, Interval]) -> bool:
    """Whether the claimed conditions and Jury's imply each other."""
    claimed = _claimed(case, condition, domains)
    if claimed is None:
        return False
    if claimed.never or case.region.never:
        return bool(claimed.never and case.region.never)
    return _within(case.algebra, claimed, case.region) and _within(case.algebra, case.region, claimed)


def _within(algebra: Algebra, inner: Region, outer: Region) -> bool:
    known = {str(poly) for poly in inner.positive}
    return all(str(poly) in known or implies(algebra, inner.positive, poly) for poly in outer.positive)


def _claimed(case: Case, condition: syntax.Expr, domains: Mapping[str, Interval]) -> Region | None:
    """The claim's region, when it is a conjunction of strict inequalities."""
    algebra = case.algebra
    values = {key: algebra.symbol(key) for key in ((name, Age.NOW) for name in (*domains, "lam"))}
    positive = []
    for part in conjuncts(condition):
        match part:
            case syntax.Binary("<", low, high) | syntax.Binary(">", high, low):
                pass
            case _:
                return None
        try:
            low_value, high_value = (
                algebra.evaluate(meaning(side, (*domains, "lam")), values) for side in (low, high)
            )
        except (NeedCaseError, NoFormError):
            return None
        positive.append(_in_case(algebra, high_value - low_value))
    return region(algebra, positive)


# --- refutation ----------------------------------------------------------------------------------


def _witness(
    optimizer: Optimizer, domains: Mapping[str, Interval], condition: Expr | None, found: list[Case]
) -> Witness | None:
    """Hypers and a curvature for which the claim (without one: stability) is wrong, exactly."""
    for values in islice(_points(optimizer, domains, found), MAX_POINTS):
        known: dict[Key, Value] = {(name, Age.NOW): value for name, value in values.items()}
        try:
            stable = _is_stable(optimizer, known)
            claimed = EXACT.evaluate(condition, known) if condition is not None else True
        except (IllDefinedError, UndecidedError):
            continue
        if stable is None or stable[0] is claimed:
            continue
        shown_values = {name: value for name, value in values.items() if name in domains or name == "lam"}
        roots = (
            "all roots inside of the unit circle" if stable[0] else "a root on or outside of the unit circle"
        )
        said = "" if condition is None else "being stable" if claimed else "being unstable"
        return Witness(shown_values, (), f"{stable[1]} has {roots}", said)
    return None


def _points(
    optimizer: Optimizer, domains: Mapping[str, Interval], found: list[Case]
) -> Iterator[dict[str, Fraction]]:
    """Around the ends that the conditions give to each hyper in turn, and the ends themselves."""
    for base in points(optimizer.hypers, domains):
        for lam in CURVATURES:
            values = {**base, "lam": lam}
            yield values
            for name in sorted(domains, key=lambda name: name != "lr"):
                ends = sorted({end for case in found for end in _ends(case, name, values)})
                between = [(x + y) / 2 for x, y in pairwise(ends)]
                beyond = [ends[-1] + 1, ends[0] - 1, ends[-1] * 2] if ends else []
                for value in (*between, *ends, *beyond, *NICE):
                    if value in domains[name]:
                        yield {**values, name: value}


def _ends(case: Case, name: str, values: Mapping[str, Fraction]) -> Iterator[Fraction]:
    """Where a condition that is linear in a hyper changes sign."""
    algebra = case.algebra
    for poly in case.region.positive:
        point = {algebra.index(algebra.symbol((n, Age.NOW))): v for n, v in values.items()}
        if not set(used(poly)) <= set(point):
            continue
        index = algebra.index(algebra.symbol((name, Age.NOW)))
        if index not in used(poly) or poly.degrees()[index] != 1:
            continue
        slope, offset = (_number(coefficients(poly, index).get(k), point) for k in (1, 0))
        if slope:
            yield -offset / slope


def _number(poly: Poly | None, point: Mapping[int, Fraction]) -> Fraction:
    total = Fraction(0)
    for monomial, coefficient in poly.to_dict().items() if poly is not None else ():
        term = as_fraction(coefficient)
        for index, exponent in enumerate(monomial):
            if exponent:
                term *= point[index] ** int(exponent)
        total += term
    return total


def _is_stable(optimizer: Optimizer, hypers: Mapping[Key, Value]) -> tuple[bool, str] | None:
    """By the exact matrix of numbers, column by column; with the polynomial as text."""
    keys = [THETA, *((state.name, Age.OLD) for state in optimizer.states)]
    columns = []
    for one in keys:
        values: dict[Key, Value] = {**hypers, TIME: Fraction(2)}
        values |= {key: Fraction(int(key == one)) for key in keys}
        for line in optimizer.query_lines:
            values[line.target.name, line.target.age] = EXACT.evaluate(line.value, values)
        at = values[THETA] if optimizer.query is None else EXACT.evaluate(optimizer.query, values)
        lam = hypers[LAM]
        if not isinstance(at, Fraction) or not isinstance(lam, Fraction):
            return None
        values[GRADIENT] = lam * at
        after = run_step(optimizer, EXACT, values)
        column = [after[name, Age.NEW] for name, _ in keys]
        if not all(isinstance(entry, Fraction) for entry in column):
            return None
        columns.append([entry for entry in column if isinstance(entry, Fraction)])
    matrix: Matrix = [[Rational.of(column[i]) for column in columns] for i in range(len(keys))]
    polynomial = characteristic(matrix)
    return is_stable([value.value or Fraction(0) for value in polynomial]), _polynomial(Algebra(), polynomial)
