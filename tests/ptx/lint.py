"""What can be seen in PTX without running it: a sentence for everything that a kernel of ours must not have.

In: text of a module. Out: findings, in the order of the text; none is right. Raises `PtxError` for what the
parser does not understand, local memory and functions among it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .text import Entry, Instruction, parsed

VECTOR = 16  # bytes: the widest access that every target has
_ARITHMETIC = ("add", "sub", "mul", "fma", "div", "sqrt", "rcp")
_LANES = {"v2": 2, "v4": 4}


@dataclass(frozen=True)
class Accesses:
    """Accesses of global memory in the text of an entry: how many move 16 bytes, and how many less."""

    vector_loads: int = 0
    vector_stores: int = 0
    loads: int = 0
    stores: int = 0


def findings(
    text: str,
    *,
    isa: tuple[int, int] = (7, 0),
    target: str = "sm_80",
    exact: bool = True,
    float64: tuple[str, ...] = ("reduce", "prepare", "totals"),
) -> list[str]:
    """Sentences. `isa`, `target`: the newest that a kernel may ask for. `exact`: its bits are promised, so
    that no instruction may leave rounding to the assembler. `float64`: how the names of entries begin that
    may compute in float64 though their storage, the end of the name, is float32.
    """
    module = parsed(text)
    found = []
    if module.version > isa:
        found.append(f"PTX {_dotted(module.version)} is newer than {_dotted(isa)}: older drivers refuse it")
    if int(module.target.removeprefix("sm_").rstrip("af")) > int(target.removeprefix("sm_")):
        found.append(f"{module.target} is newer than {target}")
    for entry in module.entries.values():
        narrow = entry.name.endswith("_f32") and not entry.name.startswith(float64)
        found += [
            f"{entry.name}, line {each.line}: {each.text}: {words}"
            for each in entry.instructions
            for words in _instruction(each, exact, narrow)
        ]
        accesses = accesses_of(entry)
        if entry.name.startswith("update") and not (accesses.vector_loads and accesses.vector_stores):
            found.append(f"{entry.name}: no access moves {VECTOR} bytes")
    return found


def _instruction(instruction: Instruction, exact: bool, narrow: bool) -> Iterator[str]:
    name, *modes = instruction.opcode
    kind = modes[-1] if modes else ""
    if name == "call":
        yield "a call"
    if "local" in modes:
        yield "local memory"
    wide = kind == "f64" and name not in ("ld", "st", "mov", "cvt", "selp")
    if narrow and (wide or (name == "cvt" and modes[-2:] == ["f64", "f32"])):
        yield "float64 arithmetic in a float32 kernel"
    if exact and kind in ("f32", "f64"):
        if {"approx", "full", "ftz"} & set(modes):
            yield "not rounded as IEEE asks"
        elif name in _ARITHMETIC and "rn" not in modes:
            yield "the rounding is left open: it may be contracted"


def accesses_of(entry: Entry) -> Accesses:
    counts = {"vector_loads": 0, "vector_stores": 0, "loads": 0, "stores": 0}
    for name, *modes in (each.opcode for each in entry.instructions):
        if name in ("ld", "st") and "global" in modes:
            lanes = next((_LANES[mode] for mode in modes if mode in _LANES), 1)
            what = "loads" if name == "ld" else "stores"
            vector = lanes * int(modes[-1][1:]) // 8 >= VECTOR
            counts[f"vector_{what}" if vector else what] += 1
    return Accesses(**counts)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
