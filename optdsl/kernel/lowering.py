"""One kernel of a program: the walk over an optimizer's lines that `lower` asks for each of them.

What is decided is told in `lower`. A kernel is made for a number of passes that came before it: what is known
only after a later one is left out (`UnknownValueError`).
"""

from dataclasses import replace
from fractions import Fraction

from optdsl.diagnostics import Span
from optdsl.kernel import ir
from optdsl.kernel.ir import (
    DIRECTION,
    LINES,
    TIME,
    Access,
    Buffer,
    Cast,
    Const,
    Expr,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Op,
    Phase,
    Store,
    Type,
)
from optdsl.kernel.lines import as_kept, constant_of, keeps
from optdsl.kernel.naming import Naming
from optdsl.kernel.walk import locals_in
from optdsl.language import optimizer as meaning
from optdsl.language.inputs import drawn
from optdsl.language.matrices import COUNTS, in_stage
from optdsl.language.operators import FAN_IN, OPERATORS, REDUCTIONS, Reduction
from optdsl.language.optimizer import Age, Assign, Role, Shape
from optdsl.language.reductions import reductions_in

_PRODUCTS = {2, 3, 4}
_ON_HOST = (Shape.SCALAR, Shape.GLOBAL, Shape.TENSOR)
_HALF = Fraction(1, 2)


class UnknownValueError(Exception):
    """A value that is known only after a later pass."""


