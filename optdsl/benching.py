"""`optdsl bench` in words: a table, or JSON.

In: what the command line says. Out: text. Raises `click.UsageError` for what cannot be measured.
"""

import json
import os
import re
from dataclasses import asdict

import click

from optdsl.bench import OURS, SAME, Result, bench, not_for_bench
from optdsl.console import table
from optdsl.driver import front
from optdsl.files import resolve_target

MOST = 1_000_000_000


def measured(target: str, elements: str, *, mode: str, rounds: int, threads: int | None, form: str) -> str:
    sizes = _sizes(elements)
    optimizer, _ = front(resolve_target(target))
    reason = not_for_bench(optimizer)
    if reason is not None:
        raise click.UsageError(f"{optimizer.name} has nothing to be compared with: {reason}")
    count = threads or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0])
    result = bench(target, sizes, mode=mode, rounds=rounds, threads=count)
    return json.dumps({"schema_version": 1, **asdict(result)}) if form == "json" else _text(result)


def _sizes(text: str) -> list[int]:
    """`N`, or `NxM` for N tensors of M elements."""
    match = re.fullmatch(r"(?:([0-9]{1,7})x)?([0-9]{1,12})", text.replace("_", ""))
    sizes = [int(match[2])] * int(match[1] or 1) if match else []
    if not sizes or not 0 < sum(sizes) <= MOST:
        told = f"{text!r} is not a number of elements, such as 10000000 or 400x5000, up to {MOST}."
        raise click.BadParameter(told, param_hint="'--elements'")
    return sizes


def _text(result: Result) -> str:
    tensors = "one tensor" if result.tensors == 1 else f"{result.tensors} tensors"
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    what = f"{tensors}, {result.elements:,} elements of float32"
    head = f"{result.optimizer}, {result.mode}: {what}, {threads} of {result.machine}"
    rows = [
        (row.name, f"{row.milliseconds:.3f}", "" if row.name == OURS else f"{row.to_ours:.2f}")
        for row in sorted(result.rows, key=lambda row: row.milliseconds)
    ]
    share = next(row.to_ours for row in result.rows if row.name == SAME)
    return "\n".join(
        [
            head,
            "",
            table([("", "ms a step", "times ours"), *rows]),
            "",
            f"{result.bytes_moved} bytes an element, {result.gigabytes:.1f} GB/s: {share:.0%} of what this "
            "machine does when it only moves them.",
        ]
    )
