"""The cache of compiled kernels: whatever lies in it, the step is right and nobody is bothered."""

import hashlib
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import types

from optdsl.runtime import kept_code, kernel_cache
from optdsl.runtime.kept_code import MAGIC, cache_directory
from optdsl.runtime.numba_kernel import Kernel, compiled, read_f64, write_f64

PROGRAM = """
import numpy as np
from optdsl.runtime.kernel_cache import KernelCache
hits = []
load = KernelCache.load_overload
KernelCache.load_overload = lambda *arguments: hits.append(load(*arguments)) or hits[-1]
from tests.support.sample_small import ArraySGD
p = np.array([1.0, 2.0])
ArraySGD(p, lr=0.5).step(np.array([2.0, 2.0]))
print(p.tolist(), sum(hit is not None for hit in hits), "of", len(hits))
"""


def run(directory: Path, **environment: str) -> str:
    """What the program prints in a new process: the result, and how many kernels came from the cache."""
    variables = {**os.environ, "OPTDSL_CACHE_DIR": str(directory), **environment}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def make(factor: float = 2.0, comment: bool = False) -> Kernel:
    """A small kernel of this process; equal arguments give equal bytecode."""
    text = "def double(at, n):\n"
    text += "    # a comment\n" if comment else ""
    text += f"    for i in range(n):\n        write_f64(at, i, {factor!r} * read_f64(at, i, 0), 0)\n"
    namespace: dict[str, Any] = {"read_f64": read_f64, "write_f64": write_f64}
    exec(text, namespace)  # the text is this test's own
    return compiled(types.uint64, types.int64)(namespace["double"])


def hit(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Compiles the kernel and says whether it came from the cache; it must work either way."""
    found: list[Any] = []
    load = kernel.cache.load_overload

    def watch(*arguments: Any) -> Any:
        found.append(load(*arguments))
        return found[-1]

    monkeypatch.setattr(kernel.cache, "load_overload", watch)
    data = np.array([1.0, 2.0])
    kernel(np.uint64(data.ctypes.data), 2)
    assert data.tolist() == [2.0, 4.0]
    return found[0] is not None


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("OPTDSL_CACHE_DIR", str(path))
    return path


def test_a_second_process_loads_what_the_first_compiled(tmp_path: Path) -> None:
    directory, elsewhere = tmp_path / "cache", tmp_path / "numba"
    right = "[0.0, 1.0]"
    assert run(directory, NUMBA_CACHE_DIR=str(elsewhere)) == f"{right} 0 of 4"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert len(list(directory.iterdir())) == 4
    assert run(directory) == f"{right} 4 of 4"
    assert not elsewhere.exists()
    for file in directory.iterdir():
        file.write_bytes(b"")  # what ends every later run with Numba's own cache
    assert run(directory) == f"{right} 0 of 4"
    assert run(directory) == f"{right} 4 of 4"


def test_two_processes_at_once(tmp_path: Path) -> None:
    variables = {**os.environ, "OPTDSL_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PROGRAM]
    both = [subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert all(process.communicate(timeout=120)[0].startswith("[0.0, 1.0]") for process in both)
    assert run(tmp_path / "cache") == "[0.0, 1.0] 4 of 4"


def test_damage_of_every_kind_is_recompiled_and_mended(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not hit(make(), monkeypatch)
    (file,) = directory.iterdir()
    good = file.read_bytes()
    assert hit(make(), monkeypatch)

    class Planted:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(directory / "executed"),)

    payload = pickle.dumps(Planted())
    wrong = bytearray(good)
    wrong[-1] ^= 1
    other = pickle.dumps(("not", "a", "kernel"))
    cuts = [*range(0, len(MAGIC) + 40, 7), *range(100, len(good), len(good) // 20), len(good) - 1]
    damaged = [good[:cut] for cut in cuts] + [
        bytes(wrong),
        good + b"x",
        b"junk" * 100,
        MAGIC + b"\0" * 32 + payload,  # is not unpickled: the sum is wrong
        MAGIC + hashlib.sha256(other).digest() + other,  # is unpickled, and is no kernel
    ]
    for data in damaged:
        file.write_bytes(data)
        assert not hit(make(), monkeypatch)
        assert hit(make(), monkeypatch)  # it was written again
    assert {path.name for path in directory.iterdir()} == {file.name}


def test_the_key(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments do not matter; the mathematics, the versions and the options do."""

    def key(kernel: Kernel) -> str:
        kernel.compiled  # noqa: B018
        return str(kernel.cache.path(kernel.compiled.targetctx))

    first = key(make())
    assert key(make(comment=True)) == first
    assert key(make(factor=3.0)) != first
    assert key(make(factor=-0.0)) != key(make(factor=0.0))
    monkeypatch.setattr(kernel_cache, "_toolchain", lambda: ("another version",))
    assert key(make()) != first


def test_a_kernel_with_unknown_globals_is_not_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {"read_f64": read_f64, "write_f64": write_f64, "table": (2.0, 3.0)}
    exec(
        "def f(at, n):\n    for i in range(n):\n        write_f64(at, i, table[0] * read_f64(at, i, 0), 0)",
        namespace,
    )
    assert not hit(compiled(types.uint64, types.int64)(namespace["f"]), monkeypatch)
    assert list(directory.iterdir()) == []


def _group_writable(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def _file(path: Path) -> None:
    path.write_text("not a directory")


def _missing_parent_is_a_file(path: Path) -> None:
    path.parent.joinpath("file").write_text("")
    os.environ["OPTDSL_CACHE_DIR"] = str(path.parent / "file" / "cache")


@pytest.mark.parametrize("spoil", [_group_writable, _file, _missing_parent_is_a_file])
def test_a_directory_that_will_not_do_is_not_used(
    spoil: Callable[[Path], None], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(directory)
    assert cache_directory() is None
    assert not hit(make(), monkeypatch)
    assert not hit(make(), monkeypatch)


def test_a_foreign_directory_is_not_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory() == directory
    monkeypatch.setattr(os, "getuid", lambda: directory.stat().st_uid + 1)
    assert cache_directory() is None


def test_a_directory_that_cannot_be_written_to(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(kept_code, "atomic_write", refuse)
    assert not hit(make(), monkeypatch)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPTDSL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "optdsl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "optdsl"


def test_the_text_of_machine_code_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTDSL_CACHE_DIR", str(tmp_path))
    text = make().assembly()
    (file,) = tmp_path.glob("*.assembly")
    assert "double" in text
    assert file.read_bytes().endswith(text.encode())
    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.inspect_asm", lambda self: {"": "made anew"})
    assert make().assembly() == text
    assert make(3.0).assembly() == "made anew"
    file.write_bytes(file.read_bytes()[:-1])
    assert make().assembly() == "made anew"
