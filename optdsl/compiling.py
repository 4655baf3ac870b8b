"""`optdsl compile`: from what the command line says to files, and the words about them.

In: a spec and a `Wanted`. Out: a module, a library or a stage, in files that are whole or not there. Raises
`click.UsageError` for options that do not fit together, before anything is compiled.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import click

from optdsl import __version__
from optdsl.backend import DEFAULT_BACKEND, available_backends, get_backend
from optdsl.diagnostics import OptdslError
from optdsl.driver import compile_files, compile_source, front, stages
from optdsl.emit.text import printable
from optdsl.files import STDIN, atomic_write, folder_for, resolve_target
from optdsl.storing import storing

TEXTS = ("source", "ir")


@dataclass(frozen=True)
class Wanted:
    """The options, as they were given."""

    output: str | None
    framework: str
    backend: str | None
    mode: str | None
    flags: Sequence[str]
    emit: str
    force: bool
    ptx: bool | None = None
    states: Sequence[str] = ()
    param_store: str = ""


def compiled(target: str, wanted: Wanted, show: Callable[[OptdslError], None]) -> None:
    """`show` is given the warnings about a spec that is compiled all the same."""
    source = resolve_target(target)
    optimizer, warnings = front(source)
    if warnings:
        show(OptdslError(warnings, optimizer.source))
    flags = chosen_flags(wanted.flags, [flag.name for flag in optimizer.flags])
    if flags and wanted.emit in TEXTS and wanted.backend is None:
        raise click.BadParameter("a module has all of them: give --target, too.", param_hint="'--flag'")
    module = wanted.emit == "source" and wanted.backend is None and wanted.framework == "torch"
    if wanted.ptx is not None and not (module or wanted.emit == "py"):
        raise click.UsageError(
            "--ptx is for modules for torch, and for --emit py; --emit ptx writes it alone"
        )
    named = printable(source.name)  # a file may have any name, and this goes into comments
    if (wanted.states or wanted.param_store) and (
        wanted.framework != "torch" or wanted.backend is not None or wanted.emit != "source"
    ):
        raise click.UsageError("--state and --param-store are for modules for torch")
    backend = _backend(wanted.backend, wanted.emit)
    mode = _mode(wanted.mode, backend)
    if wanted.emit not in TEXTS:
        by = f"{__version__} from {named}, mode {mode}"
        by += "".join(f", {name} = {str(value).lower()}" for name, value in flags.items())
        _write(
            compile_files(
                source,
                backend=backend,
                form=wanted.emit,
                mode=mode,
                flags=flags,
                by=by,
                on_gpu=wanted.ptx is not False,
            ),
            wanted,
        )
        return
    if wanted.emit == "ir":
        text = dict(stages(source, mode=mode, flags=flags))["kernel"]
    elif wanted.backend is not None:
        text = dict(stages(source, mode=mode, backend=backend, flags=flags))["source"]
    else:
        stored = storing(optimizer, chosen_states(wanted.states), wanted.param_store)
        on_gpu = bool(wanted.ptx)
        text = compile_source(source, framework=wanted.framework, mode=mode, storing=stored, on_gpu=on_gpu)
    if not text.startswith("#"):
        comment = ";" if text.startswith(";") else "#"
        text = f"{comment} {optimizer.name}, compiled by optdsl {__version__} from {named}\n{text}"
    if wanted.output is None or wanted.output == STDIN:
        click.echo(text, nl=not text.endswith("\n"))
        return
    atomic_write(wanted.output, text if text.endswith("\n") else text + "\n", force=wanted.force)
    told = "fast" if wanted.framework == "optax" else mode
    made_for = wanted.backend or wanted.framework
    click.echo(f"{wanted.output}: {optimizer.name} for {made_for}, {told}", err=True)


def _write(made: Mapping[str, bytes], wanted: Wanted) -> None:
    """Into a folder; one text, to standard output or to the file that is named."""
    output = wanted.output
    if output is None or output == STDIN:
        if len(made) > 1:
            raise click.UsageError(f"{', '.join(made)}: say where to put them, as in -o build/")
        (text,) = made.values()
        click.echo(text.decode(), nl=False)
        return
    if len(made) == 1 and not output.endswith(os.sep) and not os.path.isdir(output):
        paths = dict(zip([output], made.values(), strict=True))
    else:
        paths = {os.path.join(folder_for(output), name): content for name, content in made.items()}
    for path, content in paths.items():
        atomic_write(path, content, force=wanted.force)
        click.echo(path, err=True)


def _backend(name: str | None, emit: str) -> str:
    """The backend of that name; without one, the first that can make what is asked for."""
    known = {known.replace("_", "-"): known for known in available_backends()}
    if emit not in TEXTS:
        forms = {said: getattr(get_backend(each), "forms", ()) for said, each in known.items()}
        known = {said: each for said, each in known.items() if emit in forms[said]}
        name = name or next(iter(known))
    elif name is None:
        return DEFAULT_BACKEND
    if name not in known:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}.", param_hint="'--target'")
    return known[name]


def _mode(name: str | None, backend: str) -> str:
    modes = get_backend(backend).modes
    if name is not None and name not in modes:
        said = backend.replace("_", "-")
        told = f"{said} has {', '.join(modes)}; {name!r} is for another --target."
        raise click.BadParameter(told, param_hint="'--mode'")
    return name or modes[0]


def chosen_states(given: Sequence[str]) -> dict[str, str]:
    """By name, as `NAME=FORMAT` says it."""
    for setting in given:
        if "=" not in setting:
            raise click.BadParameter(f"{setting!r} is not NAME=FORMAT.", param_hint="'--state'")
    return {name: form for name, _, form in (setting.partition("=") for setting in given)}


def chosen_flags(given: Sequence[str], known: Sequence[str]) -> dict[str, bool]:
    chosen = {}
    for setting in given:
        name, _, value = setting.partition("=")
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise click.BadParameter(f"the spec has no flag {name!r}; {has}.", param_hint="'--flag'")
        if value.lower() not in ("", "true", "false"):
            raise click.BadParameter(f"{name!r} is true or false, not {value!r}.", param_hint="'--flag'")
        chosen[name] = value.lower() != "false"
    return chosen
