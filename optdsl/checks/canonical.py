"""Expressions of a spec as rational functions: a canonical form.

The numbers of this arithmetic are quotients of polynomials over Q in *atoms*: the inputs of a step
(`beta1`, `m[t-1]`, `g`), powers with t in the exponent (`beta1^t`; `beta1^(t+1)` is `beta1 * beta1^t`),
square roots (an atom r with r^2 = p for each factor p of a radicand whose sign is known), and opaque ones
(exp and the like). What depends on the sign of something (abs, max, where, sign) is split into cases.

`algebra.proves_zero` is sound: a numerator that vanishes identically, in every case, vanishes everywhere
that the expression is defined. It is complete for rational functions and for roots of factors of known sign;
elsewhere its 'no' means nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from flint import fmpz

from optdsl.checks.interval import EVERYTHING, NONNEGATIVE, POSITIVE, Interval
from optdsl.checks.rational import (
    ONE,
    Poly,
    Rational,
    as_fraction,
    constant,
    generator,
    product,
    replace_square,
)
from optdsl.checks.signs import ElementSignError, NeedCaseError, NoFormError, Signs
from optdsl.checks.walk import Arithmetic, Key
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Apply, Expr


@dataclass
class Algebra(Signs, Arithmetic[Rational]):
    """Expressions in one case of signs (`signs`)."""

    # --- arithmetic ---

    def number(self, value: Fraction) -> Rational:
        return Rational.of(value)

    def truth(self, value: bool) -> Rational:
        return Rational.of(int(value))

    def evaluate(self, expr: Expr, values: Mapping[Key, Rational]) -> Rational:
        """A branch that is not taken is not looked at: it may have no value where the whole has one."""
        match expr:
            case Apply(op="where", args=(condition, x, y)):
                try:
                    chosen = x if self.evaluate(condition, values).value else y
                except ElementSignError:
                    return self._either(condition, self.evaluate(x, values), self.evaluate(y, values), values)
                return self.evaluate(chosen, values)
            case _:
                return super().evaluate(expr, values)

    def apply(self, expr: Apply, args: tuple[Rational, ...]) -> Rational:
        try:
            return self.reduced(self._apply(expr.op, args))
        except ZeroDivisionError:
            raise NoFormError("division by zero") from None

    def _apply(self, op: str, args: tuple[Rational, ...]) -> Rational:
        match op, args:
            case "add", (x, y):
                return x + y
            case "sub", (x, y):
                return x - y
            case "mul", (x, y):
                return x * y
            case "div", (x, y):
                return x / self.reduced(y)
            case "neg", (x,):
                return -x
            case "sqrt", (x,):
                return self.root(x)
            case "pow", (x, y):
                return self.power(x, y)
            case "abs", (x,):
                return self.absolute(x)
            case "sign", (x,):
                return Rational.of(self.sign_of(x))
            case (("max" | "min"), (x, y)):
                try:
                    first = (self.side_of(x - y) >= 0) == (op == "max")
                except ElementSignError:
                    return self._between(op, (x, y))
                return x if first else y
            case "clip", (x, low, high):
                return self._apply("min", (self._apply("max", (x, low)), high))
            case "gt", (x, y):
                return self.truth(self.sign_of(x - y) > 0)
            case "ge", (x, y):
                return self.truth(self.sign_of(x - y) >= 0)
            case "lt", (x, y):
                return self.truth(self.sign_of(x - y) < 0)
            case "le", (x, y):
                return self.truth(self.sign_of(x - y) <= 0)
            case "eq", (x, y):
                return self.truth(self.sign_of(x - y) == 0)
            case "and", (x, y):
                return self.truth(bool(x.value) and bool(y.value))
            case "or", (x, y):
                return self.truth(bool(x.value) or bool(y.value))
            case "not", (x,):
                return self.truth(not x.value)
        return self._reduced(op, args) if op in REDUCTIONS else self._opaque(op, args)

    def _reduced(self, op: str, args: tuple[Rational, ...]) -> Rational:
        from optdsl.checks.reduced import reduction

        return reduction(self, op, args)

    def _either(self, condition: Expr, x: Rational, y: Rational, values: Mapping[Key, Rational]) -> Rational:
        """One of two, by a comparison that differs from element to element."""
        match condition:
            case Apply(op=op, args=(left, right)) if op in ("lt", "le", "gt", "ge", "eq"):
                sides = (self.evaluate(left, values), self.evaluate(right, values))
                return self._between(f"where {op}", (x, y), sides)
        raise ElementSignError("a condition on elements")

    def _between(self, op: str, args: tuple[Rational, ...], sides: tuple[Rational, ...] = ()) -> Rational:
        """An atom that is one of `args` for each element."""
        both = all(
            (self.interval(x.num).nonnegative and self.interval(x.den).positive) or x.is_zero for x in args
        )
        name = f"{op}({', '.join(self.text(each) for each in (*sides, *args))})"
        key = (op, *(each.key for each in (*sides, *args)))
        around = NONNEGATIVE if both else EVERYTHING
        return Rational(generator(self.atom(key, name, around, (op, *sides, *args))), ONE)

    def _opaque(self, op: str, args: tuple[Rational, ...]) -> Rational:
        name = f"{op}({', '.join(self.text(arg) for arg in args)})"
        interval = POSITIVE if op == "exp" else EVERYTHING
        return Rational(
            generator(self.atom((op, *(arg.key for arg in args)), name, interval, (op, *args))), ONE
        )

    # --- roots, absolute values, powers ---

    def root(self, x: Rational) -> Rational:
        """The square root: a product of atoms, one for each factor that is not a square."""
        if x.is_zero:
            return x
        constant_part, factors = x.factors()
        result, rest = Rational.of(1), ONE
        for poly, k in factors:
            try:
                side = self._poly_side(poly)
            except (NeedCaseError, ElementSignError):
                if k % 2 == 0 and self.whole:
                    result = result * self._root_atom(product(poly, poly)).power(k // 2)
                    continue
                if k != 1:
                    raise
                rest = product(rest, poly)  # it is under the root as it stands, whatever its sign
                continue
            if side < 0:
                poly, constant_part = -poly, constant_part * (-1) ** (k % 2)
            result = result * Rational(poly, ONE).power(k // 2)
            if k % 2:
                result = result * self._root_atom(poly)
        if constant_part < 0 and rest == ONE:
            raise NoFormError("a root of a negative number")
        if constant_part < 0:
            rest, constant_part = -rest, -constant_part
        result = result * self._constant_root(constant_part)
        return result if rest == ONE else result * self._root_atom(rest)

    def _constant_root(self, value: Fraction) -> Rational:
        number = value.numerator * value.denominator
        whole, rest = 1, 1
        for prime, k in fmpz(number).factor():
            whole *= int(prime) ** (int(k) // 2)
            rest *= int(prime) ** (int(k) % 2)
        root = Rational.of(Fraction(whole, value.denominator))
        return root if rest == 1 else root * self._root_atom(constant(rest))

    def _root_atom(self, poly: Poly) -> Rational:
        positive = POSITIVE if self.interval(poly).positive else NONNEGATIVE
        index = self.atom(("sqrt", str(poly)), f"sqrt({self._poly_text(poly)})", positive, ("sqrt", poly))
        self.squares[index] = poly
        return Rational(generator(index), ONE)

    def absolute(self, x: Rational) -> Rational:
        if x.is_zero:
            return x
        constant_part, factors = x.factors()
        result = Rational.of(abs(constant_part))
        for poly, k in factors:
            try:
                side = self._poly_side(poly) if k % 2 else 1
            except ElementSignError:
                result = result * self._root_atom(product(poly, poly)).power(k)
                continue
            result = result * Rational(poly if side >= 0 else -poly, ONE).power(k)
        return result

    def power(self, x: Rational, y: Rational) -> Rational:
        exponent = y.value
        if exponent is not None and exponent.denominator == 1 and abs(exponent) <= 64:
            return x.power(int(exponent))
        if exponent is not None and exponent.denominator in (2, 4, 8) and abs(exponent) <= 64:
            return self.power(self.root(x), Rational.of(2 * exponent))  # x^(1/4) is a root of a root
        if x.value == 1:
            return x
        if exponent is not None:
            return self._opaque("pow", (x, y))
        if x.is_zero:
            if self.sign_of(y) < 0:
                raise NoFormError("division by zero")
            return Rational.of(0 if self.sign_of(y) else 1)
        constant_part, factors = x.factors()
        bases = [(poly, k) for poly, k in factors]
        if constant_part != 1:
            bases.append((constant(constant_part), 1))
        open_sign = any(not self.interval(poly).nonnegative for poly, _ in bases)
        if open_sign or not y.den.is_constant():
            return self._opaque("pow", (x, y))
        result = Rational.of(1)
        scale = as_fraction(y.den.leading_coefficient())
        for monomial, coefficient in y.num.to_dict().items():
            term = as_fraction(coefficient) / scale
            exponents = [(index, int(e)) for index, e in enumerate(monomial) if e]
            for poly, k in bases:
                result = result * self._base_power(poly, exponents, term * k)
        return result

    def _base_power(self, base: Poly, exponents: list[tuple[int, int]], times: Fraction) -> Rational:
        """base^(times * monomial)."""
        if not exponents:
            return self.power(Rational(base, ONE), Rational.of(times))
        shown = "*".join(self.names[i] + (f"^{e}" if e > 1 else "") for i, e in exponents)
        shown = f"({shown})" if "*" in shown else shown
        atom = self.atom(
            ("pow", str(base), tuple(exponents)),
            f"{self._shown_base(base)}^{shown}",
            self._decayed(base, exponents),
            ("power", base, tuple(exponents)),
        )
        power = Rational(generator(atom), ONE)
        self._relate(base, exponents, generator(atom))
        if times.denominator == 1 and abs(times) <= 64:
            return power.power(int(times))
        if times.denominator == 2 and abs(times) <= 64:
            return self.root(power).power(int(2 * times))
        return self._opaque("pow", (power, Rational.of(times)))

    def _relate(self, base: Poly, exponents: list[tuple[int, int]], power: Poly) -> None:
        """b^t <= b for 0 <= b <= 1 and t >= 1."""
        around = self.interval(base)
        below_one = around.nonnegative and around.high is not None and around.high <= 1
        low = self.intervals[exponents[0][0]].low
        alone = exponents[0][1] == 1 and len(exponents) == 1 and low is not None and low >= 1
        if below_one and alone and base - power not in self.relations:
            self.relations.append(base - power)

    def _decayed(self, base: Poly, exponents: list[tuple[int, int]]) -> Interval:
        """Where b^n is for a base at or above 0 and an exponent that is not negative."""
        around = self.interval(base)
        nonnegative = all(self.intervals[i].nonnegative for i, _ in exponents)
        lows = [self.intervals[i].low for i, _ in exponents]
        at_least_one = all(low is not None and low >= 1 for low in lows)
        low_open = around.positive
        if around.high is not None and around.high <= 1 and nonnegative:
            below = around.high < 1 or around.high_open
            return Interval(Fraction(0), Fraction(1), low_open, below and at_least_one)
        return POSITIVE if low_open else NONNEGATIVE

    # --- canonical form ---

    def reduced(self, x: Rational) -> Rational:
        """With every r^2 replaced by what it is."""
        if not self.squares:
            return x
        num, den = self._without_squares(x.num), self._without_squares(x.den)
        return Rational.make(num, den)

    def _without_squares(self, poly: Poly) -> Poly:
        changed = True
        while changed:
            changed = False
            for index, square in self.squares.items():
                if len(poly) and poly.degrees()[index] >= 2:
                    poly, changed = replace_square(poly, index, square), True
        return poly

    def vanishes(self, x: Rational) -> bool:
        """Whether x is zero in this case: as a polynomial, or as a multiple of what is zero here.

        A form that divides by what is zero here (b^(t-1) is b^t/b) is not the expression's value.
        """
        num, den = self._without_squares(x.num), x.den
        if num.is_zero():
            return True
        for zero in self.zeros:
            _, num = divmod(num, zero)
            _, den = divmod(den, zero)
        return bool(num.is_zero()) and not den.is_zero()
