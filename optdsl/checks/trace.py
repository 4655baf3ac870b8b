"""Concrete runs, from the initial state, in numbers that are exact or rigorously enclosed.

In: values for the hypers, the start and the gradients. Out: every quantity of every step. Rationals stay
`Fraction`s as long as they can (a root of 9/4 is 3/2), what is irrational becomes a ball of `PRECISION`
bits (python-flint's arb: the true value is inside). A witness is made of such a run, so that a reader can
work it out again; nothing here searches or decides.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import isqrt

from flint import arb, ctx

from optdsl.checks.walk import GRADIENT, THETA, TIME, Arithmetic, Key, key_of, value_of
from optdsl.language.inputs import FIRST_GRADIENT
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Expr, Number, Optimizer, Role

PRECISION = 256  # bits of a ball
MAX_BITS = 8192  # of a rational, before it becomes a ball
MAX_EXPONENT = 512

Real = Fraction | arb
Value = Real | bool


FIRST: Key = (FIRST_GRADIENT, Age.NOW)


class UndecidedError(Exception):
    """A ball is too wide to tell which side of a comparison it is on."""


class IllDefinedError(Exception):
    """A division by zero, or a root or power without a real value; `expr` is where."""

    def __init__(self, expr: Expr, reason: str) -> None:
        self.expr, self.reason = expr, reason


def as_ball(value: Real) -> arb:
    if isinstance(value, Fraction):
        return arb(value.numerator) / value.denominator
    return value


def sign(value: Real) -> int:
    """-1, 0 or 1; raises `UndecidedError` when a ball holds zero and more."""
    if isinstance(value, Fraction):
        return (value > 0) - (value < 0)
    if value > 0:
        return 1
    if value < 0:
        return -1
    if value.is_zero():
        return 0
    raise UndecidedError


def surely_different(x: Real, y: Real) -> bool:
    """Whether two numbers cannot be the same."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x != y
    return not (as_ball(x) - as_ball(y)).contains(0)


def show(value: Real, digits: int = 7) -> str:
    """A rational as it is when that is short, anything else as a decimal."""
    if isinstance(value, Fraction):
        text = str(value)
        return text if len(text) <= 12 else f"{float(value):.{digits}g}"
    return f"{float(value.mid()):.{digits}g}"


