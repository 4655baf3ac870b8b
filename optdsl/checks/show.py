"""Rational functions in the notation of specs: factored, short terms first, no needless minus."""

from fractions import Fraction

from optdsl.checks.algebra import Algebra
from optdsl.checks.rational import Poly, Rational, as_fraction


def shown(algebra: Algebra, rational: Rational) -> str:
    """`2*(1 + mu)/(lam*(1 + 2*mu))`."""
    if rational.is_zero:
        return "0"
    constant, factors = rational.factors()
    parts: list[tuple[str, int, int]] = []
    for poly, power in factors:
        sign, poly = _oriented(poly)
        constant *= sign if power % 2 else 1
        parts.append((_poly(algebra, poly), len(poly), power))
    parts.sort(key=lambda part: part[1])
    top = [_power(text, terms, power) for text, terms, power in parts if power > 0]
    bottom = [_power(text, terms, -power) for text, terms, power in parts if power < 0]
    magnitude = abs(constant)
    if magnitude.numerator != 1 or not top:
        top.insert(0, str(magnitude.numerator))
    if magnitude.denominator != 1:
        bottom.insert(0, str(magnitude.denominator))
    text = "*".join(top) if len(top) > 1 or bottom or constant < 0 else _bare(top[0])
    if bottom:
        text += "/" + (bottom[0] if len(bottom) == 1 else f"({'*'.join(bottom)})")
    return f"-{text}" if constant < 0 else text


def _bare(text: str) -> str:
    """Without the brackets around all of it."""
    return text[1:-1] if text.startswith("(") and text.endswith(")") and text.count("(") == 1 else text


def _oriented(poly: Poly) -> tuple[int, Poly]:
    """The polynomial with its first shown term positive where that costs no leading minus."""
    terms = _terms(poly)
    return (-1, -poly) if terms[0][1] < 0 else (1, poly)


def _terms(poly: Poly) -> list[tuple[tuple[int, ...], Fraction]]:
    found = [(tuple(map(int, monomial)), as_fraction(value)) for monomial, value in poly.to_dict().items()]
    return sorted(found, key=lambda term: (sum(term[0]), [-e for e in term[0]]))


def _poly(algebra: Algebra, poly: Poly) -> str:
    text = ""
    for monomial, value in _terms(poly):
        factors = [
            _raised(algebra.names[index], exponent) for index, exponent in enumerate(monomial) if exponent
        ]
        if abs(value) != 1 or not factors:
            factors.insert(0, str(abs(value)))
        sign = " - " if value < 0 else " + "
        text += sign + "*".join(factors)
    return "-" + text[3:] if text.startswith(" - ") else text[3:]


def _raised(name: str, exponent: int) -> str:
    if exponent == 1:
        return name
    return f"({name})^{exponent}" if "^" in name else f"{name}^{exponent}"


def _power(text: str, terms: int, power: int) -> str:
    if terms > 1:
        text = f"({text})"
    return text if power == 1 else f"{text}^{power}" if "^" not in text or terms > 1 else f"({text})^{power}"
