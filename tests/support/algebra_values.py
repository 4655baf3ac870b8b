"""The value of a rational function of `checks.algebra` at a point, in balls, from what its atoms are."""

from collections.abc import Mapping
from fractions import Fraction

from flint import arb

from optdsl.checks.algebra import Algebra
from optdsl.checks.rational import Poly, Rational, as_fraction
from optdsl.checks.trace import EXACT, Real, Value, as_ball
from optdsl.checks.walk import Key
from optdsl.language.optimizer import Age, Apply, Kind, Ref, Role, Shape


def value_at(algebra: Algebra, rational: Rational, point: Mapping[Key, Value]) -> arb:
    return poly_at(algebra, rational.num, point) / poly_at(algebra, rational.den, point)


def poly_at(algebra: Algebra, poly: Poly, point: Mapping[Key, Value]) -> arb:
    total = arb(0)
    for monomial, coefficient in poly.to_dict().items():
        term = as_ball(as_fraction(coefficient))
        for index, exponent in enumerate(monomial):
            if exponent:
                term = term * _atom(algebra, index, point) ** int(exponent)
        total = total + term
    return total


def _atom(algebra: Algebra, index: int, point: Mapping[Key, Value]) -> arb:
    match algebra.definitions[index]:
        case "input", key:
            value = point[key]  # type: ignore[index]
            assert not isinstance(value, bool)
            return as_ball(value)
        case "sqrt", poly:
            return poly_at(algebra, poly, point).sqrt()  # type: ignore[arg-type]
        case "power", base, exponents:
            exponent: Real = Fraction(1)
            power = arb(1)
            for generator, times in exponents:  # type: ignore[attr-defined]
                power = power * _atom(algebra, generator, point) ** times
            exponent = power
            return _operator("pow", [poly_at(algebra, base, point), exponent])  # type: ignore[arg-type]
        case op, *args:
            return _operator(str(op), [value_at(algebra, arg, point) for arg in args])  # type: ignore[arg-type]
    raise AssertionError(algebra.definitions[index])


def _operator(op: str, args: list[Real]) -> arb:
    """An operator on balls, by the exact arithmetic of traces."""
    refs = tuple(Ref(Role.VALUE, f"x{i}") for i in range(len(args)))
    expr = Apply(op, refs, Shape.SCALAR, Kind.REAL)
    value = EXACT.evaluate(expr, {(ref.name, Age.NOW): arg for ref, arg in zip(refs, args, strict=True)})
    assert not isinstance(value, bool)
    return as_ball(value)
