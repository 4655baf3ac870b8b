"""Kernel to LLVM functions for NVIDIA's GPUs: the same operations in the same order as on the CPU.

    prepare_*(hypers, t, direction, states, scalars, rows)    a thread for each row
    update(addresses, chunks, scalars)                         a block of THREADS for each chunk
    reduce0(addresses, chunks, scalars, partials)
    totals_reduce0(partials, first, tensors, hypers)           a thread for each tensor

All are addresses in the device's memory, but `rows` and `tensors`, which are 64-bit numbers. Arrays are those
of `_llvm_cpu`, but for `scalars`, which are in the compute type (conditions 0 or 1); `first` (T + 1) i64 says
where the chunks of a tensor begin. What a pass has summed goes to its columns of `hypers`. Vectors of 16
bytes are read and written where all buffers of a chunk allow it.
NOT done: sums over all tensors, which are the host's; more than MOST_SUMS in a pass; rows, columns, matrices.
"""

from collections.abc import Callable

from optdsl.backend import Program
from optdsl.kernel.ir import Access, Kernel, Total
from optdsl.portable.llvm_text import Function, Module
from optdsl.runtime.batch import BLOCK

from ._kernel_lanes import run_phase
from ._llvm_cpu import buffer_pointers, read_scalars, write_prologue_row
from ._llvm_machine import BYTES, LlvmMachine, Space, rounding_keys

THREADS = 256
MOST_SUMS = 6  # of 8 KiB each, in the 48 KiB that a block of threads shares
GLOBAL, SHARED = "ptr addrspace(1)", "ptr addrspace(3)"
TRIPLE = "nvptx64-nvidia-cuda"


def unsupported_on_gpu(kernel: Kernel) -> str | None:
    """Why a kernel that the CPU has is not there for GPUs, as the end of a sentence; None if it is."""
    if _sums(kernel) > MOST_SUMS:
        return f"a pass that sums more than {MOST_SUMS} things at once has no kernel there"
    return None


def _sums(kernel: Kernel) -> int:
    return sum(isinstance(stmt, Total) for phase in kernel.phases for stmt in phase.body)


def _special(function: Function, register: str) -> str:
    """A special register as a 64-bit number."""
    value = function.call(f"i32 @llvm.nvvm.read.ptx.sreg.{register}()", "", register.replace(".", "_"))
    return function.value(f"zext i32 {value} to i64")


def _kernel_function(module: Module, name: str, arguments: str) -> Function:
    return Function(module, f"define ptx_kernel void @{name}({arguments})")


def write_gpu_prologue(module: Module, kernel: Kernel, name: str) -> None:
    arrays = ", ".join(f"{GLOBAL} %{each}" for each in ("hypers", "t", "direction", "states", "scalars"))
    function = _kernel_function(module, name, f"{arrays}, i64 %rows")
    row = _thread_of_all(function)
    inside = function.value(f"icmp slt i64 {row}, %rows")

    def body() -> None:
        write_prologue_row(kernel, function, row, GLOBAL, kernel.precision.compute)

    function.when(inside, body)
    function.finish("ret void")


def _thread_of_all(function: Function) -> str:
    block, thread = _special(function, "ctaid.x"), _special(function, "tid.x")
    first = function.value(f"mul i64 {block}, {THREADS}")
    return function.value(f"add i64 {first}, {thread}")


def write_gpu_phase(module: Module, kernel: Kernel, name: str) -> None:
    arguments = f"{GLOBAL} %addresses, {GLOBAL} %chunks, {GLOBAL} %scalars"
    if kernel.sums:
        arguments += f", {GLOBAL} %partials"
    function = _kernel_function(module, name, arguments)
    write = function.value
    chunk, thread = _special(function, "ctaid.x"), _special(function, "tid.x")

    def column(number: int, wanted: str) -> str:
        at = write(f"getelementptr inbounds [4 x i64], {GLOBAL} %chunks, i64 {chunk}, i64 {number}")
        return write(f"load i64, {GLOBAL} {at}, align 8", wanted)

    tensor, start, size, row = (column(*each) for each in enumerate(("tensor", "start", "size", "row")))
    pointers = buffer_pointers(kernel, function, GLOBAL, tensor, start)
    addresses = [write(f"ptrtoint {GLOBAL} {place} to i64") for place in pointers.values()]
    scalars = read_scalars(kernel, function, GLOBAL, row, kernel.precision.compute)
    keys = rounding_keys(kernel, function, GLOBAL, tensor, start, scalars)
    numbers = {buffer.name: number for number, buffer in enumerate(kernel.buffers)}
    constant = frozenset(each.name for each in kernel.buffers if each.access is Access.READ)
    sums = _sums(kernel)
    scratch = ""
    if sums:
        scratch = f"@{name}.scratch"
        module.globals.append(
            f"{scratch} = internal addrspace(3) global [{sums * BLOCK} x double] undef, align 16"
        )
    lanes = 16 // BYTES[kernel.precision.storage]

    def machine(lanes: int) -> LlvmMachine:
        space = Space(GLOBAL, align_vectors=True, constant=constant)
        return LlvmMachine(
            function, lanes, pointers, scalars, numbers,
            space=space, has_fma=True, scratch=scratch, scratch_pointer=SHARED, block=BLOCK,
            keys=keys,
        )  # fmt: skip

    wide, narrow = machine(lanes), machine(1)
    joined = addresses[0]
    for address in addresses[1:]:
        joined = write(f"or i64 {joined}, {address}")
    low = write(f"and i64 {joined}, 15")
    aligned = write(f"icmp eq i64 {low}, 0", "aligned")

    def elements(first: str, count: str) -> None:
        """Those from `first` on: vectors, then what is left; `thread` takes every THREADS-th."""
        most = write(f"and i64 {count}, {-lanes}")
        whole = write(f"select i1 {aligned}, i64 {most}, i64 0", "whole")
        for on, begin, end, step in ((wide, "0", whole, lanes), (narrow, whole, count, 1)):
            offset = write(f"mul i64 {thread}, {step}") if step > 1 else thread
            own = write(f"add i64 {begin}, {offset}")
            function.loop(own, end, str(THREADS * step), _run(kernel, on, function, first))

    if sums:
        _summing(kernel, function, chunk, thread, size, scratch, elements)
    else:
        elements("", size)
    function.finish("ret void")


