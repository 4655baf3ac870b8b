"""Compositions: parts put together into one plain `Optimizer`, before anything is checked or compiled.

    clip_by_value(1) | adamw(lr = cosine(3e-4, 1000)) | decoupled_decay | lookahead

A transform left of the optimizer maps the gradient: what follows reads its `out` as g[t]. One to the right
maps the step, theta[t] - theta[t-1]. A wrapper is around everything to its left; its g[t] is the gradient
as it is given. A schedule's `out` is the value of the hyperparameter that it stands for.

The optimizer keeps its names and the framework's names for them. Every other part keeps those of its names
that are free, in the order of the composition, and gets its own name in front of the others
(`clip_by_value_limit`); frameworks see these names as they are. Arguments replace defaults.

A step is given what any part is given, and there are the views of all parts, the outermost part's first.

In: the syntax of a composition and the meanings of its parts. Out: an `Optimizer`, or None with everything
that is wrong in the `Report`. Nothing is simplified: lines stay what they were, in their order.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from optdsl.diagnostics import Label, Report, Span
from optdsl.diagnostics import catalogue_parts as problem
from optdsl.diagnostics.catalogue import NotYet
from optdsl.language import syntax
from optdsl.language.arguments import Find, Given, Meaning, Scheduled, read_arguments
from optdsl.language.channels import refuse_mixed
from optdsl.language.inherited import inherited
from optdsl.language.inputs import SEED, draw_name, drawn
from optdsl.language.objective import VALUE, Objective
from optdsl.language.optimizer import (
    Age,
    Apply,
    Assign,
    Expr,
    Flag,
    Hyper,
    Inherited,
    Kind,
    Optimizer,
    Output,
    Ref,
    Role,
    Shape,
    State,
    references,
    settled,
)
from optdsl.language.parts import Part
from optdsl.language.rename import Names, map_line, map_refs, names_of, renamed

THETA = Ref(Role.THETA, "theta", Age.OLD, Shape.ELEMENT)
NEW_THETA = Ref(Role.THETA, "theta", Age.NEW, Shape.ELEMENT)
GRADIENT = Ref(Role.GRAD, "g", shape=Shape.ELEMENT)
MAX_PARTS, MAX_LINES = 32, 500
_Placed = tuple[syntax.Stage, Meaning]


def compose(composition: syntax.Composition, header: str, find: Find, report: Report) -> Optimizer | None:
    """The composition as an optimizer."""
    if len(composition.stages) > MAX_PARTS:
        extra = composition.stages[MAX_PARTS]
        report.add(problem.TooManyParts(span=_head(extra), name=composition.name, limit=MAX_PARTS))
        return None
    found = [(stage, find(stage.name, _head(stage))) for stage in composition.stages]
    known = [(stage, part) for stage, part in found if part is not None]
    main = _in_order(composition, known, complete=len(known) == len(found), report=report)
    if main is None or report.has_errors:
        return None
    return _Composing(composition, known, main, find, report).optimizer(header)


def _head(stage: syntax.Stage) -> Span:
    return Span(stage.span.start, stage.span.start + len(stage.name))


def _in_order(
    composition: syntax.Composition, known: list[_Placed], *, complete: bool, report: Report
) -> int | None:
    """Where the optimizer stands; what stands in a wrong place is reported."""
    main: int | None = None

    def wrong(stage: syntax.Stage, reason: str, here: str, choice: str) -> None:
        report.add(problem.WrongPlace(span=_head(stage), reason=reason, here=here, choice=choice))

    for place, (stage, part) in enumerate(known):
        name = stage.name
        match part:
            case Objective():
                wrong(stage, f"`{name}` is an objective: it is minimised, and no part of an optimizer",
                      "not a part", "leave it out")  # fmt: skip
            case Optimizer() if main is not None:
                first = known[main][0].name
                wrong(stage, f"`{name}` is a second optimizer, after `{first}`", "one optimizer is enough",
                      "leave one of the two out")  # fmt: skip
            case Optimizer():
                main = place
            case Part(kind=syntax.Kind.SCHEDULE):
                wrong(stage, f"`{name}` is a schedule: it stands in the place of a number",
                      "a transform, an optimizer or a wrapper stands here",
                      f"give it to a part: `adamw(lr = {name}(...))`")  # fmt: skip
            case Part(kind=syntax.Kind.WRAPPER) if main is None and complete:
                wrong(stage, f"`{name}` is a wrapper: it is around what stands left of it",
                      "no optimizer stands left of it", f"write it last: `... | {name}`")  # fmt: skip
    if main is None and complete and not report.has_errors:
        wrong(composition.stages[-1], f"`{composition.name}` has no optimizer", "and after this?",
              f"add one: `... {composition.stages[-1].name} | adamw`")  # fmt: skip
    return main


class _Composing:
    """One composition: what its parts bring along is gathered and renamed, their lines are put in order."""

    def __init__(
        self, composition: syntax.Composition, stages: list[_Placed], main: int, find: Find, report: Report
    ) -> None:
        self.composition, self.stages, self.main = composition, stages, main
        self.find, self.report = find, report
        optimizer = stages[main][1]
        assert isinstance(optimizer, Optimizer)
        aliased: tuple[Hyper | Flag, ...] = (*optimizer.hypers, *optimizer.flags)
        options = (each.alias.name for each in aliased if each.alias)
        self.given = self._inputs()
        keys = (state.alias for state in optimizer.states if state.alias)
        self.names = Names((*names_of(optimizer), *options, *keys, *self.given, "step"))
        self.hypers: list[Hyper] = []
        self.flags: list[Flag] = []
        self.states: list[State] = []
        self.outputs: list[Output] = []
        self.inherited: list[Inherited] = []
        self.draws: list[str] = []
        self.seed: Hyper | None = None  # one for all
        self.seed_span: Span | None = None  # where it was said, other than by default
        self.scheduled: list[Assign] = []  # these come first: they need nothing but hypers and t

    def optimizer(self, header: str) -> Optimizer | None:
        stage, optimizer = self.stages[self.main]
        assert isinstance(optimizer, Optimizer)
        core = self._brought(optimizer, stage.name, stage.arguments, {})
        lines: list[Assign] = []
        given: Ref = GRADIENT
        for stage, part in self.stages[: self.main]:
            assert isinstance(part, Part)
            names = self._fresh(part, stage.name)
            brought = self._brought(part.stand_in, stage.name, stage.arguments, names)
            lines += _with_gradient(brought.lines[:-1], given)
            given = replace(GRADIENT, role=Role.VALUE, name=names[VALUE])
        lines += _with_gradient(core.lines, given)
        for stage, part in self.stages[self.main + 1 :]:
            assert isinstance(part, Part)
            names = self._fresh(part, stage.name)
            brought = self._brought(part.stand_in, stage.name, stage.arguments, names)
            if part.kind is syntax.Kind.WRAPPER:
                around = [line for line in brought.lines if line.target.name != names[part.inner]]
                before = len(brought.query_lines)  # the gradient is taken between these and the others
                lines = [*around[:before], *_kept_as(names[part.inner], lines), *around[before:]]
                if brought.query is not None:
                    if core.query is not None:
                        self._taken_twice(stage)
                    core = replace(core, query=brought.query, query_lines=brought.query_lines)
            else:
                lines = self._mapped_step(lines, brought, names[VALUE], stage)
        if len(lines) + len(self.scheduled) > MAX_LINES:
            span, name = self.composition.name_span, self.composition.name
            self.report.add(problem.TooManyParts(span=span, name=name, limit=MAX_PARTS))
        if self.report.has_errors:
            return None
        whole = replace(
            core,
            name=self.composition.name,
            doc=header or self._text(),
            hypers=(*self.hypers, *((self.seed,) if self.seed else ())),
            flags=tuple(self.flags),
            states=tuple(self.states),
            inputs=(*self.given, *self.draws),
            query_lines=(*self.scheduled, *core.query_lines) if core.query is not None else (),
            lines=(*self.scheduled, *lines),
            claims=self.composition.claims,
            outputs=tuple(self.outputs),
            source=self.report.source,
            span=self.composition.name_span,
            parts=tuple(stage.name for stage, _ in self.stages),
            inherited=tuple(self.inherited),
        )
        refuse_mixed(whole, self.report, _head(self.stages[-1][0]))
        return whole

    def _seeded(self, seed: Hyper, arguments: tuple[syntax.Argument, ...], *, told: bool) -> None:
        """The seed of all parts is that of the one that says one."""
        if not told and not seed.default:
            self.seed = self.seed or seed
            return
        spans = [each.span for each in arguments if each.name == SEED] or [each.span for each in arguments]
        span = spans[-1] if spans else self.composition.name_span
        if self.seed is not None and self.seed_span is not None and self.seed.default != seed.default:
            first = Label(self.seed_span, f"{self.seed.default} here")
            self.report.add(problem.TwoSeeds(span=span, also=(first,), seed=str(seed.default)))
        self.seed, self.seed_span = seed, span

    def _taken_twice(self, stage: syntax.Stage) -> None:
        what = "a second part that takes the gradient elsewhere"
        self.report.add(NotYet(span=_head(stage), what=what))

    def _text(self) -> str:
        first, last = self.composition.stages[0], self.composition.stages[-1]
        return self.report.source.slice(first.span | last.span)

    # --- what a part brings along ---

    def _inputs(self) -> tuple[str, ...]:
        """What a step is given: these names are the same everywhere, so nothing else can have one."""
        found: dict[str, None] = {}
        for stage, part in self.stages:
            declared = part.stand_in if isinstance(part, Part) else part
            assert isinstance(declared, Optimizer)
            found |= dict.fromkeys(name for name in declared.inputs if drawn(name) is None)
            main = self.stages[self.main][1]
            assert isinstance(main, Optimizer)
            for name in declared.inputs:
                if name in names_of(main):
                    what = f"the input `{name}` of a part beside a `{name}` of `{main.name}`"
                    self.report.add(NotYet(span=_head(stage), what=what))
        return tuple(found)

    def _fresh(self, part: Part, name: str) -> dict[str, str]:
        """New names for what is the part's own; ranks and the seed are the same in all parts."""
        same = {SEED, *(flag.name for flag in part.stand_in.flags if flag.rank is not None)}
        return {
            each: each if each in same else self.names.fresh(each, name) for each in names_of(part.stand_in)
        }

    def _brought(
        self,
        optimizer: Optimizer,
        name: str,
        arguments: tuple[syntax.Argument, ...],
        names: Mapping[str, str],
    ) -> Optimizer:
        """The part under its new names, with the arguments' defaults; its declarations are taken over."""
        given = read_arguments(name, arguments, optimizer.hypers, optimizer.flags, self.find, self.report)
        for state in optimizer.states:
            self._needs_numbers(f"the state `{state.name}` begins at", state.initial, given)
        for output in optimizer.outputs:
            self._needs_numbers(f"the output `{output.name}` is made of", output.value, given)
        for hyper, schedule in given.schedules.items():
            self._schedule(schedule, names.get(hyper, hyper))
        hypers = (
            replace(each, default=given.numbers.get(each.name, each.default)) for each in optimizer.hypers
        )
        switches = settled(optimizer.flags, given.switches)
        flags = (replace(each, default=switches[each.name]) for each in optimizer.flags)
        found = self._drawn_anew(replace(optimizer, hypers=tuple(hypers), flags=tuple(flags)))
        found = renamed(found, names)
        if names:  # only the optimizer keeps what frameworks call its own
            found = replace(
                found,
                hypers=tuple(replace(each, alias=None) for each in found.hypers),
                flags=tuple(replace(each, alias=None) for each in found.flags),
                states=tuple(replace(each, alias=None) for each in found.states),
            )
        self.inherited += inherited(optimizer, name, names, given.schedules, is_core=not names)
        values = {names.get(hyper, hyper) for hyper in given.schedules}
        for each in found.hypers:
            if each.name == SEED:
                self._seeded(each, arguments, told=SEED in given.numbers)
            elif each.name not in values:
                self.hypers.append(each)
        self.flags += (flag for flag in found.flags if flag.rank is None or flag not in self.flags)
        self.states += found.states
        self.outputs[:0] = found.outputs

        def value(ref: Ref) -> Ref:
            scheduled = ref.role is Role.HYPER and ref.name in values
            return replace(ref, role=Role.VALUE) if scheduled else ref

        return replace(
            found,
            query=map_refs(found.query, value) if found.query is not None else None,
            query_lines=tuple(map_line(line, value) for line in found.query_lines),
            lines=tuple(map_line(line, value) for line in found.lines),
        )

    def _drawn_anew(self, optimizer: Optimizer) -> Optimizer:
        """With what it draws numbered behind what the parts before draw."""
        before = len(self.draws)
        names: dict[str, str] = {}
        for name in optimizer.inputs:
            if (draw := drawn(name)) is not None:
                names[name] = draw_name(draw[0], before + len(names))
        self.draws += names.values()

        def ref(old: Ref) -> Ref:
            return replace(old, name=names[old.name]) if old.name in names else old

        return replace(
            optimizer,
            inputs=tuple(names.get(name, name) for name in optimizer.inputs),
            query=map_refs(optimizer.query, ref) if optimizer.query is not None else None,
            query_lines=tuple(map_line(line, ref) for line in optimizer.query_lines),
            lines=tuple(map_line(line, ref) for line in optimizer.lines),
        )

    def _needs_numbers(self, what: str, expr: Expr, given: Given) -> None:
        """Outside of a step there is no t, so nothing that a schedule says."""
        for ref in sorted(references(expr), key=lambda each: each.name):
            if ref.role is Role.HYPER and ref.name in given.schedules:
                self.report.add(
                    problem.BadArgument(
                        span=given.schedules[ref.name].span,
                        reason=f"{what} `{ref.name}`, which must be a number",
                        here="changes with t",
                        choice="give a number",
                    )
                )

    def _schedule(self, schedule: Scheduled, target: str) -> None:
        """The schedule's lines, the last of which sets `target`."""
        stand_in = schedule.part.stand_in
        others = [each for each in names_of(stand_in) if each != VALUE]
        names = {each: self.names.fresh(each, schedule.name) for each in others} | {VALUE: target}
        brought = self._brought(stand_in, schedule.name, schedule.arguments, names)
        self.scheduled += brought.lines[:-1]

    # --- transforms of the step ---

    def _mapped_step(
        self, lines: list[Assign], brought: Optimizer, out: str, stage: syntax.Stage
    ) -> list[Assign]:
        step = replace(GRADIENT, role=Role.VALUE, name=self.names.fresh("step_taken", stage.name))
        change = _change(lines)
        if change is not None:
            lines = [replace(each, target=step, value=change) if _moves(each) else each for each in lines]
        else:
            moved = self.names.fresh("theta_moved", stage.name)
            lines = _kept_as(moved, lines)
            value = Apply("sub", (replace(step, name=moved), THETA), Shape.ELEMENT, Kind.REAL, stage.span)
            lines.append(Assign(step, value, span=stage.span))
        lines += _with_gradient(brought.lines[:-1], step)
        new = Apply("add", (THETA, replace(step, name=out)), Shape.ELEMENT, Kind.REAL, stage.span)
        return [*lines, Assign(NEW_THETA, new, span=stage.span)]


