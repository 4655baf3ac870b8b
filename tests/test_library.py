"""Libraries ahead of time: called from C, C++, Rust and Python, with the bits of the kernels here."""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from optdsl.backends import _llvm_levels, _llvm_library, llvm
from optdsl.backends._llvm_levels import attribute_groups, levels
from optdsl.backends._llvm_library import interface, not_for_a_library, write_library
from optdsl.backends._llvm_machine import alias_metadata

from optdsl.backend import Program, get_backend
from optdsl.cli import cli
from optdsl.kernel.ir import Type
from optdsl.portable.llvm_text import ATTRIBUTES, Module
from optdsl.runtime.batch import Batch
from optdsl.runtime.llvm_kernel import CompiledModule, host_features, host_triple
from tests.support import programs
from tests.support.programs import Setting, label
from tests.test_ptx_kernels import DEFAULTS


def shape(setting: Setting) -> tuple[object, ...]:
    """What a library's functions depend on, besides the kernels that they call."""
    program = programs.program(setting, "fma", Type.F32)
    given = interface(program.optimizer)
    sums = [[total.over_all for _, total in program.summed(each)] for each in program.reductions]
    counts = (len(given.hypers), len(given.states), len(given.numbers), len(given.scalars), len(given.arrays))
    return str(sums), counts, [type(state.initial).__name__ for state in program.optimizer.states]


SIZES = [5, 0, 1, 17, 1030, 16384 + 40]
LIBRARIES = [each for each in DEFAULTS if not not_for_a_library(programs.program(each, "fma", Type.F32))]
SHAPES = list({str(shape(each)): each for each in reversed(LIBRARIES)}.values())
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
needs_rust = pytest.mark.skipif(shutil.which("rustc") is None, reason="no Rust compiler")


class Library:
    """The functions of one optimizer for float32, with NumPy arrays for tensors."""

    def __init__(self, program: Program, step: Any, init: Any) -> None:
        self.given = interface(program.optimizer)
        self.step_, self.init_ = step, init

    def step(self, hypers: Any, t: int, data: Mapping[str, list[Any]], numbers: Any, loss: float) -> int:
        pointers, _kept = self._pointers(("theta", "g", *(s.name for s in self.given.states)), data)
        arrays, _kept_too = self._pointers(self.given.arrays, data)
        sizes = np.array([each.size for each in data["theta"]], np.int64)
        call = [ctypes.c_void_p(hypers.ctypes.data), ctypes.c_int64(t), ctypes.c_int64(sizes.size)]
        call += [ctypes.c_void_p(sizes.ctypes.data), *pointers, *arrays]
        call += [ctypes.c_void_p(numbers.ctypes.data)] if self.given.numbers else []
        call += [ctypes.c_double(loss) for _ in self.given.scalars]
        return int(self.step_(*call))

    def init(self, hypers: Any, data: Mapping[str, list[Any]], numbers: Any) -> int:
        pointers, _kept = self._pointers(("theta", *(s.name for s in self.given.states)), data)
        sizes = np.array([each.size for each in data["theta"]], np.int64)
        call = [ctypes.c_void_p(hypers.ctypes.data), ctypes.c_int64(sizes.size)]
        call += [ctypes.c_void_p(sizes.ctypes.data), *pointers]
        call += [ctypes.c_void_p(numbers.ctypes.data)] if self.given.numbers else []
        return int(self.init_(*call))

    @staticmethod
    def _pointers(names: Any, data: Mapping[str, list[Any]]) -> tuple[list[Any], list[Any]]:
        tables = [np.array([each.ctypes.data for each in data[name]], np.uint64) for name in names]
        return [ctypes.c_void_p(table.ctypes.data) for table in tables], tables


def in_process(program: Program) -> Library:
    """The library's functions, compiled here without a linker."""
    module, triple = Module(), host_triple()
    write_library(module, [program], triple, "a test")
    compiled = CompiledModule(
        module.text(ATTRIBUTES, attribute_groups(triple), alias_metadata(program.kernels)), plain=True
    )
    name = interface(program.optimizer).name
    step, init = (compiled.returning(f"{name}_{kind}_f32") for kind in ("step", "init"))
    library = Library(program, step, init)
    library.module = compiled  # type: ignore[attr-defined]  # which the functions live in
    return library


