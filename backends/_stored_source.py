"""Text of what is stored in other types than it is computed in: codes and values, scales of blocks, keys.

Numbers of 16 bits are turned into float32 where they are read, and back where they are written. Those of 8
bits have a scale for each `CODED` of them, which is known only when all of these are computed: they wait as
float32, in a block that stays in the fastest cache, and a second loop writes them. What is rounded at random
is rounded by `random_bits`: of a key for each chunk, and the number of the element. Two buffers share them.
Assumes a verified kernel. The functions are those of `runtime.stored_math`.
"""

from collections.abc import Iterable

from optdsl.kernel.ir import ALONE_IN_16_BITS, BY_BLOCKS, IN_16_BITS, PARAMETER, Buffer, Cast, Kernel, Type
from optdsl.kernel.stored import shared_bits
from optdsl.kernel.walk import used_buffers
from optdsl.runtime.batch import MAX_BUFFERS

_INDENT = "    "
_READ = dict.fromkeys(IN_16_BITS, "u16") | dict.fromkeys(BY_BLOCKS, "u8")
"""What a type is to memory."""
IMPORTS = """from optdsl.runtime.stored_math import CODED, bf16_value, block_memory, block_scale, f16_value
from optdsl.runtime.stored_math import high_of, inverse_of, joined, low_of, nearest_bf16, other_half
from optdsl.runtime.stored_math import rounding_key, s8_value, stochastic_bf16, stochastic_f16, stochastic_s8
from optdsl.runtime.stored_math import p16_value, random_bits, stochastic_p16, stochastic_u8, u8_value
from optdsl.runtime.numba_kernel import read_u8, read_u16, u8_bytes, u16_bytes, write_u8, write_u16
"""


def coded(type_: Type) -> bool:
    return type_ in _READ


def address_lines(kernel: Kernel) -> list[str]:
    """Where the chunk begins in each buffer."""
    storage = kernel.precision.storage
    lines = []
    used = used_buffers(kernel)
    rests = {buffer.more: buffer for _, buffer in used if buffer.more}
    if any(buffer.type is storage and buffer.name not in rests for _, buffer in used):
        lines.append(f"offset = {storage}_bytes(start)")
    for column, buffer in used:
        if buffer.name in rests:
            owner = rests[buffer.name]
            bytes_ = "f32_bytes(start // CODED)" if owner.type in BY_BLOCKS else "u16_bytes(start)"
            name = _rest(owner)
        else:
            name = f"{buffer.name}_at"
            bytes_ = f"{_READ.get(buffer.type, buffer.type)}_bytes(start)"
            bytes_ = "offset" if buffer.type is storage else bytes_
        lines.append(f"{name} = addresses[tensor, {column}] + {bytes_}")
    return lines


def _rest(buffer: Buffer) -> str:
    """The name of the address of what a buffer does not hold."""
    return f"{buffer.more.replace('.', '_')}_from"


def _column(kernel: Kernel, buffer: str) -> int:
    return [each.name for each in kernel.buffers].index(buffer)


def key_lines(kernel: Kernel) -> list[str]:
    """What random bits are a function of beside the element, for each two buffers that share them."""
    if not (found := shared_bits(kernel)):
        return []
    place = f"addresses[tensor, {_column(kernel, PARAMETER)}]"
    return [f"key{pair} = rounding_key({place}, now, {pair}, start)" for pair in _pairs(found.values())]


