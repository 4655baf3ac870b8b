"""What the author most likely did when a line does not parse, in the words of the language.

In: lark's exception and the text. Out: one `Problem`. Lark's own words and token names never get past
this module.
"""

import re

import lark

from optdsl.diagnostics import Problem, Span
from optdsl.diagnostics import catalogue as problem
from optdsl.diagnostics.catalogue_parts import OnlyClaims
from optdsl.language.spellings import foreign

# What a statement may begin with, and how the reader knows the tokens.
_EXPECTED = {
    "NAME": "a name", "INT": "a number", "NUMBER": "a number", "_NL": "the end of the line",
    "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`", "EQUAL": "`=`", "COMMA": "`,`",
    "VBAR": "`|`", "T": "`t`",
}  # fmt: skip
_EXPRESSION_STARTS = {"NAME", "INT", "NUMBER", "LPAR", "MINUS", "E", "IF", "TRUE", "FALSE"}
_OPERATORS = {"PLUS", "MINUS", "TIMES", "DIVIDE", "MATMUL", "MOD", "COMPARE", "POWER", "AND", "OR"}
_KINDS = {"OPTIMIZER", "TRANSFORM", "SCHEDULE", "OBJECTIVE", "WRAPPER"}
_STATEMENTS = {"HYPER", "FLAG", "STATE", "INPUT", "OUTPUT", "PROVE", "EXPECT", "ESTIMATE", "WHEN", "START"}
_DEFINITION = re.compile(r"(?:optimizer|transform|schedule|objective|wrapper)\s+(\w+)$")
_INDEXED = re.compile(r"\[\s*(?!t\s*$)([A-Za-z]\w*)\s*$")  # by a name that is not `t`
_VALUE = re.compile(r"([\w.]+|[)\]])\s*$")
_WORDS = {"ELSE", "THEN", "END", "IN", "AS", "REFUTED"}
_ASSIGNMENTS = ("+=", "-=", "*=", "/=", "^=", ":=", "<-", "==")


def explain_syntax_error(error: lark.exceptions.UnexpectedInput, text: str) -> Problem:
    """The diagnostic for the first place where `text` (a spec, with bad lines blanked) does not parse."""
    offset, found, expected = _facts(error, text)
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    code = text[start:end].split("#", 1)[0].rstrip()
    offset = min(offset, start + len(code))
    span = Span(offset, min(offset + max(len(found), 1), max(start + len(code), offset + 1)))
    before = text[start:offset]

    bracket = _unbalanced(code)
    if bracket and (bracket[0] <= offset - start or offset >= start + len(code)):
        place = start + bracket[0]
        return problem.UnbalancedBracket(span=Span(place, place + 1), bracket=bracket[1])
    if code[offset - start :].startswith("**") or (before.endswith("*") and found == "*"):
        place = offset if code[offset - start :].startswith("**") else offset - 1
        return problem.PowerSpelling(span=Span(place, place + 2), replacement="^")
    for spelling in _ASSIGNMENTS:
        for place in (offset - 1, offset):
            if place >= start and text.startswith(spelling, place) and _is_target(text[start:place]):
                return problem.AssignmentSpelling(span=Span(place, place + 2), operator=spelling)
    if printed := _printed(before, found, code[offset - start :], expected):
        return problem.PrintedFormula(span=span, what=printed[0], choice=printed[1])
    at_end = not text[offset:].strip()
    if at_end and "END" in expected:
        return problem.MissingEnd(span=_last_when(text))
    if at_end and (header := _DEFINITION.match(_last_line(text))):
        name = text[: len(text.rstrip())].rfind(header[1])
        return problem.EmptyDefinition(span=Span(name, name + len(header[1])), name=header[1])
    if written := foreign(code, offset - start, expected & _OPERATORS):
        place, length, what, choice = written
        return problem.PrintedFormula(
            span=Span(start + place, start + place + length), what=what, choice=choice
        )
    if expected & _KINDS and not expected & _STATEMENTS:
        return problem.NoDefinition(span=span)
    if expected & _KINDS and "HYPER" not in expected:
        return OnlyClaims(span=span)
    if before.rstrip().endswith("[") and not expected & {"NAME"}:
        inside = code[offset - start :].split("]")[0].strip()
        return problem.TimeIndex(span=Span(offset, offset + max(len(inside), 1)), index=inside)
    if (indexed := _INDEXED.search(before)) and "RSQB" in expected:
        inside = code[indexed.start(1) :].split("]")[0].strip()
        place = start + indexed.start(1)
        return problem.TimeIndex(span=Span(place, place + len(inside)), index=inside)
    if found in ("<", ">", "<=", ">=", "==") and "COMPARE" not in expected and expected & _OPERATORS:
        return problem.ChainedComparison(span=span)
    if re.match(r"[\w.(]", found or " ") and expected & _OPERATORS and (left := _VALUE.search(before)):
        right = "(...)" if found == "(" else found
        left_text = left[1] if left[1] not in ")]" else "(...)"
        if not re.match(r"\s*(hyper|flag|state|input|output|prove|expect|estimate)\b", code):
            return problem.MissingOperator(span=span, left=left_text, right=right)
    return problem.UnexpectedText(span=span, expected=_expected(expected), found=_found(found))


