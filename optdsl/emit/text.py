"""The parts of a generated module that are not kernels: header, table, class."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from optdsl import __version__
from optdsl.emit.options import Option, number, option_name, options
from optdsl.emit.past_text import PastFacts, recursion_text, ring_text
from optdsl.emit.stored_text import DTYPES, initial_text, more_rows
from optdsl.kernel.ir import PARAMETER, Precision, Type
from optdsl.kernel.stage_facts import Ring, Whole, length_of
from optdsl.kernel.stored import Stored
from optdsl.kernel.storing import PLAIN, Storing
from optdsl.language.inputs import SEED, asked_for, drawn, input_of, inputs_by_shape, made
from optdsl.language.matrices import loop_counts
from optdsl.language.optimizer import (
    Flag,
    Hyper,
    Optimizer,
    Role,
    Shape,
    State,
    references,
)
from optdsl.language.reductions import by_channel
from optdsl.language.stages import Total
from optdsl.runtime.layout import FIRST_GRADIENT, OPTAX_INPUTS


def header_comment(optimizer: Optimizer, framework: str, mode: str, storing: Storing = PLAIN) -> str:
    """What this file is, how to make it again, and the spec's own lines."""
    source = optimizer.source
    name = printable(source.name) if source else f"{optimizer.name.lower()}.opt"
    precision = {
        "accurate": "accurate (computes in float64, stores in the parameter's type)",
        "fast": "fast (computes and stores in the parameter's type)",
    }[mode]
    lines = [
        f"{optimizer.name} for {framework}, compiled by optdsl {__version__} from {name}.",
        "To change it, change the spec and compile it again:",
        f"    optdsl compile {shlex.quote(name)} -o {optimizer.name.lower()}.py --for {framework}"
        + (f" --mode {mode}" if mode != "accurate" else "")
        + "".join(f" {option}" for option in storing.options),
        "",
        f"precision: {precision}",
        *storing.words(),
        "",
        *(f"  {printable(line)}".rstrip() for line in (source.text.rstrip().split("\n") if source else ())),
    ]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text.expandtabs(4))


Pairs = tuple[tuple[str, str], ...]  # (prologue, kernel) for each dtype of parameters


@dataclass(frozen=True)
class ReductionFacts:
    """One pass that reduces: its functions, and which totals (with their columns) it makes.

    `columns`: the buffers of what it sums for each column, and whether it is the largest instead.
    """

    functions: Pairs | None
    scalar_count: int
    totals: tuple[tuple[int, Total], ...]
    columns: tuple[tuple[int, bool], ...]
    matrices: "MatrixFacts | None" = None
    sums: bool = True
    recursion: PastFacts | None = None


@dataclass(frozen=True)
class MatrixFacts:
    """A stage of matrices: its functions, what it takes and makes for each dtype, and which totals."""

    functions: Pairs
    scalar_count: int
    reads: tuple[list[Whole], ...]
    writes: tuple[list[Whole], ...]
    totals: tuple[tuple[int, Total], ...]


@dataclass(frozen=True)
class VectorFacts:
    """What writes the states with a value for each row or column."""

    functions: Pairs
    scalar_count: int
    per: str


@dataclass(frozen=True)
class VariantFacts:
    """What the table says about one setting of the flags; the pairs are names of functions."""

    optimizer: Optimizer  # specialised
    scalar_count: int
    update: Pairs
    query: "VariantFacts | None"  # of the same optimizer: what moves theta to where the gradient is taken
    reductions: tuple[ReductionFacts, ...]
    views: dict[str, Pairs]  # by the output's name
    vectors: tuple[VectorFacts, ...] = ()
    reduced: tuple[str, ...] = ()
    kept: tuple[list[tuple[int, int, str, int]], ...] = ()
    rings: tuple[list[Ring], ...] = ()
    only_matrices: bool = False
    below: "VariantFacts | None" = None  # for tensors of fewer dimensions than `rank`
    rank: int = 0


