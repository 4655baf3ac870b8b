"""Derivatives of expressions: one exact rule for every operator, tree to tree.

In: lines and a value that reads them. Out: the same lines, lines for their derivatives, and the value's.
Each line is differentiated once, so that the cost is linear in the lines however they are shared; zeros and
ones are dropped and numbers are multiplied, nothing else is simplified.
At a kink (abs at 0, max of two equal numbers, floor at a step) the rule gives the derivative of one side or,
for abs, 0: whoever proves something must ask `SMOOTH` first.
"""

from dataclasses import dataclass
from fractions import Fraction

from optdsl.language.optimizer import Age, Apply, Assign, Expr, Kind, Number, Ref, Role, Shape

SMOOTH = frozenset("add sub mul div neg pow exp sigmoid tanh cos sin".split())
"""Operators with all derivatives wherever they have a value (pow: with a whole number as exponent)."""

MAX_NODES = 20_000


class TooLargeError(Exception):
    """The derivative has more than `MAX_NODES` nodes."""


@dataclass(frozen=True)
class Function:
    """`value`, after `lines` have been worked out from top to bottom."""

    lines: tuple[Assign, ...]
    value: Expr


def derivative(function: Function, variable: str) -> Function:
    """With respect to a variable that no line sets. Raises `TooLargeError`."""
    return _Differentiation(variable).of(function)


ZERO, ONE = Number(Fraction(0)), Number(Fraction(1))


