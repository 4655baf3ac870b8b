"""The command line: arguments in; results on standard output, diagnostics on standard error, an exit code.

0 clean, 1 findings, 2 a wrong command line or a file that cannot be read or written, 3 a mistake of ours,
130 interrupted. Every command imports what it needs when it runs: `optdsl --help` loads nothing but click.
No compiling is done here: that is `optdsl.driver`.
"""

import json
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from optdsl import __version__, console

if TYPE_CHECKING:
    from optdsl.diagnostics import OptdslError

FINDINGS, USAGE, BUG, INTERRUPTED = 1, 2, 3, 130
CONTEXT = {"help_option_names": ["-h", "--help"]}
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Settings:
    """What every command is told; one for a whole command line."""

    color: str = "auto"
    debug: bool = False


def _settings() -> Settings:
    return click.get_current_context().ensure_object(Settings)


def _set(context: click.Context, option: click.Parameter, value: Any) -> None:
    settings = context.ensure_object(Settings)
    if value is not None and option.name is not None:
        setattr(settings, option.name, value)


def everywhere(command: Command) -> Command:
    """The options that may stand before and behind the name of a command."""
    for option in (
        click.option("--debug", is_flag=True, default=None, callback=_set, expose_value=False, hidden=True),
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            callback=_set,
            expose_value=False,
            help="Colour in diagnostics; auto asks NO_COLOR, FORCE_COLOR and the terminal.",
        ),
    ):
        command = option(command)
    return command


