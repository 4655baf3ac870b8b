"""Numbers side by side, whatever they are made of: what `portable.functions` is written with.

A `Lane` stands for a value of every lane at once: a float, an integer of the same width, or a condition.
Its operators become calls of `Maker.make`, with names and constants from the fixed tables below. `NumpyMaker`
computes at once on arrays; the LLVM emitter writes instructions. Both round every operation once, to nearest,
and contract nothing, so they give the same bits.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np


class Sort(StrEnum):
    """What a lane holds; a float and an integer have the maker's number of bits."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"


OPERATIONS: dict[str, Sort] = {
    **dict.fromkeys(("fadd", "fsub", "fmul", "fdiv", "fneg", "fabs", "fsqrt", "ffrom"), Sort.FLOAT),
    **dict.fromkeys(("iadd", "isub", "imul", "iand", "ior", "ishl", "ishr", "ibits"), Sort.INT),
    **dict.fromkeys(("flt", "fle", "feq", "ieq", "band", "bor", "bnot"), Sort.BOOL),
}
"""Every operation but `select`, and what it gives. `ibits` and `ffrom` leave bits as they are; `ishr` shifts
in zeros; comparisons with NaN are false.
"""


class Maker(Protocol):
    bits: int  # 32 or 64

    def make(self, operation: str, *operands: Any) -> Any: ...

    def select(self, condition: Any, then: Any, otherwise: Any, sort: Sort) -> Any: ...

    def number(self, value: float) -> Any:
        """The same float in every lane, rounded to its type."""
        ...

    def integer(self, value: int) -> Any: ...

    def truth(self, value: bool) -> Any: ...


@dataclass(frozen=True)
class Lane:
    maker: Maker
    at: Any
    sort: Sort

    def _of(self, other: "Lane | float") -> Any:
        if isinstance(other, Lane):
            assert other.sort is self.sort, f"{self.sort} beside {other.sort}"
            return other.at
        return self.maker.integer(int(other)) if self.sort is Sort.INT else self.maker.number(other)

    def _made(self, operation: str, *others: "Lane | float", first: "Lane | float | None" = None) -> "Lane":
        operands = [self.at, *map(self._of, others)]
        if first is not None:
            operands.insert(0, self._of(first))
        return Lane(self.maker, self.maker.make(operation, *operands), OPERATIONS[operation])

    def _kind(self) -> str:
        return self.sort[0]  # f, i or b, as operations begin

    def __add__(self, other: "Lane | float") -> "Lane":
        return self._made(f"{self._kind()}add", other)

    def __radd__(self, other: float) -> "Lane":
        return self._made(f"{self._kind()}add", first=other)

    def __sub__(self, other: "Lane | float") -> "Lane":
        return self._made(f"{self._kind()}sub", other)

    def __rsub__(self, other: float) -> "Lane":
        return self._made(f"{self._kind()}sub", first=other)

    def __mul__(self, other: "Lane | float") -> "Lane":
        return self._made(f"{self._kind()}mul", other)

    def __rmul__(self, other: float) -> "Lane":
        return self._made(f"{self._kind()}mul", first=other)

    def __truediv__(self, other: "Lane | float") -> "Lane":
        return self._made("fdiv", other)

    def __rtruediv__(self, other: float) -> "Lane":
        return self._made("fdiv", first=other)

    def __neg__(self) -> "Lane":
        return self._made("fneg")

    def __abs__(self) -> "Lane":
        return self._made("fabs")

    def __and__(self, other: "Lane | int") -> "Lane":
        return self._made(f"{self._kind()}and", other)

    def __or__(self, other: "Lane | int") -> "Lane":
        return self._made(f"{self._kind()}or", other)

    def __invert__(self) -> "Lane":
        return self._made("bnot")

    def __lshift__(self, places: int) -> "Lane":
        return self._made("ishl", places)

    def __rshift__(self, places: int) -> "Lane":
        return self._made("ishr", places)

    def __lt__(self, other: "Lane | float") -> "Lane":
        return self._made(f"{self._kind()}lt", other)

    def __gt__(self, other: "Lane | float") -> "Lane":
        return self._made(f"{self._kind()}lt", first=other)

    def __le__(self, other: "Lane | float") -> "Lane":
        return self._made("fle", other)

    def __ge__(self, other: "Lane | float") -> "Lane":
        return self._made("fle", first=other)

    def equals(self, other: "Lane | float") -> "Lane":
        return self._made(f"{self._kind()}eq", other)

    def bits(self) -> "Lane":
        """The float as the integer of the same bits."""
        return self._made("ibits")

    def from_bits(self) -> "Lane":
        return self._made("ffrom")

    def sqrt(self) -> "Lane":
        return self._made("fsqrt")

    def number(self, value: float) -> "Lane":
        return Lane(self.maker, self.maker.number(value), Sort.FLOAT)

    def is_nan(self) -> "Lane":
        return ~self.equals(self)


def select(condition: Lane, then: Lane | float, otherwise: Lane | float) -> Lane:
    """`then` in the lanes where the condition holds; the other is computed there, too, and not seen."""
    like = then if isinstance(then, Lane) else otherwise
    assert isinstance(like, Lane)
    at = like.maker.select(condition.at, like._of(then), like._of(otherwise), like.sort)
    return Lane(like.maker, at, like.sort)


class NumpyMaker:
    """Computes on arrays: what the bits of every other maker are compared with."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.float: Any = {32: np.float32, 64: np.float64}[bits]
        self.int: Any = {32: np.uint32, 64: np.uint64}[bits]

    def number(self, value: float) -> Any:
        return self.float(value)

    def integer(self, value: int) -> Any:
        return self.int(value % 2**self.bits)

    def truth(self, value: bool) -> Any:
        return np.bool_(value)

    def select(self, condition: Any, then: Any, otherwise: Any, sort: Sort) -> Any:
        return np.where(condition, then, otherwise)

    def make(self, operation: str, *operands: Any) -> Any:
        return np.asarray(_NUMPY[operation](self, *operands))


_NUMPY: dict[str, Any] = {
    "fadd": lambda m, x, y: np.add(x, y),
    "fsub": lambda m, x, y: np.subtract(x, y),
    "fmul": lambda m, x, y: np.multiply(x, y),
    "fdiv": lambda m, x, y: np.divide(x, y),
    "fneg": lambda m, x: np.negative(x),
    "fabs": lambda m, x: np.abs(x),
    "fsqrt": lambda m, x: np.sqrt(x),
    "ffrom": lambda m, x: np.asarray(x).view(m.float),
    "iadd": lambda m, x, y: np.add(x, y),
    "isub": lambda m, x, y: np.subtract(x, y),
    "imul": lambda m, x, y: np.multiply(x, y),
    "iand": lambda m, x, y: np.bitwise_and(x, y),
    "ior": lambda m, x, y: np.bitwise_or(x, y),
    "ishl": lambda m, x, y: np.left_shift(x, y),
    "ishr": lambda m, x, y: np.right_shift(x, y),
    "ibits": lambda m, x: np.asarray(x).view(m.int),
    "flt": lambda m, x, y: np.less(x, y),
    "fle": lambda m, x, y: np.less_equal(x, y),
    "feq": lambda m, x, y: np.equal(x, y),
    "ieq": lambda m, x, y: np.equal(x, y),
    "band": lambda m, x, y: np.logical_and(x, y),
    "bor": lambda m, x, y: np.logical_or(x, y),
    "bnot": lambda m, x: np.logical_not(x),
}
