"""A step in interval arithmetic: where every quantity can be, as its expression is written.

In: intervals of the inputs. Out: an interval for every line, and (`watch`) for the operands of every
operation that may have no value. Keeps what expansion loses, that a square is a square; does not see what
two operands have in common (x - x is everything), which `algebra` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from optdsl.checks.interval import (
    EVERYTHING,
    NONNEGATIVE,
    POSITIVE,
    Interval,
    exactly,
    hull,
    intersection,
    maximum,
    minimum,
)
from optdsl.checks.walk import Arithmetic, Key, inputs, run_step
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Apply, Expr, Number, Optimizer, Ref

_CONDITION = exactly(0)  # conditions have no interval; nothing reads this
_MAX_POWER = 16


@dataclass
class Intervals(Arithmetic[Interval]):
    """`kept` and `open`: places of operations that have a value for all operands, or perhaps not."""

    kept: set[tuple[int, int]] = field(default_factory=set)
    open: dict[tuple[int, int], Apply] = field(default_factory=dict)
    of_one: bool = False  # the intervals of the inputs are those of one element, not of all
    _everywhere: Mapping[Key, Interval] | None = None  # within a branch: what holds of every element

    def number(self, value: Fraction) -> Interval:
        return exactly(value)

    def truth(self, value: bool) -> Interval:
        return _CONDITION

    def evaluate(self, expr: Expr, values: Mapping[Key, Interval]) -> Interval:
        """A branch is evaluated with what its condition says of a single name."""
        match expr:
            case Apply(op="where", args=(condition, x, y)):
                self.evaluate(condition, values)  # for what it may divide by
                yes, no = _refined(condition, values, self), _refined(condition, values, self, opposite=True)
                outer, self._everywhere = self._everywhere, self._everywhere or values
                parts = [
                    self.evaluate(branch, known) for branch, known in ((x, yes), (y, no)) if known is not None
                ]
                self._everywhere = outer
                return hull(parts) if parts else EVERYTHING
            case Apply(op=op, args=args) if op in REDUCTIONS:
                # What a branch knows of one element, it does not know of those that are reduced.
                found = [self.evaluate(arg, self._everywhere or values) for arg in args]
                if REDUCTIONS[op].spelled in ("mean", "max") and not self.of_one:
                    return found[0]
                return NONNEGATIVE if op.startswith("norm") or _squares(args) else EVERYTHING
            case _:
                return super().evaluate(expr, values)

    def apply(self, expr: Apply, args: tuple[Interval, ...]) -> Interval:
        match expr.op, args:
            case "add", (x, y):
                return x + y
            case "sub", (x, y):
                return x - y
            case "mul", (x, y):
                same = expr.args[0] == expr.args[1]
                return x.power(2) if same else x * y
            case "div", (x, y):
                self._note(expr, y.nonzero)
                return x / y
            case "neg", (x,):
                return -x
            case "abs", (x,):
                return x.abs()
            case "sign", (x,):
                return x.sign()
            case "sqrt", (x,):
                self._note(expr, x.nonnegative)
                return x.sqrt()
            case "log", (x,):
                self._note(expr, x.positive)
                return x.log_sign()
            case "cbrt", (x,):
                return x.cbrt_sign()
            case "max", (x, y):
                return maximum(x, y)
            case "min", (x, y):
                return minimum(x, y)
            case "clip", (x, low, high):
                return minimum(maximum(x, low), high)
            case "exp", _:
                return POSITIVE
            case "sigmoid", _:
                return Interval(Fraction(0), Fraction(1), True, True)
            case "tanh", _:
                return Interval(Fraction(-1), Fraction(1), True, True)
            case (("cos" | "sin"), _):
                return Interval(Fraction(-1), Fraction(1), False, False)
            case "pow", (x, y):
                return self._power(expr, x, y)
            case "mod", (_, y):
                self._note(expr, y.nonzero)
                return Interval(Fraction(0), y.high, False, True) if y.positive else EVERYTHING
        return EVERYTHING

    def _power(self, expr: Apply, x: Interval, y: Interval) -> Interval:
        n = y.point
        if n is not None and n.denominator == 1 and abs(n) <= _MAX_POWER:
            self._note(expr, n >= 0 or x.nonzero)
            return x.power(int(n))
        self._note(expr, x.positive or (x.nonnegative and y.nonnegative))
        if not x.nonnegative:
            return EVERYTHING
        if x.high is not None and x.high <= 1 and y.nonnegative:
            at_least_one = y.low is not None and y.low >= 1
            below = (x.high < 1 or x.high_open) and at_least_one
            return Interval(Fraction(0), Fraction(1), x.positive, below)
        if x.low is not None and x.low >= 1 and y.nonpositive:
            return Interval(Fraction(0), Fraction(1), True, False)
        return POSITIVE if x.positive else NONNEGATIVE

    def _note(self, expr: Apply, known: bool) -> None:
        place = (expr.span.start, expr.span.end)
        if known:
            self.kept.add(place)
        else:
            self.open.setdefault(place, expr)


def _squares(args: tuple[Expr, ...]) -> bool:
    """Whether a sum of this is never negative, whatever the elements: what holds of one may not of others."""
    return _never_negative(args[0]) if len(args) == 1 else args[0] == args[1]


def _never_negative(expr: Expr) -> bool:
    match expr:
        case Number(value=value):
            return value >= 0
        case Apply(op="pow", args=(_, Number(value=n))) if n.denominator == 1 and n % 2 == 0:
            return True
        case Apply(op="mul", args=(x, y)) if x == y:
            return True
        case Apply(op=("mul" | "div" | "add" | "min"), args=(x, y)):
            return _never_negative(x) and _never_negative(y)
        case Apply(op="max", args=(x, y)):
            return _never_negative(x) or _never_negative(y)
        case Apply(op=op):
            return op in ("abs", "sqrt", "exp") or op.startswith("norm")
        case _:
            return False


_NEGATED = {"gt": "le", "le": "gt", "lt": "ge", "ge": "lt"}


def _refined(
    condition: Expr, values: Mapping[Key, Interval], arithmetic: Intervals, *, opposite: bool = False
) -> Mapping[Key, Interval] | None:
    """What is known where `NAME > NUMBER` holds, or does not; None when it never is so."""
    match condition:
        case Apply(op=op, args=(Ref(name=name, age=age), bound)) if op in _NEGATED:
            limit = arithmetic.evaluate(bound, values)
            op = _NEGATED[op] if opposite else op
            closed = op in ("ge", "le")
            if op in ("gt", "ge"):
                half = Interval(limit.low, None, not closed or limit.low_open, True)
            else:
                half = Interval(None, limit.high, True, not closed or limit.high_open)
            around = intersection(values[name, age], half)
            return None if around is None else {**values, (name, age): around}
        case _:
            return values


def step_intervals(
    optimizer: Optimizer, facts: Mapping[Key, Interval], *, first: bool, of_one: bool = False
) -> tuple[dict[Key, Interval], Intervals]:
    """Every quantity of one step, and the arithmetic with what it noted."""
    arithmetic = Intervals(of_one=of_one)
    values = {key: facts.get(key, EVERYTHING) for key in inputs(optimizer)}
    return run_step(optimizer, arithmetic, values, first=first), arithmetic
