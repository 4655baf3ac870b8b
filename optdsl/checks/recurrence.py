"""Closed forms of e[t] = a*e[t-1] + c, each proved by induction.

In: rational functions a and c of t (and of what stands still). Out: the closed form as a function of t
and t-1, or None. A form is guessed by one of a few patterns and then *proved*: base at t = 0, step by the
zero test of `algebra`; a pattern that does not fit gives nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from optdsl.checks.algebra import Algebra
from optdsl.checks.rational import ONE, ZERO, Rational, coefficients

FIRST = "[t = 1]"  # 1 in the first step, 0 in all others


@dataclass(frozen=True)
class Product:
    """A scalar state q with q[t] = a*q[t-1]: the product of all a so far, q[0] times."""

    old: Rational
    new: Rational
    start: Rational


@dataclass(frozen=True)
class Closed:
    """`now` is e[t], `before` is e[t-1], both with t as it stands; `steps` tell the induction."""

    now: Rational
    before: Rational
    steps: tuple[str, ...]


def solve(
    algebra: Algebra,
    a: Rational,
    c: Rational,
    start: Rational,
    t: Rational,
    products: Iterable[Product],
    shown: Callable[[str], str],
) -> Closed | None:
    """e[0] = start, e[t] = a*e[t-1] + c for every t >= 1; `shown(t)` is how e[t] is written."""
    if (forgotten := _forgotten(algebra, a, c, start, t, shown)) is not None:
        return forgotten
    for now, before, base in _candidates(algebra, a, c, start, t, products):
        step = algebra.reduced(now - (a * before + c))
        if algebra.vanishes(step) and algebra.vanishes(base - start):
            text = algebra.text
            factor = "" if (a - Rational.of(1)).is_zero else f"({text(a)})*"
            now_name, before_name = shown("t"), shown("t-1")
            steps = (
                f"{now_name} = {factor}{before_name} + {text(c)}",
                f"{now_name} = {text(now)}",
                f"base: {shown('0')} = {text(base)}",
                f"step: {now_name} - {factor}{before_name} - ({text(c)}) = 0",
            )
            return Closed(now, before, steps)
    return None


def _forgotten(
    algebra: Algebra, a: Rational, c: Rational, start: Rational, t: Rational, shown: Callable[[str], str]
) -> Closed | None:
    """Where a is 0 at t = 1, the start is forgotten at once: e[t] = c/(1 - a), if that stands still."""
    one = Rational.of(1)
    if not _moves(algebra, a, t) or (a - one).is_zero:
        return None
    fixed = algebra.reduced(c / (one - a))
    first = _at_one(algebra, a, t)
    if _moves(algebra, fixed, t) or first is None or not first.is_zero:
        return None
    begins = algebra.fresh(FIRST)  # times a, it is always 0
    text = algebra.text
    steps = (
        f"{shown('t')} = ({text(a)})*{shown('t-1')} + {text(c)}",
        f"{shown('t')} = {text(fixed)}",
        f"base: at t = 1 the factor is 0, and {shown('1')} = {text(fixed)}",
        f"step: ({text(a)})*({text(fixed)}) + {text(c)} = {text(fixed)}",
    )
    return Closed(fixed, fixed + (start - fixed) * begins, steps)


def later(algebra: Algebra, x: Rational, t: Rational) -> Rational:
    """Without a term in `FIRST` whose coefficient is zero at t = 1, where alone it counts."""
    if FIRST not in algebra.names:
        return x
    index = algebra.index(algebra.fresh(FIRST))
    parts = coefficients(x.num, index)
    if index in Rational(x.den, ONE).generators() or (set(parts) != {0, 1} and set(parts) != {1}):
        return x
    at_one = _at_one(algebra, Rational.make(parts[1], x.den), t)
    if at_one is None or not at_one.is_zero:
        return x
    return Rational.make(parts.get(0, ZERO), x.den)


def _at_one(algebra: Algebra, x: Rational, t: Rational) -> Rational | None:
    """The value at t = 1, where t stands alone or is an exponent by itself."""
    (time,) = t.generators()
    for index in x.generators():
        match algebra.definitions[index]:
            case _ if index == time:
                x = x.substituted(index, Rational.of(1))
            case ("power", base, ((exponent, 1),)) if exponent == time:
                x = x.substituted(index, Rational(base, Rational.of(1).num))  # type: ignore[arg-type]
            case _ if _atom_moves(algebra, index, t):
                return None
    return x


_Candidate = tuple[Rational, Rational, Rational]  # e[t], e[t-1], e[0]


def _candidates(
    algebra: Algebra, a: Rational, c: Rational, start: Rational, t: Rational, products: Iterable[Product]
) -> Iterable[_Candidate]:
    one = Rational.of(1)
    still = not (_moves(algebra, a, t) or _moves(algebra, c, t))
    if (a - one).is_zero:
        if still:
            yield start + c * t, start + c * (t - one), start
        return
    fixed = c / (one - a)
    if (fixed - start).is_zero:
        yield start, start, start
    if still:
        power = partial(algebra.power, a)
        now, before = power(t), power(t - one)
        yield fixed + (start - fixed) * now, fixed + (start - fixed) * before, start
    if not _moves(algebra, fixed, t):
        for product in products:
            now, before = product.new / product.start, product.old / product.start
            yield fixed + (start - fixed) * now, fixed + (start - fixed) * before, start


def _moves(algebra: Algebra, x: Rational, t: Rational) -> bool:
    """Whether a rational function changes with t: it holds t, a power of something to the t, or a state."""
    return any(_atom_moves(algebra, index, t) for index in x.generators())


def _atom_moves(algebra: Algebra, index: int, t: Rational) -> bool:
    if index in t.generators():
        return True
    match algebra.definitions[index]:
        case "input", key:
            return isinstance(key, tuple) and bool(key[1].value)  # an old or new value of a state
        case "power", base, exponents:
            inside = set(Rational(base, Rational.of(1).num).generators()) | {i for i, _ in exponents}  # type: ignore[arg-type, attr-defined]
            return any(_atom_moves(algebra, i, t) for i in inside)
        case "sqrt", poly:
            return any(_atom_moves(algebra, i, t) for i in Rational(poly, Rational.of(1).num).generators())  # type: ignore[arg-type]
        case _, *args:
            return any(_moves(algebra, arg, t) for arg in args)  # type: ignore[arg-type]
    return True