class _Differentiation:
    """`known` has the derivative of every name that depends on the variable."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self.known: dict[tuple[str, Age], Expr] = {(variable, Age.NOW): ONE}
        self.nodes = 0

    def of(self, function: Function) -> Function:
        lines: list[Assign] = []
        for line in function.lines:
            lines.append(line)
            target = line.target
            found = self.rule(line.value)
            if isinstance(found, Apply):  # a slash: no name of a spec can be the same
                found_in = Ref(Role.VALUE, f"d({target.name})/d({self.variable})")
                lines.append(Assign(found_in, found, span=line.span))
                found = found_in
            if found != ZERO:
                self.known[target.name, target.age] = found
        return Function(tuple(lines), self.rule(function.value))

    def rule(self, expr: Expr) -> Expr:
        match expr:
            case Ref(name=name, age=age):
                return self.known.get((name, age), ZERO)
            case Apply(op="where", args=(condition, x, y)):
                return where(condition, self.rule(x), self.rule(y))
            case Apply(op=op, args=args) if expr.kind is Kind.REAL:
                parts = tuple(self.rule(arg) for arg in args)
                if all(part == ZERO for part in parts):
                    return ZERO
                found = chain(op, args, parts, expr)
                self.nodes += size(found, MAX_NODES)
                if self.nodes > MAX_NODES:
                    raise TooLargeError
                return found
            case _:
                return ZERO


def chain(op: str, args: tuple[Expr, ...], parts: tuple[Expr, ...], whole: Expr) -> Expr:
    """The derivative of `op(args)`, which is `whole`, given those of its arguments."""
    match op, args, parts:
        case "add", _, (dx, dy):
            return add(dx, dy)
        case "sub", _, (dx, dy):
            return sub(dx, dy)
        case "mul", (x, y), (dx, dy):
            return add(mul(dx, y), mul(x, dy))
        case "div", (_, y), (dx, dy):
            return div(sub(dx, mul(whole, dy)), y)
        case "neg", _, (dx,):
            return neg(dx)
        case "pow", (x, Number(value=n)), (dx, _):
            return mul(mul(Number(n), power(x, Number(n - 1))), dx)
        case "pow", (x, y), (dx, dy):
            by_base = mul(mul(y, power(x, sub(y, ONE))), dx)
            return add(by_base, mul(mul(whole, call("log", x)), dy))
        case "sqrt", _, (dx,):
            return div(dx, mul(Number(Fraction(2)), whole))
        case "exp", _, (dx,):
            return mul(whole, dx)
        case "log", (x,), (dx,):
            return div(dx, x)
        case "abs", (x,), (dx,):
            return mul(call("sign", x), dx)
        case "cbrt", _, (dx,):
            return div(dx, mul(Number(Fraction(3)), power(whole, Number(Fraction(2)))))
        case "sigmoid", _, (dx,):
            return mul(mul(whole, sub(ONE, whole)), dx)
        case "tanh", _, (dx,):
            return mul(sub(ONE, power(whole, Number(Fraction(2)))), dx)
        case "cos", (x,), (dx,):
            return neg(mul(call("sin", x), dx))
        case "sin", (x,), (dx,):
            return mul(call("cos", x), dx)
        case "mod", (x, y), (dx, dy):  # x mod y = x - y*floor(x/y)
            return sub(dx, mul(call("floor", div(x, y)), dy))
        case "min", (x, y), (dx, dy):
            return where(_compare("le", x, y), dx, dy)
        case "max", (x, y), (dx, dy):
            return where(_compare("ge", x, y), dx, dy)
        case "clip", (x, low, high), (dx, d_low, d_high):
            inside = where(_compare("lt", x, low), d_low, dx)
            return where(_compare("gt", call("max", x, low), high), d_high, inside)
        case (("sign" | "floor"), _, _):
            return ZERO
    raise AssertionError(f"no rule for the derivative of {op}")


# --- building: zeros and ones are dropped, numbers come first and are multiplied ------------------


def call(op: str, *args: Expr) -> Expr:
    return Apply(op, args, Shape.SCALAR, Kind.REAL)


def _compare(op: str, x: Expr, y: Expr) -> Expr:
    return Apply(op, (x, y), Shape.SCALAR, Kind.BOOL)


def where(condition: Expr, x: Expr, y: Expr) -> Expr:
    return x if x == y else call("where", condition, x, y)


def neg(x: Expr) -> Expr:
    return mul(Number(Fraction(-1)), x)


def add(x: Expr, y: Expr) -> Expr:
    match x, y:
        case Number(value=a), Number(value=b):
            return Number(a + b)
        case Number(value=a), _ if a == 0:
            return y
        case _, Number(value=b) if b == 0:
            return x
    a, rest = _scaled(y)
    return call("sub", x, mul(Number(-a), rest)) if a < 0 else call("add", x, y)


def sub(x: Expr, y: Expr) -> Expr:
    return add(x, neg(y))


def mul(x: Expr, y: Expr) -> Expr:
    (a, p), (b, q) = _scaled(x), _scaled(y)
    factor = a * b
    if factor == 0:
        return ZERO
    rest = q if p == ONE else p if q == ONE else call("mul", p, q)
    if rest == ONE:
        return Number(factor)
    if factor == -1:
        return call("neg", rest)
    return rest if factor == 1 else call("mul", Number(factor), rest)


def div(x: Expr, y: Expr) -> Expr:
    a, rest = _scaled(x)
    if a == 0:
        return ZERO
    match y:
        case Number(value=b) if b != 0:
            return mul(Number(a / b), rest)
    return mul(Number(a), call("div", rest, y))


def power(x: Expr, n: Expr) -> Expr:
    if n == ZERO:
        return ONE
    return x if n == ONE else call("pow", x, n)


def _scaled(x: Expr) -> tuple[Fraction, Expr]:
    """A number and what it multiplies: -2*x is (-2, x)."""
    match x:
        case Number(value=value):
            return value, ONE
        case Apply(op="neg", args=(rest,)):
            a, rest = _scaled(rest)
            return -a, rest
        case Apply(op="mul", args=(Number(value=a), rest)):
            b, rest = _scaled(rest)
            return a * b, rest
    return Fraction(1), x


def size(expr: Expr, limit: int) -> int:
    """How many nodes an expression has, counted up to about `limit`."""
    match expr:
        case Apply(args=args):
            total = 1
            for arg in args:
                total += size(arg, limit - total)
                if total > limit:
                    break
            return total
        case _:
            return 1


def first_kink(function: Function) -> str | None:
    """The first operator after which the value may have a kink or none at all; None when there is none."""
    for expr in (*(line.value for line in function.lines), function.value):
        if (found := _kink(expr)) is not None:
            return found
    return None


def _kink(expr: Expr) -> str | None:
    match expr:
        case Apply(op=op) if op not in SMOOTH:
            return op
        case Apply(op="pow", args=(x, Number(value=n) | Apply(op="neg", args=(Number(value=n),)))):
            return _kink(x) if n.denominator == 1 else "pow"
        case Apply(op="pow"):
            return "pow"
        case Apply(args=args):
            return next((found for arg in args if (found := _kink(arg)) is not None), None)
    return None
