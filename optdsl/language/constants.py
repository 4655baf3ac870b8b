"""Numbers that a spec writes: exact, and small enough to be worked with.

Literals and the constants of declarations become `Fraction`s; every step is bounded before it is done,
so that no text of a few characters (`9^9^9`, `1e999999999`) costs more than it looks.
"""

import math
import re
from collections.abc import Callable
from fractions import Fraction

import mpmath

from optdsl.diagnostics import Report, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.language import syntax
from optdsl.language.operators import INFIX, OPERATORS
from optdsl.language.optimizer import Apply, Expr, Number

MAX_DIGITS = 40
MAX_BITS = 4096  # of a numerator or denominator while a declaration's constant is worked out
_LITERAL = re.compile(r"(?P<whole>\d*)\.?(?P<part>\d*)(?:[eE](?P<exponent>[+-]?\d+))?")


class NotConstantError(Exception):
    """The expression is no constant; holds the span of what is not."""

    def __init__(self, span: Span) -> None:
        self.span = span


class NoValueError(Exception):
    """The constant has no finite value; holds the span and the reason."""

    def __init__(self, span: Span, reason: str) -> None:
        self.span, self.reason = span, reason


def literal(node: syntax.Number, report: Report) -> Fraction | None:
    """The exact value of a literal; None, and a report, when no float64 is near it."""
    match = _LITERAL.fullmatch(node.text)
    assert match is not None
    digits = (match["whole"] + match["part"]).lstrip("0")
    exponent = match["exponent"] or "0"
    reason = None
    if len(match["whole"] + match["part"]) > MAX_DIGITS:
        reason = f"has more than {MAX_DIGITS} digits"
    elif len(exponent.lstrip("+-0")) > 3:
        reason = (
            "is larger than any float64" if not exponent.startswith("-") else "is smaller than any float64"
        )
    elif digits:
        magnitude = len(digits) + int(exponent) - len(match["part"])
        if magnitude > 308:
            reason = "is larger than any float64"
        elif magnitude < -306:
            reason = "is smaller than any normal float64"
    if reason:
        shown = node.text if len(node.text) <= 24 else node.text[:20] + "..."
        report.add(problem.NumberOutOfRange(span=node.span, text=shown, reason=reason))
        return None
    return Fraction(node.text)


def declared_constant(expr: syntax.Expr, what: str, report: Report, choice: str = "") -> Fraction | None:
    """The exact value of a default or of a domain's end; None, and a report, when it has none."""
    try:
        value = _exact(expr, report)
        if value is not None:
            float(value)
        return value
    except NotConstantError as error:
        report.add(problem.NotConstant(span=error.span, what=what, choice=choice))
    except NoValueError as error:
        report.add(problem.ConstantOverflow(span=error.span, reason=error.reason))
    except OverflowError:
        report.add(problem.ConstantOverflow(span=expr.span, reason="larger than any float64"))
    return None


def _exact(expr: syntax.Expr, report: Report) -> Fraction | None:
    match expr:
        case syntax.Number():
            return literal(expr, report)
        case syntax.Unary("-", operand):
            value = _exact(operand, report)
            return None if value is None else -value
        case syntax.Binary(op, left, right) if op in INFIX and INFIX[op].name in (
            "add",
            "sub",
            "mul",
            "div",
            "pow",
        ):
            x, y = _exact(left, report), _exact(right, report)
            return None if x is None or y is None else _combine(INFIX[op].name, x, y, expr.span)
        case syntax.Call(function, arguments) if function in OPERATORS and all(
            a.name is None for a in arguments
        ):
            row = OPERATORS[function]
            values = [_exact(argument.value, report) for argument in arguments]
            if None in values:
                return None
            if row.arity != len(values) or not row.callable:
                raise NotConstantError(expr.span)
            return _rounded(function, [value for value in values if value is not None], expr.span)
        case _:
            raise NotConstantError(expr.span)


def _combine(op: str, x: Fraction, y: Fraction, span: Span) -> Fraction:
    if op == "pow":
        if y.denominator != 1:
            return _rounded("pow", [x, y], span)
        if abs(y) * max(x.numerator.bit_length(), x.denominator.bit_length()) > MAX_BITS:
            raise NoValueError(span, "too large")
        if x == 0 and y < 0:
            raise NoValueError(span, "division by zero")
        return Fraction(x ** int(y))
    if op == "div" and y == 0:
        raise NoValueError(span, "division by zero")
    value = {"add": x + y, "sub": x - y, "mul": x * y, "div": x / (y or 1)}[op]
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NoValueError(span, "too large")
    return value


def _rounded(op: str, values: list[Fraction], span: Span) -> Fraction:
    """An irrational operator's value, rounded to float64."""
    try:
        numbers = [float(value) for value in values]
        if op in ("exp", "pow") and abs(numbers[-1]) > 1e6:
            raise NoValueError(span, "too large")
        with mpmath.workprec(120):
            result = float(OPERATORS[op].exact(*map(mpmath.mpf, numbers)))
        return Fraction(result)
    except (OverflowError, ValueError, TypeError):
        raise NoValueError(span, "not a real number") from None


def check_constants(expr: Expr, report: Report) -> float | None:
    """Report parts of numbers alone without a finite float64 value; gives the value where there is one."""
    match expr:
        case Number(value=value):
            return float(value)
        case Apply(op=op, args=args):
            values = [check_constants(arg, report) for arg in args]
            numbers = [value for value in values if value is not None]
            if len(numbers) < len(values) or op not in _FLOAT:
                return None
            try:
                result = _FLOAT[op](*numbers)
                if isinstance(result, float) and math.isfinite(result):
                    return result
                reason = "not a real number"
            except OverflowError:
                reason = "larger than any float64"
            except ZeroDivisionError:
                reason = "division by zero"
            except ValueError:
                reason = "not a real number"
            report.add(problem.ConstantOverflow(span=expr.span, reason=reason))
            return None
        case _:
            return None


_FLOAT: dict[str, Callable[..., float]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "neg": lambda x: -x,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "abs": abs,
}
