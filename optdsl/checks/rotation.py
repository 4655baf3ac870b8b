"""`rotation_equivariant`: for rotated gradients and a rotated start the path is the rotated path.

Proved by types: what has a value for every element (theta, g, such states) is a vector, and every line makes
vectors of vectors linearly, with scalars (hypers, t, states that are one number) for coefficients; then any
linear change of the parameters, such as a rotation, goes through the whole step: induction over t. Norms and
dot products of vectors, and means and sums of their products, are such scalars: a rotation (of each tensor,
or `over all`) leaves them alone. Refuted by a run in two dimensions and its twin rotated by (3, 4)/5, each
element on its own; so nothing with a reduction is refuted. Nothing is simplified: (g + 1) - 1 is 'unknown'.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from optdsl.checks.conditioned import restricted
from optdsl.checks.context import Context
from optdsl.checks.pairing import UnreadableError
from optdsl.checks.runs_of import hyper_points
from optdsl.checks.trace import IllDefinedError, Real, UndecidedError, as_ball, replay, show, surely_different
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import NEW_THETA
from optdsl.language import syntax
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Apply, Expr, Number, Optimizer, Ref, Role, Shape
from optdsl.language.reductions import reductions_in, totals

Vector = tuple[Real, Real]
Pair = tuple[Fraction, Fraction]

COS, SIN = Fraction(3, 5), Fraction(4, 5)
START: Pair = (Fraction(1), Fraction(1))
RUNS: tuple[tuple[Pair, ...], ...] = tuple(
    tuple((Fraction(x), Fraction(y)) for x, y in run)
    for run in (((1, 2),), ((1, 2), (2, 1)), ((1, 2), (-2, 1), (0, 1)), ((1, 2),) * 8)
)


class NotLinearError(Exception):
    """A line that is not linear in vectors; the text says which."""


def claim_rotation_equivariant(claim: syntax.Claim, context: Context) -> Verdict:
    try:
        context, _ = restricted(claim, context)
    except UnreadableError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    optimizer = context.optimizer
    try:
        _check_lines(optimizer)
    except NotLinearError as error:
        if totals(optimizer.lines):
            return Verdict("", Outcome.UNKNOWN, residual=f"{error}; runs are not tried with reductions")
        witness = _twins(context)
        if witness is not None:
            return Verdict("", Outcome.REFUTED, "the rotated problem has another path", witness=witness)
        return Verdict("", Outcome.UNKNOWN, residual=f"{error}, and no run refutes it")
    vectors = ["theta", "g", *(state.name for state in optimizer.states if state.shape is Shape.ELEMENT)]
    lines = (f"vectors: {', '.join(vectors)}", "every line is linear in them: induction over t")
    return Verdict("", Outcome.PROVED, "the rotated problem has the rotated path", lines)


# --- types ---------------------------------------------------------------------------------------


def _check_lines(optimizer: Optimizer) -> None:
    for state in optimizer.states:
        zero = state.initial == Number(Fraction(0))
        if state.shape is Shape.ELEMENT and not (zero or _is_theta(state.initial)):
            raise NotLinearError(f"`{state.name}[0]` is no vector")
    for line in (*optimizer.query_lines, *optimizer.lines):
        check = _check_vector if line.target.shape is Shape.ELEMENT else _check_scalar
        for part in (line.value, line.first):
            if part is not None:
                check(part, line.target.name)
    if optimizer.query is not None:
        _check_vector(optimizer.query, "the point where the gradient is taken")


def _check_scalar(expr: Expr, name: str) -> None:
    """Raises `NotLinearError` unless a rotation leaves the expression alone."""
    if expr.shape is Shape.ELEMENT:
        raise NotLinearError(f"the line of `{name}` is not linear in vectors")
    for found in reductions_in(expr):
        match REDUCTIONS[found.op].spelled, found.args:
            case "norm" | "dot", vectors:
                pass
            case _, (Apply("mul", (x, y)),):
                vectors = (x, y)
            case _, (Apply("pow", (x, Number(value=Fraction(numerator=2, denominator=1)))),):
                vectors = (x,)
            case _:
                raise NotLinearError(f"`{found.op}` in the line of `{name}` is not of a product of vectors")
        for vector in vectors:
            _check_vector(vector, name)


def _is_theta(expr: Expr) -> bool:
    return isinstance(expr, Ref) and expr.role is Role.THETA


def _check_vector(expr: Expr, name: str) -> None:
    """Raises `NotLinearError` unless the expression is linear in vectors."""
    match expr:
        case Number(value=value) if value == 0:
            return
        case Ref(shape=Shape.ELEMENT):
            return
        case Apply("neg", (x,)):
            return _check_vector(x, name)
        case Apply("add" | "sub", (x, y)):
            _check_vector(x, name)
            return _check_vector(y, name)
        case Apply("mul", (x, y)) if x.shape is not Shape.ELEMENT:
            _check_scalar(x, name)
            return _check_vector(y, name)
        case Apply("mul" | "div", (x, y)) if y.shape is not Shape.ELEMENT:
            _check_scalar(y, name)
            return _check_vector(x, name)
        case Apply("where", (condition, x, y)):
            _check_scalar(condition, name)
            _check_vector(x, name)
            return _check_vector(y, name)
    raise NotLinearError(f"the line of `{name}` is not linear in vectors")


# --- refutation ----------------------------------------------------------------------------------


def _twins(context: Context) -> Witness | None:
    """A run and its rotated twin that do not match."""
    for hypers in hyper_points(context):
        for run in RUNS:
            try:
                path = _path(context.optimizer, hypers, run, START)
                twin = _path(context.optimizer, hypers, [_rotated(g) for g in run], _rotated(START))
            except (IllDefinedError, UndecidedError):
                continue
            wanted = _rotated_real(path)
            if any(surely_different(x, y) for x, y in zip(twin, wanted, strict=True)):
                t = len(run)
                shown = ", ".join(_text(g) for g in run)
                return Witness(
                    hypers,
                    (),
                    f"theta[0] = {_text(START)}, vectors g = {shown}: with both rotated by (3, 4)/5 "
                    f"theta[{t}] = {_text(twin)}",
                    f"{_text(path)} rotated, {_text(wanted)}",
                )
    return None


def _path(
    optimizer: Optimizer, hypers: Mapping[str, Fraction], gradients: Sequence[Pair], start: Pair
) -> Vector:
    """Theta after the last step, each element on its own."""
    ends = []
    for element in (0, 1):
        run = replay(optimizer, hypers, [g[element] for g in gradients], start[element])
        value = run[-1][NEW_THETA]
        assert not isinstance(value, bool)
        ends.append(value)
    return ends[0], ends[1]


def _rotated(v: Pair) -> Pair:
    return COS * v[0] - SIN * v[1], SIN * v[0] + COS * v[1]


def _rotated_real(v: Vector) -> Vector:
    x, y = v
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return _rotated((x, y))
    balls, cos, sin = (as_ball(x), as_ball(y)), as_ball(COS), as_ball(SIN)
    return cos * balls[0] - sin * balls[1], sin * balls[0] + cos * balls[1]


def _text(v: Vector) -> str:
    return f"({show(v[0])}, {show(v[1])})"
