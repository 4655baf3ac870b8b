"""A shared library's functions: what a program in C, Rust or anything else calls to take a step.

    int NAME_step_f32(hypers, t, tensors, sizes, theta, g, states ..., inputs ...)
    int NAME_init_f32(hypers, tensors, sizes, theta, states ...)

and the same for double; `_c_header` says what they take. They check everything before they write anything,
allocate nothing, keep nothing, and call nothing, so that the library depends on nothing. Each phase is there
once for each level of the processor, which is asked what it can when a function is first called; all levels
give the same bits in the modes `strict` and `fma`.
NOT done: specs that are not for a library (`not_for_a_library` says why).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from optdsl.backend import Program
from optdsl.kernel.ir import IN_16_BITS, Kernel, Type
from optdsl.language.inputs import inputs_by_shape, made
from optdsl.language.link import snake
from optdsl.language.optimizer import Hyper, Number, Optimizer, Ref, Role, Shape, State
from optdsl.portable.lanes import Lane, Sort
from optdsl.portable.llvm_text import Function, LlvmMaker, Module, float_text
from optdsl.portable.parts import INF, two_sum
from optdsl.runtime.batch import BLOCK
from optdsl.runtime.launch import CHUNK

from ._kernel_lanes import unsupported
from ._llvm_cpu import write_phase, write_prologue
from ._llvm_levels import levels, write_level
from ._llvm_machine import BYTES, ELEMENT

OK, BAD_STEP, NULL_POINTER, NEGATIVE_SIZE, BAD_HYPER = 0, -1, -2, -3, -10
"""What a function returns; BAD_HYPER - i for the hyper of number i."""


@dataclass(frozen=True)
class Interface:
    """What the functions of one optimizer take, in their order."""

    name: str
    hypers: tuple[Hyper, ...]
    states: tuple[State, ...]  # with a value for each element
    numbers: tuple[State, ...]  # with one for each tensor
    scalars: tuple[str, ...]  # inputs of one number
    arrays: tuple[str, ...] = field(default=())  # inputs of one value for each element


def interface(optimizer: Optimizer) -> Interface:
    scalars, arrays = inputs_by_shape(optimizer.inputs)
    return Interface(
        snake(optimizer.name),
        optimizer.hypers,
        tuple(state for state in optimizer.states if state.shape > Shape.TENSOR),
        tuple(state for state in optimizer.states if state.shape <= Shape.TENSOR),
        scalars,
        arrays,
    )


def not_for_a_library(program: Program) -> str | None:
    """Why there are no such functions for a spec, as the end of a sentence; None if there are."""
    for kernel in program.kernels:
        if reason := unsupported(kernel):
            return reason
        if any(buffer.type in IN_16_BITS for buffer in kernel.buffers):
            return "what is kept in fewer bits than 32 has no type in its header"
    if program.query is not None:
        return "its gradient is taken at another point, to which a library would have to take theta and back"
    if program.views:
        return "it has a second view of the parameters, which a library does not know yet"
    if any(made(name) for name in program.optimizer.inputs):
        return "it draws random numbers, or takes two gradients in a step, which a library does not do yet"
    if len({total.over_all for total in program.totals}) > 1:
        return "it reduces over tensors and over all of them, which needs memory that a library does not have"
    for state in program.optimizer.states:
        if not isinstance(state.initial, Number) and not (
            isinstance(state.initial, Ref) and state.initial.role in (Role.HYPER, Role.THETA)
        ):
            return f"`{state.name}` begins as an expression: give it a number, a hyper or theta[0]"
    return None


def write_library(module: Module, programs: Sequence[Program], triple: str, mark: str) -> None:
    """All functions for the optimizer, for the storage of each program; `mark` is what NAME_compiled says."""
    name, text = snake(programs[0].optimizer.name), mark.encode() + b"\0"
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:02X}" for byte in text
    )
    module.globals.append(f'@{name}_compiled = constant [{len(text)} x i8] c"{escaped}"')
    write_level(module, triple)
    for program in programs:
        storage = program.update.precision.storage
        for kernel in program.kernels:
            name = f"{kernel.name}_{storage}"
            write_prologue(module, kernel, f"prepare_{name}", "internal ")
            found = levels(triple)
            for level in found:
                write_phase(module, kernel, f"{name}.{level.name}", level.target, "internal ")
            table = ", ".join(f"ptr @{name}.{level.name}" for level in found)
            module.globals.append(f"@{name}.levels = internal constant [{len(found)} x ptr] [{table}]")
        _write_init(module, interface(program.optimizer), storage)
        _Step(module, program).write()


class _Checked(Function):
    """A function of the library: checks what it is given, and goes through the tensors."""

    def __init__(self, module: Module, given: Interface, kind: str, storage: Type) -> None:
        self.given, self.storage = given, storage
        step = kind == "step"
        names = ["theta", *(["g"] if step else []), *(state.name for state in given.states)]
        names += given.arrays if step else ()
        self.pointers = [f"of.{name}" for name in names]
        arguments = ["ptr %hypers", *(["i64 %t"] if step else []), "i64 %tensors", "ptr %sizes"]
        arguments += [f"ptr %{name}" for name in self.pointers]
        arguments += ["ptr %numbers"] if given.numbers else []
        arguments += [f"double %given.{name}" for name in given.scalars] if step else []
        head = f"define i32 @{given.name}_{kind}_{storage}({', '.join(arguments)})"
        super().__init__(module, head)

    def refuse(self, condition: str, code: int) -> None:
        """Returns the code where the condition holds."""
        self.when(condition, lambda: self.add(f"ret i32 {code}"), returns=True)

    def check(self) -> None:
        """Everything that the caller can get wrong and that can be seen."""
        for name in ("hypers", "sizes", *self.pointers, *(["numbers"] if self.given.numbers else [])):
            self.refuse(self.value(f"icmp eq ptr %{name}, null"), NULL_POINTER)
        for number, hyper in enumerate(self.given.hypers):
            value, wrong = self.hyper(number), "false"
            domain = hyper.domain
            ends = ((domain.low, domain.low_closed, "g"), (domain.high, domain.high_closed, "l"))
            for end, closed, side in ends:
                bound = float(end) if end is not None else {"g": -INF, "l": INF}[side]
                compare = f"fcmp o{side}{'e' if closed else 't'} double"
                fits = f"{compare} {value}, {float_text(bound, 64)}"
                outside = self.value(f"xor i1 {self.value(fits)}, true")
                wrong = self.value(f"or i1 {wrong}, {outside}")
            self.refuse(wrong, BAD_HYPER - number)

        def tensor(index: str) -> None:
            size = self.item("i64", "%sizes", index)
            self.refuse(self.value(f"icmp slt i64 {size}, 0"), NEGATIVE_SIZE)
            filled = self.value(f"icmp sgt i64 {size}, 0")
            for name in self.pointers:
                missing = self.value(f"icmp eq ptr {self.item('ptr', f'%{name}', index)}, null")
                self.refuse(self.value(f"and i1 {filled}, {missing}"), NULL_POINTER)

        self.loop("0", "%tensors", "1", tensor, "checked")

    def item(self, type_: str, array: str, index: str) -> str:
        at = self.value(f"getelementptr inbounds {type_}, ptr {array}, i64 {index}")
        return self.value(f"load {type_}, ptr {at}, align 8")

    def hyper(self, number: int) -> str:
        return self.item("double", "%hypers", str(number))

    def numbers_at(self, index: str) -> str:
        kind = f"[{len(self.given.numbers)} x double]"
        return self.value(f"getelementptr inbounds {kind}, ptr %numbers, i64 {index}")


def _write_init(module: Module, given: Interface, storage: Type) -> None:
    function = _Checked(module, given, "init", storage)
    function.check()
    element, size = ELEMENT[storage], BYTES[storage]
    write = function.value
    hypers = {hyper.name: number for number, hyper in enumerate(given.hypers)}

    def start(state: State) -> str | None:
        """As a double; None for theta itself."""
        match state.initial:
            case Number(value=value):
                return float_text(float(value), 64)
            case Ref(role=Role.HYPER, name=name):
                return function.hyper(hypers[name])
        return None

    def tensor(index: str) -> None:
        count = function.item("i64", "%sizes", index)
        for place, state in enumerate(given.numbers):
            at = write(f"getelementptr inbounds double, ptr {function.numbers_at(index)}, i64 {place}")
            function.add(f"store double {start(state)}, ptr {at}, align 8")
        theta = function.item("ptr", "%of.theta", index)
        for state in given.states:
            to, value = function.item("ptr", f"%of.{state.name}", index), start(state)

            def fill(i: str, to: str = to, value: str | None = value) -> None:
                kept = value
                if value is None:
                    at = write(f"getelementptr inbounds {element}, ptr {theta}, i64 {i}")
                    kept = write(f"load {element}, ptr {at}, align {size}")
                elif storage is Type.F32:
                    kept = write(f"fptrunc double {value} to float")
                at = write(f"getelementptr inbounds {element}, ptr {to}, i64 {i}")
                function.add(f"store {element} {kept}, ptr {at}, align {size}")

            function.loop("0", count, "1", fill, "i")

    function.loop("0", "%tensors", "1", tensor, "tensor")
    function.finish(f"ret i32 {OK}")


class _Step:
    """`NAME_step_*`: for each tensor a row of addresses and one of hypers, as the kernels want them, on the
    stack.
    """

    def __init__(self, module: Module, program: Program) -> None:
        self.program = program
        self.given = interface(program.optimizer)
        self.storage = program.update.precision.storage
        self.function = _Checked(module, self.given, "step", self.storage)
        self.write_value = self.function.value

    def write(self) -> None:
        function, write, update = self.function, self.write_value, self.program.update
        function.refuse(write("icmp slt i64 %t, 1"), BAD_STEP)
        function.check()
        sums = max((sum(1 for _ in self.program.summed(each)) for each in self.program.reductions), default=0)
        room = {
            "row": f"[{len(update.buffers)} x i64]",
            "chunk": "[4 x i64]",
            "hyper": f"[{max(len(update.hypers), 1)} x double]",
            "states": f"[{max(len(self.given.numbers), 1)} x double]",
            "scalars": f"[{max(len(each.scalars) for each in self.program.kernels) + 1} x double]",
            "time": "double",
            "direction": "double",
            "scratch": f"[{max(sums, 1) * (BLOCK if sums else 1)} x double]",
            "partials": f"[{max(sums, 1)} x double]",
        }
        self.room = {name: function.room(kind, f"its.{name}", 64) for name, kind in room.items()}
        function.add(f"store double {write('uitofp i64 %t to double')}, ptr {self.room['time']}, align 8")
        function.add(f"store double {float_text(1.0, 64)}, ptr {self.room['direction']}, align 8")
        for number in range(len(self.given.hypers)):
            self._set_hyper(number, function.hyper(number))
        for number, name in enumerate(self.given.scalars, len(self.given.hypers)):
            self._set_hyper(number, f"%given.{name}")
        self.level = write("call i64 @level()", "level")
        counts = len(update.hypers) - len(self.program.totals) - 2
        if self.program.reductions:
            self._count_all(counts + 1)
        if any(total.over_all for total in self.program.totals):
            for kernel in self.program.reductions:
                self._sum_over_all(kernel)
        function.loop("0", "%tensors", "1", lambda index: self._tensor(index, counts), "tensor")
        function.finish(f"ret i32 {OK}")

    def _set_hyper(self, column: int, value: str) -> None:
        at = self.write_value(f"getelementptr inbounds double, ptr {self.room['hyper']}, i64 {column}")
        self.function.add(f"store double {value}, ptr {at}, align 8")

    def _count_all(self, column: int) -> None:
        self._set_hyper(column, "0.0")
        at = self.write_value(f"getelementptr inbounds double, ptr {self.room['hyper']}, i64 {column}")

        def add(index: str) -> None:
            size = self.write_value(f"sitofp i64 {self.function.item('i64', '%sizes', index)} to double")
            so_far = self.write_value(f"load double, ptr {at}, align 8")
            total = self.write_value(f"fadd double {so_far}, {size}")
            self.function.add(f"store double {total}, ptr {at}, align 8")

        self.function.loop("0", "%tensors", "1", add, "counted")

    def _tensor(self, index: str, counts: int) -> None:
        size = self._begin(index, counts)
        if not any(total.over_all for total in self.program.totals):
            for kernel in self.program.reductions:
                for column, value in self._sum(kernel, size):
                    self._set_hyper(column, value)
        self._prepare(self.program.update)
        self._chunk("0", size)
        self._call(self.program.update, "")
        if self.given.numbers:
            self._keep_numbers(self.function.numbers_at(index), size)

    def _begin(self, index: str, counts: int) -> str:
        """The row of a tensor's addresses, its numbers and its counts; its size."""
        function, write = self.function, self.write_value
        for column, name in enumerate(function.pointers):
            address = write(f"ptrtoint ptr {function.item('ptr', f'%{name}', index)} to i64")
            at = write(f"getelementptr inbounds i64, ptr {self.room['row']}, i64 {column}")
            function.add(f"store i64 {address}, ptr {at}, align 8")
        size = function.item("i64", "%sizes", index)
        if self.given.numbers:
            self._copy(function.numbers_at(index), self.room["states"], len(self.given.numbers))
        if self.program.reductions:
            self._set_hyper(counts, write(f"sitofp i64 {size} to double"))
        return size

    def _keep_numbers(self, to: str, size: str) -> None:
        """The mean of no elements is NaN: a tensor without any keeps the number that would become it."""
        write = self.function.value
        empty = write(f"icmp eq i64 {size}, 0")
        for place in range(len(self.given.numbers)):
            made = self.function.item("double", self.room["states"], str(place))
            at = write(f"getelementptr inbounds double, ptr {to}, i64 {place}")
            old = write(f"load double, ptr {at}, align 8")
            stays = write(f"and i1 {empty}, {write(f'fcmp uno double {made}, {made}')}")
            kept = write(f"select i1 {stays}, double {old}, double {made}")
            self.function.add(f"store double {kept}, ptr {at}, align 8")

    def _copy(self, source: str, to: str, count: int) -> None:
        for place in range(count):
            value = self.function.item("double", source, str(place))
            at = self.write_value(f"getelementptr inbounds double, ptr {to}, i64 {place}")
            self.function.add(f"store double {value}, ptr {at}, align 8")

    def _chunk(self, start: str, size: str) -> None:
        for place, value in enumerate(("0", start, size, "0")):
            at = self.write_value(f"getelementptr inbounds i64, ptr {self.room['chunk']}, i64 {place}")
            self.function.add(f"store i64 {value}, ptr {at}, align 8")

    def _prepare(self, kernel: Kernel) -> None:
        arrays = [self.room[name] for name in ("hyper", "time", "direction", "states", "scalars")]
        arguments = ", ".join(f"ptr {each}" for each in arrays)
        self.function.add(f"call void @prepare_{kernel.name}_{self.storage}({arguments}, i64 1)")

    def _call(self, kernel: Kernel, more: str) -> None:
        table = f"@{kernel.name}_{self.storage}.levels"
        at = self.write_value(f"getelementptr inbounds ptr, ptr {table}, i64 {self.level}")
        phase = self.write_value(f"load ptr, ptr {at}, align 8", "phase")
        row, chunk, scalars = (self.room[name] for name in ("row", "chunk", "scalars"))
        arguments = f"ptr {row}, ptr {chunk}, i64 0, i64 1, ptr {scalars}{more}"
        self.function.add(f"call void {phase}({arguments})")

    def _sum(self, kernel: Kernel, size: str) -> list[tuple[int, str]]:
        """Chunk by chunk, as everywhere: the columns of what a pass sums for this tensor, and the sums."""
        function, write = self.function, self.write_value
        columns = [column for column, _ in self.program.summed(kernel)]
        totals = [function.room("double", "total") for _ in columns]
        for total in totals:
            function.add(f"store double 0.0, ptr {total}, align 8")
        self._prepare(kernel)

        def chunk(start: str) -> None:
            left = write(f"sub i64 {size}, {start}")
            fewer = write(f"icmp slt i64 {left}, {CHUNK}")
            self._chunk(start, write(f"select i1 {fewer}, i64 {left}, i64 {CHUNK}"))
            self._call(kernel, f", ptr {self.room['scratch']}, ptr {self.room['partials']}")
            for place, total in enumerate(totals):
                part = function.item("double", self.room["partials"], str(place))
                so_far = write(f"load double, ptr {total}, align 8")
                function.add(f"store double {write(f'fadd double {so_far}, {part}')}, ptr {total}, align 8")

        function.loop("0", size, str(CHUNK), chunk, "start")
        before = len(kernel.hypers) - len(self.program.totals)
        values = [write(f"load double, ptr {total}, align 8") for total in totals]
        return [(before + column, value) for column, value in zip(columns, values, strict=True)]

    def _sum_over_all(self, kernel: Kernel) -> None:
        """The sums of all tensors, with what rounding has cut off added at the end."""
        function, write = self.function, self.write_value
        before = len(kernel.hypers) - len(self.program.totals)
        columns = [before + column for column, _ in self.program.summed(kernel)]
        kept = {column: [function.room("double", "all") for _ in range(2)] for column in columns}
        for pair in kept.values():
            for at in pair:
                function.add(f"store double 0.0, ptr {at}, align 8")
        maker = LlvmMaker(function, 64, 1)

        def tensor(index: str) -> None:
            size = self._begin(index, before - 2)
            for column, value in self._sum(kernel, size):
                total, rest = (write(f"load double, ptr {at}, align 8") for at in kept[column])
                lanes = [Lane(maker, each, Sort.FLOAT) for each in (total, value, rest)]
                more, error = two_sum(*lanes[:2])
                for at, each in zip(kept[column], (more, lanes[2] + error), strict=True):
                    function.add(f"store double {each.at}, ptr {at}, align 8")

        function.loop("0", "%tensors", "1", tensor, "tensor")
        for column, pair in kept.items():
            total, rest = (write(f"load double, ptr {at}, align 8") for at in pair)
            self._set_hyper(column, write(f"fadd double {total}, {rest}"))
