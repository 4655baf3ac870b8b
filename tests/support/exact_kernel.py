"""A kernel run in 200-bit arithmetic, one element at a time, to compare with the meaning."""

from collections.abc import Mapping
from typing import Any

import mpmath

from optdsl.kernel.ir import DIRECTION, TIME, Cast, Const, Expr, Kernel, Let, Load, Local, Op, Store
from optdsl.language.matrices import MATRIX, loop_parts_of
from optdsl.language.operators import OPERATORS, REDUCTIONS


def run_kernel(
    kernel: Kernel,
    hypers: Mapping[str, Any],
    t: int,
    buffers: Mapping[str, Any],
    scalar_states: Mapping[str, Any],
) -> dict[str, Any]:
    """What is stored to each buffer, and the new scalar states by the names of the old ones; no rounding."""
    values: dict[str, Any] = dict(zip(kernel.hypers, hypers.values(), strict=True))
    values |= {TIME: mpmath.mpf(t), DIRECTION: mpmath.mpf(1)}
    values |= dict(zip(kernel.scalar_states, scalar_states.values(), strict=True))
    for let in kernel.prologue:
        values[let.name] = _value(let.value, values, buffers)
    stored: dict[str, Any] = {}
    for phase in kernel.phases:
        for stmt in phase.body:
            value = _value(stmt.value, values, buffers)
            if isinstance(stmt, Let):
                values[stmt.name] = value
            elif isinstance(stmt, Store):
                stored[stmt.buffer] = value
            else:
                stored[stmt.name] = value
    new = zip(scalar_states, kernel.scalar_updates, strict=True)
    return stored | {name: values[update] for name, update in new}


def _value(expr: Expr, values: Mapping[str, Any], buffers: Mapping[str, Any]) -> Any:
    match expr:
        case Const(value=bool() as truth):
            return truth
        case Const(value=number):
            return mpmath.mpf(number.numerator) / number.denominator
        case Local(name=name):
            return values[name]
        case Load(buffer=buffer):
            return buffers[buffer]
        case Cast(operand=operand):
            return _value(operand, values, buffers)
        case Op("repeat", args):  # of a matrix with this one element
            count, ((around, start), *inner), new = loop_parts_of(args)
            inside = {**values, _name(around): _value(start, values, buffers)}
            for _ in range(int(_value(count, values, buffers))):
                for local, value in inner:
                    inside[_name(local)] = _value(value, inside, buffers)
                inside[_name(around)] = _value(new, inside, buffers)
            return inside[_name(around)]
        case Op(name=name, args=args) if name in MATRIX:
            return MATRIX[name].of_one(*(_value(arg, values, buffers) for arg in args))
        case Op(name=name, args=args) if name in REDUCTIONS:
            return REDUCTIONS[name].of_one(*(_value(arg, values, buffers) for arg in args))
        case Op(name=name, args=args):
            return OPERATORS[name].exact(*(_value(arg, values, buffers) for arg in args))


def _name(local: Expr) -> str:
    assert isinstance(local, Local)
    return local.name