def _pairs(numbers: Iterable[int]) -> list[int]:
    return sorted({number // 2 for number in numbers})


def noise_lines(kernel: Kernel, *, of_blocks: bool) -> list[str]:
    """The random bits of an element: for what is rounded as it is computed, or for the codes of blocks."""
    found = shared_bits(kernel)
    numbers = (n for name, n in found.items() if (kernel.buffer(name).type in BY_BLOCKS) is of_blocks)
    return [f"noise{pair} = random_bits(i, key{pair})" for pair in _pairs(numbers)]


def _noise(kernel: Kernel, name: str) -> str:
    pair, second = divmod(shared_bits(kernel)[name], 2)
    return f"other_half(noise{pair})" if second else f"noise{pair}"


def by_blocks(kernel: Kernel) -> bool:
    return any(buffer.type in BY_BLOCKS for _, buffer in used_buffers(kernel))


def _of_blocks(kernel: Kernel) -> list[Buffer]:
    return [buffer for _, buffer in used_buffers(kernel) if buffer.type in BY_BLOCKS]


def scale_lines(kernel: Kernel) -> list[str]:
    """The old scales of a block."""
    return [
        f"{buffer.name}_scale = read_f32({_rest(buffer)}, block // CODED, {_column(kernel, buffer.more)})"
        for buffer in _of_blocks(kernel)
    ]


def loaded(kernel: Kernel, buffer: Buffer) -> str:
    """The value at an element, in float32."""
    column = _column(kernel, buffer.name)
    code = f"read_{_READ[buffer.type]}({buffer.name}_at, i, {column})"
    if buffer.type in BY_BLOCKS:
        return f"{buffer.name}_scale * {buffer.type}_value({code})"
    if buffer.type in ALONE_IN_16_BITS:
        return f"{buffer.type}_value({code})"
    rest = f"read_u16({_rest(buffer)}, i, {_column(kernel, buffer.more)})"
    if buffer.type is Type.SPLIT:
        return f"joined({code}, {rest})"
    return f"bf16_value({code}) + bf16_value({rest})"


def stored_lines(kernel: Kernel, name: str, cast: Cast, value: str) -> list[str]:
    """What stores `value`, a float32, at an element; of blocks, what lays it out for them."""
    buffer, column = kernel.buffer(name), _column(kernel, name)
    write = f"write_{_READ[buffer.type]}({name}_at, i, {{}}, {column})"
    if buffer.type in BY_BLOCKS:
        return [f"write_f32({name}_block, j, {value}, {_waiting(kernel, buffer)})"]
    if cast.type in (Type.PAIR, Type.SPLIT):
        rest = f"write_u16({_rest(buffer)}, i, {{}}, {_column(kernel, buffer.more)})"
        if cast.type is Type.SPLIT:
            return [f"{name}_float = {value}", write.format(f"high_of({name}_float)"),
                    rest.format(f"low_of({name}_float)")]  # fmt: skip
        short = f"{name}_float - bf16_value({name}_word)"
        return [f"{name}_float = {value}", f"{name}_word = nearest_bf16({name}_float)",
                write.format(f"{name}_word"), rest.format(f"nearest_bf16({short})")]  # fmt: skip
    if cast.at is None:
        return [write.format(f"nearest_{cast.type}({value})")]
    return [write.format(f"stochastic_{cast.type}({value}, {_noise(kernel, name)})")]


def _waiting(kernel: Kernel, buffer: Buffer) -> int:
    """The number of the buffer in which the values of a block wait."""
    return MAX_BUFFERS - 1 - _of_blocks(kernel).index(buffer)


def in_blocks(kernel: Kernel, body: list[str]) -> list[str]:
    """The elements of one block after the other, and then their codes."""
    stored = [buffer for buffer in _of_blocks(kernel) if buffer.name in kernel.written]
    lines = [f"{buffer.name}_block = block_memory({place})" for place, buffer in enumerate(stored)]
    lines += [
        "for block in range(0, size, CODED):",
        f"{_INDENT}count = min(CODED, size - block)",
        *(f"{_INDENT}{line}" for line in scale_lines(kernel)),
        f"{_INDENT}for j in range(count):",
        f"{_INDENT * 2}i = block + j",
        *(f"{_INDENT * 2}{line}" for line in body),
    ]
    after = ["i = block + j", *noise_lines(kernel, of_blocks=True)]
    for buffer in stored:
        name, number, more = buffer.name, _waiting(kernel, buffer), _column(kernel, buffer.more)
        lines += [
            f"{_INDENT}{name}_scale = block_scale({name}_block, count)",
            f"{_INDENT}write_f32({_rest(buffer)}, block // CODED, {name}_scale, {more})",
        ]
        scaled = f"read_f32({name}_block, j, {number}) * inverse_of({name}_scale)"
        code = f"stochastic_{buffer.type}({scaled}, {_noise(kernel, name)})"
        after.append(f"write_u8({name}_at, i, {code}, {_column(kernel, name)})")
    if stored:
        lines += [f"{_INDENT}for j in range(count):", *(f"{_INDENT * 2}{line}" for line in after)]
    return [f"{_INDENT * 2}{line}" for line in lines]
