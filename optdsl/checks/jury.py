"""When all roots of a real polynomial lie inside of the unit circle: as conditions, and for numbers.

In: coefficients, constant first, the last one 1. `conditions` gives Jury's for degree 1 to 3, each of
which has to be positive, and together they are necessary and sufficient. `is_stable` decides it for
rationals of any degree (Schur and Cohn), exactly.
"""

from collections.abc import Sequence
from fractions import Fraction

from optdsl.checks.rational import Rational

MAX_DEGREE = 3


def without_zeros(coefficients: Sequence[Rational]) -> list[Rational]:
    """Without its roots at zero, which are inside."""
    rest = list(coefficients)
    while len(rest) > 1 and rest[0].is_zero:
        rest.pop(0)
    return rest


def conditions(coefficients: Sequence[Rational]) -> list[tuple[str, Rational]] | None:
    """What has to be positive, with a name; None beyond `MAX_DEGREE`."""
    p = without_zeros(coefficients)
    n = len(p) - 1
    one = Rational.of(1)
    if n > MAX_DEGREE:
        return None
    if n == 0:
        return []
    at_one, at_minus_one = Rational.of(0), Rational.of(0)
    for k, value in enumerate(p):
        at_one = at_one + value
        at_minus_one = at_minus_one + (value if k % 2 == n % 2 else -value)
    found = [("p(1)", at_one), ("p(-1)" if n % 2 == 0 else "-p(-1)", at_minus_one)]
    if n >= 2:
        found += [("1 - a0", one - p[0])]
    if n == 3:
        # |a1 - a0*a2| < 1 - a0^2, of which one side is ((1 - a0)*p(1) - (1 + a0)*p(-1))/2 > 0
        last = one - p[0] * p[0] - p[1] + p[0] * p[2]
        found += [("1 + a0", one + p[0]), ("1 - a0^2 - a1 + a0*a2", last)]
    return found


def is_stable(coefficients: Sequence[Fraction]) -> bool:
    """Whether every root is strictly inside: |a0| < |an|, and so for the polynomial of one degree less."""
    p = list(coefficients)
    while len(p) > 1:
        if abs(p[0]) >= abs(p[-1]):
            return False
        p = [p[-1] * p[k + 1] - p[0] * p[-2 - k] for k in range(len(p) - 1)]
    return True
