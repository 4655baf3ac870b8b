"""Each instruction of PTX as a function of a block: read once, so that running it is arrays only.

In: an `Entry` and one of its instructions. Out: a function that does it for the active threads of a block.
Raises `PtxError` for an opcode, a modifier or an operand that is not known: every modifier has to be in the
table of its opcode.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arithmetic as a
from .arithmetic import Array, dtype_of
from .memory import Memory, Trap
from .operands import address_of, condition_of, names_in, operand_of
from .text import Entry, Instruction, PtxError

if TYPE_CHECKING:
    from .machine import Block

Step = Callable[["Block"], None]

_WARP = 32
_FLOAT_MODES = {"rn", "ftz", "approx", "full"}
_MODIFIERS: dict[str, set[str]] = {
    "add": _FLOAT_MODES, "sub": _FLOAT_MODES, "mul": {*_FLOAT_MODES, "lo", "hi", "wide"}, "div": _FLOAT_MODES,
    "fma": {"rn", "ftz"}, "mad": {"lo", "wide"}, "rem": set(), "min": {"ftz"}, "max": {"ftz"},
    "and": set(), "or": set(), "xor": set(), "not": set(), "neg": {"ftz"}, "abs": {"ftz"},
    "sqrt": _FLOAT_MODES, "rcp": _FLOAT_MODES, "rsqrt": _FLOAT_MODES, "shl": set(), "shr": set(),
    "ex2": _FLOAT_MODES, "lg2": _FLOAT_MODES, "sin": _FLOAT_MODES, "cos": _FLOAT_MODES, "tanh": _FLOAT_MODES,
}  # fmt: skip


def compiled(entry: Entry, instruction: Instruction) -> Step:
    """Raises `PtxError`, which names the line."""
    name = instruction.opcode[0]
    try:
        if name in _SPECIAL:
            return _SPECIAL[name](entry, instruction)
        if name in _MODIFIERS:
            return _arithmetic(entry, instruction)
    except (KeyError, IndexError, ValueError) as error:
        raise PtxError(
            f"{entry.name}, line {instruction.line}: {instruction.text}: {error} is not known"
        ) from None
    raise PtxError(f"{entry.name}, line {instruction.line}: {instruction.text}: not known")


# --- arithmetic ----------------------------------------------------------------------------------------


def _flushed(x: Array) -> Array:
    """`.ftz`: what is subnormal is zero."""
    tiny = np.abs(x) < np.finfo(x.dtype).tiny
    return np.where(tiny, np.copysign(x.dtype.type(0), x), x)


def _arithmetic(entry: Entry, instruction: Instruction) -> Step:
    name, *modes, kind = instruction.opcode
    unknown = set(modes) - _MODIFIERS[name]
    if unknown:
        raise KeyError(f"the modifier .{sorted(unknown)[0]}")
    if kind == "pred":
        return _logic(name, instruction)
    dtype = dtype_of(kind)
    to, *rest = instruction.operands
    if name in ("shl", "shr"):
        left = name == "shl"
        x, places = operand_of(entry, rest[0], dtype), operand_of(entry, rest[1], np.dtype(np.uint32))
        return lambda block: block.write(to, a.shift(left, x(block), places(block)))
    function = _function(name, modes, dtype)
    # mul.wide gives, and mad.wide adds, twice the width.
    wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}") if "wide" in modes and name == "mad" else dtype
    readers = [operand_of(entry, text, dtype if number < 2 else wide) for number, text in enumerate(rest)]
    if "ftz" in modes:
        return lambda block: block.write(to, _flushed(function(*(_flushed(each(block)) for each in readers))))
    return lambda block: block.write(to, function(*(each(block) for each in readers)))


def _function(name: str, modes: list[str], dtype: Any) -> Callable[..., Array]:
    if name == "fma" or (name == "mad" and dtype.kind == "f"):
        return a.fma
    if name == "mad":
        times = a.multiply_wide if "wide" in modes else np.multiply
        return lambda x, y, z: np.add(times(x, y), z)
    if name == "mul" and "wide" in modes:
        return a.multiply_wide
    if name == "mul" and "hi" in modes:
        return a.multiply_high
    if name in a.UNARY:
        return a.UNARY[name]
    return a.BINARY[name]


def _logic(name: str, instruction: Instruction) -> Step:
    to, *rest = instruction.operands
    readers = [condition_of(text) for text in rest]
    functions: dict[str, Any] = {
        "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not,
    }  # fmt: skip
    function = functions[name]
    return lambda block: block.write(to, function(*(each(block) for each in readers)))


def _setp(entry: Entry, instruction: Instruction) -> Step:
    _, comparison, *combine, kind = instruction.opcode
    combine = [each for each in combine if each != "ftz"]
    dtype = dtype_of(kind)
    compare = a.COMPARE[comparison]
    x, y = (operand_of(entry, text, dtype) for text in instruction.operands[1:3])
    both = {(): None, ("and",): np.logical_and, ("or",): np.logical_or, ("xor",): np.logical_xor}[
        tuple(combine)
    ]
    other = condition_of(instruction.operands[3]) if both is not None else None
    yes, _, no = instruction.operands[0].partition("|")

    def step(block: "Block") -> None:
        found = compare(x(block), y(block))
        for to, holds in ((yes, found), (no, ~found)):
            if to and to != "_":
                block.write(to, holds if both is None or other is None else both(holds, other(block)))

    return step


def _selp(entry: Entry, instruction: Instruction) -> Step:
    dtype = dtype_of(instruction.opcode[1])
    to, then, otherwise, condition = instruction.operands
    holds, x, y = condition_of(condition), operand_of(entry, then, dtype), operand_of(entry, otherwise, dtype)
    return lambda block: block.write(to, np.where(holds(block), x(block), y(block)))


def _copysign(entry: Entry, instruction: Instruction) -> Step:
    dtype = dtype_of(instruction.opcode[1])
    to, sign, size = instruction.operands
    x, y = operand_of(entry, size, dtype), operand_of(entry, sign, dtype)
    return lambda block: block.write(to, np.copysign(x(block), y(block)))


def _cvt(entry: Entry, instruction: Instruction) -> Step:
    *modes, to_kind, from_kind = instruction.opcode[1:]
    to, source = instruction.operands
    dtype = dtype_of(to_kind)
    x = operand_of(entry, source, dtype_of(from_kind))
    a.convert(np.zeros(1, dtype_of(from_kind)), dtype, tuple(modes))  # which refuses unknown modes
    return lambda block: block.write(to, a.convert(x(block), dtype, tuple(modes)))


# --- moves ---------------------------------------------------------------------------------------------


def _mov(entry: Entry, instruction: Instruction) -> Step:
    kind = instruction.opcode[1]
    to, source = instruction.operands
    if kind == "pred":
        condition = condition_of(source)
        return lambda block: block.write(to, condition(block))
    dtype = np.dtype(f"u{dtype_of(kind).itemsize}")
    if source.startswith("{"):
        parts = names_in(source)
        part = np.dtype(f"u{dtype.itemsize // len(parts)}")
        readers = [operand_of(entry, text, part) for text in parts]
        return lambda block: block.write(
            to, np.stack([each(block) for each in readers], axis=-1).view(dtype).reshape(-1)
        )
    x = operand_of(entry, source, dtype)
    if to.startswith("{"):
        return lambda block: _write_all(
            block, names_in(to), np.ascontiguousarray(x(block)).view(np.uint8), dtype
        )
    return lambda block: block.write(to, x(block))


def _write_all(block: "Block", names: list[str], raw: Array, whole: Any) -> None:
    part = np.dtype(f"u{whole.itemsize // len(names)}")
    values = raw.reshape(-1, whole.itemsize).view(part)
    for number, name in enumerate(names):
        if name != "_":
            block.write(name, np.ascontiguousarray(values[:, number]))


def _cvta(entry: Entry, instruction: Instruction) -> Step:
    if instruction.opcode[1:] not in (("to", "global", "u64"), ("global", "u64"), ("to", "global", "b64")):
        raise KeyError(".".join(instruction.opcode))
    x = operand_of(entry, instruction.operands[1], np.dtype(np.uint64))
    return lambda block: block.write(instruction.operands[0], x(block))


def _space(entry: Entry, instruction: Instruction) -> tuple[str, bool, int, Any]:
    """Where to, whether through the read-only cache, how many elements, of what type."""
    _, space, *modes, kind = instruction.opcode
    lanes = {"v2": 2, "v4": 4}
    known = {"nc", "relaxed", "weak", "L1::no_allocate", *lanes}
    if set(modes) - known or space not in ("global", "shared", "param"):
        raise KeyError(".".join(instruction.opcode))
    return space, "nc" in modes, next((lanes[mode] for mode in modes if mode in lanes), 1), dtype_of(kind)


def _memory(space: str, block: "Block") -> Memory:
    return block.memory if space == "global" else block.shared


def _ld(entry: Entry, instruction: Instruction) -> Step:
    space, cached, lanes, dtype = _space(entry, instruction)
    names = names_in(instruction.operands[0])
    if len(names) != lanes:
        raise ValueError(f"{len(names)} registers for {lanes} elements")
    if space == "param":
        return _parameter(entry, instruction, names[0], dtype)
    address = address_of(entry, instruction.operands[1])
    size = dtype.itemsize * lanes

    def step(block: "Block") -> None:
        found = _memory(space, block).load(address(block), size, block.names[block.active], cached)
        values = np.ascontiguousarray(found).view(dtype)
        for number, name in enumerate(names):
            block.write(name, np.ascontiguousarray(values[:, number]))

    return step


def _parameter(entry: Entry, instruction: Instruction, to: str, dtype: Any) -> Step:
    name = instruction.operands[1].strip("[]").strip()
    if name not in {each.name for each in entry.parameters}:
        raise ValueError(name)

    def step(block: "Block") -> None:
        value = block.values[name]
        if value.dtype.itemsize != dtype.itemsize:
            raise Trap(f"{name} has not {dtype.itemsize} bytes")
        block.write(to, np.broadcast_to(value.view(dtype), block.active.shape))

    return step


def _st(entry: Entry, instruction: Instruction) -> Step:
    space, _, lanes, dtype = _space(entry, instruction)
    if space == "param":
        raise KeyError("st.param")
    address = address_of(entry, instruction.operands[0])
    readers = [operand_of(entry, text, dtype) for text in names_in(instruction.operands[1])]
    if len(readers) != lanes:
        raise ValueError(f"{len(readers)} registers for {lanes} elements")

    def step(block: "Block") -> None:
        values = np.stack([each(block) for each in readers], axis=-1).view(np.uint8)
        _memory(space, block).store(address(block), values, block.names[block.active])

    return step


# --- control -------------------------------------------------------------------------------------------


def _bra(entry: Entry, instruction: Instruction) -> Step:
    to = entry.labels[instruction.operands[0]]
    return lambda block: block.jump(to)


def _ret(entry: Entry, instruction: Instruction) -> Step:
    end = len(entry.instructions)
    return lambda block: block.jump(end)


def _bar(entry: Entry, instruction: Instruction) -> Step:
    known = (("bar", "sync"), ("bar", "warp", "sync"), ("barrier", "sync"), ("barrier", "sync", "aligned"))
    if instruction.opcode not in known:
        raise KeyError(".".join(instruction.opcode))
    if "warp" in instruction.opcode:
        return lambda block: None  # the threads of a warp go side by side here anyway
    if instruction.operands != ("0",):
        raise ValueError("a barrier other than 0, or for some threads")
    return lambda block: block.wait()


def _shfl(entry: Entry, instruction: Instruction) -> Step:
    if instruction.opcode[1] != "sync" or instruction.opcode[3] != "b32":
        raise KeyError(".".join(instruction.opcode))
    how: dict[str, Callable[[Array, Array], Array]] = {
        "bfly": np.bitwise_xor, "down": np.add, "up": np.subtract, "idx": lambda lane, which: which,
    }  # fmt: skip
    find = how[instruction.opcode[2]]
    to, source, which, clamp, members = instruction.operands
    word = np.dtype(np.uint32)
    x, by, limit, mask = (operand_of(entry, each, word) for each in (source, which, clamp, members))
    yes, _, inside = to.partition("|")

    def step(block: "Block") -> None:
        lanes = (block.active % _WARP).astype(np.int64)
        whole = block.active.size % _WARP == 0 and (lanes == np.arange(lanes.size) % _WARP).all()
        if not whole or (mask(block) != 0xFFFFFFFF).any():
            raise Trap("a shuffle by some threads of a warp")
        if (limit(block) != (0 if instruction.opcode[2] == "up" else 31)).any():
            raise PtxError(f"{instruction.text}: parts of a warp are not known")
        found = find(lanes, by(block).astype(np.int64))
        valid = (found >= 0) & (found < _WARP)
        values = x(block).reshape(-1, _WARP)
        source_lane = np.where(valid, found, lanes).reshape(-1, _WARP)
        block.write(yes, np.take_along_axis(values, source_lane, axis=1).reshape(-1))
        if inside:
            block.write(inside, valid)

    return step


# --- bits ----------------------------------------------------------------------------------------------


def _bfe(entry: Entry, instruction: Instruction) -> Step:
    dtype = dtype_of(instruction.opcode[1])
    if dtype.kind != "u":
        raise KeyError(".".join(instruction.opcode))
    to, source, first, count = instruction.operands
    x, word = operand_of(entry, source, dtype), np.dtype(np.uint32)
    at, length = operand_of(entry, first, word), operand_of(entry, count, word)

    def step(block: "Block") -> None:
        ones = ~a.shift(True, np.full_like(x(block), ~dtype.type(0)), length(block))
        block.write(to, a.shift(False, x(block), at(block)) & ones)

    return step


def _prmt(entry: Entry, instruction: Instruction) -> Step:
    if instruction.opcode != ("prmt", "b32"):
        raise KeyError(".".join(instruction.opcode))
    word = np.dtype(np.uint32)
    low, high, which = (operand_of(entry, each, word) for each in instruction.operands[1:])

    def step(block: "Block") -> None:
        pair = np.stack([low(block), high(block)], axis=-1).view(np.uint8)
        nibbles = (which(block)[:, None] >> np.arange(0, 16, 4, dtype=np.uint32)) & np.uint32(15)
        chosen = np.take_along_axis(pair, (nibbles & np.uint32(7)).astype(np.int64), axis=1)
        signs = np.where(chosen & 0x80, 0xFF, 0).astype(np.uint8)
        found = np.ascontiguousarray(np.where(nibbles & np.uint32(8), signs, chosen))
        block.write(instruction.operands[0], found.view(np.uint32).reshape(-1))

    return step


def _lop3(entry: Entry, instruction: Instruction) -> Step:
    if instruction.opcode != ("lop3", "b32"):
        raise KeyError(".".join(instruction.opcode))
    word = np.dtype(np.uint32)
    x, y, z = (operand_of(entry, each, word) for each in instruction.operands[1:4])
    table = int(instruction.operands[4], 0)

    def step(block: "Block") -> None:
        found = np.zeros(block.active.shape, np.uint32)
        for row in range(8):
            if table >> row & 1:
                terms = [
                    each(block) if row >> bit & 1 else ~each(block) for each, bit in ((x, 2), (y, 1), (z, 0))
                ]
                found |= terms[0] & terms[1] & terms[2]
        block.write(instruction.operands[0], found)

    return step


_SPECIAL: dict[str, Callable[[Entry, Instruction], Step]] = {
    "setp": _setp, "selp": _selp, "copysign": _copysign, "cvt": _cvt, "mov": _mov, "cvta": _cvta,
    "ld": _ld, "st": _st, "bra": _bra, "ret": _ret, "exit": _ret, "bar": _bar, "barrier": _bar, "shfl": _shfl,
    "bfe": _bfe, "prmt": _prmt, "lop3": _lop3,
}  # fmt: skip
