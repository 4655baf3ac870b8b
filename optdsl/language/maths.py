"""A spec as mathematics: Unicode for a terminal, LaTeX for a paper. The author's order is kept.

In: the syntax tree. Out: one line of text per statement that says something mathematical (declarations are
told elsewhere). Two styles over one walk; nothing is simplified.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from optdsl.language import syntax
from optdsl.language.names import GREEK

_GREEK = {ascii_name: letter for letter, ascii_name in GREEK.items() if letter != "ϵ"}
_LATEX_GREEK = {name: f"\\{name}" for name in _GREEK} | {
    "eps": "\\epsilon", "lam": "\\lambda", "omicron": "o", "lr": "\\eta",
}  # fmt: skip
_SUBSCRIPT = str.maketrans("0123456789+-t", "₀₁₂₃₄₅₆₇₈₉₊₋ₜ")
_SUPERSCRIPT = str.maketrans("0123456789-t", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵗ")
_HATS = {"hat": "\\hat", "bar": "\\bar", "tilde": "\\tilde"}

_IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(10)
_LEVEL = {
    "or": _OR, "and": _AND, "==": _COMPARE, "<=": _COMPARE, ">=": _COMPARE, "<": _COMPARE, ">": _COMPARE,
    "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "@": _PRODUCT, "mod": _PRODUCT, "^": _POWER,
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How the two styles spell what they spell differently."""

    latex: bool

    def name(self, name: str, index: str = "") -> str:
        stem = name.rstrip("0123456789")
        digits = name[len(stem) :]
        stem = stem.removesuffix("_") or stem  # t_0 is t₀
        if not self.latex:
            return _GREEK.get(stem, stem) + (digits + index).translate(_SUBSCRIPT)
        hat = next((hat for hat in _HATS if stem.endswith(hat) and len(stem) > len(hat)), None)
        bare = stem.removesuffix(hat) if hat else stem
        text = _LATEX_GREEK.get(
            bare, bare if len(bare) == 1 else f"\\mathrm{{{bare.replace('_', chr(92) + '_')}}}"
        )
        if hat:
            text = f"{_HATS[hat]}{{{text}}}"
        below = ", ".join(filter(None, (digits, index)))
        return f"{text}_{{{below}}}" if below else text

    def power(self, base: str, exponent: str) -> str:
        if self.latex:
            return f"{base}^{{{exponent}}}"
        if set(exponent) <= set("0123456789-t"):
            return base + exponent.translate(_SUPERSCRIPT)
        return f"{base}^{exponent}" if exponent.isalnum() else f"{base}^({exponent})"

    def call(self, name: str, arguments: list[str], over: str | None) -> str:
        scope = f" over {over}" if over else ""
        if not self.latex:
            special = {"sqrt": "√({})", "abs": "|{}|", "norm": "‖{}‖", "floor": "⌊{}⌋", "cbrt": "∛({})"}
            if name in special and len(arguments) == 1:
                return special[name].format(arguments[0]) + scope
            return f"{name}({', '.join(arguments)}{scope})"
        special = {
            "sqrt": "\\sqrt{{{}}}", "abs": "\\left|{}\\right|", "norm": "\\left\\|{}\\right\\|",
            "floor": "\\left\\lfloor {}\\right\\rfloor", "cbrt": "\\sqrt[3]{{{}}}", "grad": "\\nabla f({})",
        }  # fmt: skip
        if name in special and len(arguments) == 1:
            return special[name].format(arguments[0])
        shown = (
            f"\\{name}"
            if name in ("min", "max", "exp", "log", "tanh", "cos", "sin")
            else f"\\operatorname{{{name}}}"
        )
        return f"{shown}\\left({', '.join(arguments)}\\right)"

    def operator(self, op: str) -> str:
        plain = {"*": "·", "-": "−", "<=": "≤", ">=": "≥", "==": "="}
        latex = {
            "*": "\\,",
            "@": "",
            "<=": "\\le",
            ">=": "\\ge",
            "==": "=",
            "and": "\\wedge",
            "or": "\\vee",
            "mod": "\\bmod",
        }
        return (latex if self.latex else plain).get(op, op)

    def brackets(self, text: str) -> str:
        return f"\\left({text}\\right)" if self.latex else f"({text})"


UNICODE, LATEX = Style(latex=False), Style(latex=True)


def equations(definition: syntax.Definition, style: Style) -> Iterator[str]:
    """The initial states and the lines of a definition, one text each."""
    for statement in definition.body:
        match statement:
            case syntax.StateDecl(name, step, initial):
                yield f"{style.name(name, str(step))} = {show(initial, style)}"
            case syntax.Assign(target, value):
                yield f"{show(target, style)} = {show(value, style)}"
            case syntax.OutputDecl(name, value) if value is not None:
                yield f"{style.name(name)} = {show(value, style)}"
            case _:
                pass


def show(expr: syntax.Expr, style: Style, level: int = _IF) -> str:
    text, own = _shown(expr, style)
    return style.brackets(text) if own < level else text


def _shown(expr: syntax.Expr, style: Style) -> tuple[str, int]:
    match expr:
        case syntax.Number(text):
            return text, _ATOM
        case syntax.Bool(value):
            return ("true" if value else "false"), _ATOM
        case syntax.Name(name):
            return style.name(name), _ATOM
        case syntax.At(name, offset, step, count=count):
            index = str(step) if offset is None else "t" if offset == 0 else f"t{offset:+d}"
            if count is not None:
                index = count if offset is None else f"t-{count}"
            return style.name(name, index), _ATOM
        case syntax.Range(first, last):
            return f"{show(first, style)} to {show(last, style)}", _IF
        case syntax.Unary("not", operand):
            sign = "\\neg " if style.latex else "not "
            return sign + show(operand, style, _NOT), _NOT
        case syntax.Unary(_, operand):
            return ("-" if style.latex else "−") + show(operand, style, _UNARY), _UNARY
        case syntax.Binary("^", base, exponent):
            return style.power(show(base, style, _ATOM), show(exponent, style)), _POWER
        case syntax.Binary("/", left, right) if style.latex:
            return f"\\frac{{{show(left, style)}}}{{{show(right, style)}}}", _ATOM
        case syntax.Binary(op, first, second):
            own = _LEVEL[op]
            left_text = show(first, style, own + (own == _COMPARE))
            right_text = show(second, style, own + 1)
            space = "" if op in ("*", "/") and not style.latex else " "
            return f"{left_text}{space}{style.operator(op)}{space}{right_text}", own
        case syntax.If(test, then, otherwise):
            yes, condition, no = (show(part, style) for part in (then, test, otherwise))
            if style.latex:
                rows = f"{yes} & {condition}\\\\ {no} & \\text{{otherwise}}"
                return f"\\begin{{cases}}{rows}\\end{{cases}}", _ATOM
            return f"{yes} if {condition} else {no}", _IF
        case syntax.Call("transpose", (argument,)):
            return style.power(show(argument.value, style, _ATOM), "\\top" if style.latex else "T"), _POWER
        case syntax.Call(function, arguments, over):
            shown_arguments = [
                (f"{show(a.at or syntax.Name(a.name), style)} = " if a.name else "") + show(a.value, style)
                for a in arguments
            ]
            return style.call(function, shown_arguments, over), _ATOM
        case syntax.Expectation(operand):
            inner = show(operand, style)
            return (f"\\mathbb{{E}}\\left[{inner}\\right]" if style.latex else f"E[{inner}]"), _ATOM
