"""Which unit everything has: theta is a P, the loss an L, so the gradient is an L/P.

In: a context. Every hyper and state gets unknown exponents of P and L; every sum, comparison and line is
an equation between them, solved exactly over Q. Out: a unit for each, `?` where it is free; or the first
place where two units clash. Cheap, and blind to numbers: it finds a missing square, not a wrong 0.1.
Zero has every unit; every other number, and t, has none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from optdsl.checks.context import Context
from optdsl.checks.pairing import constant_of
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import (
    GRADIENT,
    POINT,
    THETA,
    TIME,
    Arithmetic,
    Key,
    inputs,
    key_of,
    run_step,
    value_of,
    with_outputs,
)
from optdsl.diagnostics import Span
from optdsl.language import syntax
from optdsl.language.inputs import input_of
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Ref, references

Linear = dict[str, Fraction]  # unknown (or "" for the constant) to its coefficient


@dataclass(frozen=True)
class Unit:
    """Exponents of P and L, each a linear form in unknowns; `free` is the unit of 0."""

    p: Linear
    loss: Linear
    free: bool = False


@dataclass
class Clash(Exception):
    left: Unit
    right: Unit
    span: Span


NONE = Unit({}, {})
FREE = Unit({}, {}, free=True)


@dataclass
class Units(Arithmetic[Unit]):
    """Raises `Clash` at the first equation that has no solution."""

    solved: dict[str, Linear] = field(default_factory=dict)

    def unknown(self, name: str) -> Unit:
        return Unit({f"P:{name}": Fraction(1)}, {f"L:{name}": Fraction(1)})

    def number(self, value: Fraction) -> Unit:
        return FREE if value == 0 else NONE

    def truth(self, value: bool) -> Unit:
        return NONE

    def apply(self, expr: Apply, args: tuple[Unit, ...]) -> Unit:
        match expr.op, args:
            case op, (x,) if op in REDUCTIONS:
                return x
            case op, (x, y) if op in REDUCTIONS:  # dot
                return FREE if x.free or y.free else _combined(x, y, Fraction(1))
            case (("add" | "sub" | "max" | "min"), (x, y)):
                return self.equal(x, y, expr.span)
            case (("lt" | "gt" | "le" | "ge" | "eq"), (x, y)):
                self.equal(x, y, expr.span)
                return NONE
            case "clip", (x, low, high):
                return self.equal(self.equal(x, low, expr.span), high, expr.span)
            case "where", (_, x, y):
                return self.equal(x, y, expr.span)
            case "mul", (x, y):
                return FREE if x.free or y.free else _combined(x, y, Fraction(1))
            case "div", (x, y):
                return FREE if x.free else _combined(x, y, Fraction(-1))
            case (("neg" | "abs"), (x,)):
                return x
            case "sqrt", (x,):
                return _scaled(x, Fraction(1, 2))
            case "cbrt", (x,):
                return _scaled(x, Fraction(1, 3))
            case "pow", (x, y):
                exponent = _constant(expr)
                if exponent is not None:
                    return _scaled(x, exponent)
                self.equal(x, NONE, expr.args[0].span)
                self.equal(y, NONE, expr.args[1].span)
                return NONE
            case "mod", (x, y):
                return self.equal(x, y, expr.span)
            case "floor", (x,):
                return x
            case (("exp" | "log" | "tanh" | "sigmoid" | "cos" | "sin"), (x,)):
                self.equal(x, NONE, expr.args[0].span)
                return NONE
        return NONE  # sign and conditions

    def equal(self, x: Unit, y: Unit, span: Span) -> Unit:
        if x.free or y.free:
            return y if x.free else x
        for left, right in ((x.p, y.p), (x.loss, y.loss)):
            if not self._solve(_minus(self._resolved(left), self._resolved(right))):
                raise Clash(self.settled(x), self.settled(y), span)
        return x

    def _solve(self, equation: Linear) -> bool:
        """equation = 0; False when it cannot be."""
        name = next((name for name in equation if name), None)
        if name is None:
            return not equation.get("")
        factor = -equation[name]
        self.solved[name] = {other: value / factor for other, value in equation.items() if other != name}
        for known, form in self.solved.items():
            if name in form:
                self.solved[known] = self._resolved(form)
        return True

    def _resolved(self, form: Linear) -> Linear:
        total: Linear = {}
        for name, value in form.items():
            for other, part in self.solved.get(name, {name: Fraction(1)}).items():
                total[other] = total.get(other, Fraction(0)) + value * part
        return {name: value for name, value in total.items() if value}

    def settled(self, unit: Unit) -> Unit:
        return Unit(self._resolved(unit.p), self._resolved(unit.loss), unit.free)


def _combined(x: Unit, y: Unit, sign: Fraction) -> Unit:
    return Unit(_sum(x.p, y.p, sign), _sum(x.loss, y.loss, sign))


def _scaled(x: Unit, factor: Fraction) -> Unit:
    return x if x.free else Unit(_sum({}, x.p, factor), _sum({}, x.loss, factor))


def _sum(x: Linear, y: Linear, factor: Fraction) -> Linear:
    total = dict(x)
    for name, value in y.items():
        total[name] = total.get(name, Fraction(0)) + factor * value
    return {name: value for name, value in total.items() if value}


def _minus(x: Linear, y: Linear) -> Linear:
    return _sum(x, y, Fraction(-1))


def _constant(expr: Apply) -> Fraction | None:
    """The exponent, when it is a number."""
    return constant_of(expr.args[1]) if not references(expr.args[1]) else None


def shown(unit: Unit) -> str:
    """ "P", "L/P", "P^2/L", "1", "?"."""
    if unit.free or any(name for form in (unit.p, unit.loss) for name in form):
        return "?"
    powers = [("P", unit.p.get("", Fraction(0))), ("L", unit.loss.get("", Fraction(0)))]
    above = [_raised(name, value) for name, value in powers if value > 0]
    below = [_raised(name, -value) for name, value in powers if value < 0]
    top = "*".join(above) or "1"
    return top + "".join(f"/{each}" for each in below)


def _raised(name: str, power: Fraction) -> str:
    if power == 1:
        return name
    return f"{name}^{power}" if power.denominator == 1 else f"{name}^({power})"


def infer(context: Context) -> tuple[Units, dict[Key, Unit]]:
    """The arithmetic with everything solved, and the unit of every quantity. Raises `Clash`."""
    arithmetic = Units()
    optimizer = with_outputs(context.optimizer)
    values = {key: arithmetic.unknown(key[0]) for key in inputs(optimizer)}
    p, loss = {"": Fraction(1)}, {"": Fraction(1)}
    values[THETA] = Unit(p, {})
    values[GRADIENT] = Unit({"": Fraction(-1)}, loss)
    values[TIME] = NONE
    for name in optimizer.inputs:
        p_power, loss_power = ({"": Fraction(power)} if power else {} for power in input_of(name).unit)
        values[name, Age.NOW] = Unit(p_power, loss_power)
    for state in optimizer.states:  # a state that begins as a hyper has its unit
        if isinstance(state.initial, Ref):
            start = values.get((state.initial.name, state.initial.age))
            if start is not None:
                arithmetic.equal(start, values[state.name, Age.OLD], state.initial.span)
    starts = dict(values)
    for first in (False, True):
        run = run_step(optimizer, arithmetic, dict(starts), first=first)
        for line in optimizer.lines:
            name, age = key_of(line)
            if age is Age.NEW:  # the new value has the unit of the old
                old = starts[name, Age.OLD]
                arithmetic.equal(run[name, age], old, value_of(line, first=first).span)
        values |= run
        if optimizer.query is not None:
            arithmetic.equal(run[POINT.name, POINT.age], starts[THETA], optimizer.query.span)
    return arithmetic, {key: arithmetic.settled(unit) for key, unit in values.items()}


def units(context: Context) -> Iterator[Verdict]:
    """Default check, and the claim `units`."""
    try:
        _, found = infer(context)
    except Clash as clash:
        text = context.optimizer.source.slice(clash.span) if context.optimizer.source else "a sum"
        summary = f"`{text}` puts {_apart(clash)} together"
        witness = Witness({}, (), summary)
        yield Verdict("units", Outcome.REFUTED, summary, witness=witness, span=clash.span)
        return
    names = [(hyper.name, Age.NOW) for hyper in context.optimizer.hypers]
    names += [(state.name, Age.OLD) for state in context.optimizer.states]
    yield Verdict(
        "units", Outcome.PROVED, ", ".join(f"{name}: {shown(found[name, age])}" for name, age in names)
    )


def _apart(clash: Clash) -> str:
    """Both units, or, where they are still free, what they differ by."""
    if "?" not in (shown(clash.left), shown(clash.right)):
        return f"{shown(clash.left)} and {shown(clash.right)}"
    return f"units that differ by a factor of {shown(_combined(clash.left, clash.right, Fraction(-1)))}"


def claim_unit(claim: syntax.Claim, context: Context) -> Verdict:
    """`unit(lr) = P^2/L`."""
    match claim.left:
        case syntax.Call(_, (syntax.Argument(None, syntax.Name(name)),)) if claim.right is not None:
            wanted = _read(claim.right)
        case _:
            wanted = None
    if wanted is None:
        return Verdict("", Outcome.UNKNOWN, residual="write `unit(lr) = P`, over P and L")
    try:
        _, found = infer(context)
    except Clash:
        (verdict,) = units(context)
        return verdict
    unit = next((unit for key, unit in found.items() if key[0] == name), None)
    if unit is None or shown(unit) == "?":
        return Verdict("", Outcome.UNKNOWN, residual=f"the unit of `{name}` is not determined")
    if unit == wanted:
        return Verdict("", Outcome.PROVED, f"{name}: {shown(unit)}")
    witness = Witness({}, (), f"{name} is {shown(unit)}", shown(wanted))
    return Verdict("", Outcome.REFUTED, f"{name} is {shown(unit)}", witness=witness)


def _read(expr: syntax.Expr) -> Unit | None:
    match expr:
        case syntax.Number("1"):
            return NONE
        case syntax.Name("P"):
            return Unit({"": Fraction(1)}, {})
        case syntax.Name("L"):
            return Unit({}, {"": Fraction(1)})
        case syntax.Binary("*" | "/" as op, left, right):
            x, y = _read(left), _read(right)
            return None if x is None or y is None else _combined(x, y, Fraction(1 if op == "*" else -1))
        case syntax.Binary("^", base, syntax.Number(text)):
            x = _read(base)
            return None if x is None else _scaled(x, Fraction(text))
        case _:
            return None
