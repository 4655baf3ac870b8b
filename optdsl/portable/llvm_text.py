"""LLVM's assembly language, a line at a time: functions with loops, and lanes as vectors.

Every value gets a name; lines stand in the order in which they were asked for. Deterministic. Assumes LLVM 20
or later (opaque pointers, `splat`). Only operations of the tables here are ever written: LLVM ends the whole
process on some that a target does not have.
"""

import re
import struct
from collections.abc import Callable
from typing import Any

from .lanes import Sort

ATTRIBUTES = 'attributes #0 = { nounwind "no-builtins" }'
"""Of every function: LLVM is not to put calls of the C library where it sees what such a function would do.
"""


class Module:
    """Functions, each written once, and the intrinsics that they call."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}
        self.declared: set[str] = set()
        self.globals: list[str] = []

    def text(self, *after: str) -> str:
        return "\n".join([*self.globals, *self.functions.values(), *sorted(self.declared), "", *after, ""])


class Function:
    """A function of a module. `self.at` is the label of the block that is being written."""

    def __init__(self, module: Module, head: str, attributes: str = "#0") -> None:
        """head: all before the body, such as `define void @f(ptr %x)`."""
        self.module = module
        self.head = head
        self.attributes = attributes
        self.lines: list[str] = []
        self._room: list[str] = []
        self.at = "entry"
        self._used: dict[str, int] = dict.fromkeys(re.findall(r"%([\w.]+)", head), 1)

    def finish(self, *lines: str) -> None:
        """The function is whole, and in the module."""
        for line in lines:
            self.add(line)
        (name,) = re.findall(r"@(\S+?)\(", self.head)
        self.module.functions[name] = "\n".join(
            [f"{self.head} {self.attributes} {{", "entry:", *self._room, *self.lines, "}\n"]
        )

    def name(self, wanted: str) -> str:
        count = self._used.get(wanted, 0)
        self._used[wanted] = count + 1
        return f"%{wanted}{'.' + str(count) if count else ''}"

    def add(self, line: str) -> None:
        self.lines.append(f"  {line}")

    def value(self, line: str, wanted: str = "v") -> str:
        name = self.name(wanted)
        self.add(f"{name} = {line}")
        return name

    def room(self, kind: str, wanted: str, align: int = 8) -> str:
        """A place on the stack, once for each call of the function, wherever it is asked for."""
        name = self.name(wanted)
        self._room.append(f"  {name} = alloca {kind}, align {align}")
        return name

    def call(self, declaration: str, arguments: str, wanted: str = "v") -> str:
        """Of an intrinsic: `declaration` is `result @name(types)`."""
        self.module.declared.add(f"declare {declaration}")
        head = declaration.split("(", 1)[0]
        if head.startswith("void "):
            self.add(f"call {head}({arguments})")
            return ""
        return self.value(f"call {head}({arguments})", wanted)

    def block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.at = label

    def label(self, wanted: str) -> str:
        return self.name(wanted)[1:]

    def loop(self, start: str, stop: str, step: str, body: Callable[[str], None], counter: str = "i") -> None:
        """`body(i)` for i = start, start + step, ... while i < stop; signed 64-bit numbers."""
        before, again = self.at, self.label(f"{counter}.loop")
        inside, after = self.label(f"{counter}.body"), self.label(f"{counter}.done")
        latch = self.label(f"{counter}.next")
        self.add(f"br label %{again}")
        self.block(again)
        number, following = self.name(counter), self.name(f"{counter}.after")
        self.add(f"{number} = phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]")
        more = self.value(f"icmp slt i64 {number}, {stop}", "more")
        self.add(f"br i1 {more}, label %{inside}, label %{after}")
        self.block(inside)
        body(number)
        self.add(f"br label %{latch}")
        self.block(latch)
        self.add(f"{following} = add nsw i64 {number}, {step}")
        self.add(f"br label %{again}")
        self.block(after)

    def when(self, condition: str, body: Callable[[], None], *, returns: bool = False) -> None:
        """returns: the body leaves the function."""
        inside, after = self.label("then"), self.label("after")
        self.add(f"br i1 {condition}, label %{inside}, label %{after}")
        self.block(inside)
        body()
        if not returns:
            self.add(f"br label %{after}")
        self.block(after)


def float_type(bits: int) -> str:
    return {32: "float", 64: "double"}[bits]


def vector(element: str, lanes: int) -> str:
    return element if lanes == 1 else f"<{lanes} x {element}>"


def splat(constant: str, element: str, lanes: int) -> str:
    return constant if lanes == 1 else f"splat ({element} {constant})"


def float_text(value: float, bits: int) -> str:
    """A constant of a type, exactly; of float32 as the float64 of the same value, as LLVM wants it."""
    if bits == 32:
        (value,) = struct.unpack("<f", _single(value))
    return "0x" + struct.pack(">d", value).hex().upper()


def _single(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


_INSTRUCTIONS = {
    **{"fadd": "fadd", "fsub": "fsub", "fmul": "fmul", "fdiv": "fdiv"},
    **{
        "iadd": "add",
        "isub": "sub",
        "imul": "mul",
        "iand": "and",
        "ior": "or",
        "ishl": "shl",
        "ishr": "lshr",
    },
    **{"flt": "fcmp olt", "fle": "fcmp ole", "feq": "fcmp oeq", "ieq": "icmp eq", "band": "and", "bor": "or"},
}


class LlvmMaker:
    """Writes instructions on `lanes` floats of `bits` bits into a function.

    contract: a product and what it is added to may be rounded once, where the processor can do that.
    """

    def __init__(self, function: Function, bits: int, lanes: int, contract: bool = False) -> None:
        self.function = function
        self.bits = bits
        self.lanes = lanes
        self.contract = contract
        self.float = vector(float_type(bits), lanes)
        self.int = vector(f"i{bits}", lanes)
        self.bool = vector("i1", lanes)
        self.suffix = f"v{lanes}f{bits}" if lanes > 1 else f"f{bits}"

    def type_of(self, sort: Sort) -> str:
        return {Sort.FLOAT: self.float, Sort.INT: self.int, Sort.BOOL: self.bool}[sort]

    def number(self, value: float) -> str:
        return splat(float_text(value, self.bits), float_type(self.bits), self.lanes)

    def integer(self, value: int) -> str:
        return splat(str(value % 2**self.bits), f"i{self.bits}", self.lanes)

    def truth(self, value: bool) -> str:
        return splat("true" if value else "false", "i1", self.lanes)

    def select(self, condition: Any, then: Any, otherwise: Any, sort: Sort) -> str:
        type_ = self.type_of(sort)
        return self.function.value(f"select {self.bool} {condition}, {type_} {then}, {type_} {otherwise}")

    def make(self, operation: str, *operands: Any) -> str:
        write = self.function.value
        match operation:
            case "ibits":
                return write(f"bitcast {self.float} {operands[0]} to {self.int}")
            case "ffrom":
                return write(f"bitcast {self.int} {operands[0]} to {self.float}")
            case "fneg":
                return write(f"fneg {self.float} {operands[0]}")
            case "bnot":
                return write(f"xor {self.bool} {operands[0]}, {self.truth(True)}")
            case "fabs" | "fsqrt":
                name = {"fabs": "fabs", "fsqrt": "sqrt"}[operation]
                intrinsic = f"{self.float} @llvm.{name}.{self.suffix}({self.float})"
                return self.function.call(intrinsic, f"{self.float} {operands[0]}")
        kind = {"f": self.float, "i": self.int, "b": self.bool}[operation[0]]
        flag = " contract" if self.contract and operation in ("fadd", "fsub", "fmul") else ""
        return write(f"{_INSTRUCTIONS[operation]}{flag} {kind} {operands[0]}, {operands[1]}")

    def fma(self, x: str, y: str, z: str) -> str:
        intrinsic = f"{self.float} @llvm.fma.{self.suffix}({', '.join([self.float] * 3)})"
        return self.function.call(intrinsic, ", ".join(f"{self.float} {each}" for each in (x, y, z)))

    def spread(self, scalar: str, element: str) -> str:
        """The same value in every lane."""
        if self.lanes == 1:
            return scalar
        kind = vector(element, self.lanes)
        first = self.function.value(f"insertelement {kind} poison, {element} {scalar}, i64 0")
        return self.function.value(
            f"shufflevector {kind} {first}, {kind} poison, {vector('i32', self.lanes)} zeroinitializer"
        )
