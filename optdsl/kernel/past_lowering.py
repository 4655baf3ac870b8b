"""A stage of loops over what is remembered: between two passes, on the coefficients of their vectors.

In: what `Lowering` takes, and the number of the stage. Out: a kernel with `Loop.PAST`. Its vectors are sums
of known ones: what states remember (`Load` of a state, an `entry` of it for each k) and what the pass before
has laid out. So it computes with their coefficients, in float64 on the host, and with products of the known
ones, which the runtime makes in one pass for all of them; what passes read of it is added up in another.
Order is the author's. NOT done: elements, which are the runtime's (`runtime.past`).
"""

from dataclasses import replace
from fractions import Fraction

from optdsl.diagnostics import InternalError
from optdsl.kernel import ir
from optdsl.kernel.ir import Const, Expr, Kernel, Let, Load, Local, Loop, Op, Phase, Precision, Store, Type
from optdsl.kernel.lowering import Lowering
from optdsl.language import optimizer as meaning
from optdsl.language.history import ENTRY, PRODUCTS, ROUND, SWEEP, parts_of_sweep, reads_loop
from optdsl.language.operators import OPERATORS
from optdsl.language.optimizer import Age, Assign, Optimizer, Role, Shape
from optdsl.language.stages import Plan


class PastLowering(Lowering):
    """The stage of that number, behind the pass of the same number: it knows all that the pass has summed."""

    def __init__(self, optimizer: Optimizer, precision: Precision, plan: Plan, number: int) -> None:
        super().__init__(optimizer, Precision("accurate", precision.storage), plan, number + 1)
        self.stage = number
        self.near = ""  # what is being made
        self.past = {state.name for state in optimizer.states if state.shape is Shape.PAST}

    def recursion(self) -> Kernel:
        stores: list[ir.Stmt] = []
        for line in self.optimizer.lines:
            self.near, key = line.target.name, (line.target.name, line.target.age)
            if self.plan.lines.get(key) == self.stage:
                self.body.append(Let(self.names[key], self._loop(line), line.span))
                if key in self.made:
                    stores.append(Store(self.made[key], Local(self.names[key], Type.F64)))
            elif line.target.shape <= Shape.TENSOR:
                self._if_known(line)
        self.scalar_updates = self.scalar_states
        written = frozenset(stmt.buffer for stmt in stores if isinstance(stmt, Store))
        kernel = self._kernel(f"past{self.stage}", [], written)
        (phase,) = kernel.phases
        whole = (Phase(kernel.name, (*phase.body, *stores)),)
        return replace(kernel, phases=whole, loop=Loop.PAST)

    def _loop(self, line: Assign) -> Expr:
        assert isinstance(line.value, meaning.Apply)
        parts = parts_of_sweep(line.value)
        args = [self._value(parts.first), self._value(parts.last), self._bind(parts.count)]
        args += [self._bind(parts.around), self._value(parts.start)]
        for target, value in parts.bound:
            lowered = self._value(value)
            named = target.args[0] if isinstance(target, meaning.Apply) else target
            assert isinstance(named, meaning.Ref)
            self._bind(named)
            args += [self._value(target), lowered]
        return Op(SWEEP, (*args, self._value(parts.new)), Type.F64)

    def _bind(self, ref: meaning.Ref) -> Local:
        if (ref.name, Age.NOW) not in self.names:  # loops come one after the other
            self._named(ref.name, Age.NOW, ref.name)
        return Local(self.names[ref.name, Age.NOW], Type.F64)

    def _value(self, expr: meaning.Expr) -> Expr:
        """A vector, or a number."""
        match expr:
            case meaning.Ref(role=Role.STATE, name=name, age=Age.NEW) if name in self.past:
                return self._entry(name, Const(Fraction(0), Type.F64))
            case meaning.Apply(op="entry", args=(meaning.Ref(name=name), count)):
                return self._entry(name, self._value(count))
            case _ if expr in self.plan.operands:
                buffer = self.operands[expr]
                return Local(self._loaded(buffer, buffer.removesuffix("_operand")), Type.F64)
            case meaning.Ref(role=Role.LOOP, name=name):
                return Local(self.names[name, Age.NOW], Type.F64)
            case meaning.Ref(name=name, age=age) if self.plan.lines.get((name, age)) == self.stage:
                return Local(self.names[name, age], Type.F64)
            case _ if expr.shape <= Shape.TENSOR and not reads_loop(expr):
                return self._element(expr, self.near)
            case meaning.Apply(op=op, args=args):
                lowered = tuple(map(self._value, args))
                if op == ROUND:
                    return Op(ROUND, lowered, Type.F64)
                if op in PRODUCTS:
                    return Op(PRODUCTS[op], lowered, Type.F64)
                is_condition = OPERATORS[op].gives is meaning.Kind.BOOL
                return Op(op, lowered, Type.BOOL if is_condition else Type.F64)
        raise InternalError(f"a loop over what is remembered has no {expr}")

    def _entry(self, state: str, count: Expr) -> Expr:
        return Op(ENTRY, (Load(state, self.precision.storage), count), Type.F64)
