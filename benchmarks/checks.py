"""What the checker costs: a table in Markdown, medians of processor time in one warm process.

Default checks are run for every setting of a spec's flags; claims with the flags at their defaults. The last
rows are specs made to be too large, which have to end in 'unknown'.

    python benchmarks/checks.py
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from statistics import median
from time import process_time

from optdsl import driver
from optdsl.api import load
from optdsl.checks import Verdict, check_claims, check_defaults
from optdsl.checks.verdict import Outcome
from optdsl.diagnostics import Source
from optdsl.files import library_names
from optdsl.language.optimizer import Optimizer
from optdsl.library import lookup

RUNS = 5
HEAD = """optimizer Large
hyper lr = 0.1 in [0, inf)
hyper b = 0.9 in [0, 1)
state m[0] = 0
"""
TOO_LARGE = {
    "a chain of 30 squarings": "x0 = g[t] + b\n"
    + "".join(f"x{i} = x{i - 1}*(x{i - 1} + 1)\n" for i in range(1, 31))
    + "m[t] = x30\ntheta[t] = theta[t-1] - lr*m[t]*m[t-1]\n",
    "a 60th power": "m[t] = b*m[t-1] + (g[t] + b + lr)^60\ntheta[t] = theta[t-1] - lr*m[t]\n",
    "40 nested roots": "x0 = abs(g[t]) + b\n"
    + "".join(f"x{i} = sqrt(x{i - 1} + {i})\n" for i in range(1, 41))
    + "m[t] = x40\ntheta[t] = theta[t-1] - lr*m[t]*m[t-1]\n",
    "12 nested cases": "x0 = g[t]\n"
    + "".join(f"x{i} = abs(x{i - 1} - m[t-1]*{i})\n" for i in range(1, 13))
    + "m[t] = x12\ntheta[t] = theta[t-1] - lr*m[t]\n",
}


def main() -> None:
    print("| spec | default checks, ms | claims, ms | proved | refuted | unknown |")
    print("|---|---|---|---|---|---|")
    slowest = 0.0
    for name in library_names():
        optimizer = load(name).optimizer
        defaults, first = timed(partial(_defaults, optimizer))
        claims, second = timed(partial(_claims, optimizer))
        slowest = max(slowest, defaults)
        row(name, defaults, claims, [*first, *second])
    for name, body in TOO_LARGE.items():
        claim = "prove odd\nprove scale_invariant\nprove nonnegative(m)\n"
        optimizer, _ = driver.front(Source("large.opt", HEAD + body + claim))
        defaults, first = timed(partial(_defaults, optimizer), runs=1)
        claims, second = timed(partial(_claims, optimizer), runs=1)
        row(name, defaults, claims, [*first, *second])
    print(f"\nslowest default checks of a spec in the library: {slowest:.0f} ms (goal: 300)")


def _defaults(optimizer: Optimizer) -> list[Verdict]:
    return list(check_defaults(optimizer))


def _claims(optimizer: Optimizer) -> list[Verdict]:
    return list(check_claims(optimizer, lookup))


def timed(check: Callable[[], list[Verdict]], runs: int = RUNS) -> tuple[float, list[Verdict]]:
    """Median milliseconds, and the verdicts."""
    times = []
    for _ in range(runs):
        started = process_time()
        verdicts = check()
        times.append((process_time() - started) * 1e3)
    return median(times), verdicts


def row(name: str, defaults: float, claims: float, verdicts: list[Verdict]) -> None:
    count = Counter(verdict.outcome for verdict in verdicts)
    outcomes = " | ".join(str(count[each]) for each in (Outcome.PROVED, Outcome.REFUTED, Outcome.UNKNOWN))
    print(f"| {name} | {defaults:.0f} | {claims:.0f} | {outcomes} |")


if __name__ == "__main__":
    main()
