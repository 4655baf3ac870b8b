"""Verdicts on single claims, about a spec of the library or a text."""

from optdsl import driver, library
from optdsl.checks.catalogue import CLAIMS, NAMES_ANOTHER, find, kind_of
from optdsl.checks.context import Context
from optdsl.checks.verdict import Verdict
from optdsl.diagnostics import Source
from optdsl.files import read_library
from optdsl.language.optimizer import Optimizer
from optdsl.language.specialise import rank_settings, specialise


def verdict(spec: str, claim: str, others: dict[str, str] | None = None) -> Verdict:
    """On `prove CLAIM` in a spec: a name of `others` or of the library. Claims may name both."""
    others = others or {}

    def lookup(name: str) -> Optimizer:
        return driver.front(Source(name, others[name]))[0] if name in others else library.lookup(name)

    text = others[spec] if spec in others else read_library(spec).text
    optimizer, _ = driver.front(Source("test.opt", f"{text}\nprove {claim}\n"))
    syntax = optimizer.claims[-1]
    kind = kind_of(syntax)
    ranks = rank_settings(optimizer)[0]
    context = Context(specialise(optimizer, ranks), ranks)
    arguments = (lookup,) if kind in NAMES_ANOTHER else ()
    found: Verdict = find(CLAIMS[kind])(syntax, context, *arguments)
    return found
