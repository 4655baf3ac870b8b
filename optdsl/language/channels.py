"""Tensors as matrices in two ways: by their first dimension, or in their last two. A spec takes one."""

from dataclasses import replace

from optdsl.diagnostics import Report, Span
from optdsl.diagnostics.catalogue import NotYet
from optdsl.language.operators import FAN_IN, REDUCTIONS
from optdsl.language.optimizer import Optimizer, Shape
from optdsl.language.reductions import by_channel, reductions_in
from optdsl.language.stages import plan
from optdsl.language.sweeps import refuse_history


def refuse_mixed(optimizer: Optimizer, report: Report, where: Span | None = None) -> None:
    """Reports a reduction over fan_in beside rows, columns or matrices; loops over what is remembered beside
    what is not compiled with them.
    """
    refuse_history(optimizer, report, where)
    found = by_channel(optimizer.lines)
    if found is None:
        return
    parts = (part for line in optimizer.lines for part in (line.value, line.first) if part is not None)
    scopes = {REDUCTIONS[each.op].over for part in parts for each in reductions_in(part)}
    kept = any(state.shape in (Shape.ROWS, Shape.COLS) for state in optimizer.states)
    if kept or scopes & {"rows", "cols"} or plan(optimizer.lines).needs_dims:
        beside = "a state with a value for each row or column" if kept else "rows, columns or matrices"
        span = replace(found, span=where).span if where is not None else found.span
        report.add(NotYet(span=span, what=f"`over {FAN_IN}` beside {beside}"))
