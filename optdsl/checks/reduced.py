"""Reductions in canonical form: one atom for each, of what is reduced.

norm(c*x) is |c|*norm(x) and sum(c*x) is c*sum(x) where c is one number for the whole tensor; dot(x, y) is
sum(x*y). What an element is assumed to be (g > 0) is not so for the others: in such a case a reduction has no
form here, and `cases` begins again without assuming anything of elements. What is reduced over rows or
columns differs within a tensor, as elements do.
"""

from optdsl.checks.canonical import Algebra
from optdsl.checks.interval import EVERYTHING, NONNEGATIVE, POSITIVE
from optdsl.checks.rational import ONE, Rational, as_fraction, generator
from optdsl.checks.signs import ElementSignError
from optdsl.language.operators import REDUCTIONS, reduction_name


def reduction(algebra: Algebra, op: str, args: tuple[Rational, ...]) -> Rational:
    """Raises `ElementSignError` in a case of signs that are those of one element."""
    if any(not algebra.is_scalar(poly) for poly in algebra.asked.values()):
        raise ElementSignError("a reduction where the sign of one element is assumed")
    row = REDUCTIONS[op]
    x = args[0] * args[1] if len(args) == 2 else args[0]
    if x.is_zero:
        return x
    name = "sum" if row.spelled == "dot" else row.spelled
    # a negative number turns the largest into the smallest
    outside, inside = (Rational.of(1), x) if name == "max" else _split(algebra, x)
    if name == "norm":
        outside = algebra.absolute(outside)
        if as_fraction(inside.num.leading_coefficient()) < 0:
            inside = -inside
    top, bottom = algebra.interval(inside.num), algebra.interval(inside.den)
    nonnegative = name == "norm" or (top.nonnegative and bottom.positive)
    around = POSITIVE if top.positive and bottom.positive else NONNEGATIVE if nonnegative else EVERYTHING
    key = reduction_name(name, row.over)
    index = algebra.atom(
        (key, inside.key),
        f"{name}({algebra.text(inside)}{f' over {row.over}' if row.over else ''})",
        around,
        (key, inside),
    )
    return outside * Rational(generator(index), ONE)


def _split(algebra: Algebra, x: Rational) -> tuple[Rational, Rational]:
    """The factors that are one number for the tensor, and the rest."""
    constant, factors = x.factors()
    outside, inside = Rational.of(constant), Rational.of(1)
    for poly, power in factors:
        factor = Rational(poly, ONE).power(power)
        if algebra.is_scalar(poly):
            outside = outside * factor
        else:
            inside = inside * factor
    return outside, inside