def _run(kernel: Kernel, machine: LlvmMachine, function: Function, first: str) -> Callable[[str], None]:
    def body(index: str) -> None:
        machine.index = function.value(f"add i64 {first}, {index}") if first else index
        machine.offset = index
        run_phase(kernel, machine)

    return body


def _summing(
    kernel: Kernel,
    function: Function,
    chunk: str,
    thread: str,
    size: str,
    scratch: str,
    elements: Callable[[str, str], None],
) -> None:
    """Block by block: summands to shared memory, which all threads fold in halves, as everywhere."""
    write, sums = function.value, _sums(kernel)
    leads = write(f"icmp eq i64 {thread}, 0", "leads")
    places = [
        write(f"getelementptr inbounds [{sums} x double], {GLOBAL} %partials, i64 {chunk}, i64 {number}")
        for number in range(sums)
    ]

    def nothing() -> None:
        for place in places:
            function.add(f"store double 0.0, {GLOBAL} {place}, align 8")

    function.when(leads, nothing)

    def at(number: int, index: str) -> str:
        place = write(f"add i64 {index}, {number * BLOCK}") if number else index
        return write(f"getelementptr inbounds double, {SHARED} {scratch}, i64 {place}")

    def block(first: str) -> None:
        left = write(f"sub i64 {size}, {first}")
        fewer = write(f"icmp slt i64 {left}, {BLOCK}")
        count = write(f"select i1 {fewer}, i64 {left}, i64 {BLOCK}", "count")
        elements(first, count)

        def zero(j: str) -> None:
            for number in range(sums):
                function.add(f"store double 0.0, {SHARED} {at(number, j)}, align 8")

        function.loop(write(f"add i64 {count}, {thread}"), str(BLOCK), str(THREADS), zero, "pad")
        width = BLOCK
        while width > 1:
            width //= 2
            _barrier(function)

            def fold(j: str, width: int = width) -> None:
                for number in range(sums):
                    near = at(number, j)
                    far = write(f"getelementptr inbounds double, {SHARED} {near}, i64 {width}")
                    x, y = (write(f"load double, {SHARED} {each}, align 8") for each in (near, far))
                    function.add(f"store double {write(f'fadd double {x}, {y}')}, {SHARED} {near}, align 8")

            function.loop(thread, str(width), str(THREADS), fold, "j")
        _barrier(function)

        def keep() -> None:
            for number, place in enumerate(places):
                sum_ = write(f"load double, {SHARED} {at(number, '0')}, align 8")
                so_far = write(f"load double, {GLOBAL} {place}, align 8")
                total = write(f"fadd double {so_far}, {sum_}")
                function.add(f"store double {total}, {GLOBAL} {place}, align 8")

        function.when(leads, keep)
        _barrier(function)

    function.loop("0", size, str(BLOCK), block, "block")


def _barrier(function: Function) -> None:
    function.call("void @llvm.nvvm.barrier.cta.sync.aligned.all(i32)", "i32 0")


def write_totals(module: Module, program: Program, kernel: Kernel, name: str) -> None:
    """Sums of chunks to sums of tensors, in the order of the chunks, and where later prologues read them."""
    arrays = f"{GLOBAL} %partials, {GLOBAL} %first, i64 %tensors, {GLOBAL} %hypers"
    function = _kernel_function(module, name, arrays)
    write = function.value
    tensor = _thread_of_all(function)
    columns = [column for column, _ in program.summed(kernel)]
    before = len(kernel.hypers) - len(program.totals)

    def body() -> None:
        near = write(f"getelementptr inbounds i64, {GLOBAL} %first, i64 {tensor}")
        begin = write(f"load i64, {GLOBAL} {near}, align 8")
        far = write(f"getelementptr inbounds i64, {GLOBAL} {near}, i64 1")
        end = write(f"load i64, {GLOBAL} {far}, align 8")
        row = f"[{len(kernel.hypers)} x double]"
        places = [
            write(f"getelementptr inbounds {row}, {GLOBAL} %hypers, i64 {tensor}, i64 {before + column}")
            for column in columns
        ]
        for place in places:
            function.add(f"store double 0.0, {GLOBAL} {place}, align 8")

        def add(chunk: str) -> None:
            for number, place in enumerate(places):
                kind = f"[{len(columns)} x double]"
                at = write(f"getelementptr inbounds {kind}, {GLOBAL} %partials, i64 {chunk}, i64 {number}")
                part = write(f"load double, {GLOBAL} {at}, align 8")
                so_far = write(f"load double, {GLOBAL} {place}, align 8")
                function.add(
                    f"store double {write(f'fadd double {so_far}, {part}')}, {GLOBAL} {place}, align 8"
                )

        function.loop(begin, end, "1", add, "chunk")

    function.when(write(f"icmp slt i64 {tensor}, %tensors"), body)
    function.finish("ret void")
