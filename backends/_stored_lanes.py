"""What is kept in 16 bits, on lanes: float32 where it is read, and back where it is written.

In: a verified kernel, and a machine whose memory holds codes of 16 bits, which on its lanes are integers of
32. Out: its calls. What a format is made of is decided in `optdsl.portable.formats` alone.
NOT done: numbers of 8 bits, whose scales are for blocks of them.
"""

from typing import Protocol

from optdsl.kernel.ir import Buffer, Cast, Kernel, Type
from optdsl.kernel.stored import shared_bits
from optdsl.portable.formats import FORMATS
from optdsl.portable.lanes import Lane


class Codes(Protocol):
    """What a machine has for them; integers of 32 bits on its lanes."""

    def load_code(self, buffer: Buffer) -> Lane: ...

    def store_code(self, buffer: Buffer, code: Lane) -> None:
        """The lower 16 bits of it."""
        ...

    def element(self) -> Lane:
        """The number of each element in its chunk."""
        ...

    def key(self, pair: int) -> Lane:
        """The lower half of `portable.formats.rounding_key` for this chunk."""
        ...


def _apply(name: str, *arguments: Lane) -> Lane:
    return FORMATS[name][0](*arguments)


class Coded:
    """The loads and stores of one run through a phase."""

    def __init__(self, kernel: Kernel, machine: Codes) -> None:
        self.kernel, self.machine = kernel, machine
        self._numbers = shared_bits(kernel)
        self._bits: dict[int, Lane] = {}

    def load(self, buffer: Buffer) -> Lane:
        """In float32."""
        code = self.machine.load_code(buffer)
        match buffer.type:
            case Type.SPLIT:
                return _apply("joined", code, self._more(buffer))
            case Type.PAIR:
                return _apply("bf16_value", code) + _apply("bf16_value", self._more(buffer))
            case single:
                return _apply(f"{single}_value", code)

    def _more(self, buffer: Buffer) -> Lane:
        return self.machine.load_code(self.kernel.buffer(buffer.more))

    def store(self, buffer: Buffer, cast: Cast, value: Lane) -> None:
        """value: float32; cast: to what, which may be less than what the buffer is."""
        store = self.machine.store_code
        match cast.type:
            case Type.SPLIT:
                store(buffer, _apply("high_of", value))
                store(self.kernel.buffer(buffer.more), _apply("low_of", value))
            case Type.PAIR:
                code = _apply("nearest_bf16", value)
                store(buffer, code)
                short = value - _apply("bf16_value", code)
                store(self.kernel.buffer(buffer.more), _apply("nearest_bf16", short))
            case single if cast.at is None:
                store(buffer, _apply(f"nearest_{single}", value))
            case single:
                store(buffer, _apply(f"stochastic_{single}", value, self._noise(buffer.name)))

    def _noise(self, name: str) -> Lane:
        pair, second = divmod(self._numbers[name], 2)
        if pair not in self._bits:
            self._bits[pair] = _apply("random_bits", self.machine.element(), self.machine.key(pair))
        return _apply("other_half", self._bits[pair]) if second else self._bits[pair]
