"""Who may import whom, and what may not be written anywhere: the floor plan as tests."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("optdsl", "backends", "grammar", "specs", "tests", "benchmarks", "examples")
MAPPED = ("backends", "grammar", "specs")

# What the modules of a package may import of optdsl, beside the package itself. A module that is not named
# here may import everything but backends.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "optdsl.diagnostics": (),
    "optdsl.portable": (),
    "optdsl.runtime": ("optdsl.portable",),
    "optdsl.language": ("optdsl.diagnostics", "optdsl.grammar"),
    "optdsl.kernel": ("optdsl.diagnostics", "optdsl.language", "optdsl.backend"),
    "optdsl.backend": ("optdsl.diagnostics", "optdsl.kernel", "optdsl.language", "optdsl.runtime"),
    "optdsl.checks": ("optdsl.diagnostics", "optdsl.language"),
    "optdsl.files": ("optdsl.diagnostics",),
    "optdsl.console": (),
}
_COMPILER = (
    *("optdsl.diagnostics", "optdsl.language", "optdsl.kernel", "optdsl.backend", "optdsl.runtime"),
    "optdsl.portable",
)
MAY_IMPORT |= {"optdsl.emit": _COMPILER, "optdsl.backends": ("optdsl.emit", *_COMPILER)}


def sources(*folders: str) -> list[Path]:
    """Every source file but the expected outputs of tests."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "golden" not in path.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("optdsl", *parts) if parts[0] in MAPPED else parts
    return ".".join(parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every optdsl module that a file imports, as a dotted name, wherever in the file."""
    name = module_name(path)
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def inside(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", sources("optdsl", "backends"), ids=module_name)
def test_imports_follow_the_floor_plan(path: Path) -> None:
    name = module_name(path)
    found = {used for used in imports(path) if inside(used, ("optdsl",)) and used != "optdsl.__version__"}
    if not inside(name, ("optdsl.backends",)):
        assert not {used for used in found if inside(used, ("optdsl.backends",))}, (
            "backends are found by name"
        )
    home = max((package for package in MAY_IMPORT if inside(name, (package,))), key=len, default=None)
    if home is not None:
        assert not {used for used in found if not inside(used, (home, *MAY_IMPORT[home]))}


def test_no_file_is_two_ideas() -> None:
    """The catalogue of findings is exempt: a list stays one idea however long it grows."""
    lengths = {
        module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*FOLDERS)
    }
    assert {name for name, length in lengths.items() if length > 400} <= {"optdsl.diagnostics.catalogue"}


def test_no_text_is_ever_run() -> None:
    """SymPy's readers run what they read; generated modules are loaded in one place only.

    `opt.eval()`, as optimizers with a second view of the parameters have it, runs no text.
    """
    running = re.compile(
        r"(?<!opt\.)(?<!optimizer\.)(?<!def )\b(sympify|parse_expr|lambdify|eval|exec)\s*\("
        r"|\bsympy\.S\(|\b__import__\("
    )
    found = {
        f"{module_name(path)}: {line.strip()}"
        for path in sources("optdsl", "backends", "grammar", "specs", "benchmarks")
        for line in path.read_text(encoding="utf-8").splitlines()
        if running.search(line)
    }
    assert [line.split(":")[0] for line in found] == ["optdsl.emit.loading"]


def python(program: str) -> str:
    """What a fresh interpreter prints."""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    return result.stdout


HEAVY = (
    "sympy",
    "numba",
    "torch",
    "jax",
    "lark",
    "mpmath",
    "numpy",
    "rich",
    "matplotlib",
    "sklearn",
    "flint",
)


@pytest.mark.parametrize(
    "program",
    ["import optdsl", "from optdsl.cli import main; assert main(['--help']) == 0",
     "from optdsl.cli import main; assert main(['--version']) == 0",
     "from optdsl.cli import main; assert main(['check', '--help']) == 0"],
)  # fmt: skip
def test_starting_is_light(program: str) -> None:
    found = python(f"{program}\nimport sys; print('loaded', *sorted({set(HEAVY)!r} & sys.modules.keys()))")
    assert found.splitlines()[-1] == "loaded"


def test_checking_needs_no_compiler() -> None:
    found = python(
        "from optdsl.cli import main; assert main(['check', '-q', 'adam']) == 0\n"
        "import sys; print('loaded', *sorted({'numba', 'torch', 'sympy', 'jax'} & sys.modules.keys()))"
    )
    assert found == "loaded\n"


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_a_generated_module_needs_the_runtime_only(framework: str, tmp_path: Path) -> None:
    import optdsl

    (tmp_path / "generated.py").write_text(optdsl.load("adam").compile(framework=framework), encoding="utf-8")
    found = python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import generated\nassert generated.Adam\n"
        "print(*sorted(n for n in sys.modules if n.split('.')[0] in ('optdsl', 'sympy', 'lark', 'mpmath')))"
    ).split()
    # torch brings SymPy along by itself when it compiles, but not when it is imported.
    assert [name for name in found if not inside(name, ("optdsl.runtime",))] == ["optdsl"]


def test_there_is_one_copy_of_each_module() -> None:
    """From the root of the checkout `import backends` would work, and make a second copy."""
    import optdsl.backend

    for name in optdsl.backend.available_backends():
        optdsl.backend.get_backend(name)
    assert not {name for name in sys.modules if name.split(".")[0] in MAPPED}