def _moves(line: Assign) -> bool:
    return line.target.role is Role.THETA


def _with_gradient(lines: Iterable[Assign], given: Ref) -> list[Assign]:
    return [map_line(line, _instead(GRADIENT, given)) for line in lines]


def _instead(old: Ref, new: Ref) -> Callable[[Ref], Expr]:
    return lambda ref: replace(new, span=ref.span) if (ref.role, ref.age) == (old.role, old.age) else ref


def _kept_as(name: str, lines: list[Assign]) -> list[Assign]:
    """The lines with a value in the place of the new parameters."""
    value = replace(GRADIENT, role=Role.VALUE, name=name)
    found = [map_line(line, _instead(NEW_THETA, value)) for line in lines]
    return [replace(line, target=value) if _moves(line) else line for line in found]


def _change(lines: list[Assign]) -> Expr | None:
    """What is added to the parameters, where the line says it so and nothing else reads the new ones."""
    (last,) = (line for line in lines if _moves(line))
    parts = (part for line in lines for part in (line.value, line.first) if part is not None)
    moved = (Role.THETA, Age.NEW)
    if last.first is not None or any((r.role, r.age) == moved for part in parts for r in references(part)):
        return None
    match last.value:
        case Apply(op="sub", args=(Ref(role=Role.THETA, age=Age.OLD), change), span=span):
            return Apply("neg", (change,), Shape.ELEMENT, Kind.REAL, span)
        case Apply(op="add", args=(Ref(role=Role.THETA, age=Age.OLD), change)):
            return change
        case _:
            return None
