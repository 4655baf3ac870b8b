"""PTX text as data: a module's version and target, and its entries, instruction by instruction.

In: the text that a compiler emits (LLVM's, Numba's). Out: frozen dataclasses. Raises `PtxError` for what is
not understood: nothing is skipped but what says nothing about the meaning (`.visible`, `.file`, `.loc`,
bounds on threads and registers). NOT done: functions beside entries, variables of a module, local memory.
"""

import re
from dataclasses import dataclass
from functools import cache


class PtxError(Exception):
    """Text that the tools do not understand."""


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str  # "u64", "f32", "b8", ...
    bytes: int = 0  # of one that is an array; 0: a value


@dataclass(frozen=True)
class Instruction:
    opcode: tuple[str, ...]  # ("ld", "global", "v4", "b32")
    operands: tuple[str, ...]  # as written: "%r1", "[%rd2+8]", "{%r1, %r2}", "0f3F800000"
    guard: str = ""  # the predicate that has to hold
    negated: bool = False
    text: str = ""
    line: int = 0


@dataclass(frozen=True)
class Entry:
    name: str
    parameters: tuple[Parameter, ...]
    registers: dict[str, str]  # "%r" to its type: "b32", "pred", ...
    shared: dict[str, int]  # where each variable lies
    shared_bytes: int
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]  # the number of the instruction behind a label

    def register_type(self, name: str) -> str:
        prefix = name.rstrip("0123456789")
        if prefix not in self.registers:
            raise PtxError(f"{self.name}: {name} is not declared")
        return self.registers[prefix]


@dataclass(frozen=True)
class Module:
    version: tuple[int, int]  # of the ISA
    target: str  # "sm_80"
    entries: dict[str, Entry]


_ENTRY = re.compile(r"(?:\.visible\s+)?\.entry\s+([\w$]+)\s*\(([^)]*)\)([^{;]*)\{(.*?)\n\}", re.S)
_BOUNDS = re.compile(r"\s*(?:\.(?:maxntid|minnctapersm|reqntid|maxnreg|noreturn)\b[\d\s,]*)*")
_PARAMETER = re.compile(r"\.param\b(.*?)\s([\w$]+)(?:\[(\d+)\])?\s*$", re.S)
_TYPE = re.compile(r"\.([usbf](?:8|16|32|64))\b")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(%\w+?)<\d+>\s*;")
_SHARED = re.compile(r"(?:\.visible\s+)?\.shared\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d+)\]\s*;")
_HALF = re.compile(r"\{\s*\.reg\s+\.b16\s+tmp;\s*mov\.b32\s+\{([^}]*)\},\s*(%\w+);\s*\}")
"""How LLVM takes one half of a register: the other goes to a register that ends there."""
_LABEL = re.compile(r"\s*([$\w]+):")
_INSTRUCTION = re.compile(r"(?:@(!?)(%\w+)\s+)?([a-z][\w.:]*)\s*(.*)", re.S)


@cache
def parsed(text: str) -> Module:
    """Raises `PtxError`."""
    text = _blank_comments(text)
    version = re.search(r"\.version\s+(\d+)\.(\d+)", text)
    target = re.search(r"\.target\s+(\w+)", text)
    if version is None or target is None:
        raise PtxError("no .version and .target: this is not PTX")
    entries = {}
    shared = _shared_variables(_ENTRY.sub(lambda found: "\n" * found[0].count("\n"), text))
    for found in _ENTRY.finditer(text):
        if not _BOUNDS.fullmatch(found[3]):
            raise PtxError(f"{found[1]}: {found[3].strip()} before the body is not understood")
        line = text.count("\n", 0, found.start(4)) + 1
        entries[found[1]] = _entry(found[1], found[2], found[4], line, shared)
    outside = _SHARED.sub("", _ENTRY.sub("", text))
    outside = re.sub(r"\.version\s+[\d.]+|\.target\s+[\w, ]+|\.address_size\s+64|\.file[^\n]*", "", outside)
    if outside.strip():
        raise PtxError(f"not understood: {outside.strip().splitlines()[0]}")
    if not entries:
        raise PtxError("there is no .entry")
    return Module((int(version[1]), int(version[2])), target[1], entries)


def _blank_comments(text: str) -> str:
    """Without comments, every line where it was."""
    text = re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.S)
    return re.sub(r"//[^\n]*", "", text)


def _shared_variables(text: str) -> list[tuple[str, int, int]]:
    return [(found[2], int(found[1]), int(found[3])) for found in _SHARED.finditer(text)]


def _entry(name: str, header: str, body: str, line: int, module: list[tuple[str, int, int]]) -> Entry:
    registers = {found[2]: found[1] for found in _REGISTERS.finditer(body)}
    shared: dict[str, int] = {}
    end = 0
    for variable, align, size in (*module, *_shared_variables(body)):
        shared[variable] = -(-end // align) * align
        end = shared[variable] + size
    body = _SHARED.sub("", _REGISTERS.sub("", body))
    body = _HALF.sub(lambda half: f"mov.b32 {{{half[1].replace('tmp', '_')}}}, {half[2]};", body)
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    at = line
    for piece in body.split(";"):
        rest = piece
        while (label := _LABEL.match(rest)) is not None:
            if label[1] in labels:
                raise PtxError(f"{name}: the label {label[1]} is there twice")
            labels[label[1]] = len(instructions)
            rest = rest[label.end() :]
        if re.match(r"\s*\.(loc|pragma)\b[^\n]*(\n|$)", rest):
            rest = re.sub(r"^\s*\.(loc|pragma)\b[^\n]*", "", rest)
        if rest.strip():
            first = at + piece.count("\n", 0, len(piece) - len(rest.lstrip()))
            instructions.append(_instruction(name, rest.strip(), first))
        at += piece.count("\n")
    return Entry(name, _parameters(name, header), registers, shared, end, tuple(instructions), labels)


def _parameters(name: str, header: str) -> tuple[Parameter, ...]:
    found = []
    for text in filter(str.strip, header.split(",")):
        match, kind = _PARAMETER.search(text), _TYPE.search(text)
        if match is None or kind is None:
            raise PtxError(f"{name}: the parameter {text.strip()} is not understood")
        found.append(Parameter(match[2], kind[1], int(match[3] or 0)))
    return tuple(found)


def _instruction(entry: str, text: str, line: int) -> Instruction:
    match = _INSTRUCTION.fullmatch(text)
    if match is None:
        raise PtxError(f"{entry}, line {line}: {text} is not understood")
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", match[4])
    return Instruction(
        tuple(match[3].split(".")),
        tuple(each.strip() for each in operands),
        match[2] or "",
        bool(match[1]),
        " ".join(text.split()),
        line,
    )
