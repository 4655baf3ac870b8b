"""How other languages write what this one writes otherwise: advice for what does not parse or is not known.

`foreign`: a line of code, where it stopped making sense, and what would have made sense there; out comes a
stretch of the line, what it is, and what to write instead, or None. `INSTEAD`: the same for names and
functions that nobody declared. Only what is wrong in any spec is here, so that no right line is ever blamed.
"""

import re
from collections.abc import Collection

Advice = tuple[int, int, str, str]
"""Where it begins in the line, how long it is, what it is, what to do."""

INSTEAD = {
    "pi": "write `3.141592653589793`",
    "inf": "infinity stands in domains only; for a bound that is never met write a large number: `1e30`",
    "nan": "every value is a number; write what the value is in that case",
    "True": "write `true`",
    "False": "write `false`",
    "rsqrt": "write `1/sqrt(x)`",
    "pow": "write `x^y`",
    "power": "write `x^y`",
    "square": "write `x^2`",
    "log2": "write `log(x)/log(2)`",
    "log10": "write `log(x)/log(10)`",
    "log1p": "write `log(1 + x)`",
    "expm1": "write `exp(x) - 1`",
    "ceil": "write `-floor(-x)`",
    "round": "write `floor(x + 1/2)`",
    "softplus": "write `log(1 + exp(x))`",
    "var": "write `mean(x^2) - mean(x)^2`",
    "std": "write `sqrt(mean(x^2) - mean(x)^2)`",
    "rms": "write `sqrt(mean(x^2))`",
} | dict.fromkeys(
    ("numel", "size", "len", "dim", "ndim", "shape"),
    "sizes are read by no line; `sum(x)` over the number of elements is `mean(x)`, `norm(x)` over its root "
    "is `sqrt(mean(x^2))`",
)
"""What to write for names and functions that people expect."""

_SIGNS: tuple[tuple[str, str, str], ...] = (
    ("!=", "unequal", "write `not (a == b)`, or exchange `then` and `else`"),
    ("<>", "unequal", "write `not (a == b)`, or exchange `then` and `else`"),
    ("&&", "and", "write `and`"),
    ("||", "or", "write `or`"),
    ("&", "and", "write `and`"),
    ("//", "a comment, or a floor", "a comment begins with `#`; the floor of a quotient is `floor(a/b)`"),
    ("%", "a remainder", "write `a mod b`"),
    ("!", "not", "write `not`"),
    ("?", "a case", "write `if CONDITION then X else Y`"),
    (".*", "an elementwise product", "write `*`: everything is elementwise"),
    ("./", "an elementwise quotient", "write `/`: everything is elementwise"),
    (".^", "an elementwise power", "write `^`: everything is elementwise"),
    ("{", "braces", "a time stands in square brackets, `m[t-1]`; other brackets are round"),
    (";", "two statements", "write one statement a line, and comments behind `#`"),
    ("\\", "LaTeX, or a longer line", "one statement is one line; long expressions can be named: `u = ...`"),
)  # fmt: skip
_BLOCKS = {
    "for": "there are no loops: the lines are one step, and `t` counts the steps",
    "while": "there are no loops: the lines are one step, and `t` counts the steps",
    "if": "`if` chooses numbers: `x = if CONDITION then X else Y`",
    "elif": "`if` chooses numbers: `x = if CONDITION then X else if OTHER then Y else Z`",
    "return": "the last line says what becomes of the parameters: `theta[t] = ...`",
    "def": "a name stands for an expression: `x = ...`",
    "import": "there is nothing to import; `optdsl list` shows the parts that a composition can have",
    "param": "write `hyper lr = 1e-3 in [0, inf)`",
    "parameter": "write `hyper lr = 1e-3 in [0, inf)`",
    "const": "write `hyper lr = 1e-3 in [0, inf)`, or `c = 0.5`",
    "let": "write `x = ...`",
}


def foreign(line: str, at: int, operators: Collection[str]) -> Advice | None:
    """`at` is where the parser stopped; `operators` are those that could have stood there."""
    if begun := re.match(r"\s*([a-z]+)\b", line):
        word = begun[1]
        if word in _BLOCKS and begun.end() <= at <= begun.end() + 1:
            return begun.start(1), len(word), f"`{word}` at the beginning of a line", _BLOCKS[word]
        if declared := _declared(line, at, word):
            return declared
        if word in ("hyper", "state", "flag", "input", "output") and line.startswith(",", at):
            return at, 1, "two declarations", f"write one declaration a line, each with its `{word}`"
    for sign, what, choice in _SIGNS:
        if line.startswith(sign, at):
            return at, len(sign), what, choice
    before = line[:at]
    if line[at - 1 : at + 1] == "//":
        return at - 1, 2, _SIGNS[5][1], _SIGNS[5][2]
    if line[at : at + 1] == "=" and re.search(r"\b(if|and|or|not)\b", before):
        return at, 1, "an equality", "write `==`"
    if re.search(r"\)\s*$", before) and re.match(r"over\b", line[at:]):
        return at, 4, "the scope of a reduction", "write it inside: `sum(x over rows)`"
    if (
        called := re.search(r"\b(sqrt|exp|log|abs|sign|norm|sum|mean|max|min|tanh)\s+$", before)
    ) and operators:
        return called.start(1), len(called[1]), "a function", f"write `{called[1]}(...)`"
    return None


def _declared(line: str, at: int, word: str) -> Advice | None:
    """A declaration that stops making sense behind its name."""
    name = re.fullmatch(rf"\s*{word}\s+(\w+)\s*", line[:at])
    if name is None or word not in ("hyper", "state", "flag"):
        return None
    form = {
        "hyper": f"`hyper {name[1]} = 1e-3 in [0, inf)`: a default, then the domain",
        "state": f"`state {name[1]}[0] = 0`: its value before the first step",
        "flag": f"`flag {name[1]} = false`",
    }[word]
    return at, 1, f"a {word} is declared otherwise", f"write {form}"
