"""What people do with kernels as Python text: they change a file, run it, launch it; and what they are told.

Without a GPU: the driver is a fake, which interprets PTX.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from optdsl.backends import numba_cuda

import optdsl.torch
from optdsl.cli import cli
from optdsl.emit import device_code
from optdsl.files import read_library
from optdsl.runtime.cuda import driver as cuda_driver
from optdsl.runtime.cuda import kernel as cuda_kernel
from optdsl.runtime.cuda import numba_in_python, numba_package
from optdsl.runtime.cuda.numba_kernel import Kernel as Compilable
from optdsl.runtime.cuda.numba_words import read_f32, write_f32
from tests.ptx import fake_torch
from tests.ptx.fake_driver import FakeDriver
from tests.support.libnvvm import libnvvm as libnvvm


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


@pytest.mark.usefixtures("libnvvm")
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


def _float64(x_at: int) -> None:
    write_f32(x_at, 0, 1.0)


def _signed(x_at: int) -> None:
    write_f32(x_at + 4, 0, read_f32(x_at, 0))  # no address any more, as Numba has it


def _divided(x_at: int) -> None:
    write_f32(x_at, 1 / 2, read_f32(x_at, 0))


def _unknown(x_at: int) -> None:
    write_f32(x_at, 0, nothing(1.0))  # type: ignore[name-defined] # noqa: F821


@pytest.mark.usefixtures("libnvvm")
@pytest.mark.parametrize(
    ("function", "words"),
    [(_float64, "cast it"), (_signed, "an address is a uint64, not int64"),
     (_divided, "an index is an integer, not float64"), (_unknown, "nothing")],
)  # fmt: skip
def test_what_numba_cannot_compile_is_told_without_its_traceback(function: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"(?s)Numba cannot compile {function.__name__}: .*{words}") as raised:
        Compilable(function, contract=False).ptx("update")
    assert raised.value.__suppress_context__


@pytest.mark.usefixtures("libnvvm")
@pytest.mark.skipif(torch.version.cuda is not None, reason="torch's operators are not to be replaced")
@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_what_launches_the_kernels_of_llvm_launches_these(
    name: str, fake: FakeDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """torch's classes, on a fake GPU: parameters end where those of the CPU's kernels do, to the bit."""
    gpus = fake_torch.install(fake, monkeypatch)
    asked: list[str] = []

    def writer(target: str) -> Any:
        asked.append(target)
        return numba_cuda.GPU

    monkeypatch.setattr(device_code, "get_gpu_writer", writer)
    mine = tmp_path / f"{name}.opt"  # a class of its own: others have their code already
    mine.write_text(f"# {tmp_path}\n{read_library(name).text}", encoding="utf-8")
    found: Any = optdsl.torch.load(mine)
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
    assert asked
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