def layout_text(
    optimizer: Optimizer,
    variants: Iterable[tuple[tuple[bool, ...], VariantFacts]],
    precisions: Mapping[str, Precision],
) -> str:
    lines = ["LAYOUT = Layout(", f'    name="{optimizer.name}",']
    counting = loop_counts(optimizer)
    rows = [hyper_row(hyper, counts=hyper.name in counting) for hyper in optimizer.hypers]
    lines += tuple_lines("hypers", rows, 1)
    lines += tuple_lines("flags", [flag_row(flag) for flag in optimizer.flags if flag.rank is None], 1)
    if optimizer.inputs:
        lines += tuple_lines("inputs", list(map(input_row, optimizer.inputs)), 1)
    lines.append("    variants={")
    for setting, facts in variants:
        key = f"({', '.join(map(str, setting))}{',' if len(setting) == 1 else ''})"
        lines += _variant(f"        {key}: ", facts, precisions)
    return "\n".join([*lines, "    },", ")"])


def tuple_lines(name: str, items: list[str], depth: int) -> list[str]:
    pad = "    " * depth
    if not items:
        return [f"{pad}{name}=(),"]
    return [f"{pad}{name}=(", *(f"{pad}    {item}," for item in items), f"{pad}),"]


def hyper_row(hyper: Hyper, *, counts: bool = False) -> str:
    domain = hyper.domain
    low = "-math.inf" if domain.low is None else number(domain.low)
    high = "math.inf" if domain.high is None else number(domain.high)
    place = f", index={hyper.alias.index}" if hyper.alias and hyper.alias.index is not None else ""
    option = option_name(hyper.name, hyper.alias)
    default = str(int(hyper.default)) if counts else number(hyper.default)
    return (
        f'Hyper("{hyper.name}", {default}, {low}, {high}, {domain.low_closed}, '
        f'{domain.high_closed}, option="{option}"{place})'
    )


def flag_row(flag: Flag) -> str:
    return f'Flag("{flag.name}", {flag.default}, option="{option_name(flag.name, flag.alias)}")'


def input_row(name: str) -> str:
    given = ", made=True" if made(name) else ""
    return f'Input("{name}", {input_of(name).shape is Shape.ELEMENT}{given})'


def state_row(state: State, optimizer: Optimizer | None = None, kept: Type | None = None) -> str:
    """`kept`: the type that it is kept in, where that is not the parameter's."""
    whole = state.shape > Shape.TENSOR and state.shape is not Shape.ELEMENT
    per = f', per="{state.shape.name.lower()}"' if whole else ""
    if state.shape is Shape.PAST and optimizer is not None:
        per += f", length=Length{length_of(optimizer, state.name)}"
    dtype = f', dtype="{DTYPES[kept]}"' if kept is not None else ""
    return (
        f'State("{state.name}", key="{state.alias or state.name}", initial={initial_text(state)}{per}{dtype})'
    )


def draw_rows(optimizer: Optimizer, buffers: tuple[str, ...]) -> list[str]:
    found = ((name, drawn(name)) for name in optimizer.inputs)
    return [
        f'Draw({buffers.index(name)}, "{draw[0]}", {draw[1]})' for name, draw in found if draw is not None
    ]


def seed_column(optimizer: Optimizer) -> int:
    return [hyper.name for hyper in optimizer.hypers].index(SEED)


