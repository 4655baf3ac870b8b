"""What LLVM has made of a text is kept: made once, and right whatever lies in the cache."""

from pathlib import Path
from typing import Any

import pytest

from optdsl.runtime import llvm_kernel
from optdsl.runtime.llvm_kernel import CompiledModule, assembly, host_triple, object_code

TEXT = "define i32 @answer() {{ ret i32 {} }}\n"


def answer(number: int, *, plain: bool = False) -> int:
    module = CompiledModule(TEXT.format(number), plain=plain)
    return module.returning("answer")()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPTDSL_CACHE_DIR", str(tmp_path / "kernels"))
    return tmp_path / "kernels"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that LLVM has worked on."""
    texts: list[str] = []
    optimized = llvm_kernel.optimized

    def watched(text: str, machine: Any) -> Any:
        texts.append(text)
        return optimized(text, machine)

    monkeypatch.setattr(llvm_kernel, "optimized", watched)
    return texts


def test_a_text_is_made_once_for_each_use(directory: Path, made: list[str]) -> None:
    triple = host_triple()
    for _ in range(2):
        assert answer(42) == 42
        assert answer(42, plain=True) == 42
        assert answer(41) == 41
        assert b"answer" in object_code(TEXT.format(42), triple)
        assert "answer" in assembly(TEXT.format(42), triple, "")
    assert len(made) == len(list(directory.glob("*.code"))) == 5


@pytest.mark.parametrize("damage", [b"", b"optdsl kernel 1\n", b"\0" * 1000])
def test_a_damaged_file_is_made_anew(directory: Path, made: list[str], damage: bytes) -> None:
    assert answer(42) == 42
    (file,) = directory.glob("*.code")
    whole = file.read_bytes()
    for content in (damage, whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(content)
        assert answer(42) == 42
        assert file.read_bytes()[-100:] == whole[-100:]
    assert len(made) == 4


def test_other_versions_have_other_files(
    directory: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(42) == 42
    monkeypatch.setattr(llvm_kernel, "_toolchain", lambda: ("another LLVM",))
    assert answer(42) == 42
    assert len(made) == 2


def test_no_directory_is_no_error(made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPTDSL_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert answer(42) == answer(42) == 42
    assert len(made) == 2
