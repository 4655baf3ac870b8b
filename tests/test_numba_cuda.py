"""Kernels for GPUs as Python text: run in Python and, compiled to PTX by Numba, in the interpreter of PTX.

Both give the bits that `interpreter` computes, which are those of `llvm` (tests/test_llvm.py). What compiles
is skipped where Numba does not find NVIDIA's libNVVM; what the text means is tested everywhere.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from optdsl.backends import numba_cuda
from optdsl.backends._chunked_step import chunked_step
from optdsl.backends._llvm_ptx import unsupported_on_gpu

import optdsl.torch
from optdsl.backend import Program, Step, get_backend
from optdsl.cli import cli
from optdsl.emit.device_code import device_code
from optdsl.kernel.ir import Kernel, Op, Type
from optdsl.kernel.walk import nodes
from optdsl.runtime.cuda import driver as cuda_driver
from optdsl.runtime.cuda import kernel as cuda_kernel
from optdsl.runtime.cuda import numba_in_python, numba_package, numba_words
from optdsl.runtime.cuda.driver import CudaError
from optdsl.runtime.cuda.numba_kernel import Kernel as Compilable
from optdsl.runtime.cuda.numba_words import write_f32
from tests.ptx import fake_torch
from tests.ptx.fake_driver import FakeDriver
from tests.ptx.lint import accesses_of, findings
from tests.ptx.ptxas import PTXAS, assembled
from tests.ptx.text import parsed
from tests.support import programs
from tests.support.programs import Setting, label
from tests.test_llvm import same_bits
from tests.test_ptx_kernels import DEFAULTS, SETTINGS, SIZES, Compiled, Interpreted

SMALL = [0, 1, 7, 13]


def _on_gpus(setting: Setting) -> bool:
    kernels = programs.program(setting, "fma", Type.F32).kernels
    return not any(map(unsupported_on_gpu, kernels))


ON_GPUS = list(filter(_on_gpus, SETTINGS))


def _operators(setting: Setting) -> frozenset[tuple[bool, str]]:
    """The operators of its phases, and whether these sum."""
    return frozenset(
        (kernel.sums, node.name)
        for kernel in programs.program(setting, "fma", Type.F32).kernels
        for phase in kernel.phases
        for stmt in phase.body
        for node in nodes(stmt.value)
        if isinstance(node, Op)
    )


def _few() -> Iterator[Setting]:
    """Adam, and others until every operator is there, in passes that sum and in those that do not."""
    left = frozenset[tuple[bool, str]]().union(*map(_operators, ON_GPUS))
    chosen = next(setting for setting in ON_GPUS if setting[0] == "adam")
    while True:
        yield chosen
        left -= _operators(chosen)
        if not left:
            return
        chosen = max(ON_GPUS, key=lambda setting: len(_operators(setting) & left))


FEW = list(_few())


@pytest.fixture(scope="module")
def compiler() -> None:
    """Skips where there is none."""
    try:
        numba_cuda.ptx(programs.program(next(iter(DEFAULTS)), "fast", Type.F32))
    except CudaError as error:
        pytest.skip(str(error))


# --- the text, in Python ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ON_GPUS, ids=label)
def test_the_text_means_what_the_kernel_does(setting: Setting) -> None:
    program = programs.program(setting, "fma", Type.F32)
    same_bits(program, [get_backend(name).load(program) for name in ("interpreter", "numba_cuda")], SMALL)


OTHERS = [("fast", Type.F32), ("strict", Type.F32), ("accurate", Type.F32), ("accurate", Type.F64)]


@pytest.mark.parametrize(("mode", "storage"), OTHERS)
@pytest.mark.parametrize("setting", FEW, ids=label)
def test_the_text_in_other_modes(setting: Setting, mode: str, storage: Type) -> None:
    program = programs.program(setting, mode, storage)
    same_bits(program, [get_backend(name).load(program) for name in ("interpreter", "numba_cuda")], SMALL)


NAMES = """
optimizer Names
hyper in_vectors = 0.5 in [0, inf)
hyper new0 = 0.25 in [0, inf)
hyper element = 0.125 in [0, inf)
state aligns[0] = 0
g_read = g[t] * new0
theta_all = aligns[t-1] - element*g_read
fma = theta_all * g_read
aligns[t] = theta_all + element
new = in_vectors*theta_all + fma
theta[t] = theta[t-1] - new
"""


@pytest.mark.parametrize("compiled", [False, True])
def test_names_of_a_spec_that_the_text_uses_itself(compiled: bool, request: pytest.FixtureRequest) -> None:
    program = programs.program_of(NAMES, "fma", Type.F32)
    step = get_backend("numba_cuda").load(program)
    if compiled:
        request.getfixturevalue("compiler")
        step = interpreted(program, numba_cuda.ptx(program), 0)
    same_bits(program, [get_backend("interpreter").load(program), step], SMALL)


def test_python_and_numba_know_the_same_words() -> None:
    constants = {"BLOCK", "HALVINGS", "f32", "f64"}
    assert set(numba_cuda._WORDS) == set(numba_in_python.WORDS) | constants
    assert all(hasattr(numba_words, word) for word in numba_cuda._WORDS)


def test_what_is_wrong_in_a_text_is_told_in_python() -> None:
    """A vector that does not lie at 16 bytes, a float64 where float32 are kept, a barrier that some miss."""
    values = np.zeros(9, np.float32)
    at = values.ctypes.data + (-values.ctypes.data % 16)
    with pytest.raises(ValueError, match="not aligned"):
        numba_in_python.read4_f32(at, 1)
    with pytest.raises(TypeError, match="cast it"):
        numba_in_python.write_f32(at, 0, np.float64(1.0))

    def some(barrier: Any) -> None:
        if this_thread() == 0:  # type: ignore[name-defined] # noqa: F821
            barrier()

    def everyone() -> None:
        barrier()  # type: ignore[name-defined] # noqa: F821

    numba_in_python.run(everyone, 2, barriers=True)
    with pytest.raises(RuntimeError, match="barrier"):
        numba_in_python.run(some, 1, numba_in_python.WORDS["barrier"], barriers=True)


# --- PTX -------------------------------------------------------------------------------------------------


def interpreted(program: Program, text: str, offset: int) -> Step:
    def pair(kernel: Kernel) -> tuple[Any, Any]:
        on = Interpreted(text, kernel, offset)
        return Compiled(on.prepare), Compiled(on.run)

    step: Step = chunked_step(program, "update", "numba_cuda", pair)
    return step


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("setting", FEW, ids=label)
def test_ptx_has_the_stated_bits(setting: Setting) -> None:
    """Aligned, in vectors of 16 bytes, and not aligned; and nothing is in it that must not be."""
    program = programs.program(setting, "fma", Type.F32)
    text = numba_cuda.ptx(program)
    assert findings(text) == []
    _check_resources(text)
    steps = [interpreted(program, text, offset) for offset in (0, 4)]
    same_bits(program, [get_backend("interpreter").load(program), *steps], SIZES)


def _check_resources(text: str) -> None:
    if PTXAS is not None:
        for name, took in assembled(text).items():
            assert took.spills == took.stack == 0, name


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("name", "mode", "storage"),
    [("adam", "strict", Type.F32), ("rprop", "accurate", Type.F32), ("lamb", "accurate", Type.F64)],
)
def test_ptx_in_other_modes(name: str, mode: str, storage: Type) -> None:
    program = programs.program(next(each for each in DEFAULTS if each[0] == name), mode, storage)
    text = numba_cuda.ptx(program)
    assert findings(text, float64=("reduce", "prepare", "totals", *(["update"] * (mode == "accurate")))) == []
    steps = [get_backend("interpreter").load(program), interpreted(program, text, 0)]
    same_bits(program, steps, SIZES)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", ["adam", "lion", "lamb", "padam"])
def test_fast_is_near_the_reference(name: str) -> None:
    """NVIDIA's compiler joins operations as it likes: 300 units in the last place, as everywhere in float32,
    of the largest of the old and the new value (see tests/test_backends.py).
    """
    program = programs.program(next(each for each in DEFAULTS if each[0] == name), "fast", Type.F32)
    optimizer, text = program.optimizer, numba_cuda.ptx(program)
    assert findings(text, exact=False) == []
    assert "fma.rn.f32" in text.split(".entry update_f32")[1]  # it does join them
    hypers = programs.hyper_rows(optimizer, 2)
    before = programs.initial_data(optimizer, SIZES, Type.F32, rows=2)
    found, expected = before.copy(), before.copy()
    programs.run(interpreted(program, text, 0), optimizer, found, hypers, 1)
    programs.run(get_backend("reference").load(program), optimizer, expected, hypers, 1)
    for tensor, wanted, old in zip(found.arrays, expected.arrays, before.arrays, strict=True):
        for name_, array in tensor.items():
            scale = np.maximum(np.maximum(np.abs(wanted[name_]), np.abs(old[name_])), 1e-2)
            error = np.abs(array.astype(float) - wanted[name_].astype(float)) / np.spacing(scale)
            assert error.size == 0 or error.max() <= 300, name_


@pytest.mark.usefixtures("compiler")
def test_every_buffer_moves_in_vectors() -> None:
    """Adam reads four and writes three."""
    for storage in Type.F32, Type.F64:
        program = programs.program(next(each for each in DEFAULTS if each[0] == "adam"), "fma", storage)
        entry = parsed(numba_cuda.ptx(program)).entries[f"update_{storage}"]
        accesses = accesses_of(entry)
        assert accesses.vector_loads
        assert accesses.vector_loads * 3 == accesses.vector_stores * 4  # however often loops are unrolled


# --- what people do with it ------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver()
    monkeypatch.setattr(cuda_driver, "_open", lambda: fake)
    for cached in (
        cuda_driver.driver.cache_clear,
        cuda_driver.device.cache_clear,
        cuda_kernel._modules.clear,
    ):
        cached()
    yield fake
    for cached in (
        cuda_driver.driver.cache_clear,
        cuda_driver.device.cache_clear,
        cuda_kernel._modules.clear,
    ):
        cached()


@pytest.fixture
def mine(tmp_path: Path) -> Any:
    """A module of SGD without momentum that somebody has made to step three times as far."""
    path = tmp_path / "mine.py"
    result = CliRunner().invoke(
        cli, ["compile", "gd", "--target", "numba-cuda", "--emit", "py", "-o", str(path)]
    )
    assert result.exit_code == 0, result.output
    text = path.read_text(encoding="utf-8")
    line = "theta = theta_old - lr * g"
    assert text.count(line) == 1
    path.write_text(text.replace(line, "theta = theta_old - f32(3.0) * lr * g"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


THETA, G = np.arange(70, dtype=np.float32), np.full(70, 0.5, np.float32)
CHANGED = THETA - 3 * 0.25 * 0.5  # theta - 3*lr*g, exact in float32


def test_a_changed_file_runs_in_python(mine: Any) -> None:
    theta, scalars = THETA.copy(), np.array([[0.25, 1.0]], np.float32)
    addresses = np.array([[theta.ctypes.data, G.ctypes.data]], np.uint64)
    chunks = np.array([[0, 0, 70, 0]], np.int64)
    tables = [each.ctypes.data for each in (addresses, chunks, scalars)]
    numba_in_python.run(mine.update.function, 1, *tables)
    np.testing.assert_array_equal(theta, CHANGED)


@dataclass
class Tensor:
    """As far as launches know."""

    address: int

    def data_ptr(self) -> int:
        return self.address


@pytest.mark.usefixtures("compiler")
def test_a_changed_file_is_launched(mine: Any, fake: FakeDriver) -> None:
    memory = fake.memories[0]
    places = [memory.put(THETA), memory.put(G)]
    addresses = Tensor(memory.put(np.array([places], np.uint64)))
    chunks = Tensor(memory.put(np.array([[0, 0, 70, 0]], np.int64)))
    hypers, one = memory.put(np.array([[0.25]])), memory.put(np.ones(1))
    scalars = memory.allocate(8)
    for _ in range(2):
        mine.prepare_update.launch(1, hypers, one, one, 0, scalars, 1, stream=3)
        mine.update.launch(1, addresses, chunks, scalars, stream=3)
    fake.finish()
    found = memory.read(places[0], 280).view(np.float32)
    np.testing.assert_array_equal(found, CHANGED - 3 * 0.25 * 0.5)
    assert fake.launches == ["prepare_update", "update"] * 2
    assert fake.calls.count("cuModuleLoadDataEx") == 2  # each is compiled and loaded once
    with pytest.raises(TypeError, match="takes 3 arguments, not 1"):
        mine.update.launch(1, addresses)
    with pytest.raises(TypeError, match="launch"):
        mine.update(addresses)


@pytest.mark.usefixtures("compiler")
def test_what_numba_cannot_compile_is_told_without_its_traceback() -> None:
    def update(addresses_at: int) -> None:
        write_f32(addresses_at, 0, 1.0)

    with pytest.raises(TypeError, match=r"(?s)Numba cannot compile update: .*cast it") as raised:
        Compilable(update, contract=False).ptx("update")
    assert raised.value.__suppress_context__


@pytest.mark.usefixtures("compiler")
@pytest.mark.skipif(torch.version.cuda is not None, reason="torch's operators are not to be replaced")
@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_what_launches_the_kernels_of_llvm_launches_these(
    name: str, fake: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's classes, on a fake GPU: parameters end where those of the CPU's kernels do, to the bit."""
    gpus = fake_torch.install(fake, monkeypatch)
    found: Any = optdsl.torch.load(name)
    code = device_code(programs.meaning(name), "accurate", "numba_cuda")
    monkeypatch.setattr(found, "layout", replace(found.layout, device_code=code))
    torch.manual_seed(0)
    here = [torch.nn.Parameter(torch.randn(shape)) for shape in ((7,), (33, 5), ())]
    there = [torch.nn.Parameter(gpus.to(each.detach(), 0)) for each in here]
    optimizers = found(here), found(there)
    for _ in range(2):
        for near, far in zip(here, there, strict=True):
            near.grad = torch.randn_like(near)
            far.grad = gpus.to(near.grad, 0)
        for optimizer in optimizers:
            optimizer.step()
    fake.finish()
    for near, far in zip(here, there, strict=True):
        torch.testing.assert_close(gpus.host(far.detach()), near.detach(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["muon", "adafactor", "lbfgs"])
def test_what_has_no_kernel_is_refused_in_words(name: str) -> None:
    result = CliRunner().invoke(cli, ["compile", name, "--target", "numba-cuda"])
    assert result.exit_code == 1
    assert "OD024" in result.output
    assert "cannot be compiled for numba_cuda: " in result.output


BROKEN = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numba.cuda" or name.startswith("numba.cuda."):
            raise OSError("libcudart.so.13: cannot open shared object file")
sys.meta_path.insert(0, Finder())
import optdsl
from optdsl.cli import main
for line in sys.argv[1:]:
    code = main(line.split())
    print(f"exit {code}: {line}", file=sys.stderr)
"""


def test_a_broken_installation_breaks_this_backend_only() -> None:
    lines = {
        "list": 0, "check adam": 0, "compile adam": 0, "compile adam --emit ptx": 0,
        "compile adam --target numba-cuda": 0, "compile adam --target numba-cuda --emit py": 0,
        "compile adam --target numba-cuda --emit ptx": 1,
    }  # fmt: skip
    result = subprocess.run([sys.executable, "-c", BROKEN, *lines], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("exit ")]
    assert said == [f"exit {code}: {line}" for line, code in lines.items()]
    assert "Traceback" not in result.stderr
    assert "Numba's package for GPUs cannot be imported (libcudart.so.13:" in result.stderr


def test_an_absent_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class NvvmSupportError(Exception):
        pass

    def absent(*arguments: Any, **options: Any) -> None:
        raise NvvmSupportError("libNVVM cannot be found. Do `conda install cudatoolkit`")

    monkeypatch.setattr(numba_package.compiler, "compile_cuda", absent)
    result = CliRunner().invoke(cli, ["compile", "adam", "--target", "numba-cuda", "--emit", "ptx"])
    assert result.exit_code == 1
    assert "does not find NVIDIA's compiler libNVVM" in " ".join(result.output.split())
