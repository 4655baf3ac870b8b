"""Libraries as their users have them: files of the command line, and programs in other languages."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from optdsl.backends import llvm

from optdsl.cli import cli
from optdsl.kernel.ir import Type
from tests.support import programs
from tests.support.library import Library
from tests.test_ptx_kernels import DEFAULTS

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
needs_rust = pytest.mark.skipif(shutil.which("rustc") is None, reason="no Rust compiler")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("muon", "multiplied as a matrix"),
        ("lbfgs", "remembered"),
        ("nesterov", "gradient is taken at another point"),
        ("schedule_free_sgd", "second view"),
        ("sgld", "random numbers"),
    ],
)
def test_what_has_no_library_says_why(name: str, says: str) -> None:
    result = CliRunner().invoke(cli, ["compile", name, "--emit", "so", "-o", "nowhere/"])
    assert result.exit_code == 1
    assert "error[OD024]" in result.stderr
    assert says in result.stderr
    assert not os.path.exists("nowhere")


def compiled(folder: Path, *arguments: str) -> Path:
    result = CliRunner().invoke(cli, ["compile", *arguments, "-o", f"{folder}/"])
    assert result.exit_code == 0, result.output
    return folder


def run(*command: object, **options: Any) -> str:
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, timeout=100, **options
    )
    assert done.returncode == 0, done.stderr
    output: str = done.stdout
    return output


THETA, GRADIENT = [1.0, -2.0, 0.5], [0.25, -0.5, 3.0]


def adam_of_torch(steps: int) -> list[float]:
    theta = torch.tensor(THETA).requires_grad_()
    theta.grad = torch.tensor(GRADIENT)
    optimizer = torch.optim.Adam([theta], lr=0.1)
    for _ in range(steps):
        optimizer.step()
    return theta.tolist()


ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "libraries.md"


def example() -> str:
    """The program that the page about libraries shows."""
    (text,) = re.findall(r"```c\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(text)


RUST = """
#[repr(C)]
struct Hypers { lr: f64, beta1: f64, beta2: f64, eps: f64, weight_decay: f64 }
extern "C" {
    fn adam_init_f32(h: *const Hypers, tensors: i64, sizes: *const i64, theta: *const *const f32,
                     m: *const *mut f32, v: *const *mut f32) -> i32;
    fn adam_step_f32(h: *const Hypers, t: i64, tensors: i64, sizes: *const i64, theta: *const *mut f32,
                     g: *const *const f32, m: *const *mut f32, v: *const *mut f32) -> i32;
}
fn main() {
    let mut theta = [1.0f32, -2.0, 0.5];
    let g = [0.25f32, -0.5, 3.0];
    let (mut m, mut v) = ([0f32; 3], [0f32; 3]);
    let hypers = Hypers { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    let sizes = [3i64];
    unsafe {
        assert_eq!(adam_init_f32(&hypers, 1, sizes.as_ptr(), [theta.as_ptr()].as_ptr(),
                                 [m.as_mut_ptr()].as_ptr(), [v.as_mut_ptr()].as_ptr()), 0);
        for t in 1..=5 {
            assert_eq!(adam_step_f32(&hypers, t, 1, sizes.as_ptr(), [theta.as_mut_ptr()].as_ptr(),
                                     [g.as_ptr()].as_ptr(), [m.as_mut_ptr()].as_ptr(),
                                     [v.as_mut_ptr()].as_ptr()), 0);
        }
    }
    println!("{} {} {}", theta[0], theta[1], theta[2]);
}
"""


@needs_cc
@pytest.mark.parametrize("language", ["c", "c++"])
def test_called_from_c(tmp_path: Path, language: str) -> None:
    build = compiled(tmp_path, "adam", "--emit", "so")
    source = tmp_path / "main.c"
    source.write_text(example())
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-std=c99" if language == "c" else "-std=c++17"]
    run("cc", *strict, "-x", language, source, "-x", "none", build / "libadam.so", "-o", tmp_path / "main")
    printed = run(tmp_path / "main", env={"LD_LIBRARY_PATH": str(build)})
    np.testing.assert_allclose([float(x) for x in printed.split()], adam_of_torch(5), atol=1e-6)


@needs_cc
@needs_rust
def test_called_from_rust(tmp_path: Path) -> None:
    build = compiled(tmp_path, "adam", "--emit", "so")
    source = tmp_path / "main.rs"
    source.write_text(RUST)
    run("rustc", "-L", build, "-l", "adam", "-o", tmp_path / "main", source)
    printed = run(tmp_path / "main", env={"LD_LIBRARY_PATH": str(build)})
    np.testing.assert_allclose([float(x) for x in printed.split()], adam_of_torch(5), atol=1e-6)


@needs_cc
def test_called_from_python_and_refusing(tmp_path: Path) -> None:
    """Whatever is wrong has a code of its own, and changes nothing."""
    build = compiled(tmp_path, "adam", "--emit", "so")
    library = ctypes.CDLL(str(build / "libadam.so"))
    program = programs.program(next(each for each in DEFAULTS if each[0] == "adam"), "fma", Type.F32)
    adam = Library(program, library.adam_step_f32, library.adam_init_f32)
    data = {"theta": [np.array(THETA, np.float32)], "g": [np.array(GRADIENT, np.float32)]}
    data |= {name: [np.full(3, np.nan, np.float32)] for name in ("m", "v")}
    hypers, none = np.array([0.1, 0.9, 0.999, 1e-8, 0.0]), np.zeros(0)
    assert adam.init(hypers, data, none) == 0
    for t in range(1, 6):
        assert adam.step(hypers, t, data, none, 0.0) == 0
    np.testing.assert_allclose(data["theta"][0], adam_of_torch(5), atol=1e-6)
    before = {name: arrays[0].copy() for name, arrays in data.items()}
    assert adam.step(hypers, 0, data, none, 0.0) == -1
    for number, bad in enumerate((-1.0, 1.0, np.nan, 0.0, np.inf)):
        wrong = hypers.copy()
        wrong[number] = bad
        assert adam.step(wrong, 6, data, none, 0.0) == -10 - number
    pointers = [ctypes.c_void_p(np.array([0], np.uint64).ctypes.data)] * 4
    sizes = np.array([3, -1], np.int64)
    head = [ctypes.c_void_p(hypers.ctypes.data), ctypes.c_int64(6)]
    kept = [np.array([data[name][0].ctypes.data] * 2, np.uint64) for name in ("theta", "g", "m", "v")]
    pointers = [ctypes.c_void_p(each.ctypes.data) for each in kept]
    two, at = ctypes.c_int64(2), ctypes.c_void_p(sizes.ctypes.data)
    assert library.adam_step_f32(*head, two, at, *pointers) == -3
    sizes[1] = 3
    assert library.adam_step_f32(*head, two, at, *pointers[:3], None) == -2
    kept[3][1] = 0
    assert library.adam_step_f32(*head, two, at, *pointers) == -2
    for name, array in before.items():
        assert data[name][0].tobytes() == array.tobytes(), name


PYTHON = """
import array, sys
import adam, polyak_sgd

theta = array.array("f", [1, -2, 0.5])
optimizer = adam.Adam([theta], lr=0.1)
for _ in range(5):
    optimizer.step([array.array("f", [0.25, -0.5, 3])])
assert "numpy" not in sys.modules and ".entry update_f32" in adam.PTX
print(*theta)
for wrong in (
    lambda: adam.Adam([theta], rate=1),
    lambda: adam.Adam([theta, array.array("d", [1])]),
    lambda: adam.Adam([theta, theta]),
    lambda: adam.Adam([array.array("i", [1])]),
    lambda: adam.Adam([b"123"]),
    lambda: adam.Adam([theta], lr=-1),
    lambda: optimizer.step([]),
    lambda: optimizer.step([array.array("f", [1])]),
    lambda: optimizer.step([theta], loss=1.0),
    lambda: polyak_sgd.PolyakSGD([theta]).step([theta]),
):
    try:
        wrong()
    except (TypeError, ValueError) as error:
        print(error)
# f = theta^2/2 at 3: gamma = 4.5/9, half of the way
x = array.array("d", [3.0])
polyak_sgd.PolyakSGD([x]).step([array.array("d", [3.0])], loss=4.5)
print(x[0])
"""


@needs_cc
def test_one_file_of_python_without_ptx(tmp_path: Path) -> None:
    compiled(tmp_path, "adam", "--emit", "py", "--no-ptx")
    program = "import adam, array; assert adam.PTX == ''; print(adam.Adam([array.array('f', [1])]).t)"
    assert run(sys.executable, "-S", "-c", program, cwd=tmp_path) == "0\n"


@needs_cc
def test_one_file_of_python(tmp_path: Path) -> None:
    for name in ("adam", "polyak_sgd"):
        compiled(tmp_path, name, "--emit", "py")
    (tmp_path / "main.py").write_text(PYTHON)
    printed = run(sys.executable, "-S", tmp_path / "main.py").splitlines()
    np.testing.assert_allclose([float(x) for x in printed[0].split()], adam_of_torch(5), atol=1e-6)
    assert printed[1:-1] == [
        "Adam has no rate; it has lr, beta1, beta2, eps, weight_decay",
        "parameters need to be of one format: make an optimizer for each",
        "a parameter is there twice",
        "a contiguous buffer of float32 or float64 is needed",
        "a parameter may not be written",
        "Invalid lr: -1",
        "a step takes a gradient for each parameter, and nothing else",
        "a gradient has another size or format than its parameter",
        "a step takes a gradient for each parameter, and nothing else",
        "a step takes a gradient for each parameter, and loss",
    ]
    assert float(printed[-1]) == 1.5


@needs_cc
def test_a_library_depends_on_nothing(tmp_path: Path) -> None:
    build = compiled(tmp_path, "lamb", "--emit", "so")
    library = build / "liblamb.so"
    names = run("nm", "-D", library).split("\n")
    kinds = {line.split()[-1]: line.split()[-2] for line in names if line}
    assert kinds == {
        "lamb_compiled": "R",
        **{f"lamb_{kind}_{storage}": "T" for kind in ("init", "step") for storage in ("f32", "f64")},
    }
    assert "statically linked" in run("ldd", library)


@pytest.mark.parametrize("form", ["o", "ll", "ptx"])
def test_the_name_of_a_file_stays_in_comments(tmp_path: Path, form: str) -> None:
    """Of which nobody can say that it has no line ends in it, or ends of comments."""
    strange = tmp_path / "x*"
    strange.mkdir()
    source = strange / "a\n#error b.opt"
    source.write_text(Path(ROOT, "specs", "gd.opt").read_text(encoding="utf-8"), encoding="utf-8")
    made = compiled(tmp_path / "out", str(source), "--emit", form)
    for path in made.iterdir():
        text = path.read_bytes()
        assert b"\n#error" not in text
        assert path.suffix != ".h" or text.count(b"*/") == text.count(b"/*")


@needs_cc
def test_only_what_is_ours_is_overwritten(tmp_path: Path) -> None:
    compiled(tmp_path, "adam", "--emit", "so")
    compiled(tmp_path, "adam", "--emit", "so")
    (tmp_path / "libadam.so").write_bytes(b"\x7fELF\0 of somebody else")
    result = CliRunner().invoke(cli, ["compile", "adam", "--emit", "so", "-o", f"{tmp_path}/"])
    assert "error[OD020]" in result.stderr
    assert (tmp_path / "libadam.so").read_bytes() == b"\x7fELF\0 of somebody else"


@pytest.mark.parametrize(("form", "has"), [("ll", "define"), ("asm", ".globl"), ("ptx", ".visible .entry")])
def test_stages_on_the_way_are_text(form: str, has: str) -> None:
    result = CliRunner().invoke(cli, ["compile", "adam", "--emit", form])
    assert result.exit_code == 0
    assert "Adam, compiled by optdsl" in result.stdout.split("\n")[0]
    assert has in result.stdout


def test_without_a_linker_objects_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    result = CliRunner().invoke(cli, ["compile", "adam", "--emit", "so", "-o", f"{tmp_path}/"])
    assert result.exit_code == 1
    assert "error[OD025]" in result.stderr
    assert list(tmp_path.iterdir()) == []
    compiled(tmp_path, "adam", "--emit", "o")
    assert {path.name for path in tmp_path.iterdir()} == {"adam.o", "adam.h"}


def test_the_llvm_backend_has_its_modes() -> None:
    result = CliRunner().invoke(cli, ["compile", "adam", "--mode", "strict"])
    assert result.exit_code == 2
    assert "numba-cpu has accurate, fast" in result.stderr
    result = CliRunner().invoke(cli, ["compile", "adam", "--target", "llvm"])
    assert "fma: computes in f32, stores f32" in result.stdout
    assert llvm.BACKEND.modes[0] == "fma"
