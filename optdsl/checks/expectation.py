"""Claims about means: `E[mhat] = E[g]`, `bias(m)`, `bias(m) = 1 - beta1^t`.

The gradients are taken to be stationary and independent of the past, as Kingma & Ba do for their bias
correction: E[g] and E[g^2] are two unknown numbers. A state whose update is affine in the states and in
powers of g has a mean that obeys a linear recurrence, which `recurrence` solves and proves. What sees theta,
or is not affine, is 'unknown'. Refuted by a run with a constant gradient, which is stationary too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import product as every

from optdsl.checks.algebra import Algebra, NoFormError, cases
from optdsl.checks.context import Context
from optdsl.checks.interval import Interval
from optdsl.checks.pairing import UnreadableError, bound, conditions
from optdsl.checks.rational import ONE, BudgetError, Poly, Rational, coefficients
from optdsl.checks.recurrence import Closed, Product, later, solve
from optdsl.checks.trace import EXACT, IllDefinedError, UndecidedError, Value, replay, show, surely_different
from optdsl.checks.verdict import Outcome, Verdict, Witness
from optdsl.checks.walk import GRADIENT, THETA, TIME, Key, inputs, run_step
from optdsl.language import syntax
from optdsl.language.operators import INFIX, OPERATORS
from optdsl.language.optimizer import Age, Apply, Expr, Kind, Number, Optimizer, Ref, Role, Shape, references

ASSUMPTION = "gradients that are stationary and independent of the state"
MEAN, SQUARE = "E[g]", "E[g^2]"
_STEPS = 5


class NoMeanError(Exception):
    """The mean obeys no recurrence that is known here; the text says what is in the way."""


def claim_expectation(claim: syntax.Claim, context: Context) -> Verdict:
    """`E[x] = EXPR` over E[g], E[g^2], hypers and t."""
    assert isinstance(claim.left, syntax.Expectation)
    if claim.right is None:
        return Verdict("", Outcome.UNKNOWN, residual="an expectation is claimed with `= ...`")
    return _decide(claim, context, claim.left.operand, claim.right, None)


def claim_bias(claim: syntax.Claim, context: Context) -> Verdict:
    """`bias(x)`: what E[x] is; `bias(x) = EXPR`: that it is EXPR times the mean of its gradient."""
    assert isinstance(claim.left, syntax.Call)
    if len(claim.left.arguments) != 1:
        return Verdict("", Outcome.UNKNOWN, residual="write `bias(x)`")
    return _decide(claim, context, claim.left.arguments[0].value, None, claim.right)


def _decide(
    claim: syntax.Claim,
    context: Context,
    target: syntax.Expr,
    right: syntax.Expr | None,
    factor: syntax.Expr | None,
) -> Verdict:
    try:
        said = conditions(claim, context)
        hypers = tuple(hyper for hyper in context.optimizer.hypers if hyper.name in said.domains)
        optimizer = bound(context.optimizer, said.fixed, hypers)
        key = _key(target, optimizer)
        optimizer = sliced(optimizer, {key[0]})
    except (UnreadableError, NoMeanError) as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error))
    facts: dict[Key, Interval] = {(name, Age.NOW): domain for name, domain in said.domains.items()}
    facts[TIME] = Interval(Fraction(1), None, False, True)
    try:
        if right is not None:
            witness = _refuting_run(optimizer, facts, key, right)
            if witness is not None:
                summary = f"fails on a constant gradient at t = {len(witness.gradients)}"
                return Verdict("", Outcome.REFUTED, summary, witness=witness, assumptions=(ASSUMPTION,))
        return _proved(optimizer, facts, key, right, factor)
    except NoMeanError as error:
        return Verdict("", Outcome.UNKNOWN, residual=str(error), assumptions=(ASSUMPTION,))
    except (BudgetError, NoFormError) as error:
        return Verdict("", Outcome.UNKNOWN, residual=f"past the budget: {error}", assumptions=(ASSUMPTION,))


def _key(target: syntax.Expr, optimizer: Optimizer) -> Key:
    """What is asked for: a value, or the new value of a state."""
    names = {line.target.name: (line.target.name, line.target.age) for line in optimizer.lines}
    match target:
        case syntax.Name(name) | syntax.At(name, 0) if name in names:
            return names[name]
        case _:
            raise NoMeanError("the mean of a value or of a state's new value can be asked for, by its name")


def _without_zeros(expr: Expr) -> Expr:
    """0*x is 0 and x + 0 is x: so that what a condition switches off is not read any more."""
    if not isinstance(expr, Apply):
        return expr
    expr = replace(expr, args=tuple(map(_without_zeros, expr.args)))
    match expr.op, expr.args:
        case ("mul", (Number(value=x), _) | (_, Number(value=x))) if x == 0:
            return Number(x)
        case ("add", (Number(value=x), other) | (other, Number(value=x))) if x == 0:
            return other
        case "sub", (other, Number(value=x)) if x == 0:
            return other
        case _:
            return expr


def sliced(optimizer: Optimizer, names: set[str]) -> Optimizer:
    """Only the lines that reach these names, in this step or in a later one."""
    optimizer = replace(
        optimizer,
        lines=tuple(
            replace(
                line,
                value=_without_zeros(line.value),
                first=_without_zeros(line.first) if line.first is not None else None,
            )
            for line in optimizer.lines
        ),
    )
    lines = {line.target.name: line for line in optimizer.lines}
    needed: set[str] = set()
    waiting = [name for name in names if name in lines]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        for part in (lines[name].value, lines[name].first):
            waiting += [ref.name for ref in references(part) if ref.name in lines] if part is not None else []
    return replace(
        optimizer,
        lines=tuple(line for line in optimizer.lines if line.target.name in needed),
        states=tuple(state for state in optimizer.states if state.name in needed),
    )


# --- proof ---------------------------------------------------------------------------------------


@dataclass
class Means:
    """One derivation: closed forms of the states that matter, found one after the other."""

    optimizer: Optimizer
    algebra: Algebra
    values: dict[Key, Rational]
    closed: dict[str, Closed] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    deterministic: bool = False  # g is one number, and "the mean" is the thing itself
    _open: set[str] = field(default_factory=set)

    def of(self, x: Rational, what: str) -> Rational:
        """The mean of a quantity of this step, in terms of means of the last."""
        total = Rational.of(0)
        for random, coefficient in self._terms(x, what):
            if random is None:
                total = total + coefficient
            elif isinstance(random, int):
                total = total + coefficient * self.algebra.fresh(MEAN if random == 1 else f"E[g^{random}]")
            else:
                total = total + coefficient * self.state(random).before
        return later(self.algebra, self.algebra.reduced(total), self.values[TIME])

    def state(self, name: str) -> Closed:
        if name in self.closed:
            return self.closed[name]
        if name in self._open:
            raise NoMeanError(f"{name} and another state depend on each other")
        self._open.add(name)
        old, new = self.values[name, Age.OLD], self.values[name, Age.NEW]
        index = self.algebra.index(old)
        parts = coefficients(new.num, index)
        if index in Rational(new.den, ONE).generators() or set(parts) - {0, 1}:
            raise NoMeanError(f"{name}[t] is not linear in {name}[t-1]")
        a = Rational.make(parts.get(1, Rational.of(0).num), new.den)
        if any(key in self.random() for key in a.generators()):
            raise NoMeanError(f"the factor of {name}[t-1] in {name}[t] is random")
        rest = Rational.make(parts.get(0, Rational.of(0).num), new.den)
        if any(self.algebra.definitions[i] == ("input", (name, Age.OLD)) for i in rest.generators()):
            raise NoMeanError(f"{name}[t] is not linear in {name}[t-1]")
        c = self.of(rest, f"{name}[t]")
        (state,) = (state for state in self.optimizer.states if state.name == name)
        if not isinstance(state.initial, Number):
            raise NoMeanError(f"{name}[0] is not a number")
        start = Rational.of(state.initial.value)
        found = solve(
            self.algebra, a, c, start, self.values[TIME], self._products(a), partial(self._shown, name)
        )
        if found is None:
            raise NoMeanError(f"the recurrence E[{name}[t]] = ({self.algebra.text(a)})*E[{name}[t-1]] + "
                              f"{self.algebra.text(c)} has no closed form known here")  # fmt: skip
        self.closed[name] = found
        self.steps += found.steps
        return found

    def _shown(self, name: str, time: str) -> str:
        return f"{name}[{time}]" if self.deterministic else f"E[{name}[{time}]]"

    def _products(self, a: Rational) -> Iterator[Product]:
        for state in self.optimizer.states:
            if state.shape is Shape.SCALAR and isinstance(state.initial, Number) and state.initial.value != 0:
                old, new = self.values[state.name, Age.OLD], self.values[state.name, Age.NEW]
                if (new - a * old).is_zero:
                    yield Product(old, new, Rational.of(state.initial.value))

    def random(self) -> dict[int, Key]:
        """The generators that are random: g, theta, and the states that see g."""
        keys = (THETA,) if self.deterministic else (GRADIENT, THETA)
        found = {self.algebra.index(self.values[key]): key for key in keys}
        for state in self.optimizer.states:
            if state.shape is not Shape.SCALAR:
                found[self.algebra.index(self.values[state.name, Age.OLD])] = (state.name, Age.OLD)
        return found

    def _terms(self, x: Rational, what: str) -> Iterator[tuple[int | str | None, Rational]]:
        """x as a sum of coefficients times 1, a power of g (an int) or a state (its name)."""
        random = self.random()
        if any(i in random or self.sees(i, random) for i in Rational(x.den, ONE).generators()):
            raise NoMeanError(f"{what} divides by something random")
        groups: dict[tuple[tuple[int, int], ...], Poly] = {}
        for monomial, coefficient in x.num.to_dict().items():
            exponents = [(i, int(e)) for i, e in enumerate(monomial) if e]
            for i, _ in exponents:
                if i not in random and self.sees(i, random):
                    raise NoMeanError(f"{what} is not a polynomial in what is random")
            key = tuple((i, e) for i, e in exponents if i in random)
            rest = tuple(0 if i in random else int(e) for i, e in enumerate(monomial))
            term = x.num.context().from_dict({rest: coefficient})
            groups[key] = groups[key] + term if key in groups else term
        for key, poly in groups.items():
            weight = Rational.make(poly, x.den)
            match key:
                case ():
                    yield None, weight
                case ((i, e),) if random[i] == GRADIENT:
                    yield e, weight
                case ((i, 1),) if random[i] != THETA:
                    yield random[i][0], weight
                case _:
                    names = " and ".join(self.algebra.names[i] for i, _ in key)
                    raise NoMeanError(f"{what} depends on {names}" + ("" if len(key) == 1 else " together"))

    def sees(self, index: int, random: Mapping[int, Key]) -> bool:
        """Whether an atom (a root, a power, something opaque) is made of something random."""
        match self.algebra.definitions[index]:
            case "input", _:
                return False
            case "sqrt", poly:
                inside = Rational(poly, ONE).generators()  # type: ignore[arg-type]
            case "power", base, exponents:
                inside = Rational(base, ONE).generators()  # type: ignore[arg-type]
                inside |= {i for i, _ in exponents}  # type: ignore[attr-defined]
            case _, *args:
                inside = set().union(*(arg.generators() for arg in args))  # type: ignore[attr-defined]
            case _:
                return True
        return any(i in random or self.sees(i, random) for i in inside)


def _proved(
    optimizer: Optimizer,
    facts: Mapping[Key, Interval],
    key: Key,
    right: syntax.Expr | None,
    factor: syntax.Expr | None,
) -> Verdict:
    if any(line.first is not None for line in optimizer.lines):
        raise NoMeanError("a line has a case of its own for the first step")
    told: tuple[str, ...] = ()
    summary = ""
    for means in _cases(optimizer, facts):
        mean = means.of(means.values[key], key[0])
        text = means.algebra.text(mean)
        told, summary = (*means.steps, f"E[{key[0]}] = {text}"), f"E[{key[0]}] = {text} for all t >= 1"
        wanted = None
        if right is not None:
            wanted = means.algebra.evaluate(_read(right, optimizer), _moments(means))
        elif factor is not None:
            moment = next((name for name in (MEAN, SQUARE) if name in text), MEAN)
            wanted = means.algebra.evaluate(_read(factor, optimizer), _moments(means)) * means.algebra.fresh(
                moment
            )
        if wanted is not None and not means.algebra.vanishes(mean - wanted):
            difference = means.algebra.text(means.algebra.reduced(mean - wanted))
            residual = f"E[{key[0]}] differs by {difference}"
            return Verdict("", Outcome.UNKNOWN, "", told, residual=residual, assumptions=(ASSUMPTION,))
    return Verdict("", Outcome.PROVED, summary, told, assumptions=(ASSUMPTION,))


def _cases(optimizer: Optimizer, facts: Mapping[Key, Interval]) -> Iterator[Means]:
    """The step in every case of signs; a case that asks for the sign of something random is no case."""

    def build(algebra: Algebra) -> Rational:
        values = {each: algebra.symbol(each) for each in inputs(optimizer)}
        for name in (MEAN, SQUARE):
            algebra.fresh(name)
        run_step(optimizer, algebra, values)
        built[id(algebra)] = values
        return Rational.of(0)

    built: dict[int, dict[Key, Rational]] = {}
    for algebra, _ in cases(facts, build):
        means = Means(optimizer, algebra, built[id(algebra)])
        random = means.random()
        for poly in algebra.asked.values():
            if any(i in random or means.sees(i, random) for i in Rational(poly, ONE).generators()):
                raise NoMeanError("what is compared, or under abs, max or min, is random")
        yield means


def _moments(means: Means) -> dict[Key, Rational]:
    values = dict(means.values)
    values[MEAN, Age.NOW] = means.algebra.fresh(MEAN)
    values[SQUARE, Age.NOW] = means.algebra.fresh(SQUARE)
    return values


def _read(expr: syntax.Expr, optimizer: Optimizer) -> Expr:
    """The right side of a claim: E[g] and E[g^2] are unknowns, the rest hypers, t and scalar values."""
    names = {hyper.name for hyper in optimizer.hypers}
    scalars = {line.target.name: line.target for line in optimizer.lines if line.target.shape is Shape.SCALAR}

    def read(each: syntax.Expr) -> Expr:
        match each:
            case syntax.Number(text):
                return Number(Fraction(text))
            case syntax.Name("t"):
                return Ref(Role.TIME, "t")
            case syntax.Name(name) if name in names:
                return Ref(Role.HYPER, name)
            case syntax.Name(name) | syntax.At(name, 0) if name in scalars:
                return Ref(Role.VALUE, name, scalars[name].age)
            case syntax.Expectation(syntax.Name("g") | syntax.At("g")):
                return Ref(Role.VALUE, MEAN)
            case syntax.Expectation(
                syntax.Binary("^", syntax.Name("g") | syntax.At("g"), syntax.Number("2"))
            ):
                return Ref(Role.VALUE, SQUARE)
            case syntax.Unary("-", operand):
                return Apply("neg", (read(operand),), Shape.SCALAR, Kind.REAL)
            case syntax.Binary(op, left, right) if op in INFIX:
                return Apply(INFIX[op].name, (read(left), read(right)), Shape.SCALAR, Kind.REAL)
            case syntax.Call(function, arguments) if function in OPERATORS:
                return Apply(function, tuple(read(a.value) for a in arguments), Shape.SCALAR, Kind.REAL)
            case _:
                raise NoMeanError("the right side is written over E[g], E[g^2], hypers and t")

    return read(expr)


# --- refutation ----------------------------------------------------------------------------------


def _refuting_run(
    optimizer: Optimizer, facts: Mapping[Key, Interval], key: Key, right: syntax.Expr
) -> Witness | None:
    """A constant gradient for which the quantity is not what is claimed of its mean."""
    claimed = _read(right, optimizer)
    for hypers, c in every(points(optimizer, facts), (Fraction(2), Fraction(-1))):
        try:
            run = replay(optimizer, hypers, [c] * _STEPS)
            for t, values in enumerate(run, 1):
                moments: dict[Key, Value] = {(MEAN, Age.NOW): c, (SQUARE, Age.NOW): c * c}
                wanted = EXACT.evaluate(claimed, {**values, **moments})
                found = values[key]
                assert not isinstance(found, bool)
                assert not isinstance(wanted, bool)
                if surely_different(found, wanted):
                    return Witness(hypers, (c,) * t, f"{key[0]} = {show(found)} at t = {t}", show(wanted))
        except (IllDefinedError, UndecidedError):
            continue
    return None


def points(optimizer: Optimizer, facts: Mapping[Key, Interval]) -> Iterator[dict[str, Fraction]]:
    """Hypers that are easy to reckon with, and the defaults."""
    for nice in (Fraction(1, 2), Fraction(3, 4), None):
        point = {}
        for hyper in optimizer.hypers:
            domain = facts[hyper.name, Age.NOW]
            fits = nice is not None and nice in domain
            point[hyper.name] = nice if fits and nice is not None else hyper.default
        if all(value in facts[name, Age.NOW] for name, value in point.items()):
            yield point
