"""Cases of signs, and the zero test: what the checks ask of `canonical`.

A question is a function that builds something in an `Algebra`. It is built once for every case of the signs
that it asks for; together the cases are everything.
"""

from collections.abc import Callable, Iterator, Mapping

from optdsl.checks.canonical import Algebra
from optdsl.checks.interval import Interval
from optdsl.checks.rational import BudgetError, Rational
from optdsl.checks.signs import ElementSignError, NeedCaseError, NoFormError, VacuousError
from optdsl.checks.walk import Key

MAX_CASES = 243

Build = Callable[[Algebra], Rational]


def cases(
    facts: Mapping[Key, Interval], build: Build, make: type[Algebra] = Algebra
) -> Iterator[tuple[Algebra, Rational]]:
    """The value of `build` in every case of the signs that it asks for; together they are everything.

    Raises `BudgetError` past `MAX_CASES`, and `NoFormError` where there is no value.
    """
    waiting = [make(facts)]
    done = 0
    while waiting:
        algebra = waiting.pop()
        done += 1
        if done > MAX_CASES:
            raise BudgetError("too many cases")
        try:
            value = build(algebra)
        except VacuousError:
            continue
        except ElementSignError:
            if algebra.whole:
                raise
            waiting = [make(facts, whole=True)]  # everything again, without any sign of an element
            continue
        except NoFormError:
            if algebra.contradiction():
                continue
            raise
        except NeedCaseError as need:
            waiting += [
                algebra.assuming(need.poly, sign) for sign in need.signs if algebra.possible(need.poly, sign)
            ]
            continue
        yield algebra, value


def proves_zero(facts: Mapping[Key, Interval], build: Build) -> bool:
    """Whether what is built is zero wherever it is defined. False means: not shown."""
    try:
        return all(algebra.vanishes(value) for algebra, value in cases(facts, build))
    except (BudgetError, NoFormError):
        return False


__all__ = ["Algebra", "BudgetError", "NeedCaseError", "NoFormError", "VacuousError", "cases", "proves_zero"]
