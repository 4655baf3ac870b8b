"""The meaning of a spec as text, for people: what `optdsl show --stage optimizer` prints.

In: an `Optimizer`, its flags chosen or not. Out: one line per declaration and assignment. Computes nothing.
"""

from fractions import Fraction

from optdsl.language.inputs import input_of
from optdsl.language.operators import INFIX, OPERATORS, REDUCTIONS
from optdsl.language.optimizer import Apply, Expr, Number, Optimizer, Ref, Truth


def describe(optimizer: Optimizer, phase: str) -> str:
    """One line per declaration and assignment, every operand in brackets: nothing is left to precedence."""
    lines = [f"optimizer {optimizer.name}"]
    for hyper in optimizer.hypers:
        alias = f" as {hyper.alias.name}" if hyper.alias else ""
        index = f"[{hyper.alias.index}]" if hyper.alias and hyper.alias.index is not None else ""
        lines.append(f"hyper {hyper.name} = {_number(hyper.default)} in {hyper.domain}{alias}{index}")
    lines += [f"input {name}: {input_of(name).shape.name.lower()}" for name in optimizer.inputs]
    for flag in optimizer.flags:
        lines.append(f"flag {flag.name} = {str(flag.default).lower()}")
    for state in optimizer.states:
        alias = f" as {state.alias}" if state.alias else ""
        lines.append(
            f"state {state.name}: {state.shape.name.lower()} = {print_meaning(state.initial)}{alias}"
        )
    shown = optimizer.query_lines if phase == "query" else optimizer.lines
    for line in shown:
        target = f"{line.target.name}{line.target.age.value}: {line.target.shape.name.lower()}"
        if line.first is not None:
            lines.append(f"{target} = {print_meaning(line.first)} at t = 1")
        lines.append(f"{target} = {print_meaning(line.value)}")
    lines += [f"output {output.name} = {print_meaning(output.value)}" for output in optimizer.outputs]
    if optimizer.query is not None:
        lines.append(f"gradient at {print_meaning(optimizer.query)}")
    return "\n".join(lines)


def print_meaning(expr: Expr) -> str:
    match expr:
        case Number(value=value):
            return _number(value)
        case Truth(value=value):
            return str(value).lower()
        case Ref(name=name, age=age):
            return f"{name}{age.value}"
        case Apply(op=op, args=args) if op not in OPERATORS and op not in REDUCTIONS:
            return f"{op}({', '.join(map(print_meaning, args))})"
        case Apply(op=op, args=args) if op in REDUCTIONS:
            scope = f" over {REDUCTIONS[op].over}" if REDUCTIONS[op].over else ""
            return f"{REDUCTIONS[op].spelled}({', '.join(map(print_meaning, args))}{scope})"
        case Apply(op=op, args=args):
            row = OPERATORS[op]
            texts = [print_meaning(arg) for arg in args]
            if row.infix in INFIX:
                return f"({texts[0]} {row.infix} {texts[1]})"
            return f"{op}({', '.join(texts)})"


def _number(value: Fraction) -> str:
    return str(value)
