"""In which order a step goes: passes over the elements, and stages of whole matrices between them.

In: the lines of an optimizer. Out: a `Plan`. Pass 0, stage 0, pass 1, stage 1, ..., and the update, which
writes. A pass sums (`Total`) and lays out the operands of stages that are made of more than one array
(`Operand`); a stage then has all matrices of a tensor before it. Its results are read by later passes.
Everything is computed as early as it can be. Not done here: how (`kernel`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from optdsl.language.history import ENTRY, is_sweep, leaves, parts_of_sweep, sweeps
from optdsl.language.matrices import COUNTS, in_stage
from optdsl.language.operators import REDUCTIONS
from optdsl.language.optimizer import Age, Apply, Assign, Expr, Number, Ref, Role, Shape, Truth, references

Key = tuple[str, Age]
SUMS_IN_A_PASS = 8  # as `runtime.batch.MAX_SUMS`: what is more waits for the next


@dataclass(frozen=True)
class Total:
    """A sum over elements that a pass makes: `passes` of them come before.

    With `by_stage`, a number that the stage behind this pass makes of a matrix.
    """

    reduction: Apply
    passes: int
    by_stage: bool = False

    @property
    def of_lines(self) -> bool:
        """Whether there is one for each row or column of a tensor."""
        return self.reduction.shape > Shape.TENSOR

    @property
    def over_all(self) -> bool:
        return self.reduction.shape is Shape.GLOBAL

    @property
    def key(self) -> str:
        """The same for the same reduction."""
        return _text(self.reduction)


def _text(expr: Expr) -> str:
    match expr:
        case Apply(op=op, args=args):
            return f"{op}({', '.join(map(_text, args))})"
        case Ref(name=name, age=age):
            return f"{name}{age.value}"
        case Number(value=value):
            return str(value)
        case Truth(value=value):
            return str(value)


class When(NamedTuple):
    """How many passes come before something can be read in a pass, and the first stage that can read it."""

    passes: int
    stage: int


@dataclass
class Plan:
    """`totals`, each once, in the order of the lines.

    operands   what passes lay out for stages: expression to pass
    scaled     products and quotients by a number that stages make themselves, to save a pass
    through    lines that are such products: name to value
    results    matrices that passes read, and numbers of matrices: expression to the stage that makes it
    lines      the lines whose whole value a stage makes: name to stage
    kept       of these, the ones that a later stage reads
    chosen     of these, the ones that are made only where another line chooses them, or that only loops over
               what is remembered read
    passes     how many passes (and stages) come before the update
    stages     the numbers of the stages that do something
    """

    totals: list[Total] = field(default_factory=list)
    operands: dict[Expr, int] = field(default_factory=dict)
    scaled: set[Expr] = field(default_factory=set)
    results: dict[Apply, int] = field(default_factory=dict)
    lines: dict[Key, int] = field(default_factory=dict)
    kept: set[Key] = field(default_factory=set)
    chosen: set[Key] = field(default_factory=set)
    through: dict[Key, Apply] = field(default_factory=dict)
    passes: int = 0
    stages: set[int] = field(default_factory=set)
    counts: bool = False  # whether the number of rows or columns is read

    @property
    def needs_dims(self) -> bool:
        """Whether there are matrices to compute with, or to be counted."""
        return bool(self.stages) or self.counts

    @property
    def by_rows(self) -> bool:
        """Whether passes have to go through the rows of matrices, in the order of a tensor's indices."""
        return self.needs_dims or any(total.of_lines for total in self.totals)


def plan(lines: Iterable[Assign]) -> Plan:
    """The plan for lines without flags; for such with flags, of all of their branches at once."""
    lines = tuple(lines)
    found = _Planner().run(lines)
    stages = [found.lines[line.target.name, line.target.age] for line, _ in sweeps(lines)]
    return _Planner(max(stages)).run(lines) if len(set(stages)) > 1 else found


def newest(leaf: Expr) -> Expr:
    """What a loop over what is remembered needs of this step, to read that."""
    return leaf.args[0] if isinstance(leaf, Apply) and leaf.op == ENTRY else leaf


def is_array(ref: Ref) -> bool:
    """Whether a stage can take it from memory as it is."""
    old = ref.role is Role.GRAD or (ref.role in (Role.THETA, Role.STATE) and ref.age is Age.OLD)
    return old and ref.shape >= Shape.ELEMENT


def _reads(line: Assign) -> Iterator[Key]:
    waiting = [line.value] if line.first is None else [line.value, line.first]
    while waiting:
        match waiting.pop():
            case Ref(name=name, age=age):
                yield name, age
            case Apply(args=args):
                waiting += args
            case _:
                pass


