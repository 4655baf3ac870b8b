"""Generated text to a module: the one place in optdsl where text becomes code.

The text is ours, printed from a verified kernel and without comments; nothing of a spec is in it but
names that are ASCII and safe, and numbers. It is not trusted for that: before it runs, its tree is held
against what generated modules consist of, and anything else is a bug that is reported as such.
"""

import ast
import hashlib
import linecache
import re
import sys
from types import ModuleType

from optdsl.diagnostics import InternalError

_NODES = (
    ast.Module, ast.Expr, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Import, ast.ImportFrom, ast.alias,
    ast.FunctionDef, ast.Return, ast.arguments, ast.arg, ast.ClassDef, ast.Assign, ast.For, ast.Pass,
    ast.Call, ast.keyword,
    ast.Tuple, ast.Dict, ast.Subscript, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.FloorDiv,
    ast.BoolOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub, ast.Not, ast.And, ast.Or, ast.Eq, ast.NotEq,
    ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.MatMult, ast.BitOr, ast.If, ast.IfExp,
)  # fmt: skip
_ATTRIBUTES = frozenset(("size", "sqrt", "exp", "log", "tanh", "cos", "sin", "inf", "__init__"))
_BASES = frozenset(("math", "t", "super"))
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CALLED = frozenset(("range", "super", "abs", "dict", "min"))


class UnexpectedCodeError(InternalError):
    """Generated text holds something that generated text never holds."""


def load_generated(text: str, name: str) -> ModuleType:
    """A module from generated text, in `sys.modules` under a name that holds the text's hash.

    Raises `UnexpectedCodeError` before anything runs when the text is not what the compiler emits.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    full_name = f"{name}_{digest}"
    if full_name in sys.modules:
        return sys.modules[full_name]
    tree = ast.parse(text)
    check(tree)
    filename = f"<optdsl {full_name}>"
    # Numba and tracebacks read the text of functions from here.
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    module = ModuleType(full_name)
    module.__file__ = filename
    exec(compile(tree, filename, "exec"), module.__dict__)
    sys.modules[full_name] = module
    return module


def check(tree: ast.Module) -> None:
    """Raise unless the tree holds only what generated modules are made of."""
    imported: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise UnexpectedCodeError(f"generated code holds a {type(node).__name__}")
        match node:
            case ast.Import(names=names):
                _require(all(alias.name == "math" for alias in names), "an import of another module")
                imported.add("math")
            case ast.ImportFrom(module=module, names=names, level=level):
                allowed = module in ("collections.abc", "typing") or (module or "").startswith(
                    "optdsl.runtime."
                )
                _require(allowed and level == 0, f"an import from {module}")
                imported.update(alias.asname or alias.name for alias in names)
            case ast.Attribute(value=ast.Name(id=base), attr=attribute):
                _require(base in _BASES and attribute in _ATTRIBUTES, f"{base}.{attribute}")
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
                pass
            case ast.Attribute():
                raise UnexpectedCodeError("generated code reads an attribute")
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ClassDef(name=name):
                _require(_NAME.fullmatch(name) is not None, f"the name {name}")
            case ast.FunctionDef(name=name):
                _require(name == "__init__" or _NAME.fullmatch(name) is not None, f"the function {name}")
            case ast.Constant(value=value):
                _require(value is None or isinstance(value, int | float | str), "a constant of another kind")
            case _:
                pass
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            known = node.func.id in imported | defined | _CALLED
            _require(known, f"a call of {node.func.id}")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise UnexpectedCodeError(f"generated code holds {what}")