def _variant(head: str, facts: VariantFacts, precisions: Mapping[str, Precision]) -> list[str]:
    optimizer = facts.optimizer
    stored = Stored(optimizer, [*precisions.values()][-1])  # of bfloat16, if there are any
    types = dict(stored.precision.kept)
    element = [state for state in optimizer.states if state.shape > Shape.TENSOR]
    scalar = [state for state in optimizer.states if state.shape <= Shape.TENSOR]
    reads_time, has_first = _time_use(optimizer)
    _, arrays = inputs_by_shape(optimizer.inputs)
    named = ("theta", "g", *(state.name for state in element), *stored.columns(arrays))
    buffers = ", ".join(f'"{name}"' for name in named)
    lines = [f"{head}Variant(", f"            buffers=({buffers}),"]
    rows = [state_row(state, optimizer, types.get(state.name)) for state in element]
    lines += tuple_lines("states", rows + more_rows(optimizer, stored), 3)
    lines += tuple_lines("scalar_states", [state_row(state) for state in scalar], 3)
    lines += [
        f"            scalar_count={facts.scalar_count},",
        f"            first_step_only={has_first and not reads_time and not stored.dithers},",
        f"            uses_time={reads_time or has_first or stored.dithers},",
    ]
    for dtype, functions in zip(precisions, facts.update, strict=True):
        lines.append(f"            {dtype}={_pair(functions)},")
    for place, storage in enumerate(precisions if facts.reductions else ()):
        lines.append(f"            reductions_{storage}=(")
        for reduction in facts.reductions:
            lines.append(f"                {_reduction(reduction, place)},")
        lines.append("            ),")
    if facts.views:
        views = (f'View("{name}", {", ".join(map(_pair, pairs))})' for name, pairs in facts.views.items())
        lines += tuple_lines("views", list(views), 3)
    if facts.reduced:
        lines.append(f"            reduced=({', '.join(json.dumps(per) for per in facts.reduced)},),")
    for place, storage in enumerate(("float32", "float64") if facts.vectors else ()):
        lines.append(f"            vectors_{storage}=(")
        for vector in facts.vectors:
            pair = _pair(vector.functions[place])
            lines.append(f'                Vector({pair}, {vector.scalar_count}, "{vector.per}"),')
        lines.append("            ),")
    if by_channel(optimizer.lines):
        lines.append("            by_channel=True,")
    if draws := draw_rows(optimizer, named):
        lines += tuple_lines("draws", draws, 3)
        lines.append(f"            seed={seed_column(optimizer)},")
    if stored.dithers:
        lines.append(f"            numbered={named.index(PARAMETER)},")
    if facts.query is not None:
        lines += [f"    {line}" for line in _variant("        query=", facts.query, precisions)]
    for place, storage in enumerate(("float32", "float64") if any(facts.kept) else ()):
        kept = (f'Kept({new}, {old}, "{per}", {width})' for new, old, per, width in facts.kept[place])
        lines += tuple_lines(f"kept_{storage}", list(kept), 3)
    for place, storage in enumerate(("float32", "float64") if any(facts.rings) else ()):
        lines += tuple_lines(f"rings_{storage}", list(map(ring_text, facts.rings[place])), 3)
    if facts.only_matrices:
        lines.append("            only_matrices=True,")
    if facts.below is not None:
        lines.append(f"            rank={facts.rank},")
        lines += [f"    {line}" for line in _variant("        below=", facts.below, precisions)]
    return [*lines, "        ),"]


def _reduction(facts: ReductionFacts, place: int) -> str:
    pair = _pair(facts.functions[place]) if facts.functions else "None"
    columns = "".join(f"Column({buffer}, {largest}), " for buffer, largest in facts.columns)
    columns = f", ({columns.rstrip()})" if columns else ""
    more = ""
    if facts.matrices is not None:
        found = facts.matrices
        reads, writes = (_wholes(each[place]) for each in (found.reads, found.writes))
        more += (
            f", matrices=Matrices({_pair(found.functions[place])}, {found.scalar_count}, {reads}, {writes}"
        )
        more += f", {_totals(found.totals)})" if found.totals else ")"
    if not facts.sums:
        more += ", sums=False"
    if facts.recursion is not None:
        more += f", recursion={recursion_text(facts.recursion, place)}"
    return f"Reduction({pair}, {facts.scalar_count}, {_totals(facts.totals)}{columns}{more})"


def _totals(totals: tuple[tuple[int, Total], ...]) -> str:
    texts = [f"Total({column}, {json.dumps(total.key)}, {total.over_all})" for column, total in totals]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def _wholes(found: Iterable[Whole]) -> str:
    texts = [f'Whole({buffer}, "{per}", {width})' for buffer, per, width in found]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def _pair(pair: tuple[str, str]) -> str:
    return f"({pair[0]}, {pair[1]})"


def _time_use(optimizer: Optimizer) -> tuple[bool, bool]:
    """Whether t is read, and whether a line has a case for the first step."""
    parts = [part for line in optimizer.lines for part in (line.value, line.first) if part is not None]
    if optimizer.query is not None:
        parts.append(optimizer.query)
    reads = any(ref.role is Role.TIME for part in parts for ref in references(part))
    reads |= any(drawn(name) for name in optimizer.inputs)
    reads |= any(state.shape is Shape.PAST for state in optimizer.states)
    return reads, any(line.first is not None for line in optimizer.lines)