class Exact(Arithmetic[Value]):
    """Fractions and balls. Raises `IllDefinedError` and `UndecidedError`."""

    def number(self, value: Fraction) -> Value:
        return value

    def truth(self, value: bool) -> Value:
        return value

    def evaluate(self, expr: Expr, values: Mapping[Key, Value]) -> Value:
        """As the walk has it, but a branch that is not taken is not looked at: it may have no value."""
        match expr:
            case Apply(op="where", args=(condition, x, y)):
                return self.evaluate(x if self.evaluate(condition, values) else y, values)
            case _:
                return super().evaluate(expr, values)

    def apply(self, expr: Apply, args: tuple[Value, ...]) -> Value:
        match expr.op, args:
            case "and", (x, y):
                return bool(x) and bool(y)
            case "or", (x, y):
                return bool(x) or bool(y)
            case "not", (x,):
                return not x
        return _settled(self._real(expr, tuple(arg for arg in args if not isinstance(arg, bool))))

    def _real(self, expr: Apply, args: tuple[Real, ...]) -> Value:
        if expr.op in REDUCTIONS:  # of the tensor with the one element that a run has
            return _of_one(REDUCTIONS[expr.op].spelled, args)
        match expr.op, args:
            case (("add" | "sub" | "mul"), (x, y)):
                return _plain(expr.op, x, y)
            case "div", (x, y):
                if sign_or_none(y) is None:
                    raise UndecidedError
                if sign(y) == 0:
                    raise IllDefinedError(expr, "division by zero")
                if isinstance(x, Fraction) and isinstance(y, Fraction):
                    return x / y
                return as_ball(x) / as_ball(y)
            case "neg", (x,):
                return -x
            case "abs", (x,):
                return -x if sign(x) < 0 else x
            case "sign", (x,):
                return Fraction(sign(x))
            case "max", (x, y):
                return x if sign(_plain("sub", x, y)) >= 0 else y
            case "min", (x, y):
                return y if sign(_plain("sub", x, y)) >= 0 else x
            case "clip", (x, low, high):
                raised = x if sign(_plain("sub", x, low)) >= 0 else low
                return high if sign(_plain("sub", raised, high)) >= 0 else raised
            case "sqrt", (x,):
                return _sqrt(expr, x)
            case "pow", (x, y):
                return _power(expr, x, y)
            case "floor", (Fraction() as x,):
                return Fraction(x.numerator // x.denominator)
            case "mod", (Fraction() as x, Fraction() as y):
                if y == 0:
                    raise IllDefinedError(expr, "division by zero")
                return x - y * ((x / y).numerator // (x / y).denominator)
            case "exp", (x,):
                return Fraction(1) if x == 0 else as_ball(x).exp()
            case "log", (x,):
                if sign(x) <= 0:
                    raise IllDefinedError(expr, "logarithm of a number that is not positive")
                return Fraction(0) if x == 1 else as_ball(x).log()
            case "tanh", (x,):
                return Fraction(0) if x == 0 else as_ball(x).tanh()
            case "cos", (x,):
                return Fraction(1) if x == 0 else as_ball(x).cos()
            case "sin", (x,):
                return Fraction(0) if x == 0 else as_ball(x).sin()
            case "sigmoid", (x,):
                return Fraction(1, 2) if x == 0 else 1 / (1 + (-as_ball(x)).exp())
            case "cbrt", (x,):
                magnitude = -x if sign(x) < 0 else x
                root = Fraction(0) if sign(x) == 0 else as_ball(magnitude).root(3)
                return -root if sign(x) < 0 else root
            case "eq", (x, y):
                return sign(_plain("sub", x, y)) == 0
            case "lt", (x, y):
                return sign(_plain("sub", x, y)) < 0
            case "gt", (x, y):
                return sign(_plain("sub", x, y)) > 0
            case "le", (x, y):
                return sign(_plain("sub", x, y)) <= 0
            case "ge", (x, y):
                return sign(_plain("sub", x, y)) >= 0
        raise UndecidedError


def sign_or_none(value: Real) -> int | None:
    try:
        return sign(value)
    except UndecidedError:
        return None


def _of_one(reduction: str, args: tuple[Real, ...]) -> Real:
    match reduction, args:
        case "norm", (x,):
            return -x if sign(x) < 0 else x
        case "dot", (x, y):
            return _plain("mul", x, y)
        case _:
            return args[0]


def _settled(value: Value) -> Value:
    """A rational with too many digits becomes a ball."""
    if (
        isinstance(value, Fraction)
        and value.denominator.bit_length() + value.numerator.bit_length() > MAX_BITS
    ):
        return as_ball(value)
    return value


def _plain(op: str, x: Real, y: Real) -> Real:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x + y if op == "add" else x - y if op == "sub" else x * y
    left, right = as_ball(x), as_ball(y)
    return left + right if op == "add" else left - right if op == "sub" else left * right


def _sqrt(expr: Apply, x: Real) -> Real:
    if sign_or_none(x) is None:
        raise UndecidedError
    if sign(x) < 0:
        raise IllDefinedError(expr, "square root of a negative number")
    if isinstance(x, Fraction):
        top, bottom = isqrt(x.numerator), isqrt(x.denominator)
        if top * top == x.numerator and bottom * bottom == x.denominator:
            return Fraction(top, bottom)
    return as_ball(x).sqrt()


def _power(expr: Apply, x: Real, y: Real) -> Real:
    if isinstance(y, Fraction) and y.denominator == 1 and abs(y) <= MAX_EXPONENT:
        if y < 0 and sign(x) == 0:
            raise IllDefinedError(expr, "division by zero")
        if isinstance(x, Fraction):
            bits = max(x.numerator.bit_length(), x.denominator.bit_length())
            if bits * abs(y) <= 4 * MAX_BITS:
                return Fraction(x ** int(y))
        return as_ball(x) ** int(y)
    if y == Fraction(1, 2):
        return _sqrt(expr, x)
    if sign(x) < 0:
        raise IllDefinedError(expr, "power of a negative number")
    if sign(x) == 0:
        if sign(y) < 0:
            raise IllDefinedError(expr, "division by zero")
        return Fraction(1) if sign(y) == 0 else Fraction(0)
    return (as_ball(x).log() * as_ball(y)).exp()


EXACT = Exact()

Oracle = Callable[[int, Real], Real]
"""The gradient of step t at a point."""


def replay(
    optimizer: Optimizer,
    hypers: Mapping[str, Fraction],
    gradients: Sequence[Fraction] | Oracle,
    theta: Fraction = Fraction(1),
    steps: int | None = None,
) -> list[dict[Key, Value]]:
    """Every quantity of every step of a run: `run[0][("m", Age.NEW)]` is m[1].

    `hypers` may hold inputs too, which are 1 where it does not.

    `gradients` are given one for each step, or by an oracle (then with `steps`) at the point where the
    spec takes them. Raises `IllDefinedError` and `UndecidedError`.
    """
    ctx.prec = PRECISION
    count = steps if steps is not None else len(gradients)  # type: ignore[arg-type]
    values: dict[Key, Value] = {(name, Age.NOW): value for name, value in hypers.items()}
    values[THETA] = theta
    for name in optimizer.inputs:  # the same in every step: that too is a run
        values.setdefault((name, Age.NOW), Fraction(1))
    for state in optimizer.states:
        match state.initial:
            case Number(value=value):
                values[state.name, Age.OLD] = value
            case ref if getattr(ref, "role", None) is Role.HYPER:
                values[state.name, Age.OLD] = values[ref.name, Age.NOW]  # type: ignore[union-attr]
            case _:
                values[state.name, Age.OLD] = theta
    run: list[dict[Key, Value]] = []
    for t in range(1, count + 1):
        values[TIME] = Fraction(t)
        values[GRADIENT] = _gradient(optimizer, gradients, t, values)
        if FIRST_GRADIENT in optimizer.inputs:
            values[FIRST] = _first_gradient(optimizer, gradients, t, values)
        for line in optimizer.lines:
            values[key_of(line)] = EXACT.evaluate(value_of(line, first=t == 1), values)
        run.append(dict(values))
        for name in ("theta", *(state.name for state in optimizer.states)):
            if (name, Age.NEW) in values:  # some checks run only the lines that they ask about
                values[name, Age.OLD] = values[name, Age.NEW]
    return run


def _gradient(
    optimizer: Optimizer, gradients: Sequence[Fraction] | Oracle, t: int, values: dict[Key, Value]
) -> Value:
    if not callable(gradients):
        return gradients[t - 1]
    if FIRST_GRADIENT in optimizer.inputs:
        values[FIRST] = _at(gradients, t, values[THETA])
    return _at(gradients, t, _point(optimizer, t, values))


def _at(oracle: Oracle, t: int, point: Value) -> Value:
    assert not isinstance(point, bool)
    return oracle(t, point)


def _first_gradient(
    optimizer: Optimizer, gradients: Sequence[Fraction] | Oracle, t: int, values: dict[Key, Value]
) -> Value:
    """What it is taken for; but at the same point, there is only one gradient."""
    if callable(gradients):
        return values[FIRST]
    point, theta = _point(optimizer, t, values), values[THETA]
    assert not isinstance(point, bool)
    assert not isinstance(theta, bool)
    return values[FIRST] if surely_different(point, theta) else values[GRADIENT]


def _point(optimizer: Optimizer, t: int, values: dict[Key, Value]) -> Value:
    """Where the gradient is taken."""
    if optimizer.query is None:
        return values[THETA]
    ahead = dict(values)
    for line in optimizer.query_lines:
        ahead[key_of(line)] = EXACT.evaluate(value_of(line, first=t == 1), ahead)
    return EXACT.evaluate(optimizer.query, ahead)
