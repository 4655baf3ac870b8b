"""`python -m tests.conformance` writes docs/conformance.md; `python -m tests.conformance Adam` prints Adam's.

The page is the matrix, class by obligation, and the reasons where a class does not meet one.
"""

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from tests.conformance.everything import OBLIGATIONS, Obligation, Subject, subjects

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
YES, REASON, NO = "+", "o", "FAIL"

HEAD = """\
# In torch's training code

What training code expects of a `torch.optim.Optimizer`, tried on every class of the library with torch
{torch}: the words and arguments of torch's own classes, their state dicts, schedulers, GradScaler, hooks,
groups that change, every kind of tensor.
`tests/test_conformance.py` tries it at each run of the tests; `python -m tests.conformance` wrote this page.

"""


@dataclass(frozen=True)
class Mark:
    """What became of one obligation: `reason` where it does not apply, `error` where it is not met."""

    subject: Subject
    obligation: Obligation
    reason: str | None = None
    error: str | None = None

    @property
    def text(self) -> str:
        return NO if self.error else REASON if self.reason else YES


def tried(subject: Subject, obligation: Obligation) -> Mark:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Mark(subject, obligation, reason=obligation.check(subject))
        except Exception as error:
            return Mark(subject, obligation, error=f"{type(error).__name__}: {str(error).splitlines()[0]}")


def page(marks: Iterable[Mark]) -> str:
    """The legend, the matrix and the reasons."""
    rows = {subject: list(found) for subject, found in groupby(marks, key=lambda mark: mark.subject)}
    known = list(next(iter(rows.values())))
    lines = ["| | obligation |", "|---|---|"]
    lines += [f"| {number} | {mark.obligation.what} |" for number, mark in enumerate(known, 1)]
    lines += ["", f"`{YES}` met, `{REASON}` not, with the reason below.", ""]
    lines.append("| class | " + " | ".join(str(number) for number in range(1, len(known) + 1)) + " |")
    lines.append("|---" * (len(known) + 1) + "|")
    lines += [f"| {s} | " + " | ".join(mark.text for mark in found) + " |" for s, found in rows.items()]
    lines += ["", "## Reasons", ""]
    reasons: dict[tuple[int, str], list[str]] = {}
    for s, found in rows.items():
        for number, mark in enumerate(found, 1):
            if text := mark.reason or mark.error:
                reasons.setdefault((number, text), []).append(s.name)
    for (number, text), names in sorted(reasons.items()):
        who = ", ".join(names) if len(names) <= len(rows) // 2 else f"{len(names)} classes"
        lines.append(f"- {number}: {text} ({who})")
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> int:
    chosen = [subject for subject in subjects() if not names or subject.name in names]
    marks = [tried(subject, each) for subject in chosen for each in OBLIGATIONS]
    text = page(marks)
    if names:
        print(text)
    else:
        PAGE.write_text(HEAD.format(torch=version("torch").partition("+")[0]) + text, encoding="utf-8")
    failed = [mark for mark in marks if mark.error]
    for mark in failed:
        print(f"{mark.subject}: {mark.obligation.name}: {mark.error}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