def class_text(
    optimizer: Optimizer, base: str, *, comments: bool, on_gpu: bool = False, kept: Sequence[str] = ()
) -> str:
    """`kept`: how states and parameters are kept, where that is not as usual."""
    arguments = options(optimizer)
    homes = "CPU or on NVIDIA's GPUs" if on_gpu else "CPU"
    doc = [f'    """{optimizer.name}, fused."""']
    if comments:
        doc = docstring(optimizer, arguments, base, homes, kept)
    signature = [f"        {option.name}: {option.annotation} = {option.default}," for option in arguments]
    pairs = [f'"{name}": {name}' for name in (*(option.name for option in arguments), "maximize")]
    torch = base == "FusedOptimizer"
    if torch:
        pairs.append("**torch_options")
    return "\n".join(
        [
            f"class {optimizer.name}({base}):",
            *doc,
            "",
            "    layout = LAYOUT",
            "",
            "    def __init__(",
            "        self,",
            "        params: Any,",
            *signature,
            "        *,",
            "        maximize: bool = False,",
            *(["        **torch_options: Any,"] if torch else []),
            "    ) -> None:",
            f"        super().__init__(params, {{{', '.join(pairs)}}})",
        ]
    )


def docstring(
    optimizer: Optimizer, arguments: list[Option], base: str, homes: str = "CPU", kept: Sequence[str] = ()
) -> list[str]:
    title = optimizer.doc.split("\n\n")[0].split("\n") if optimizer.doc else [optimizer.name]
    text = [*title, ""]
    match base:
        case "FusedOptimizer":
            text += [
                "params is what every torch.optim.Optimizer takes: floating-point or complex tensors on the",
                f"{homes}; those of 16 bits have float32 state.",
                *(f"But {words}." for words in kept),
            ]
        case "ArrayOptimizer":
            text += [
                "params is an array, or a list or dict of arrays, float32 or float64; they change in place."
            ]
        case _:
            text += ["Options are numbers, JAX arrays, or schedules: functions of optax's count."]
    text.append("")
    for option in arguments:
        if option.words:
            default = next(
                each.name for each in optimizer.flags if each.default and each.name in option.words
            )
            words = " or ".join(f'"{word}"' for word in option.words)
            text.append(f'{option.name}: {words}; None is "{default}"')
        elif option.flag:
            text.append(f"{option.name}: switch, {option.default} by default")
        else:
            domains = ", ".join(str(hyper.domain) for hyper in option.hypers)
            text.append(f"{option.name}: in {domains}, {option.default} by default")
    text.append("maximize: whether to climb instead")
    if base == "FusedOptimizer":
        text += [
            "torch_options: foreach, capturable, differentiable, fused, as torch's own classes have them;",
            "    fused=True: a step divides by the scale of a torch.amp.GradScaler, in the kernel",
        ]
    if optimizer.states:
        text += [
            "",
            "State per parameter: "
            + ", ".join(state.alias or state.name for state in optimizer.states)
            + ".",
        ]
    text += _calls(optimizer, base)
    text += ["", "Raises ValueError for a value outside of its domain, before anything changes."]
    escaped = [printable(line).replace("\\", "\\\\").replace('"""', "'''") for line in text]
    return [f'    """{escaped[0]}', *(f"    {line}".rstrip() for line in escaped[1:]), '    """']


def _calls(optimizer: Optimizer, base: str) -> list[str]:
    """What is handed over at every step, and how to see second views."""
    for_optax = base not in ("FusedOptimizer", "ArrayOptimizer")
    text = []
    for name in asked_for(optimizer.inputs):
        call = f"update(..., {OPTAX_INPUTS.get(name, name)}=...)" if for_optax else f"step(..., {name}=...)"
        text.append(f"{call}: {input_of(name).what}")
    if optimizer.query is not None and for_optax:
        first = f", {OPTAX_INPUTS[FIRST_GRADIENT]}=g" if FIRST_GRADIENT in optimizer.inputs else ""
        text.append(f"point = tx.query(state, params{first}): where the gradient is taken; then")
        text.append(f"update(..., at=point{first})" + ", with g the one at params" * bool(first))
    if optimizer.outputs and for_optax:
        names = ", ".join(f'tx.view(state, params, "{output.name}")' for output in optimizer.outputs)
        text.append(f"The parameters to evaluate with: {names}.")
    elif optimizer.outputs:
        names = ", ".join(f'opt.view("{output.name}")' for output in optimizer.outputs)
        text.append(
            f"The parameters to evaluate with: opt.eval(), and opt.train() before the next step; or {names}."
        )
    return ["", *text] if text else []