class _Planner:
    def __init__(self, sweeps_from: int = 0) -> None:
        self.plan = Plan()
        self.sweeps_from = sweeps_from  # the first stage for loops over what is remembered
        self.known: dict[Key, When] = {}
        self.totals: dict[Apply, Total] = {}
        self.sums: Counter[int] = Counter()  # of each pass
        self.values: dict[Key, Expr] = {}
        self.uses: Counter[Key] = Counter()

    def run(self, lines: Iterable[Assign]) -> Plan:
        found = self.plan
        roots: list[tuple[Expr, int]] = []
        lines = list(lines)
        self.uses = Counter(key for line in lines for key in _reads(line))
        for line in lines:
            key = (line.target.name, line.target.age)
            if is_sweep(line.value):
                self._sweep(key, line.value)
                continue
            parts = [line.value] if line.first is None else [line.value, line.first]
            if all(map(self._is_staged, parts)) and line.target.shape >= Shape.ELEMENT:
                stage = max(self._in_stage(part) for part in parts)
                found.lines[key] = stage
                found.stages.add(stage)
                roots += ((part, stage) for part in parts)
                self.known[key] = When(stage + 1, stage)
                for part in parts:
                    self._choose(part, stage)
            else:
                whens = [self._read(part) for part in parts]
                self.known[key] = When(max(w.passes for w in whens), max(w.stage for w in whens))
                if line.target.role is Role.VALUE and line.first is None:
                    self.values[key] = line.value
        for root, stage in (*roots, *found.results.items()):
            keys = ((ref.name, ref.age) for ref in references(root) if ref.shape.is_whole)
            found.kept |= {key for key in keys if found.lines.get(key, stage) < stage}
        read = {key for line in lines if not is_sweep(line.value) for key in _reads(line)}
        loops = {(line.target.name, line.target.age) for line, _ in sweeps(lines)}
        found.chosen |= loops - read
        found.totals = list(self.totals.values())
        last = [0, *(total.passes + 1 for total in found.totals), *(stage + 1 for stage in found.stages)]
        found.passes = max(*last, 1) if found.counts else max(last)
        return found

    def _sweep(self, key: Key, loop: Expr) -> None:
        """A loop over what is remembered, in the first stage that has all that it reads; what it reads of
        this step, the pass before it lays out.
        """
        assert isinstance(loop, Apply)
        loops = {name for (name, _), value in self.values.items() if is_sweep(value)}
        parts, stage, vectors = parts_of_sweep(loop), self.sweeps_from, []
        for leaf in leaves(parts, loops):
            if leaf.shape <= Shape.TENSOR:
                stage = max(stage, self._read(leaf).stage)
            elif isinstance(leaf, Ref) and leaf.name in loops:
                stage = max(stage, self.plan.lines[leaf.name, leaf.age])
            else:
                vectors.append(newest(leaf))
                stage = max(stage, self._read(vectors[-1]).passes)
        for vector in vectors:
            self.plan.operands.setdefault(vector, stage)
        self.plan.lines[key] = stage
        self.plan.stages.add(stage)
        self.known[key] = When(stage + 1, stage)
        self.values[key] = loop

    def _is_staged(self, expr: Expr) -> bool:
        """Whether a line that is this alone is made by a stage: so is a choice between two of its values."""
        match expr:
            case Apply("where", (test, x, y)) if test.shape <= Shape.TENSOR and not in_stage(expr):
                return all(map(self._is_staged, (x, y)))
            case Ref(name=name, age=age) if (name, age) in self.plan.lines:
                return True
            case _:
                return in_stage(expr)

    def _choose(self, expr: Expr, stage: int) -> None:
        """What a choice alone reads is made where it is chosen, or not at all."""
        match expr:
            case Apply("where", (test, x, y)) if test.shape <= Shape.TENSOR:
                self._choose(x, stage)
                self._choose(y, stage)
            case Ref(role=Role.VALUE, name=name, age=age) if self.plan.lines.get((name, age)) == stage:
                if self.uses[name, age] == 1:
                    self.plan.chosen.add((name, age))

    def _read(self, expr: Expr) -> When:
        """By a pass, or by a prologue."""
        match expr:
            case Ref(name=name, age=age):
                return self.known.get((name, age), When(0, 0))
            case Apply(op=op, args=args):
                if op in COUNTS:
                    self.plan.counts = True
                    return When(0, 0)
                if in_stage(expr):
                    stage = self._in_stage(expr)
                    self.plan.stages.add(stage)
                    self.plan.results.setdefault(expr, stage)
                    if expr.shape <= Shape.TENSOR:
                        self.totals.setdefault(expr, Total(expr, stage, by_stage=True))
                    return When(stage + 1, stage + 1)
                whens = [self._read(arg) for arg in args]
                passes = max((when.passes for when in whens), default=0)
                if op in REDUCTIONS:
                    if expr not in self.totals:
                        while self.sums[passes] == SUMS_IN_A_PASS:
                            passes += 1
                        self.sums[passes] += 1
                        self.totals[expr] = Total(expr, passes)
                    passes = self.totals[expr].passes
                    return When(passes + 1, passes)
                return When(passes, max((when.stage for when in whens), default=0))
            case _:
                return When(0, 0)

    def _in_stage(self, expr: Expr) -> int:
        """The first stage that has all that it needs."""
        match expr:
            case Ref(role=Role.LOOP) | Number() | Truth():
                return 0
            case Apply(args=args) if in_stage(expr) or self._is_staged(expr):
                return max((self._in_stage(arg) for arg in args), default=0)
            case Ref(name=name, age=age) if (name, age) in self.plan.lines:
                return self.plan.lines[name, age]
            case Ref(name=name, age=age) if (value := self.values.get((name, age))) is not None:
                if isinstance(value, Apply) and self._scales(value):
                    self.plan.through[name, age] = value
                    return max(map(self._in_stage, value.args))
            case Ref() if is_array(expr):
                return 0
        when = self._read(expr)
        if expr.shape <= Shape.TENSOR:
            return when.stage
        if isinstance(expr, Apply) and self._scales(expr):
            self.plan.scaled.add(expr)
            return max(map(self._in_stage, expr.args))
        self.plan.operands.setdefault(expr, when.passes)
        return when.passes

    def _scales(self, expr: Apply) -> bool:
        """Whether the stage itself had better scale: what is scaled is known a pass before the scale."""
        if expr.op not in ("mul", "div") or expr.shape is not Shape.ELEMENT:
            return False
        passes, whens = self._read(expr).passes, [(arg, self._read(arg)) for arg in expr.args]
        return all((w.stage if arg.shape <= Shape.TENSOR else w.passes) < passes for arg, w in whens)