def tensors(program: Program) -> dict[str, list[Any]]:
    rng = np.random.default_rng(1)
    given = interface(program.optimizer)
    names = ("theta", "g", *(state.name for state in given.states), *given.arrays)
    return {name: [rng.standard_normal(size).astype(np.float32) for size in SIZES] for name in names}


def same_as_in_process(program: Program, library: Library) -> None:
    """Two steps of both, from what the library makes the states be."""
    optimizer, given = program.optimizer, library.given
    data = tensors(program)
    hypers = programs.hyper_rows(optimizer, 1)
    numbers = np.full((len(SIZES), max(len(given.numbers), 1)), np.nan)
    assert library.init(hypers, data, numbers) == 0
    states = {state.name: state for state in optimizer.states}
    start = programs.initial_data(optimizer, SIZES, Type.F32, rows=len(SIZES))
    for name in (state.name for state in given.states):
        first, wanted = data[name][0], start.arrays[0][name]
        if np.unique(wanted).size > 1:  # theta[0]
            wanted = data["theta"][0]
        np.testing.assert_array_equal(
            first, np.broadcast_to(wanted[: first.size], first.shape), str(states[name])
        )
    other = {name: [each.copy() for each in arrays] for name, arrays in data.items()}
    other_numbers = numbers.copy()
    step = get_backend("llvm").load(program)
    names = ("theta", "g", *(state.name for state in given.states), *given.arrays)
    for t in (1, 2):
        assert library.step(hypers, t, data, numbers, programs.INPUT) == 0
        columns = np.full((len(SIZES), len(program.update.hypers)), np.nan)
        columns[:, : hypers.shape[1]] = hypers
        columns[:, hypers.shape[1] : hypers.shape[1] + len(given.scalars)] = programs.INPUT
        addresses = [[other[name][i].ctypes.data for name in names] for i in range(len(SIZES))]
        scalar_states = other_numbers[:, : len(given.numbers)].copy()
        step(
            Batch(
                addresses=np.array(addresses, np.uint64),
                sizes=np.array(SIZES, np.int64),
                rows=np.arange(len(SIZES)),
                hypers=columns,
                t=np.full(len(SIZES), float(t)),
                direction=np.ones(len(SIZES)),
                scalar_states=scalar_states,
            )
        )
        other_numbers[:, : len(given.numbers)] = scalar_states
        np.testing.assert_array_equal(numbers, other_numbers)
        for name in names:
            for ours, theirs in zip(data[name], other[name], strict=True):
                assert ours.tobytes() == theirs.tobytes(), (name, t)


@pytest.mark.parametrize("setting", SHAPES, ids=label)
def test_a_library_has_the_bits_of_the_kernels(setting: Setting) -> None:
    program = programs.program(setting, "fma", Type.F32)
    same_as_in_process(program, in_process(program))


@pytest.mark.parametrize("level", levels(host_triple()), ids=lambda level: level.name)
@pytest.mark.parametrize("name", ["adam", "lamb", "padam"])
def test_levels_of_the_processor_have_the_same_bits(
    name: str, level: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all(each in host_features() for each in level.features.replace("+", "").split(",") if each):
        pytest.skip("this processor has no such instructions")
    one = (_llvm_levels.Level(level.name, _llvm_levels.Target(level.target.has_fma, "#1"), level.features),)
    monkeypatch.setattr(_llvm_levels, "levels", lambda triple: one)
    monkeypatch.setattr(_llvm_library, "levels", lambda triple: one)
    program = programs.program(next(each for each in LIBRARIES if each[0] == name), "fma", Type.F32)
    module = Module()
    write_library(module, [program], host_triple(), "a test")
    group = f'attributes #1 = {{ nounwind "no-builtins" "target-features"="{level.features}" }}'
    compiled = CompiledModule(module.text(ATTRIBUTES, group, alias_metadata(program.kernels)), plain=True)
    given = interface(program.optimizer).name
    step, init = (compiled.returning(f"{given}_{kind}_f32") for kind in ("step", "init"))
    same_as_in_process(program, Library(program, step, init))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("muon", "multiplied as a matrix"),
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


PAGE = Path(__file__).parent.parent / "docs" / "libraries.md"


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
    program = programs.program(next(each for each in LIBRARIES if each[0] == "adam"), "fma", Type.F32)
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