class Lowering(Naming):
    """One kernel: the pass number `number` of those that reduce, or the update after all of them.

    `only`: the one for states of this shape, to which lines of other shapes are nothing.
    """

    # --- the two kernels ---

    def update(self) -> Kernel:
        kept = {line.target.name for line in self.optimizer.lines if keeps(line)}
        elements = (state.name for state in self.stored_states if state.shape is Shape.ELEMENT)
        written = ["theta", *(name for name in elements if name not in kept)]
        for line in self.optimizer.lines:
            self._line(line)
        stores = [self._store(name) for name in written]
        return self._kernel("update", stores, frozenset(written))

    def vector(self, shape: Shape) -> Kernel:
        """The new states of one value for each row, or column, by what the passes have summed."""
        for line in self.optimizer.lines:
            self._line(line)
        written = [state.name for state in self.stored_states if state.shape is shape]
        self.scalar_updates = self.scalar_states  # the update changes them
        name = f"update_{shape.name.lower()}"
        return self._kernel(name, [self._store(each) for each in written], frozenset(written))

    def reduction(self) -> Kernel:
        """A pass that sums what it can and lays out operands, and leaves alone what it cannot know yet."""
        operands = {expr: name for expr, name in self.operands.items() if self._is_next(expr)}
        for line in self.optimizer.lines:
            for part in (line.value, line.first):
                for found in reductions_in(part) if part is not None else ():
                    name = self.sums[found]
                    if self.totals[found].passes == self.number and name not in self.summed:
                        self._sum(found, name)
            self._if_known(line)
        self.body += self.summed.values()
        stores: list[Store] = []
        for expr, name in operands.items():
            value = self._element(expr, name)
            if name in self.kept and value.type is not self.precision.storage:
                value = Cast(value, self.precision.storage)  # what is remembered is what is kept of it
            stores.append(Store(name, value if value.type is Type.F64 else Cast(value, Type.F64), expr.span))
        self.scalar_updates = self.scalar_states  # a pass that reduces changes nothing that is kept
        summed = frozenset(name for name in self.summed if name in self.lines)
        kernel = self._kernel(f"reduce{self.number}", stores, summed | {*operands.values()})
        empty = not self.summed and not stores
        return replace(kernel, phases=(Phase(kernel.name, ()),), scalars=()) if empty else kernel

    def _is_next(self, operand: meaning.Expr) -> bool:
        return self.plan.operands[operand] == self.number

    def _if_known(self, line: Assign) -> None:
        try:
            self._line(line)
        except UnknownValueError:
            age = Age.NOW if line.target.role is Role.VALUE else line.target.age
            self.unknown.add(self.names[line.target.name, age])

    def query(self) -> Kernel:
        """Of an optimizer whose lines lead to the point: what they make new is not kept."""
        for line in self.optimizer.lines:
            self._line(line)
        self.scalar_updates = self.scalar_states  # a query changes nothing that is kept
        return self._kernel("query", [self._shown()], frozenset(("theta",)))

    def view(self, output: meaning.Output) -> Kernel:
        """Between steps: what the last one made new is what is kept."""
        point = self.names["theta", Age.NEW]
        self.body.append(Let(point, self._element(as_kept(output.value), point), output.span))
        self.scalar_updates = self.scalar_states
        return self._kernel(f"view_{output.name}", [self._shown()], frozenset(("theta",)))

    def _kernel(self, name: str, stores: list[Store], written: frozenset[str]) -> Kernel:
        compute = self.precision.compute
        loads: list[ir.Stmt] = []
        for buffer, local in self.loaded.items():
            value: Expr = Load(buffer, self._type(buffer))
            value = value if value.type is compute else Cast(value, compute)
            if buffer == "g" or (buffer in self.arrays and drawn(buffer) is None):
                value = Op("mul", (self._scalar(DIRECTION), value), compute)
            loads.append(Let(local, value))
        body = (*loads, *self.body, *stores)
        read = {name for stmt in body for name in locals_in(stmt.value)}
        states = (state.name for state in self.stored_states)
        in_stages = (*self.results.values(), *self.made.values())
        of_stages = dict.fromkeys(self.operands.values(), "operand") | dict.fromkeys(in_stages, "result")
        others = self.stored.columns(self.arrays)
        columns = ("theta", "g", *states, *others, *self.lines, *of_stages)
        loop = Loop.MATRIX if self.matrix else Loop.ELEMENTS
        held = {rest: name for name, rest in self.stored.more.items()}
        return Kernel(
            name=name,
            precision=self.precision,
            hypers=self.hypers,
            scalar_states=self.scalar_states,
            prologue=tuple(self.prologue),
            scalar_updates=self.scalar_updates,
            scalars=tuple(name for name in self.scalars if name in read),
            buffers=tuple(
                Buffer(
                    column,
                    self._type(column),
                    self._access(held.get(column, column), written),
                    self.shapes.get(column, Shape.ELEMENT),
                    column in self.lines,
                    of_stages.get(column, ""),
                    self.kept.get(column, ""),
                    self.stored.more.get(column, ""),
                )
                for column in columns
            ),
            phases=(Phase(name, body),),
            loop=LINES[self.only] if self.only else loop,
        )

    def _type(self, buffer: str) -> Type:
        known = (*self.optimizer_buffers, *self.arrays)
        return self.stored.types.get(buffer, self.precision.storage if buffer in known else Type.F64)

    def _access(self, buffer: str, written: frozenset[str]) -> Access:
        if buffer not in written:
            return Access.READ
        return Access.UPDATE if buffer in self.loaded else Access.WRITE

    def _store(self, name: str) -> Store:
        compute, storage = self.precision.compute, self._type(name)
        value: Expr = Local(self.names[name, Age.NEW], compute)
        at = self._scalar(TIME) if name in self.stored.dithered else None
        return Store(name, value if storage is compute else Cast(value, storage, at))

    def _shown(self) -> Store:
        """theta where a step does not keep it: the half that is seen, to nearest."""
        store = self._store("theta")
        if isinstance(store.value, Cast) and self.precision.theta is not None:
            return replace(store, value=Cast(store.value.operand, Type.BF16))
        return store

    # --- lines ---

    def _line(self, line: Assign) -> None:
        target = line.target
        age = Age.NOW if target.role is Role.VALUE else target.age
        name = self.names[target.name, age]
        if (target.name, age) in self.plan.lines:
            self._line_of_stage(line, name)
        elif target.shape in _ON_HOST:
            self.prologue.append(Let(name, self._with_first(line, Type.F64, name), line.span))
            self.scalar_names.add(name)
        elif self.only in (None, target.shape):
            self.body.append(Let(name, self._with_first(line, self.precision.compute, name), line.span))

    def _line_of_stage(self, line: Assign, name: str) -> None:
        """What a stage has made for each element is loaded; matrices of other shapes are not for passes."""
        key = line.target.name, line.target.age
        if key in self.made and line.target.shape is Shape.ELEMENT and self.only in (None, Shape.ELEMENT):
            if self.plan.lines[key] >= self.stage:
                raise UnknownValueError
            value: Expr = Load(self.made[key], Type.F64)
            compute = self.precision.compute
            self.body.append(Let(name, value if compute is Type.F64 else Cast(value, compute), line.span))

    def _with_first(self, line: Assign, type_: Type, near: str) -> Expr:
        on_host = line.target.shape in _ON_HOST
        lower = self._prologue_value if on_host else self._element
        value = lower(line.value, near)
        if line.first is None:
            return value
        now: Expr = Local(TIME, Type.F64) if on_host else self._scalar(TIME)
        is_first = Op("eq", (now, Const(Fraction(1), now.type)), Type.BOOL)
        return Op("where", (is_first, lower(line.first, near), value), type_)

    # --- expressions ---

    def _prologue_value(self, expr: meaning.Expr, near: str) -> Expr:
        return self._lower(expr, Type.F64, near, in_prologue=True)

    def _element(self, expr: meaning.Expr, near: str) -> Expr:
        return self._lower(expr, self.precision.compute, near, in_prologue=False)

    def _lower(self, expr: meaning.Expr, real: Type, near: str, *, in_prologue: bool) -> Expr:
        match expr:
            case meaning.Number(value=value):
                return Const(value, real)
            case meaning.Truth(value=value):
                return Const(value, Type.BOOL)
            case meaning.Ref():
                return self._ref(expr, in_prologue)
            case meaning.Apply(op=op) if op in COUNTS:
                return self._count(op, in_prologue=in_prologue)
            case meaning.Apply() if in_stage(expr):
                return self._from_stage(expr, in_prologue=in_prologue)
            case meaning.Apply(op="pow", args=(base, exponent)):
                return self._power(base, exponent, real, near, expr.span, in_prologue=in_prologue)
            case meaning.Apply(op=op) if op in REDUCTIONS:
                return self._reduced(expr, near, in_prologue=in_prologue)
            case meaning.Apply(op=op, args=args):
                lowered = tuple(self._lower(arg, real, near, in_prologue=in_prologue) for arg in args)
                return Op(op, lowered, Type.BOOL if OPERATORS[op].gives is meaning.Kind.BOOL else real)

    def _reduced(self, expr: meaning.Apply, near: str, *, in_prologue: bool) -> Expr:
        """A reduction's value, where its pass is over; else the sum is made, or is for a later pass."""
        total, name = self.totals[expr], self.sums[expr]
        if total.passes >= self.number:
            raise UnknownValueError
        row = REDUCTIONS[expr.op]
        if name in self.lines:
            return self._of_line(name, row, near, expr.span)
        if name not in self.known:
            value: Expr = Local(name, Type.F64)
            if row.spelled == "norm":
                value = Op("sqrt", (value,), Type.F64)
            elif row.spelled == "mean":
                value = Op(
                    "div",
                    (value, Local(self.counts[row.over], Type.F64)),
                    Type.F64,
                )
            self.known[name] = self._bound(value, near, expr.span, in_prologue=True).name
            self.scalar_names.add(self.known[name])
        return Local(self.known[name], Type.F64) if in_prologue else self._scalar(self.known[name])

    def _count(self, op: str, *, in_prologue: bool) -> Expr:
        name = self.counts[op]
        if in_prologue:
            return Local(name, Type.F64)
        return self._scalar(name)

    def _from_stage(self, expr: meaning.Apply, *, in_prologue: bool) -> Expr:
        """What a stage has made, if it has been: a matrix, or a number of one."""
        if self.plan.results[expr] >= self.stage:
            raise UnknownValueError
        if expr in self.totals:
            name = self.sums[expr]
            return Local(name, Type.F64) if in_prologue else self._scalar(name)
        return Local(self._loaded(self.results[expr], expr.op), self.precision.compute)

    def _loaded(self, buffer: str, wanted: str) -> str:
        """The name of a buffer's value in the phase."""
        if buffer not in self.loaded:
            self.loaded[buffer] = self.namer.fresh(wanted)
        return self.loaded[buffer]

    def _of_line(self, name: str, row: Reduction, near: str, span: Span) -> Expr:
        """What is reduced for this row or column, in the compute type."""
        compute = self.precision.compute
        if name not in self.known:
            local = self.loaded.setdefault(name, self.namer.fresh(f"{name}_sum"))
            value: Expr = Local(local, compute)
            if row.spelled == "norm":
                value = Op("sqrt", (value,), compute)
            elif row.spelled == "mean":
                count = self.counts["cols" if row.over == FAN_IN else row.over]
                value = Op("div", (value, self._scalar(count)), compute)
            self.known[name] = self._bound(value, near, span, in_prologue=False).name
        return Local(self.known[name], compute)

    def _sum(self, expr: meaning.Apply, name: str) -> None:
        """The summand is made in the compute type and summed in float64."""
        factors: list[Expr] = [self._element(arg, name) for arg in expr.args]
        if REDUCTIONS[expr.op].spelled == "norm":
            factors = [self._bound(factors[0], name, expr.span, in_prologue=False)] * 2
        wide = [x if x.type is Type.F64 else Cast(x, Type.F64) for x in factors]
        value = wide[0] if len(wide) == 1 else Op("mul", (wide[0], wide[1]), Type.F64)
        row = REDUCTIONS[expr.op]
        shape = row.shape if name in self.lines else Shape.TENSOR
        self.summed[name] = ir.Total(name, value, shape, row.spelled == "max", expr.span)

    def _ref(self, ref: meaning.Ref, in_prologue: bool) -> Expr:
        if ref.role is Role.TIME:
            name = TIME
        elif ref.role in (Role.THETA, Role.STATE):
            name = self.names[ref.name, ref.age]
        else:
            name = self.names[ref.name, Age.NOW]
        if name in self.unknown:
            raise UnknownValueError
        if in_prologue:
            return Local(name, Type.F64)
        if name in self.scalar_names:
            return self._scalar(name)
        if ref.role in (Role.GRAD, Role.INPUT) or ref.age is Age.OLD:
            self.loaded.setdefault(ref.name, name)
        return Local(name, self.precision.compute)

    def _scalar(self, name: str) -> Local:
        self.scalars.setdefault(name)
        return Local(name, self.precision.compute)

    def _power(
        self,
        base: meaning.Expr,
        exponent: meaning.Expr,
        real: Type,
        near: str,
        span: Span,
        *,
        in_prologue: bool,
    ) -> Expr:
        x = self._lower(base, real, near, in_prologue=in_prologue)
        n = constant_of(exponent)
        if n == 0:
            return Const(Fraction(1), real)  # as IEEE has it, of NaN too
        if n is not None and abs(n) in {*_PRODUCTS, 1, _HALF}:
            magnitude = abs(n)
            if magnitude == _HALF:
                value: Expr = Op("sqrt", (x,), real)
            elif magnitude == 1:
                value = x
            else:
                factor = (
                    x if isinstance(x, Local | Const) else self._bound(x, near, span, in_prologue=in_prologue)
                )
                value = factor
                for _ in range(int(magnitude) - 1):
                    value = Op("mul", (value, factor), real)
            return value if n > 0 else Op("div", (Const(Fraction(1), real), value), real)
        return Op("pow", (x, self._lower(exponent, real, near, in_prologue=in_prologue)), real)

    def _bound(self, value: Expr, near: str, span: Span, *, in_prologue: bool) -> Local:
        """The value under a name of its own, so that it can be used twice."""
        name = self.namer.numbered(f"{near}_")
        (self.prologue if in_prologue else self.body).append(Let(name, value, span))
        return Local(name, value.type)
