"""The pipeline, to be read aloud:

    text -> syntax tree -> Optimizer (meaning) -> Kernel IR -> generated source

`meaning` goes as far as the meaning and tells everything that is wrong with the text, and `front` does so
for optimizers, which are what can be compiled; `check` asks what can be proved of the meaning;
`compile_source` goes on to a Python module, `compile_files` to libraries; `stages` does the same and shows
every form on the way. This is the one file that sees all of the compiler, and gives it the texts of
the library; nothing below it prints, exits or reads a file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from optdsl import checks
from optdsl.backend import (
    DEFAULT_GPU_BACKEND,
    Program,
    UnsupportedKernelError,
    get_backend,
    get_file_writer,
)
from optdsl.checks.catalogue import Lookup
from optdsl.checks.findings import findings
from optdsl.diagnostics import Diagnostic, Report, Source
from optdsl.diagnostics.catalogue import NotAnOptimizer
from optdsl.diagnostics.catalogue_files import NoLinker, NotForTarget
from optdsl.diagnostics.catalogue_parts import NotOnItsOwn
from optdsl.emit.module import emit_module
from optdsl.emit.optax_module import emit_optax
from optdsl.files import LIBRARY
from optdsl.kernel.ir import Precision, Type
from optdsl.kernel.lower import lower
from optdsl.kernel.passes import run_passes
from optdsl.kernel.printer import print_kernel
from optdsl.kernel.storing import PLAIN, Storing
from optdsl.language.arguments import Meaning
from optdsl.language.definitions import resolve
from optdsl.language.link import Linked, link, snake
from optdsl.language.objective import Objective
from optdsl.language.optimizer import Optimizer, settled
from optdsl.language.parser import blanked_names, parse
from optdsl.language.parts import Part
from optdsl.language.printer import print_file
from optdsl.language.specialise import specialise
from optdsl.language.syntax import Composition, Kind

Verdicts = tuple[checks.Verdict, ...]

STAGES = ("syntax", "optimizer", "lowered", "kernel", "source")
"""What `optdsl show --stage` can print, in the order of the pipeline."""


EXAMPLES = {
    Kind.TRANSFORM: "{} | adamw",
    Kind.SCHEDULE: "adamw(lr = {})",
    Kind.WRAPPER: "adamw | {}",
}


def kind_of(spec: Meaning) -> str:
    """The word that a definition of this kind begins with."""
    match spec:
        case Part(kind=kind):
            return str(kind)
        case Objective():
            return "objective"
        case _:
            return "optimizer"


def syntax_of(source: Source) -> Linked:
    """The syntax of a spec; a composition's with that of its parts, from the library where they are not
    in the file itself. Raises `OptdslError` where there is none; `driver.meaning` tells everything else.
    """
    report = Report(source)
    file = parse(source, report)
    report.raise_if_errors()
    assert file is not None
    return link(source, file, LIBRARY)


def meaning(source: Source) -> tuple[Meaning, tuple[Diagnostic, ...]]:
    """The meaning of a spec, and warnings about it; they point into the `source` of the meaning.

    Raises `OptdslError` with every error and warning of the text.
    """
    report = Report(source)
    file, spec = parse(source, report), None
    if file is not None and not report.has_errors:
        linked = link(source, file, LIBRARY)
        report = Report(linked.source)
        spec = resolve(linked.file, report, frozenset(), linked.names, LIBRARY)
    elif file is not None and not any(isinstance(each, Composition) for each in file.definitions):
        spec = resolve(file, report, blanked_names(report))
    report.raise_if_errors()
    assert spec is not None, "the front end gave nothing and said nothing"
    return spec, report.diagnostics


def front(source: Source) -> tuple[Optimizer, tuple[Diagnostic, ...]]:
    """`meaning`, for what is to be compiled: raises `OptdslError` for an objective or a part, too."""
    spec, warnings = meaning(source)
    report = Report(spec.source or source)
    match spec:
        case Objective():
            report.add(NotAnOptimizer(span=spec.span, name=spec.name))
        case Part(kind=kind):
            example = EXAMPLES[kind].format(snake(spec.name))
            report.add(NotOnItsOwn(span=spec.span, name=spec.name, kind=str(kind), example=example))
    report.raise_if_errors()
    assert isinstance(spec, Optimizer)
    return spec, warnings


def check(
    source: Source, lookup: Lookup | None = None, *, rates: bool = False
) -> tuple[Meaning, tuple[Diagnostic, ...], Verdicts]:
    """The meaning of a spec, everything to be told about it, and what is proved or refuted.

    `lookup` finds the specs that claims name; `rates` runs estimates, too. Raises `OptdslError` when the
    text itself is wrong; what is refuted is in the diagnostics.
    """
    spec, warnings = meaning(source)
    verdicts = checks.check(spec, lookup, rates=rates).verdicts
    report = Report(spec.source or source)
    composed = isinstance(spec, Optimizer) and bool(spec.parts)
    for problem in findings(verdicts, spec.span, kind_of(spec), composed=composed):
        report.add(problem)
    return spec, (*warnings, *report.diagnostics), verdicts


def estimates(verdicts: Verdicts) -> dict[str, tuple[str, str]]:
    """What was certified numerically, or not run: claim to outcome and text."""
    told = (checks.Outcome.ESTIMATED, checks.Outcome.NOT_RUN)
    return {v.claim: (v.verdict, v.summary or v.residual) for v in verdicts if v.outcome in told}


def build(optimizer: Optimizer, precision: Precision, flags: Mapping[str, bool] | None = None) -> Program:
    """Meaning to optimized kernels, with the flags chosen (their defaults when not given)."""
    return run_passes(lower(specialise(optimizer, flags or {}), precision))


def compile_source(
    source: Source,
    *,
    framework: str,
    mode: str = "accurate",
    comments: bool = True,
    storing: Storing = PLAIN,
    on_gpu: bool = False,
) -> str:
    """Text to the text of a Python module for `framework` ("torch", "numpy" or "optax").

    `on_gpu`: with PTX, for torch.
    """
    optimizer, _ = front(source)
    if framework == "optax":
        return emit_optax(optimizer, comments=comments)
    with told(optimizer, DEFAULT_GPU_BACKEND):
        return emit_module(
            optimizer, framework=framework, mode=mode, comments=comments, storing=storing, on_gpu=on_gpu
        )


def compile_files(
    source: Source,
    *,
    backend: str,
    form: str,
    mode: str,
    flags: Mapping[str, bool] | None = None,
    by: str = "",
    on_gpu: bool = True,
) -> dict[str, bytes]:
    """Text to files that need no Python, by name, in one of the `forms` of a backend that writes files.

    by: what they say after `compiled by optdsl`. on_gpu: with PTX, in what carries it beside other code.
    """
    optimizer, _ = front(source)
    writer = get_file_writer(backend)
    chosen = settled(optimizer.flags, flags or {})
    programs = [build(optimizer, Precision(mode, storage), chosen) for storage in (Type.F32, Type.F64)]
    with told(optimizer, backend):
        return writer.files(programs, form, by, on_gpu=on_gpu)


@contextmanager
def told(optimizer: Optimizer, backend: str) -> Iterator[None]:
    """What a backend has no kernel for, and what it misses on this machine, as problems to be shown."""
    report = Report(optimizer.source or Source("", ""))
    try:
        yield
    except UnsupportedKernelError as error:
        span, name = optimizer.span, optimizer.name
        report.add(NotForTarget(span=span, name=name, target=backend, reason=error.reason))
    except FileNotFoundError as error:
        report.add(NoLinker(span=None, reason=str(error)))
    report.raise_if_errors()


def stages(
    source: Source,
    *,
    mode: str = "accurate",
    storage: Type = Type.F32,
    flags: Mapping[str, bool] | None = None,
    backend: str = "numba_cpu",
) -> Iterator[tuple[str, str]]:
    """Every form that a spec goes through, with its name from `STAGES`; stops where the text is wrong.

    An objective and a part have no form after their syntax: asking for one raises `OptdslError`.
    """
    yield "syntax", print_file(syntax_of(source).file)
    optimizer, _ = front(source)
    chosen = specialise(optimizer, flags or {})
    yield (
        "optimizer",
        get_backend("reference").source(Program(chosen, lower(chosen, Precision(mode, storage)).update)),
    )
    lowered = lower(chosen, Precision(mode, storage))
    yield "lowered", _print(lowered)
    program = run_passes(lowered)
    yield "kernel", _print(program)
    names = [kernel.name for kernel in program.kernels]
    with told(optimizer, backend):
        text = "\n\n".join(get_backend(backend).source(program, name) for name in names)
    yield "source", text


def _print(program: Program) -> str:
    return "\n\n".join(print_kernel(kernel) for kernel in program.kernels)