def _printed(before: str, found: str, rest: str, expected: set[str]) -> tuple[str, str] | None:
    """What a formula on paper would have here: what it is, and how it is typed."""
    if found == "|" and expected >= _EXPRESSION_STARTS - {"E", "IF", "TRUE", "FALSE"}:
        return "bars", "write `abs(x)` for each element, `norm(x)` for the length of a tensor"
    if re.search(r",\s*over\s*$", before) and found in ("all", "rows", "cols", "fan_in"):
        return "the scope of a reduction", f"write `over {found}` without a comma before it"
    if (found == ":" and re.search(r"\bif\b", before)) or (found == "if" and expected & _OPERATORS):
        return "a case", "write `if CONDITION then X else Y`"
    if "EQUAL" in expected and "=" in rest and re.fullmatch(r"\s*\w+\[t\]", before):
        name = before.strip().removesuffix("[t]")
        choice = f"declare what is kept, `state {name}2[0] = 0`, and say what it becomes: `{name}2[t] = ...`"
        return "left of `=` stands one name", choice
    return None


def _facts(error: lark.exceptions.UnexpectedInput, text: str) -> tuple[int, str, set[str]]:
    """Offset, the text found there, and the names of the tokens that would have been right."""
    match error:
        case lark.exceptions.UnexpectedToken(token=token):
            expected = set(error.accepts or error.expected)
            if token.type == "$END":
                return len(text.rstrip()), "", expected
            found = "" if token.type == "_NL" else str(token)
            return int(token.start_pos or 0), found, expected
        case lark.exceptions.UnexpectedCharacters(pos_in_stream=place):
            start = int(place or 0)
            word = re.match(r"\w+|.", text[start:], re.S)
            return start, word[0] if word else "", set(error.allowed or ())
        case _:
            return len(text.rstrip()), "", set()


def _unbalanced(code: str) -> tuple[int, str] | None:
    """The first bracket of a line without partner: (place, bracket). `[0, 1)` closes fine."""
    stack: list[int] = []
    for i, char in enumerate(code):
        if char in "([":
            stack.append(i)
        elif char in ")]":
            if not stack:
                return i, char
            stack.pop()
    return (stack[0], code[stack[0]]) if stack else None


def _is_target(text: str) -> bool:
    return bool(re.fullmatch(r"\s*\w+(\[[^\]]*\])?\s*", text))


def _last_when(text: str) -> Span:
    places = [match.start(1) for match in re.finditer(r"(?m)^[ \t]*(when)\b", text)]
    return Span(places[-1], places[-1] + 4) if places else Span(max(len(text.rstrip()) - 1, 0), len(text))


def _last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.split("#", 1)[0].strip() for line in text.split("\n")]
    return next((line for line in reversed(lines) if line), "")


def _found(found: str) -> str:
    return f"`{found}`" if found else "the end of the line"


def _expected(expected: set[str]) -> str:
    if expected & _STATEMENTS - {"WHEN"}:  # a claim may go on with `when`
        return "a statement"
    if expected >= _EXPRESSION_STARTS - {"E", "IF", "TRUE", "FALSE"}:
        return "an expression"
    named = [
        _EXPECTED.get(token, f"`{token.lower()}`")
        for token in sorted(expected)
        if token in _EXPECTED or token in _WORDS
    ]
    if expected & _OPERATORS:
        named.append("an operator")
    return " or ".join(dict.fromkeys(named)) or "something else"
