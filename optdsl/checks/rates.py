"""`estimate rate(L = 1, m = 0.1)` and `estimate worst_case(L = 1, n = 10)`: guarantees beyond quadratics.

In: the claim and this spec, as numbers: its hypers at their defaults, or what `when` says. Out: a bound for
every loss whose gradient is L-Lipschitz and that is m-strongly convex, in every dimension, from every start:
"certified numerically", never proved. Without a certificate the verdict is unknown: that does not mean that
the optimizer diverges.
Needs `optdsl[rates]`, and a spec that is linear in theta, the states and g. Rates: the steps do not depend on
t; the first step's cases change the constant c alone. n steps: each is taken for what it is, the first too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flint import fmpq, fmpq_mat

from optdsl.checks.algebra import Algebra, NeedCaseError, NoFormError
from optdsl.checks.context import Context
from optdsl.checks.lti import NotLinearError, Row, refuse_inputs, system
from optdsl.checks.pairing import UnreadableError, bound, claim_text, conditions, constant_of, meaning
from optdsl.checks.performance import ONE, ZERO, Step, rate, worst_case
from optdsl.checks.rational import Rational
from optdsl.checks.relation import LATER, Lazy, query
from optdsl.checks.semidefinite import NoSolverError
from optdsl.checks.verdict import Outcome, Verdict
from optdsl.checks.walk import GRADIENT, THETA, TIME, Key
from optdsl.language import syntax
from optdsl.language.optimizer import Age, Number, Optimizer

MAX_STEPS = 20
ASSUMING = ("exact arithmetic, and hypers that stay as they are",)


@dataclass(frozen=True)
class Linear:
    """Steps over `names`, theta first; gradients are divided by L."""

    names: tuple[str, ...]
    steps: tuple[Step, ...]


def estimate_rate(claim: syntax.Claim, context: Context, run: bool) -> Verdict:
    """The least rho that is certified in |theta[t] - x*| <= c*rho^t."""
    text = claim_text(claim)
    try:
        given = _numbers(claim, ("L", "m"), {})
        size, m = given["L"], given["m"]
        if not 0 < m < size:
            raise UnreadableError("a rate is for 0 < m < L: without m, ask for worst_case(L = 1, n = 10)")
        values = _hypers(claim, context)
        optimizer = bound(context.optimizer, {name: Number(value) for name, value in values.items()}, ())
        linear = _needed(_general(optimizer, size))
        if not _keeps_minimisers(linear.steps[0]):
            raise UnreadableError("the minimiser of the loss is no fixed point of these steps")
    except (UnreadableError, NotLinearError, NeedCaseError, NoFormError) as error:
        return Verdict(text, Outcome.UNKNOWN, residual=_reason(error))
    if not run:
        return Verdict(text, Outcome.NOT_RUN, residual="--rates runs it")
    lines = [_where(values), *_matrices(linear, size)]
    try:
        found = rate(linear.steps[0], m / size)
    except NoSolverError as error:
        return Verdict(text, Outcome.UNKNOWN, residual=str(error))
    if found is None:
        return _no_certificate(text, lines)
    over = "" if size == 1 else f"/{_exact(size)}"
    z = ", ".join(("theta - x*", *linear.names[1:], f"g{over}"))
    lines += [
        f"V = z'Pz + p*(f - f*){over} with z = ({z}) falls by rho^2 in every step, where",
        f"P = {_rows(found.p)}, p = {_short(found.weight)}",
        "found by semidefinite programming; that V falls, and is positive definite, was checked in ball",
        "arithmetic; c is a constant of the start",
    ]
    summary = (
        f"|theta[t] - x*| <= c*{_decimal(found.rho)}^t for every "
        f"{_exact(size)}-smooth, {_exact(m)}-strongly convex loss"
    )
    return Verdict(text, Outcome.ESTIMATED, summary, tuple(lines), assumptions=ASSUMING)


def estimate_worst_case(claim: syntax.Claim, context: Context, run: bool) -> Verdict:
    """The least tau in f(theta[n]) - f* <= tau*L*|theta[0] - x*|^2."""
    text = claim_text(claim)
    try:
        given = _numbers(claim, ("L", "n", "m"), {"m": ZERO})
        size, n, m = given["L"], given["n"], given["m"]
        if not 0 <= m < size:
            raise UnreadableError("it is for 0 <= m < L")
        if n.denominator != 1 or not 1 <= n <= MAX_STEPS:
            raise UnreadableError(f"n is a number of steps, from 1 to {MAX_STEPS}")
        values = _hypers(claim, context)
        optimizer = bound(context.optimizer, {name: Number(value) for name, value in values.items()}, ())
        linear = _each(optimizer, size, int(n))
        starts = _starts(optimizer)
        if not _moves_along(linear.steps, starts):
            raise UnreadableError("where these steps lead depends on where the origin is")
    except (UnreadableError, NotLinearError, NeedCaseError, NoFormError) as error:
        return Verdict(text, Outcome.UNKNOWN, residual=_reason(error))
    if not run:
        return Verdict(text, Outcome.NOT_RUN, residual="--rates runs it")
    try:
        tau = worst_case(linear.steps, m / size, starts)
    except NoSolverError as error:
        return Verdict(text, Outcome.UNKNOWN, residual=str(error))
    lines = [_where(values)]
    if tau is None:
        return _no_certificate(text, lines)
    lines += [
        f"a sum of the inequalities between {n + 2} points of such a loss (theta[{n}] and x* among them)",
        "found by semidefinite programming; the inequalities were checked in ball arithmetic",
    ]
    convex = f"{_exact(m)}-strongly convex" if m else "convex"
    factor = _decimal(tau) if size == 1 else f"{_decimal(tau)}*{_exact(size)}"
    bounded = f"f(theta[{n}]) - f* <= {factor}*|theta[0] - x*|^2"
    summary = f"{bounded} for every {_exact(size)}-smooth, {convex} loss"
    return Verdict(text, Outcome.ESTIMATED, summary, tuple(lines), assumptions=ASSUMING)


def _no_certificate(text: str, lines: Sequence[str]) -> Verdict:
    residual = f"no certificate found ({lines[0]}); that does not mean that it diverges"
    return Verdict(text, Outcome.UNKNOWN, residual=residual, derivation=tuple(lines))


def _reason(error: Exception) -> str:
    match error:
        case NotLinearError():
            return f"only linear steps can be certified; {error}"
        case NeedCaseError():
            return "only linear steps can be certified; a line has cases"
        case NoFormError():
            return "a step has no value at these hypers"
        case _:
            return str(error)


# --- what the claim says ---------------------------------------------------------------------------


def _numbers(
    claim: syntax.Claim, names: Sequence[str], values: Mapping[str, Fraction]
) -> dict[str, Fraction]:
    match claim.left:
        case syntax.Call(function=kind, arguments=arguments, over=None):
            pass
        case syntax.Name(name=kind):
            arguments = ()
        case _:
            raise UnreadableError("it is not of the form rate(L = 1, m = 0.1)")
    if claim.right is not None or claim.iff is not None or claim.free or claim.substitution:
        raise UnreadableError(f"{kind}(...) is a question: nothing but `when HYPER = VALUE` may follow it")
    found = dict(values)
    given = set()
    for argument in arguments:
        name = argument.name
        if name is None or name not in names or name in given:
            raise UnreadableError(f"{kind} takes {', '.join(names)}, each once and by name")
        given.add(name)
        value = constant_of(meaning(argument.value, ()))
        if value is None:
            raise UnreadableError(f"{name} is not a rational number")
        found[name] = value
    if missing := [name for name in names if name not in found]:
        raise UnreadableError(f"{kind} needs {' and '.join(missing)}, such as {_example(kind)}")
    return found


def _example(kind: str) -> str:
    return "rate(L = 1, m = 0.1)" if kind == "rate" else "worst_case(L = 1, n = 10)"


def _hypers(claim: syntax.Claim, context: Context) -> dict[str, Fraction]:
    """Every hyper as a number."""
    limits = conditions(claim, context)
    values = dict(context.defaults)
    for name, expr in limits.fixed.items():
        value = constant_of(expr)
        if value is None:
            raise UnreadableError(f"`{name}` must be a rational number here")
        if value not in context.domains[name]:
            raise UnreadableError(f"`{name}` = {value} is outside of its domain")
        values[name] = value
    if any(limits.domains[name] != context.domains[name] for name in limits.domains):
        raise UnreadableError("a certificate is for numbers: `when HYPER = VALUE`")
    return values


# --- the spec as matrices --------------------------------------------------------------------------


def _general(optimizer: Optimizer, size: Fraction) -> Linear:
    """The step from t = 2 on."""
    algebra = Algebra({TIME: LATER})
    return _linear(optimizer, algebra, algebra.symbol(TIME), size, first=False)


def _each(optimizer: Optimizer, size: Fraction, n: int) -> Linear:
    found = [_linear(optimizer, Algebra(), Rational.of(t), size, first=t == 1) for t in range(1, n + 1)]
    return Linear(found[0].names, tuple(step for linear in found for step in linear.steps))


def _linear(optimizer: Optimizer, algebra: Algebra, time: Rational, size: Fraction, *, first: bool) -> Linear:
    refuse_inputs(optimizer)
    known: dict[Key, Rational] = {key: algebra.symbol(key) for key in (THETA, GRADIENT)}
    known[TIME] = time
    for state in optimizer.states:
        known[state.name, Age.OLD] = algebra.symbol((state.name, Age.OLD))
    values = Lazy(optimizer, algebra, known, first=first)
    found = system(optimizer, algebra, values, query(optimizer, algebra, values))
    b = tuple(entry * size for entry in _fractions(found.b))
    return Linear(found.names, (Step(tuple(map(_fractions, found.a)), b, _fractions(found.c)),))


def _fractions(row: Row) -> tuple[Fraction, ...]:
    values = [entry.value for entry in row]
    if any(value is None for value in values):
        raise UnreadableError("a coefficient is not a rational number")
    return tuple(value for value in values if value is not None)


def _needed(linear: Linear) -> Linear:
    """Without states that neither theta nor the gradient's point ever sees."""
    (step,) = linear.steps
    needed = {0, *(i for i, entry in enumerate(step.c) if entry)}
    while more := {j for i in needed for j, entry in enumerate(step.a[i]) if entry} - needed:
        needed |= more
    kept = sorted(needed)

    def chosen(row: Sequence[Fraction]) -> tuple[Fraction, ...]:
        return tuple(row[i] for i in kept)

    a = tuple(chosen(step.a[i]) for i in kept)
    return Linear(tuple(linear.names[i] for i in kept), (Step(a, chosen(step.b), chosen(step.c)),))


