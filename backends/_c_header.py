"""The C header of a library: what its functions take, in which units, and what they return.

In: an optimizer. Out: text for C99 and C++, the same to the byte for the same spec. Fields of structs and
arguments are the spec's names; those that C or C++ keep for themselves get an underscore.
"""

from optdsl.language.inputs import input_of
from optdsl.language.optimizer import Optimizer

from ._llvm_library import BAD_HYPER, BAD_STEP, NEGATIVE_SIZE, NULL_POINTER, OK, Interface, interface

_KEYWORDS = frozenset(
    """alignas alignof and asm auto bool break case catch char class const constexpr continue default delete
    do double else enum explicit export extern false float for friend goto if inline int long mutable
    namespace new not operator or private protected public register restrict return short signed sizeof
    static struct switch template this throw true try typedef typename union unsigned using virtual void
    volatile while xor""".split()
)
_ARGUMENTS = frozenset(("hypers", "t", "tensors", "sizes", "numbers", "theta", "g"))
_TYPES = {"f32": "float", "f64": "double"}


def header(optimizer: Optimizer, how: str) -> str:
    """how: what the first line says after `compiled by optdsl`."""
    given = interface(optimizer)
    guard = f"OPTDSL_{given.name.upper()}_H"
    doc = ["", *optimizer.doc.splitlines()]
    parts = (
        [f"/* {optimizer.name}, compiled by optdsl {_comment(how)}"],
        [f" * {_comment(line)}".rstrip() for line in doc],
        [" */", f"#ifndef {guard}", f"#define {guard}", "", "#include <stdint.h>", ""],
        ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""],
        [f"extern const char {given.name}_compiled[]; /* from what, and how */", ""],
        _structs(given),
        _codes(given),
        _functions(given),
        ["#ifdef __cplusplus", "}", "#endif", "", f"#endif /* {guard} */", ""],
    )
    return "\n".join(line for part in parts for line in part)


def _comment(text: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown.replace("*/", "* /").replace("/*", "/ *")


def field(name: str) -> str:
    return f"{name}_" if name in _KEYWORDS or name in _ARGUMENTS else name


def _structs(given: Interface) -> list[str]:
    name = given.name
    fields = [f"  double {field(hyper.name)}; /* in {hyper.domain} */" for hyper in given.hypers]
    defaults = ", ".join(repr(float(hyper.default)) for hyper in given.hypers)
    lines = [
        "/* Hyperparameters. They may change from step to step. */",
        "typedef struct {",
        *(fields or ["  double unused;"]),
        f"}} {name}_hypers;",
        f"#define {name.upper()}_DEFAULTS {{{defaults or '0.0'}}}",
        "",
    ]
    if given.numbers:
        lines += [
            "/* What is kept for a tensor as a whole. */",
            "typedef struct {",
            *(f"  double {field(state.name)};" for state in given.numbers),
            f"}} {name}_numbers;",
            "",
        ]
    return lines


def _codes(given: Interface) -> list[str]:
    upper = given.name.upper()
    rows = [
        (f"{upper}_OK", OK, ""),
        (f"{upper}_BAD_STEP", BAD_STEP, "t is less than 1"),
        (f"{upper}_NULL_POINTER", NULL_POINTER, "a pointer is NULL, and its tensor has elements"),
        (f"{upper}_NEGATIVE_SIZE", NEGATIVE_SIZE, ""),
    ]
    for number, hyper in enumerate(given.hypers):
        rows.append((f"{upper}_BAD_{hyper.name.upper()}", BAD_HYPER - number, f"not in {hyper.domain}"))
    return [
        f"/* What functions return. Unless it is {upper}_OK, nothing has been written. */",
        "enum {",
        *(f"  {name} = {value},{f' /* {note} */' if note else ''}" for name, value, note in rows),
        "};",
        "",
    ]


def _functions(given: Interface) -> list[str]:
    name = given.name
    lines = [
        "/* Tensors are arrays of pointers to `tensors` stretches of memory, of `sizes[i]` elements each,",
        " * which do not overlap; they need no alignment but that of their type. Functions may run at the",
        " * same time on other tensors: they allocate nothing and keep nothing. */",
        "",
        "/* What states are before the first step. */",
    ]
    for storage, element in _TYPES.items():
        arguments = [f"const {name}_hypers *hypers", "int64_t tensors", "const int64_t *sizes"]
        arguments += [f"const {element} *const *theta", *_states(given, element)]
        lines += _declared(f"int {name}_init_{storage}", arguments)
    inputs = (*given.scalars, *given.arrays)
    lines += [
        "",
        "/* One step: theta, the parameters, and the states are changed; g, the gradients, are only read.",
        " * `t` is the number of the step, from 1. To maximize, give -g.",
        *(f" * `{field(each)}`: {input_of(each).what}." for each in inputs),
        " */",
    ]
    for storage, element in _TYPES.items():
        arguments = [f"const {name}_hypers *hypers", "int64_t t", "int64_t tensors", "const int64_t *sizes"]
        arguments += [f"{element} *const *theta", f"const {element} *const *g", *_states(given, element)]
        position = len(arguments) - bool(given.numbers)
        arguments[position:position] = [f"const {element} *const *{field(each)}" for each in given.arrays]
        arguments += [f"double {field(each)}" for each in given.scalars]
        lines += _declared(f"int {name}_step_{storage}", arguments)
    return [*lines, ""]


def _states(given: Interface, element: str) -> list[str]:
    arrays = [f"{element} *const *{field(state.name)}" for state in given.states]
    return arrays + ([f"{given.name}_numbers *numbers"] if given.numbers else [])


def _declared(head: str, arguments: list[str]) -> list[str]:
    return [f"{head}(", ",\n".join(f"    {argument}" for argument in arguments) + ");"]
