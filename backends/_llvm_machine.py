"""What a phase runs on in LLVM: vectors of a function, at an index into the buffers of one tensor."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from optdsl.kernel.ir import IN_16_BITS, PARAMETER, TIME, Buffer, Kernel, Type
from optdsl.kernel.stored import shared_bits
from optdsl.portable.formats import rounding_key
from optdsl.portable.functions import FUNCTIONS, fma_by_double
from optdsl.portable.lanes import Lane, Sort
from optdsl.portable.llvm_text import Function, LlvmMaker, vector
from optdsl.runtime.batch import MAX_BUFFERS

BITS = {Type.F32: 32, Type.F64: 64}
BYTES = {Type.F32: 4, Type.F64: 8} | dict.fromkeys(IN_16_BITS, 2)
ELEMENT = {Type.F32: "float", Type.F64: "double", Type.BOOL: "i1"} | dict.fromkeys(IN_16_BITS, "i16")


@dataclass(frozen=True)
class Space:
    """How memory is reached: the type of a pointer, and what is said of every access."""

    pointer: str = "ptr"
    align_vectors: bool = False  # vectors lie at multiples of their size
    constant: frozenset[str] = frozenset()  # buffers that nobody writes while the kernel runs


class LlvmMachine:
    """`lanes` elements from `index` on (set before each run). Pointers and scalars are values of the
    function.

    `keys`: what is rounded at random is rounded by, as `rounding_keys` has them. Writes what is summed to
    `scratch` at `offset`, as float64; of each sum at a distance of `block` numbers.
    """

    def __init__(
        self,
        function: Function,
        lanes: int,
        pointers: Mapping[str, str],
        scalars: Mapping[str, str],
        numbers: Mapping[str, int],
        *,
        space: Space,
        has_fma: bool,
        scratch: str = "",
        scratch_pointer: str = "ptr",
        block: int = 0,
        keys: Mapping[int, str] | None = None,
    ) -> None:
        self.function = function
        self.lanes = lanes
        self.pointers = pointers
        self.numbers = numbers
        self.space = space
        self.has_fma = has_fma
        self.scratch, self.scratch_pointer, self.block = scratch, scratch_pointer, block
        self.index = self.offset = ""
        self.makers = {type_: LlvmMaker(function, bits, lanes) for type_, bits in BITS.items()}
        self.spread = {name: self._spread(value) for name, value in scalars.items()}
        self.keys = {pair: self._integers(value) for pair, value in (keys or {}).items()}

    def _spread(self, value: str) -> Lane:
        """`value` is written with its type in front."""
        element, at = value.split(" ")
        type_ = {"float": Type.F32}.get(element, Type.F64)
        maker = self.makers[type_]
        return Lane(maker, maker.spread(at, element), Sort.BOOL if element == "i1" else Sort.FLOAT)

    def _integers(self, value: str) -> Lane:
        """The same 32 bits in every lane."""
        maker = self.makers[Type.F32]
        return Lane(maker, maker.spread(value, "i32"), Sort.INT)

    def maker(self, type: Type) -> LlvmMaker:
        return self.makers[type]

    def scalar(self, number: int, name: str, type: Type) -> Lane:
        return self.spread[name]

    def load(self, buffer: Buffer) -> Lane:
        return Lane(self.makers[buffer.type], self._read(buffer, f"{buffer.name}.old"), Sort.FLOAT)

    def load_code(self, buffer: Buffer) -> Lane:
        maker, code = self.makers[Type.F32], self._read(buffer, f"{buffer.name}.code")
        wide = self.function.value(f"zext {vector('i16', self.lanes)} {code} to {maker.int}")
        return Lane(maker, wide, Sort.INT)

    def _read(self, buffer: Buffer, wanted: str) -> str:
        at = self._place(buffer)
        kind = vector(ELEMENT[buffer.type], self.lanes)
        value = f"load {kind}, {self.space.pointer} {at}{self._said(buffer)}"
        if buffer.name in self.space.constant:
            value += f", !invariant.load !{CONSTANT}"
        return self.function.value(value, wanted)

    def store(self, buffer: Buffer, value: Lane) -> None:
        self._write(buffer, value.at)

    def store_code(self, buffer: Buffer, code: Lane) -> None:
        maker, kind = self.makers[Type.F32], vector("i16", self.lanes)
        self._write(buffer, self.function.value(f"trunc {maker.int} {code.at} to {kind}"))

    def _write(self, buffer: Buffer, value: str) -> None:
        at = self._place(buffer)
        kind = vector(ELEMENT[buffer.type], self.lanes)
        self.function.add(f"store {kind} {value}, {self.space.pointer} {at}{self._said(buffer)}")

    def element(self) -> Lane:
        lane = self._integers(self.function.value(f"trunc i64 {self.index} to i32"))
        if self.lanes == 1:
            return lane
        numbers = ", ".join(f"i32 {number}" for number in range(self.lanes))
        return Lane(lane.maker, lane.maker.make("iadd", lane.at, f"<{numbers}>"), Sort.INT)

    def key(self, pair: int) -> Lane:
        return self.keys[pair]

    def total(self, number: int, value: Lane) -> None:
        place = (
            self.function.value(f"add i64 {self.offset}, {number * self.block}") if number else self.offset
        )
        pointer = self.scratch_pointer
        at = self.function.value(f"getelementptr inbounds double, {pointer} {self.scratch}, i64 {place}")
        self.function.add(f"store {self.makers[Type.F64].float} {value.at}, {pointer} {at}, align 8")

    def cast(self, value: Lane, type: Type) -> Lane:
        before, after = value.maker, self.makers[type]
        assert isinstance(before, LlvmMaker)
        if before.bits == after.bits:
            return value
        how = "fpext" if before.bits < after.bits else "fptrunc"
        made = self.function.value(f"{how} {before.float} {value.at} to {after.float}")
        return Lane(after, made, Sort.FLOAT)

    def fma(self, x: Lane, y: Lane, z: Lane) -> Lane:
        if not self.has_fma:
            exact = fma_by_double(*(self.cast(each, Type.F64) for each in (x, y, z)))
            return self.cast(exact, Type.F32)
        maker = self.makers[Type.F32]
        return Lane(maker, maker.fma(x.at, y.at, z.at), Sort.FLOAT)

    def call(self, function: str, arguments: list[Lane]) -> Lane:
        """A function of the module, written when it is first called."""
        maker = arguments[0].maker
        assert isinstance(maker, LlvmMaker)
        name = f"{function}.{maker.suffix}"
        if name not in self.function.module.functions:
            letters = "xyz"[: len(arguments)]
            head = f"{maker.float} @{name}({', '.join(f'{maker.float} %{each}' for each in letters)})"
            body = Function(self.function.module, f"define internal {head} alwaysinline")
            inside = LlvmMaker(body, maker.bits, maker.lanes)
            made = FUNCTIONS[function](*(Lane(inside, f"%{each}", Sort.FLOAT) for each in letters))
            body.finish(f"ret {maker.float} {made.at}")
        given = ", ".join(f"{maker.float} {each.at}" for each in arguments)
        return Lane(maker, self.function.value(f"call {maker.float} @{name}({given})", function), Sort.FLOAT)

    def _place(self, buffer: Buffer) -> str:
        element = ELEMENT[buffer.type]
        base = self.pointers[buffer.name]
        return self.function.value(
            f"getelementptr inbounds {element}, {self.space.pointer} {base}, i64 {self.index}"
        )

    def _said(self, buffer: Buffer) -> str:
        """The alignment, and that no other buffer is touched."""
        size = BYTES[buffer.type]
        number = self.numbers[buffer.name]
        align = size * self.lanes if self.space.align_vectors else size
        return f", align {align}, !alias.scope !{scopes(number)}, !noalias !{scopes(number) + 1}"


def rounding_keys(
    kernel: Kernel, function: Function, pointer: str, tensor: str, start: str, scalars: Mapping[str, str]
) -> dict[int, str]:
    """For each two buffers that share random bits: what these are a function of, beside the element."""
    if not (numbers := shared_bits(kernel)):
        return {}
    write, maker = function.value, LlvmMaker(function, 64, 1)
    column = [buffer.name for buffer in kernel.buffers].index(PARAMETER)
    columns = f"[{len(kernel.buffers)} x i64]"
    at = write(f"getelementptr inbounds {columns}, {pointer} %addresses, i64 {tensor}, i64 {column}")
    parameter = Lane(maker, write(f"load i64, {pointer} {at}, align 8", "parameter"), Sort.INT)
    first = Lane(maker, start, Sort.INT)
    step = Lane(maker, write(f"fptoui {scalars[TIME]} to i64", "step"), Sort.INT)
    keys = {pair: rounding_key(parameter, step, pair, first) for pair in {n // 2 for n in numbers.values()}}
    return {pair: write(f"trunc i64 {key.at} to i32", "key") for pair, key in keys.items()}


CONSTANT = 1 + 3 * MAX_BUFFERS


def scopes(number: int) -> int:
    """Metadata: the list with the scope of a buffer; behind it that of all others."""
    return 1 + MAX_BUFFERS + 2 * number


def alias_metadata(kernels: Iterable[Kernel]) -> str:
    """A promise for each buffer: what is read and written as one is not touched as another."""
    numbers = range(max((len(kernel.buffers) for kernel in kernels), default=0))
    lines = ['!0 = distinct !{!0, !"buffers of a tensor"}']
    lines += [f"!{1 + number} = distinct !{{!{1 + number}, !0}}" for number in numbers]
    for number in numbers:
        others = ", ".join(f"!{1 + each}" for each in numbers if each != number)
        lines += [f"!{scopes(number)} = !{{!{1 + number}}}", f"!{scopes(number) + 1} = !{{{others}}}"]
    lines.append(f"!{CONSTANT} = !{{}}")
    return "\n".join(lines)
