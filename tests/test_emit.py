"""Generated modules: what they may hold, and that what is loaded is what was meant."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import optdsl
from optdsl import driver
from optdsl.diagnostics import OptdslError, Source
from optdsl.emit.loading import UnexpectedCodeError, check, load_generated
from optdsl.files import library_names, read_library

HOSTILE = [
    "import os",
    "from os import system",
    "from optdsl.driver import front",
    "__import__('os')",
    "().__class__",
    "open('x')",
    "exec('1')",
    "eval('1')",
    "math.__loader__",
    "getattr(math, 'inf')",
    "lambda: 1",
    "[x for x in ()]",
    "f'{1}'",
    "while True: pass",
    "with x: pass",
    "try:\n    pass\nexcept: pass",
    "del x",
    "global x",
    "class _A: pass",
    "def f(): yield",
    "x = b'bytes'",
    "print(1)",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_only_what_generated_modules_hold_is_run(text: str) -> None:
    with pytest.raises(UnexpectedCodeError):
        load_generated(text, "hostile")


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("name", library_names())
def test_generated_modules_pass_the_check(name: str, framework: str) -> None:
    check(ast.parse(driver.compile_source(read_library(name), framework=framework)))


NASTY = (
    "# A \"\"\" header \\ with '''quotes''' and \\n escapes {braces} %s\n"
    "optimizer Nasty\n"
    "hyper i = 1e-3 in [0, inf)  # \"\"\" + __import__('os').system('x')\n"
    "hyper row = 0.5 in [0, 1)   as size\n"
    "hyper chunks = 1 in [0, 1]\n"
    "hyper len = 1 in [0, 1]\n"
    "hyper theta_at = 1 in [0, 1]\n"
    "hyper f32 = 1 in [0, 1]\n"
    "flag math = false\n"
    "state scalars[0] = 0\n"
    "state theta_old[0] = 1\n"
    "k0 = 1 - row\n"
    "scalars[t] = row*scalars[t-1] + k0*g[t]\n"
    "theta_old[t] = theta_old[t-1]*chunks*f32\n"
    "maximum = if math then scalars[t] else scalars[t]/(1 - row^t)\n"
    "theta[t] = theta[t-1] - i*maximum*len*theta_at*theta_old[t]\n"
)


def test_names_of_a_spec_never_meet_names_of_generated_code(tmp_path: Path) -> None:
    """A spec whose names are those that kernels use, with a header that would end a docstring."""
    path = tmp_path / "nasty.opt"
    path.write_text(NASTY)
    spec = optdsl.load(path)
    for framework in ("torch", "numpy"):
        check(ast.parse(spec.compile(framework=framework)))
    x = np.array([1.0, -2.0])
    optimizer = optdsl.numpy.load(path)(x, i=0.1)
    optimizer.step(np.array([2.0, 4.0]))
    # m/(1 - row^1) is g at the first step: x - 0.1*g
    np.testing.assert_allclose(x, [0.8, -2.4], rtol=1e-15)


def test_too_many_flags_are_refused() -> None:
    flags = "".join(f"flag f{i} = false\n" for i in range(5))
    use = "".join(f"u{i} = if f{i} then g[t] else theta[t-1]\n" for i in range(5))
    total = " + ".join(f"u{i}" for i in range(5))
    source = Source("flags.opt", f"optimizer Flags\n{flags}{use}theta[t] = theta[t-1] - ({total})\n")
    with pytest.raises(OptdslError, match="OD803"):
        driver.compile_source(source, framework="torch")


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_generated_module_needs_nothing_of_the_compiler(framework: str, tmp_path: Path) -> None:
    (tmp_path / "adam.py").write_text(optdsl.load("adam").compile(framework=framework))
    program = (
        f"import sys, {framework}\n"  # torch imports SymPy and mpmath for itself
        "before = set(sys.modules)\n"
        "from adam import Adam\n"
        "print(Adam.__name__, *sorted(set(sys.modules) - before))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    name, *imported = found.stdout.split()
    assert name == "Adam", found.stderr
    ours = {module for module in imported if module.startswith("optdsl.")}
    assert ours
    assert all(module.startswith("optdsl.runtime") for module in ours), ours
    assert not {module.split(".")[0] for module in imported} & {"sympy", "lark", "mpmath", "click", "rich"}


def test_tabs_of_a_spec_are_spaces_in_its_comments() -> None:
    text = "optimizer X\nhyper lr = 1 in [0, inf)\n\ttheta[t] = theta[t-1]\t- lr*g[t]\n"
    module = driver.compile_source(Source("tabs.opt", text), framework="numpy")
    comments = module.split('"""')[0]
    assert "theta[t] = theta[t-1]   - lr*g[t]" in comments
    assert "?" not in comments
