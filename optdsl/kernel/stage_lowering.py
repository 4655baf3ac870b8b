"""One stage of a program: what it makes of the matrices of a tensor, between two passes over the elements.

In: what `Lowering` takes, and the number of the stage. Out: a kernel with `Loop.WHOLE`, whose phase computes
in float64 with whole matrices; numbers are the prologue's, as in every kernel. Operands are what the pass
before has laid out, or parameters, gradients and states as they are.
Order is the author's. NOT done: sharing what is computed twice (give it a name), and choosing the order of
products by their cost.
"""

from dataclasses import replace
from fractions import Fraction

from optdsl.kernel import ir
from optdsl.kernel.ir import (
    TIME,
    Const,
    Expr,
    Kernel,
    Let,
    Local,
    Loop,
    Op,
    Phase,
    Precision,
    Store,
    Type,
)
from optdsl.kernel.lowering import Lowering
from optdsl.language import optimizer as meaning
from optdsl.language.matrices import REPEAT, in_stage, loop_parts
from optdsl.language.operators import OPERATORS
from optdsl.language.optimizer import Age, Assign, Optimizer, Role, Shape
from optdsl.language.stages import Plan, is_array


class StageLowering(Lowering):
    """The stage of that number, behind the pass of the same number: it knows all that the pass has summed."""

    def __init__(self, optimizer: Optimizer, precision: Precision, plan: Plan, number: int) -> None:
        super().__init__(optimizer, Precision("accurate", precision.storage), plan, number + 1)
        self.stage = number
        self.of_line: dict[tuple[str, Age], Assign] = {
            (line.target.name, line.target.age): line for line in optimizer.lines
        }
        self.stores: list[ir.Stmt] = []
        self.bound: set[tuple[str, Age]] = set()
        self.near = ""  # what is being made

    def matrices(self) -> Kernel:
        for line in self.optimizer.lines:
            self.near = line.target.name
            for part in (line.value, line.first):
                if part is not None:
                    self._results_in(part)
            key = line.target.name, line.target.age
            if key in self.plan.lines:
                if self.plan.lines[key] == self.stage and key not in self.plan.chosen:
                    self._make(line)
            elif line.target.shape <= Shape.TENSOR:
                self._if_known(line)
        self.scalar_updates = self.scalar_states
        kernel = self._kernel(f"matrices{self.stage}", [], frozenset(self._stored()))
        (phase,) = kernel.phases
        whole = (Phase(kernel.name, (*phase.body, *self.stores)),)
        return replace(kernel, phases=whole, loop=Loop.WHOLE)

    def _stored(self) -> list[str]:
        return [stmt.buffer for stmt in self.stores if isinstance(stmt, Store)]

    def _results_in(self, expr: meaning.Expr) -> None:
        """What passes will read of this expression, as soon as it is met."""
        if not isinstance(expr, meaning.Apply):
            return
        if self.plan.results.get(expr) == self.stage:
            name = self.namer.fresh(expr.op)
            self.body.append(Let(name, self._root(expr), expr.span))
            if expr in self.results:
                self._keep(self.results[expr], name)
            else:
                self.stores.append(ir.Total(self.sums[expr], Local(name, Type.F64)))
        elif not in_stage(expr):
            for arg in expr.args:
                self._results_in(arg)

    def _keep(self, buffer: str, name: str) -> None:
        if buffer not in self._stored():
            self.stores.append(Store(buffer, Local(name, Type.F64)))

    def _make(self, line: Assign) -> None:
        key = line.target.name, line.target.age
        value = self._root(line.value)
        if line.first is not None:
            first = Op("eq", (self._scalar(TIME), Const(Fraction(1), Type.F64)), Type.BOOL)
            value = Op("where", (first, self._root(line.first), value), Type.F64)
        self.body.append(Let(self.names[key], value, line.span))
        if key in self.made:
            self._keep(self.made[key], self.names[key])

    def _root(self, expr: meaning.Expr) -> Expr:
        """The value of a line or of a result: what stands here may be a statement, and need not be bound."""
        match expr:
            case meaning.Apply(op="repeat"):
                return self._loop(expr)
            case meaning.Ref(name=name, age=age) if (name, age) in self.plan.chosen:
                return self._root(self.of_line[name, age].value)
            case meaning.Apply("where", (test, x, y)) if test.shape <= Shape.TENSOR:
                return Op("where", (self._whole(test), self._root(x), self._root(y)), Type.F64)
            case _:
                return self._whole(expr)

    def _whole(self, expr: meaning.Expr) -> Expr:
        match expr:
            case meaning.Number() | meaning.Truth():
                return self._element(expr, self.near)
            case meaning.Ref(role=Role.LOOP, name=name):
                return Local(self.names[name, Age.NOW], Type.F64)
            case meaning.Ref(name=name, age=age) if (name, age) in self.plan.lines:
                if self.plan.lines[name, age] == self.stage:
                    return Local(self.names[name, age], Type.F64)
                return Local(self._loaded(self.made[name, age], name), Type.F64)
            case meaning.Ref(name=name, age=age) if (name, age) in self.plan.through:
                return self._scaled(name, age)
            case meaning.Ref() if is_array(expr):
                return self._element(expr, self.near)
            case meaning.Apply(op="repeat"):
                name = self.namer.numbered("around")
                self.body.append(Let(name, self._loop(expr), expr.span))
                return Local(name, Type.F64)
            case meaning.Apply() if expr in self.plan.operands:
                return self._operand(expr)
            case meaning.Apply(op=op, args=args) if in_stage(expr) or expr in self.plan.scaled:
                known = OPERATORS.get(op)
                is_condition = known is not None and known.gives is meaning.Kind.BOOL
                return Op(op, tuple(map(self._whole, args)), Type.BOOL if is_condition else Type.F64)
            case _ if expr.shape <= Shape.TENSOR:
                return self._element(expr, self.near)
            case _:
                return self._operand(expr)

    def _scaled(self, name: str, age: Age) -> Expr:
        local = Local(self.names[name, age], Type.F64)
        if (name, age) not in self.bound:
            self.bound.add((name, age))
            self.body.append(Let(local.name, self._whole_args(self.plan.through[name, age])))
        return local

    def _whole_args(self, expr: meaning.Apply) -> Expr:
        return Op(expr.op, tuple(map(self._whole, expr.args)), Type.F64)

    def _operand(self, expr: meaning.Expr) -> Expr:
        buffer = self.operands[expr]
        return Local(self._loaded(buffer, buffer.removesuffix("_operand")), Type.F64)

    def _loop(self, expr: meaning.Apply) -> Expr:
        count, bound, new = loop_parts(expr)
        args: list[Expr] = [self._whole(count)]
        for ref, value in bound:
            lowered = self._whole(value)
            if (ref.name, Age.NOW) not in self.names:  # loops come one after the other
                self._named(ref.name, Age.NOW, ref.name)
            name = self.names[ref.name, Age.NOW]
            args += [Local(name, Type.F64), lowered]
        return Op(REPEAT, (*args, self._whole(new)), Type.F64)
