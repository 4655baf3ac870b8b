"""Names: which may be used, how Greek is spelled in ASCII, and what a misspelt one may have meant.

Every name that leaves this module is ASCII, so two names that look alike are never two names, and
none can say anything else when it is printed into a program.
"""

import difflib
import keyword
import re
from collections.abc import Iterable

from optdsl.language.matrices import MATRIX
from optdsl.language.operators import OPERATORS, REDUCTIONS, RESERVED_FUNCTIONS

LEGAL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")

GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "eps", "ϵ": "eps", "ζ": "zeta",
    "η": "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lam", "μ": "mu", "ν": "nu", "ξ": "xi",
    "ο": "omicron", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi",
    "χ": "chi", "ψ": "psi", "ω": "omega", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Σ": "Sigma",
    "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_TO_ASCII = str.maketrans(GREEK | _SUBSCRIPTS)

# What other languages write for a character of ours.
CHARACTER_ADVICE = {
    "×": "*", "·": "*", "∙": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "—": "-", "√": "sqrt(...)",
    "²": "^2", "³": "^3", "½": "1/2", "≤": "<=", "≥": ">=", "≠": "not (a == b)", "∞": "inf", "←": "=",
    "∇": "g[t]", "µ": "μ or mu", "∈": "in", "‖": "norm(...)", "'": "x[t] for the new value",
    "⊙": "*", "∘": "*", "∗": "*", "⊗": "*", "⊘": "/", "∕": "/", "⁄": "/", "ᵗ": "^t", "ⁿ": "^n",
    "⟨": "dot(x, y)", "〈": "dot(x, y)", "∑": "sum(...)", "ₜ": "[t]", "₋": "[t-1]", "¬": "not ", "∧": "and",
    "∨": "or", "⩽": "<=", "⩾": ">=", "\u0302": "mhat", "\u0303": "mtilde", "\u0304": "mbar", "∥": "norm(...)",
    "\u2010": "-", "\u2011": "-", "\u00a0": "a plain space", "\u2009": "a plain space",
    "‘": "x[t] for the new value", "’": "x[t] for the new value",
}  # fmt: skip

# Names with a meaning of their own, or that generated code and its users could not use.
BUILT_IN = frozenset({"theta", "g", "t", "E", "inf", "true", "false"})
_WORDS = frozenset(
    "optimizer transform schedule objective wrapper hyper flag state input output start when else end prove "
    "expect estimate if then and or not mod in as over fan_in to".split()
)
_MADE = re.compile("first_g|seed|(normal|uniform)_draw[0-9]+")  # see `inputs`
_CALLER = frozenset("self cls params closure maximize foreach fused capturable differentiable mode".split())

ALIASES: dict[str, tuple[str, ...]] = {
    "b1": ("beta1",), "b2": ("beta2",), "lambda": ("weight_decay", "lam"), "wd": ("weight_decay",),
    "lmbda": ("weight_decay", "lam"), "alpha": ("lr",), "learning_rate": ("lr",), "eta": ("lr",),
    "step_size": ("lr",), "lr": ("alpha", "eta"), "epsilon": ("eps",), "momentum": ("mu",),
    "mu": ("momentum",),
    "grad": ("g[t]",), "gradient": ("g[t]",), "dx": ("g[t]",), "params": ("theta",), "param": ("theta",),
    "w": ("theta",), "p": ("theta",), "x": ("theta",), "step": ("t",), "k": ("t",), "i": ("t",), "n": ("t",),
    "relu": ("max",), "sgn": ("sign",), "fabs": ("abs",), "maximum": ("max",), "minimum": ("min",),
    "clamp": ("clip",), "ln": ("log",),
}  # fmt: skip


def to_ascii(name: str) -> str:
    """`β₁` is `beta1`; an ASCII name is itself."""
    return name.translate(_TO_ASCII)


def why_illegal(name: str) -> str | None:
    """Why an (ASCII) name may not be defined by a spec; None when it may."""
    if len(name) > 64:
        return "is longer than 64 characters"
    if not name[:1].isalpha():
        return "does not begin with a letter"
    if not LEGAL.fullmatch(name):
        return "holds other characters than ASCII letters, digits and `_`"
    if name in BUILT_IN or _MADE.fullmatch(name):
        return "has a fixed meaning"
    if name in OPERATORS or name in REDUCTIONS or name in RESERVED_FUNCTIONS or name in MATRIX:
        return "is the name of an operator"
    if name in _WORDS:
        return "is a word of the language"
    if keyword.iskeyword(name):
        return "is a word of Python, where the compiled optimizer is used"
    if name in _CALLER:
        return "is an argument of every compiled optimizer"
    return None


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a misspelt name most likely meant, or None."""
    known = list(dict.fromkeys(candidates))
    for meant in ALIASES.get(name.lower(), ()):
        if meant in known or meant == "g[t]":
            return meant
    squeezed = name.lower().replace("_", "")
    for candidate in known:
        if candidate.lower().replace("_", "") == squeezed and candidate != name:
            return candidate
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.7 if len(name) > 3 else 0.6)
    return matches[0] if matches else None
