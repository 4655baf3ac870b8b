"""Findings about a spec as data, and the two renderers (text and JSON) that show them."""

from optdsl.diagnostics.model import (
    Diagnostic,
    InternalError,
    Label,
    OptdslError,
    Problem,
    Report,
    Severity,
)
from optdsl.diagnostics.source import Source, Span

__all__ = [
    "Diagnostic",
    "InternalError",
    "Label",
    "OptdslError",
    "Problem",
    "Report",
    "Severity",
    "Source",
    "Span",
]