class Commands(click.Group):
    """Turns what a command raises into words and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        from optdsl.diagnostics import OptdslError
        from optdsl.files import FileError

        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OptdslError as error:
            _show(error)
            ctx.exit(USAGE if isinstance(error, FileError) else FINDINGS)
        except Exception as error:
            _bug(ctx, error)


def _show(error: "OptdslError") -> None:
    from optdsl.diagnostics.render import render_text

    color = console.wants_color(_settings().color, sys.stderr)
    click.echo(render_text(error.diagnostics, error.source, color=color), err=True, color=color)


def _bug(ctx: click.Context, error: Exception) -> NoReturn:
    from optdsl.diagnostics.excerpt import visible

    if ctx.ensure_object(Settings).debug:
        traceback.print_exception(error)
    words = str(error).strip().split("\n", 1)[0]
    click.echo(
        f"optdsl: {type(error).__name__}: {visible(words)}\n"
        "This is a bug of optdsl, not a mistake of yours. Please report it to the project, with the spec,\n"
        f"the command and what it prints with --debug. This is optdsl {__version__}.",
        err=True,
    )
    ctx.exit(BUG)


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="optdsl", message="%(prog)s %(version)s")
@everywhere
def cli() -> None:
    """Equations in, fused optimizer kernels out.

    A spec is named by its file (adam.opt), by its name in the library (adam), or is - for standard input.
    It may be a composition of such names: "clip_by_global_norm(1) | adamw(lr = cosine(3e-4, 1000))".
    """


@cli.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE|NAME...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Count warnings as findings.")
@click.option("--rates", is_flag=True, help="Run what the specs have estimated (needs optdsl[rates]).")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing about specs that are clean.")
@everywhere
def check(targets: Sequence[str], form: str, strict: bool, rates: bool, quiet: bool) -> None:
    """Say everything that is wrong with specs.

    Exits with 0 when they are clean, 1 when there are findings, 2 when one cannot be read.
    """
    from optdsl.checking import Checking

    checking = Checking(form, strict, rates, quiet, console.wants_color(_settings().color, sys.stderr))
    for target in targets:
        checking.check(target)
    click.get_current_context().exit(checking.finish())


FILES = ("ll", "asm", "o", "so", "py", "ptx")  # what a backend may write that is no Python
STORES = ("nearest", "sr", "kahan", "extra16")  # `kernel.storing.PARAMETERS`
MODES = ("accurate", "fast", "fma", "strict")  # `kernel.ir.MODES`, which need not be imported for --help


@cli.command("compile")
@click.argument("target", metavar="FILE|NAME")
@click.option("-o", "--output", metavar="FILE", help="Where to; a folder for what becomes several files. "
              "Text goes to standard output without it.")  # fmt: skip
@click.option("--for", "framework", type=click.Choice(["torch", "numpy", "optax"]), default="torch",
              show_default=True)  # fmt: skip
@click.option("--target", "backend", metavar="BACKEND", help="The text that this backend runs, on its own.")
@click.option("--mode", type=click.Choice(MODES), help="Compute in float64 (accurate), or in the type of the "
              "parameters; the target says which there are, and which is its own.")  # fmt: skip
@click.option("--flag", "flags", multiple=True, metavar="NAME=true|false", help="Choose a flag of the spec.")
@click.option("--emit", type=click.Choice(["source", "ir", *FILES]), default="source", show_default=True,
              help="A library (so, o) with its C header, or in a Python file (py); or a stage.")  # fmt: skip
@click.option("--state", "states", multiple=True, metavar="NAME=FORMAT", help="Keep a state in f32, bf16, "
              "f16 or 8bit, rounded at random; for torch. See docs/precision.md.")  # fmt: skip
@click.option("--param-store", type=click.Choice(STORES), help="How bfloat16 parameters are "
              "rounded: to nearest, at random (sr), or with what is left over kept; for torch.")  # fmt: skip
@click.option("--ptx/--no-ptx", default=None, help="Whether a module for torch (not by default) or a Python "
              "file with a library (by default) has code for NVIDIA's GPUs.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that optdsl did not write.")
@everywhere
def compile_command(
    target: str,
    output: str | None,
    framework: str,
    backend: str | None,
    mode: str | None,
    flags: Sequence[str],
    emit: str,
    states: Sequence[str],
    param_store: str | None,
    ptx: bool | None,
    force: bool,
) -> None:
    """Compile a spec to a Python module, or to a library that needs no Python.

    The module is imported like any other; its class is a torch optimizer or one for NumPy arrays.

    \b
    optdsl compile adam.opt -o adam.py
    python -c "from adam import Adam"
    optdsl compile adam.opt --target llvm --emit so -o build/
    """
    from optdsl.compiling import Wanted, compiled

    wanted = Wanted(output, framework, backend, mode, flags, emit, force, ptx, states, param_store or "")
    compiled(target, wanted, lambda error: _show(error))


@cli.command("list")
@click.argument("words", nargs=-1, metavar="[WORD...]")
@click.option(
    "--class",
    "sharding",
    type=click.Choice(["elementwise", "matrix", "per-tensor", "global"]),
    help="Only these.",
)
@click.option("--max-state", type=click.IntRange(0), metavar="BYTES", help="At most so many a parameter.")
@click.option("--state", type=click.Choice(["bf16", "f16", "8bit"]), help="Bytes as they are with states "
              "kept so, of those optimizers for which they can be.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@everywhere
def list_command(
    words: tuple[str, ...], sharding: str | None, max_state: int | None, state: str | None, form: str
) -> None:
    """List the specs that come with optdsl.

    Optimizers with what each keeps and moves in memory; then objectives, and the parts of compositions. With
    WORDs, only those that have all of them in their name or paper. In a terminal, lines are cut at its edge.
    """
    from optdsl.listing import Wanted, rows, text

    wanted = Wanted(words, sharding, max_state, state or "")
    if form == "json":
        for row in rows(wanted):
            click.echo(json.dumps({"schema_version": 1, **row}))
        return
    shown = text(wanted, console.width(sys.stdout))
    if shown:
        click.echo(shown)
    else:
        click.echo("no spec is like that; `optdsl list` shows all", err=True)


@cli.command()
@click.argument("target", metavar="FILE|NAME")
@click.option(
    "--stage", metavar="STAGE", help="How the compiler sees it: syntax, optimizer, kernel ... or all."
)
@click.option("--flag", "flags", multiple=True, metavar="NAME=true|false", help="Choose a flag of the spec.")
@click.option("--mode", type=click.Choice(["accurate", "fast"]), default="accurate", show_default=True)
@everywhere
def show(target: str, stage: str | None, flags: Sequence[str], mode: str) -> None:
    """Show a spec: its text, its equations and the kernel made of it; or one stage of compiling it."""
    from optdsl.compiling import chosen_flags
    from optdsl.driver import STAGES, meaning, stages
    from optdsl.explain import shown
    from optdsl.files import resolve_target
    from optdsl.language.optimizer import Optimizer

    source = resolve_target(target)
    spec = meaning(source)[0]
    chosen = chosen_flags(flags, [flag.name for flag in spec.flags] if isinstance(spec, Optimizer) else [])
    if stage is None:
        click.echo(shown(source, chosen, mode))
        return
    if stage not in (*STAGES, "all"):
        raise click.BadParameter(f"{stage!r} is not one of {', '.join(STAGES)}, all.", param_hint="'--stage'")
    parts = []
    for name, text in stages(source, mode=mode, flags=chosen):
        if name == stage:
            click.echo(text.rstrip())
            return
        parts.append(f"# --- {name}\n{text.rstrip()}")
    click.echo("\n\n".join(parts))


@cli.command()
@click.argument("name")
@everywhere
def new(name: str) -> None:
    """Write NAME.opt, a commented spec to start from."""
    from optdsl.files import atomic_write
    from optdsl.language.names import why_illegal
    from optdsl.template import new_spec

    name = name.removesuffix(".opt")
    if reason := why_illegal(name):
        raise click.BadParameter(f"{name!r} {reason}.", param_hint="'NAME'")
    atomic_write(f"{name}.opt", new_spec(name), new=True)
    click.echo(f"{name}.opt: written; next: optdsl check {name}.opt")


@cli.command()
@click.argument("target", metavar="FILE|NAME|CODE")
@click.option("--latex", is_flag=True, help="Only the equations, as LaTeX.")
@click.option("--rates", is_flag=True, help="Run what the spec has estimated (needs optdsl[rates]).")
@everywhere
def explain(target: str, latex: bool, rates: bool) -> None:
    """Explain a spec, or a code such as OD101.

    A spec: its equations, what is proved of it and how, its units, what it costs.
    """
    from optdsl.diagnostics.explain import closest_codes, explanation

    if re.fullmatch(r"(?i)[o0]d[\do]{3}", target):
        text = explanation(target.upper())
        if text is None:
            raise click.BadParameter(f"there is no {target!r}; {closest_codes(target)}", param_hint="'CODE'")
        click.echo(text)
        return
    from optdsl import explain as explaining
    from optdsl.files import resolve_target
    from optdsl.library import lookup

    source = resolve_target(target)
    click.echo(explaining.latex(source) if latex else explaining.explain(source, lookup, rates=rates))


@cli.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@everywhere
def diff(first: str, second: str) -> None:
    """Say what differs between two specs, and where they are proved to be the same.

    Exits with 0 when they are the same optimizer, 1 when they are not or it is not known.
    """
    from optdsl import explain as explaining
    from optdsl.driver import front
    from optdsl.files import resolve_target

    text, same = explaining.diff(front(resolve_target(first))[0], front(resolve_target(second))[0])
    click.echo(text)
    click.get_current_context().exit(0 if same else FINDINGS)


@cli.command()
@click.argument("target", metavar="FILE|NAME")
@click.option("--elements", default="10000000", show_default=True, metavar="N or NxM",
              help="One tensor of N, or N tensors of M elements each.")  # fmt: skip
@click.option("--mode", type=click.Choice(MODES[:2]), default=MODES[0], show_default=True)
@click.option("--rounds", default=15, show_default=True, type=click.IntRange(1, 1000))
@click.option("--threads", type=click.IntRange(1), help="All processors without it.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@everywhere
def bench(target: str, elements: str, mode: str, rounds: int, threads: int | None, form: str) -> None:
    """Measure a step of an optimizer on this machine's CPU.

    Against a kernel that only moves the same bytes, and against torch's class of the same name where torch is
    installed: ratios within one run, float32.
    """
    from optdsl.benching import measured

    click.echo(measured(target, elements, mode=mode, rounds=rounds, threads=threads, form=form))


@cli.command()
@click.option(
    "-o", "--out", default="optdsl-demo.png", show_default=True, metavar="FILE", help="The picture."
)
@click.option("--numpy", "without_torch", is_flag=True, help="Train in NumPy, even where torch is installed.")
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1, 1000))
@everywhere
def demo(out: str, without_torch: bool, epochs: int) -> None:
    """Compile Adam and train a network with it.

    A small network learns 1,797 handwritten digits twice, with the compiled Adam and with torch's (without
    torch, with a plain one in NumPy). Exits with 1 if their losses differ by more than 1e-5.
    """
    from optdsl.demo import run

    agreed = run(out, without_torch=without_torch, epochs=epochs, say=click.echo)
    click.get_current_context().exit(0 if agreed else FINDINGS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line (`sys.argv` without one) and returns its exit code."""
    try:
        return cli.main(arguments, prog_name="optdsl", standalone_mode=False) or 0
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
