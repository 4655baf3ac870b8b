"""Loops over what is remembered, for the reference: round by round, on whole vectors, as the paper has them.

In: the line, what its names stand for in each tensor, and how to compute (`evaluate`) and reduce. Out: the
value of the loop in each tensor. `values[name, "past"]` are the old values of a state, the newest first; the
new one is that of no step ago, as it is kept. Plain on purpose: no coefficients, no products kept.
"""

from collections.abc import Callable, Iterator
from typing import Any

from optdsl.language.history import PRODUCTS, Parts, parts_of_sweep
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Ref

Values = dict[Any, Any]
Evaluate = Callable[[Expr, Values], Any]
Reduce = Callable[[Apply, list[Values]], list[Any]]

PAST = "past"
LOOP_ROUND = "round"


def run_loop(
    line: Assign, tensors: list[Values], evaluate: Evaluate, reduce: Reduce, key: Callable[[Apply], Any]
) -> None:
    """Sets the line's value in each tensor."""
    assert isinstance(line.value, Apply)
    parts = parts_of_sweep(line.value)

    def each(expr: Expr) -> list[Any]:
        for product in _products(expr):
            for values, found in zip(tensors, reduce(product, tensors), strict=True):
                values[key(product)] = found
        return [evaluate(expr, values) for values in tensors]

    _set(parts.around, each(parts.start), tensors)
    for k in _rounds(parts, tensors, evaluate):
        for values in tensors:
            values[parts.count.name, Age.NOW] = k
        for target, value in parts.bound:
            _set(target, each(value), tensors)
        _set(parts.around, each(parts.new), tensors)
    for values in tensors:
        values[line.target.name, line.target.age] = values[parts.around.name, Age.NOW]


def _rounds(parts: Parts, tensors: list[Values], evaluate: Evaluate) -> range:
    ends = [{int(evaluate(end, values)) for values in tensors} for end in (parts.first, parts.last)]
    if not tensors:
        return range(0)
    (first,), (last,) = ends
    return range(first, last + 1) if first <= last else range(first, last - 1, -1)


def _set(target: Expr, found: list[Any], tensors: list[Values]) -> None:
    for values, value in zip(tensors, found, strict=True):
        match target:
            case Ref(name=name):
                values[name, Age.NOW] = value
            case Apply(args=(Ref(name=name), Ref(name=count), *_)):
                values[name, LOOP_ROUND, values[count, Age.NOW]] = value


def _products(expr: Expr) -> Iterator[Apply]:
    """Innermost first."""
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from _products(arg)
        if expr.op in PRODUCTS:
            yield expr


def evaluate_past(expr: Apply, values: Values, evaluate: Evaluate) -> Any:
    """`s[t-k]` and `a[k]`."""
    name, count = (arg.name for arg in expr.args[:2] if isinstance(arg, Ref))
    k = values[count, Age.NOW]
    if expr.op == LOOP_ROUND:
        return values[name, LOOP_ROUND, k]
    return values[name, PAST][int(k) - 1] if k else values["rounded", PAST](values[name, Age.NEW])
