"""Specs as classes, without a file in between: the common half of `optdsl.torch` and `optdsl.numpy`."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from os import PathLike, fspath
from typing import Any, cast

from optdsl import driver
from optdsl.backend import DEFAULT_BACKEND, DEFAULT_GPU_BACKEND, get_backend
from optdsl.checks.catalogue import NoSpecError
from optdsl.diagnostics import Source
from optdsl.emit.device_code import device_code
from optdsl.emit.loading import load_generated
from optdsl.emit.module import kernels_by_name
from optdsl.files import library_names, read_library, resolve_target
from optdsl.language.optimizer import Optimizer
from optdsl.storing import storing

_DEFINITION = re.compile(r"^optimizer\s+(\w+)", re.MULTILINE)


def load_class(
    target: str | PathLike[str],
    framework: str,
    mode: str,
    state: Mapping[str, str] | None = None,
    param_store: str = "",
) -> type:
    """The optimizer class of a spec, compiled for a framework; the same object for the same text."""
    source = resolve_target(fspath(target))
    return _compiled(source.name, source.text, framework, mode, tuple((state or {}).items()), param_store)


@cache
def _compiled(
    name: str, text: str, framework: str, mode: str, state: tuple[tuple[str, str], ...], param_store: str
) -> type:
    source = Source(name, text)
    optimizer, _ = driver.front(source)
    stored = storing(optimizer, dict(state), param_store)
    module_text = driver.compile_source(
        source, framework=framework, mode=mode, comments=False, storing=stored
    )
    # Modes may have the same text, and their classes have other kernels nevertheless.
    suffix = "" if mode == "accurate" else f"_{mode}"
    module = load_generated(module_text, f"optdsl_{framework}_{optimizer.name}{suffix}")
    found: Any = getattr(module, optimizer.name)
    if mode not in get_backend(DEFAULT_BACKEND).modes:
        from optdsl.emit.native import native  # which needs Numba, and the claims of a spec do not

        with driver.told(optimizer, DEFAULT_GPU_BACKEND):
            found.layout = native(found.layout, kernels_by_name(optimizer, mode, stored))
    if framework == "torch":
        code = device_code(lambda: kernels_by_name(optimizer, mode, stored))
        found.layout = replace(found.layout, device_code=code)
    return cast(type, found)


@cache
def lookup(name: str) -> Optimizer:
    """The meaning of an optimizer of the library; raises `NoSpecError` when there is none of that name."""
    if name not in library_names():
        raise NoSpecError(name)
    return driver.front(read_library(name))[0]


@cache
def library_classes() -> dict[str, str]:
    """Class name to spec name: {"Adam": "adam", ...}."""
    found = ((_DEFINITION.search(read_library(name).text), name) for name in library_names())
    return {match[1]: name for match, name in found if match}
