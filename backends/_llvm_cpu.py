"""Kernel to LLVM functions for a CPU: the prologue, and a phase over chunks of many tensors, as `numba_cpu`
has them.

    prepare(hypers, t, direction, states, scalars, rows)
    update(addresses, chunks, first, last, scalars)
    reduce0(addresses, chunks, first, last, scalars, scratch, partials)

Arrays are rows without gaps: addresses (T, buffers) i64, chunks (C, 4) i64, hypers (R, hypers), states (R,
scalar states), scalars (R, scalars), partials (C, sums) double; scratch has room for BLOCK doubles for each
sum. A phase is written twice, for vectors and for what is left of a chunk; every element sees the same
operations, so it does not matter in which of them it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from optdsl.kernel.ir import DIRECTION, TIME, Kernel, Total, Type
from optdsl.kernel.walk import used_buffers
from optdsl.portable.lanes import Lane, Sort
from optdsl.portable.llvm_text import Function, Module
from optdsl.runtime.batch import BLOCK

from ._kernel_lanes import run_phase, run_prologue
from ._llvm_machine import BYTES, ELEMENT, LlvmMachine, Space, rounding_keys

LANES = {Type.F32: 16, Type.F64: 8}  # of the compute type: 512 bits, which LLVM halves where it must


@dataclass(frozen=True)
class Target:
    """What of a processor changes the text; `attributes` are those of a phase."""

    has_fma: bool = True
    attributes: str = "#0"


def write_prologue(module: Module, kernel: Kernel, name: str, linkage: str = "") -> None:
    arrays = "ptr %hypers, ptr %t, ptr %direction, ptr %states, ptr %scalars"
    function = Function(module, f"define {linkage}void @{name}({arrays}, i64 %rows)")
    function.loop("0", "%rows", "1", lambda row: write_prologue_row(kernel, function, row), "row")
    function.finish("ret void")


def write_prologue_row(
    kernel: Kernel, function: Function, row: str, pointer: str = "ptr", handed: Type = Type.F64
) -> None:
    """Step scalars of one row, kept as `handed`, and its new scalar states."""

    def place(array: str, columns: int, column: int, element: str = "double") -> str:
        at = row if columns == 1 else function.value(f"mul i64 {row}, {columns}")
        at = function.value(f"add i64 {at}, {column}") if column else at
        return function.value(f"getelementptr inbounds {element}, {pointer} %{array}, i64 {at}")

    machine = _scalar_machine(function)

    def given(name: str) -> Lane:
        if name in kernel.hypers:
            at = place("hypers", len(kernel.hypers), kernel.hypers.index(name))
        elif name in kernel.scalar_states:
            at = place("states", len(kernel.scalar_states), kernel.scalar_states.index(name))
        else:
            at = place({TIME: "t", DIRECTION: "direction"}[name], 1, 0)
        value = function.value(f"load double, {pointer} {at}, align 8", name)
        return Lane(machine.maker(Type.F64), value, Sort.FLOAT)

    def one(condition: Lane) -> Lane:
        made = function.value(f"uitofp i1 {condition.at} to double")
        return Lane(machine.maker(Type.F64), made, Sort.FLOAT)

    scalars, states = run_prologue(kernel, machine, given, one)
    for array, values, type_ in (("scalars", scalars, handed), ("states", states, Type.F64)):
        element = ELEMENT[type_]
        for column, value in enumerate(values):
            kept = machine.cast(value, type_).at
            at = place(array, len(values), column, element)
            function.add(f"store {element} {kept}, {pointer} {at}, align {BYTES[type_]}")


def _scalar_machine(function: Function) -> LlvmMachine:
    return LlvmMachine(function, 1, {}, {}, {}, space=Space(), has_fma=False)


def write_phase(module: Module, kernel: Kernel, name: str, target: Target, linkage: str = "") -> None:
    arguments = "ptr %addresses, ptr %chunks, i64 %first, i64 %last, ptr %scalars"
    if kernel.sums:
        arguments += ", ptr %scratch, ptr %partials"
        _write_block_sum(module)
    function = Function(module, f"define {linkage}void @{name}({arguments})", target.attributes)
    function.loop("%first", "%last", "1", lambda chunk: _chunk(kernel, function, chunk, target), "chunk")
    function.finish("ret void")


def _chunk(kernel: Kernel, function: Function, chunk: str, target: Target) -> None:
    write = function.value
    row_of_table = write(f"getelementptr inbounds [4 x i64], ptr %chunks, i64 {chunk}")

    def column(number: int, name: str) -> str:
        at = (
            write(f"getelementptr inbounds i64, ptr {row_of_table}, i64 {number}") if number else row_of_table
        )
        return write(f"load i64, ptr {at}, align 8", name)

    tensor, start, size, row = (column(*each) for each in enumerate(("tensor", "start", "size", "row")))
    pointers = buffer_pointers(kernel, function, "ptr", tensor, start)
    scalars = read_scalars(kernel, function, "ptr", row, Type.F64)
    keys = rounding_keys(kernel, function, "ptr", tensor, start, scalars)
    numbers = {buffer.name: number for number, buffer in enumerate(kernel.buffers)}

    def machine(lanes: int) -> LlvmMachine:
        return LlvmMachine(
            function, lanes, pointers, scalars, numbers,
            space=Space(), has_fma=target.has_fma, scratch="%scratch", block=BLOCK,
            keys=keys,
        )  # fmt: skip

    lanes = LANES[kernel.precision.compute]
    wide, narrow = machine(lanes), machine(1)
    if kernel.sums:
        _summing(kernel, function, chunk, size, (wide, narrow), lanes)
        return

    def run(on: LlvmMachine) -> Callable[[str], None]:
        def body(index: str) -> None:
            on.index = index
            run_phase(kernel, on)

        return body

    whole = write(f"and i64 {size}, {-lanes}", "whole")
    function.loop("0", whole, str(lanes), run(wide))
    function.loop(whole, size, "1", run(narrow), "rest")


def _summing(
    kernel: Kernel,
    function: Function,
    chunk: str,
    size: str,
    machines: tuple[LlvmMachine, LlvmMachine],
    lanes: int,
) -> None:
    """Blocks of elements whose summands are folded in halves, as everywhere."""
    (phase,) = kernel.phases
    count = sum(isinstance(stmt, Total) for stmt in phase.body)
    write = function.value
    places = []
    for column in range(count):
        at = write(f"getelementptr inbounds [{count} x double], ptr %partials, i64 {chunk}, i64 {column}")
        function.add(f"store double 0.0, ptr {at}, align 8")
        places.append(at)

    def block(first: str) -> None:
        left = write(f"sub i64 {size}, {first}")
        full = write(f"icmp slt i64 {left}, {BLOCK}")
        elements = write(f"select i1 {full}, i64 {left}, i64 {BLOCK}", "count")
        whole = write(f"and i64 {elements}, {-lanes}", "whole")
        for machine, start, stop, step, name in (
            (machines[0], "0", whole, lanes, "j"),
            (machines[1], whole, elements, 1, "rest"),
        ):

            def body(j: str, machine: LlvmMachine = machine) -> None:
                machine.index = write(f"add i64 {first}, {j}")
                machine.offset = j
                run_phase(kernel, machine)

            function.loop(start, stop, str(step), body, name)
        for column, at in enumerate(places):
            scratch = write(f"getelementptr inbounds double, ptr %scratch, i64 {column * BLOCK}")
            folded = write(f"call double @block_sum(ptr {scratch}, i64 {elements})")
            so_far = write(f"load double, ptr {at}, align 8")
            function.add(f"store double {write(f'fadd double {so_far}, {folded}')}, ptr {at}, align 8")

    function.loop("0", size, str(BLOCK), block, "block")


def buffer_pointers(
    kernel: Kernel, function: Function, pointer: str, tensor: str, start: str
) -> dict[str, str]:
    """Where the elements from `start` on of each buffer are that the kernel uses, of one tensor."""
    write, pointers = function.value, {}
    for number, buffer in used_buffers(kernel):
        columns = f"[{len(kernel.buffers)} x i64]"
        at = write(f"getelementptr inbounds {columns}, {pointer} %addresses, i64 {tensor}, i64 {number}")
        address = write(f"load i64, {pointer} {at}, align 8")
        base = write(f"inttoptr i64 {address} to {pointer}")
        place = f"getelementptr inbounds {ELEMENT[buffer.type]}, {pointer} {base}, i64 {start}"
        pointers[buffer.name] = write(place, f"{buffer.name}.at")
    return pointers


def read_scalars(kernel: Kernel, function: Function, pointer: str, row: str, kept: Type) -> dict[str, str]:
    """The step scalars of a row in the compute type, and conditions, each with its type in front.

    kept: what they are handed over as.
    """
    conditions = {let.name for let in kernel.prologue if let.value.type is Type.BOOL}
    write, scalars = function.value, {}
    element, compute = ELEMENT[kept], ELEMENT[kernel.precision.compute]
    for number, name in enumerate(kernel.scalars):
        columns = f"[{len(kernel.scalars)} x {element}]"
        at = write(f"getelementptr inbounds {columns}, {pointer} %scalars, i64 {row}, i64 {number}")
        value = write(f"load {element}, {pointer} {at}, align {BYTES[kept]}", name)
        if name in conditions:
            scalars[name] = f"i1 {write(f'fcmp une {element} {value}, 0.0')}"
        elif element != compute:
            scalars[name] = f"{compute} {write(f'fptrunc {element} {value} to {compute}')}"
        else:
            scalars[name] = f"{element} {value}"
    return scalars


def _write_block_sum(module: Module) -> None:
    """`runtime.numba_kernel.block_sum`: halves are added to halves, in an order that depends on the count."""
    function = Function(module, "define internal double @block_sum(ptr %scratch, i64 %count) alwaysinline")
    write = function.value
    function.add("br label %shrink")
    function.block("shrink")
    function.add(f"%width = phi i64 [ {BLOCK}, %entry ], [ %half, %shrink ]")
    function.add("%half = lshr i64 %width, 1")
    function.add("%enough = icmp sge i64 %half, %count")
    function.add("br i1 %enough, label %shrink, label %pad")
    function.block("pad")

    def zero(j: str) -> None:
        at = write(f"getelementptr inbounds double, ptr %scratch, i64 {j}")
        function.add(f"store double 0.0, ptr {at}, align 8")

    function.loop("%count", "%width", "1", zero, "j")
    for lanes, least in ((8, 16), (1, 2)):
        before, again = function.at, function.label("fold")
        inside, after = function.label("folding"), function.label("folded")
        function.add(f"br label %{again}")
        function.block(again)
        start = "%width" if lanes == 8 else "%width.8"
        function.add(f"%width.{lanes} = phi i64 [ {start}, %{before} ], [ %half.{lanes}, %{inside}.end ]")
        function.add(f"%half.{lanes} = lshr i64 %width.{lanes}, 1")
        more = write(f"icmp sge i64 %width.{lanes}, {least}")
        function.add(f"br i1 {more}, label %{inside}, label %{after}")
        function.block(inside)
        kind = f"<{lanes} x double>" if lanes > 1 else "double"

        def add(j: str, lanes: int = lanes, kind: str = kind) -> None:
            left = write(f"getelementptr inbounds double, ptr %scratch, i64 {j}")
            right = write(f"getelementptr inbounds double, ptr {left}, i64 %half.{lanes}")
            x, y = (write(f"load {kind}, ptr {at}, align 8") for at in (left, right))
            function.add(f"store {kind} {write(f'fadd {kind} {x}, {y}')}, ptr {left}, align 8")

        function.loop("0", f"%half.{lanes}", str(lanes), add, "j")
        function.add(f"br label %{inside}.end")
        function.block(f"{inside}.end")
        function.add(f"br label %{again}")
        function.block(after)
    function.finish(f"ret double {write('load double, ptr %scratch, align 8')}")
