"""Syntax tree to text, in the one canonical layout; what is printed parses to an equal tree.

Brackets stand only where the tree needs them, numbers as the author wrote them. Comments inside a body
are not part of the tree and are not printed; the header is.
"""

from collections.abc import Iterable, Iterator
from typing import assert_never

from optdsl.language import syntax

# How tightly an operator binds, as in the grammar.
_IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(10)
_BINARY = {
    "or": _OR, "and": _AND, "==": _COMPARE, "<=": _COMPARE, ">=": _COMPARE, "<": _COMPARE, ">": _COMPARE,
    "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "@": _PRODUCT, "mod": _PRODUCT, "^": _POWER,
}  # fmt: skip
_TIGHT = {"*", "/", "^"}  # written without spaces


def print_file(file: syntax.File) -> str:
    header = "".join(f"# {line}".rstrip() + "\n" for line in file.header.split("\n")) if file.header else ""
    return header + "\n".join(_definition(definition) for definition in file.definitions)


def _definition(definition: syntax.Definition | syntax.Composition) -> str:
    match definition:
        case syntax.Composition(kind, name, stages, claims):
            return "\n".join((f"{kind} {name} = {' | '.join(map(_stage, stages))}", *_lines(claims))) + "\n"
        case syntax.Definition(kind, name, formals, body):
            head = f"{kind} {name}" + (f"({', '.join(formal.name for formal in formals)})" if formals else "")
            return "\n".join((head, *_lines(body))) + "\n"
        case _:
            assert_never(definition)


def _stage(stage: syntax.Stage) -> str:
    return stage.name + (f"({_arguments(stage.arguments)})" if stage.arguments else "")


def _lines(body: Iterable[syntax.Statement]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, syntax.When):
            yield f"when {print_expr(statement.test)}"
            yield from (f"  {line}" for line in _lines(statement.then))
            if statement.otherwise:
                yield "else"
                yield from (f"  {line}" for line in _lines(statement.otherwise))
            yield "end"
        else:
            yield print_statement(statement)


def print_statement(statement: syntax.Statement) -> str:
    match statement:
        case syntax.HyperDecl(name, default, domain, alias):
            where = f" in {_interval(domain)}" if domain else ""
            return f"hyper {name} = {print_expr(default)}{where}{_alias(alias)}"
        case syntax.FlagDecl(name, default, alias):
            return f"flag {name} = {'true' if default else 'false'}{_alias(alias)}"
        case syntax.StateDecl(name, step, initial, alias):
            return f"state {name}[{step}] = {print_expr(initial)}{_alias(alias)}"
        case syntax.InputDecl(name):
            return f"input {name}"
        case syntax.OutputDecl(name, shown):
            return f"output {name}" + (f" = {print_expr(shown)}" if shown is not None else "")
        case syntax.Assign(target, value):
            return f"{print_expr(target)} = {print_expr(value)}"
        case syntax.Start(arguments):
            return f"start {_arguments(arguments)}"
        case syntax.Claim():
            return print_claim(statement)
        case syntax.When():
            return "\n".join(_lines((statement,)))
        case _:
            assert_never(statement)


def print_claim(claim: syntax.Claim) -> str:
    word = "expect refuted" if claim.refuted else "estimate" if claim.estimate else "prove"
    return f"{word} {print_claimed(claim)}"


def print_claimed(claim: syntax.Claim) -> str:
    """The claim without the word before it."""
    text = print_expr(claim.left)
    if claim.iff is not None:
        return f"{text} iff {print_expr(claim.iff)}"
    if claim.right is not None:
        text += f" = {print_expr(claim.right)}"
    if claim.when is not None:
        text += f" when {_condition(claim.when)}"
    if claim.free:
        text += f" free {', '.join(claim.free)}"
    if claim.substitution:
        text += f" with {_arguments(claim.substitution)}"
    return text


def _condition(expr: syntax.Expr) -> str:
    match expr:
        case syntax.Binary("and", left, right):
            return f"{_condition(left)} and {_fact(right)}"
        case _:
            return _fact(expr)


def _fact(expr: syntax.Expr) -> str:
    match expr:
        case syntax.Binary("==", left, right):
            return f"{print_expr(left, _COMPARE + 1)} = {print_expr(right, _COMPARE + 1)}"
        case _:
            return print_expr(expr, _NOT)


def _interval(domain: syntax.Interval) -> str:
    opening, closing = "[" if domain.low_closed else "(", "]" if domain.high_closed else ")"
    return f"{opening}{print_expr(domain.low)}, {print_expr(domain.high)}{closing}"


def _alias(alias: syntax.Alias | None) -> str:
    if alias is None:
        return ""
    return f" as {alias.name}" + (f"[{alias.index}]" if alias.index is not None else "")


def _arguments(arguments: Iterable[syntax.Argument]) -> str:
    return ", ".join(map(_argument, arguments))


def _argument(argument: syntax.Argument) -> str:
    name = print_expr(argument.at) if argument.at else argument.name
    return (f"{name} = " if name else "") + print_expr(argument.value)


def print_expr(expr: syntax.Expr, level: int = _IF) -> str:
    """The expression, in brackets when it binds less tightly than `level`."""
    text, own = _with_level(expr)
    return f"({text})" if own < level else text


def _with_level(expr: syntax.Expr) -> tuple[str, int]:
    match expr:
        case syntax.Number(text):
            return text, _ATOM
        case syntax.Bool(value):
            return "true" if value else "false", _ATOM
        case syntax.Name(name):
            return name, _ATOM
        case syntax.At(name, offset, step, count=count):
            index = str(step) if offset is None else "t" if offset == 0 else f"t{offset:+d}"
            if count is not None:
                index = count if offset is None else f"t-{count}"
            return f"{name}[{index}]", _ATOM
        case syntax.Range(first, last):
            return f"{print_expr(first)} to {print_expr(last)}", _IF
        case syntax.Unary("not", operand):
            return f"not {print_expr(operand, _NOT)}", _NOT
        case syntax.Unary(_, operand):
            return f"-{print_expr(operand, _UNARY)}", _UNARY
        case syntax.Binary(op, left, right):
            own = _BINARY[op]
            left_level, right_level = own, own + 1
            if own == _COMPARE:
                left_level = own + 1
            elif own == _POWER:
                left_level, right_level = _ATOM, _UNARY
            space = "" if op in _TIGHT else " "
            return f"{print_expr(left, left_level)}{space}{op}{space}{print_expr(right, right_level)}", own
        case syntax.If(test, then, otherwise):
            return f"if {print_expr(test)} then {print_expr(then)} else {print_expr(otherwise)}", _IF
        case syntax.Call(function, arguments, over):
            scope = f" over {over}" if over else ""
            return f"{function}({_arguments(arguments)}{scope})", _ATOM
        case syntax.Expectation(operand):
            return f"E[{print_expr(operand)}]", _ATOM
        case _:
            assert_never(expr)
