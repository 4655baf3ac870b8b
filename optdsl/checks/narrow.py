"""What the sign of a polynomial says of each atom alone: from (6b - 4)(1 - x) - 2tx(1 - b) > 0, with
x in (0, 1] and t >= 1, follows b > 2/3.

In: the intervals of the atoms, and a polynomial that is positive. Out: narrower intervals for atoms that it
bounds. The other atoms are moved to the ends of their intervals, at one of which a polynomial that is affine
in each of them has to be positive too. Polynomials of a higher degree, or with an atom that has no end on
the side that matters, say nothing here.
"""

from collections.abc import Iterator
from fractions import Fraction

from optdsl.checks.atoms import Atoms, as_fmpq
from optdsl.checks.interval import Interval, exactly, intersection
from optdsl.checks.rational import Poly, as_fraction, coefficients, used

MAX_ATOMS = 5


def narrowed(atoms: Atoms, poly: Poly) -> dict[int, Interval]:
    """The atoms whose interval `poly > 0` makes smaller."""
    found: dict[int, Interval] = {}
    indices = used(poly)
    if len(indices) > MAX_ATOMS or any(poly.degrees()[index] != 1 for index in indices):
        return found
    for index in indices:
        around = _bound(atoms, poly, index)
        inside = around and intersection(atoms.intervals[index], around)
        if inside and inside != atoms.intervals[index]:
            found[index] = inside
    return found


def vanishing(poly: Poly) -> dict[int, Interval]:
    """The value of the one atom of a polynomial of degree 1 that is zero."""
    indices = used(poly)
    if len(indices) != 1 or poly.total_degree() != 1:
        return {}
    parts = {k: as_fraction(part.leading_coefficient()) for k, part in coefficients(poly, indices[0]).items()}
    return {indices[0]: exactly(-parts.get(0, Fraction(0)) / parts[1])}


def _bound(atoms: Atoms, poly: Poly, index: int) -> Interval | None:
    """Where an atom is when the polynomial is positive somewhere in the intervals of the others."""
    sides: list[Interval] = []
    for leaf in _ends(atoms, poly, index):
        if leaf is None:
            return None
        parts = {k: as_fraction(part.leading_coefficient()) for k, part in coefficients(leaf, index).items()}
        slope, start = parts.get(1, Fraction(0)), parts.get(0, Fraction(0))
        if slope == 0:
            if start > 0:
                return None
            continue
        end = -start / slope
        sides.append(Interval(end, None, True, True) if slope > 0 else Interval(None, end, True, True))
    if not sides or len({side.low is None for side in sides}) > 1:
        return None
    if sides[0].low is not None:
        return min(sides, key=lambda side: side.low or Fraction(0))
    return max(sides, key=lambda side: side.high or Fraction(0))


def _ends(atoms: Atoms, poly: Poly, index: int) -> Iterator[Poly | None]:
    """The polynomial with all atoms but one at an end; those that are positive nowhere are left out.

    None stands for one that is not bounded from above.
    """
    if atoms.interval(poly).nonpositive:
        return
    other = next((i for i in used(poly) if i != index), None)
    if other is None:
        yield poly
        return
    around = atoms.intervals[other]
    slope = atoms.interval(coefficients(poly, other)[1])
    ends = {around.low, around.high}
    if slope.nonpositive:  # largest at the lower end
        ends = {around.low}
    elif slope.nonnegative:
        ends = {around.high}
    for end in sorted(ends, key=lambda end: (end is None, end)):
        if end is None:
            yield None
        else:
            yield from _ends(atoms, poly.subs({other: as_fmpq(end)}), index)