def _keeps_minimisers(step: Step) -> bool:
    """Whether there are states at which theta, and the gradient's point, rest at any x* with g = 0."""
    n = len(step.b)
    rows = [[step.a[i][j] - (i == j) for j in range(n)] + [ZERO] for i in range(n)]
    rows += [[*step.c, ONE], [ONE, *[ZERO] * (n - 1), ONE]]
    matrix = fmpq_mat(len(rows), n + 1, [fmpq(x.numerator, x.denominator) for row in rows for x in row])
    without = fmpq_mat(len(rows), n, [fmpq(x.numerator, x.denominator) for row in rows for x in row[:-1]])
    return bool(matrix.rref()[1] == without.rref()[1])


def _starts(optimizer: Optimizer) -> tuple[Fraction, ...]:
    """1 for theta and what begins as theta[0], 0 for what begins as zero."""
    found = [ONE]
    for state in optimizer.states:
        match state.initial:
            case Number(value=value) if value:
                raise UnreadableError(f"`{state.name}` begins as {value}")
            case Number():
                found.append(ZERO)
            case _:
                found.append(ONE)
    return tuple(found)


def _moves_along(steps: Sequence[Step], starts: Sequence[Fraction]) -> bool:
    """Whether the gradient's points and theta are shifted by what theta[0] is shifted by."""
    x = tuple(starts)
    for step in steps:
        if _dot(step.c, x) != 1:
            return False
        x = tuple(_dot(row, x) for row in step.a)
    return x[0] == 1


def _dot(x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), ZERO)


# --- shown -----------------------------------------------------------------------------------------


def _where(values: Mapping[str, Fraction]) -> str:
    return ", ".join(f"{name} = {_exact(value)}" for name, value in values.items()) or "no hypers"


def _matrices(linear: Linear, size: Fraction) -> list[str]:
    (step,) = linear.steps
    b = tuple(entry / size for entry in step.b)
    x = ", ".join(linear.names)
    return [
        f"x[t] = A*x[t-1] + B*g with x = ({x}), g taken at C*x[t-1]:",
        f"A = {_rows(step.a)}, B = {_row(b)}, C = {_row(step.c)}",
    ]


def _rows(matrix: Sequence[Sequence[Fraction]]) -> str:
    return f"[{'; '.join(_row(row)[1:-1] for row in matrix)}]"


def _row(row: Sequence[Fraction]) -> str:
    return f"[{' '.join(map(_short, row))}]"


def _short(value: Fraction) -> str:
    return f"{float(value):.6g}"


def _exact(value: Fraction) -> str:
    """As a short decimal, where it is one."""
    return _short(value) if Fraction(_short(value)) == value else str(value)


def _decimal(value: Fraction) -> str:
    """All digits: a bound that was certified is not rounded."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"
