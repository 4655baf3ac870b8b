"""Reading whatever a path may lead to, and writing files that are whole or not there."""

import io
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from optdsl import files
from optdsl.diagnostics import Source
from optdsl.files import (
    LIBRARY,
    PART_FOLDERS,
    FileError,
    atomic_write,
    library_names,
    names_in,
    objective_names,
    read_spec,
    resolve_target,
)

OURS = "# Adam, for torch. Compiled by optdsl 0.1.0 from adam.opt\n"


def codes(error: pytest.ExceptionInfo[FileError]) -> list[str]:
    return [diagnostic.code for diagnostic in error.value.diagnostics]


def refused(path: object, code: str) -> FileError:
    with pytest.raises(FileError) as error:
        read_spec(str(path))
    assert codes(error) == [code]
    return error.value


# --- reading -------------------------------------------------------------------------------------


def test_text_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.opt"
    path.write_bytes("\ufeff# β\r\n\tx = 1\n".encode())
    source = read_spec(str(path))
    assert source.text == "# β\n\tx = 1\n"
    assert source.name == str(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x = 1\r\n")))
    source = resolve_target("-")
    assert (source.name, source.text) == ("<stdin>", "x = 1\n")


def test_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.opt"
    path.write_bytes(b"#" * 64 * 1024)
    assert len(read_spec(str(path)).text) == 64 * 1024
    path.write_bytes(b"#" * (64 * 1024 + 1))
    refused(path, "OD004")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.opt")
    (tmp_path / "folder.opt").mkdir()
    (tmp_path / "loop.opt").symlink_to(tmp_path / "loop.opt")
    assert "a pipe" in str(refused(tmp_path / "pipe.opt", "OD003"))
    assert "a directory" in str(refused(tmp_path / "folder.opt", "OD003"))
    assert "a device" in str(refused("/dev/zero", "OD003"))
    refused(tmp_path / "loop.opt", "OD002")
    refused(tmp_path / ("x" * 300 + ".opt"), "OD002")
    refused("nul\0.opt", "OD002")
    refused(tmp_path / "none.opt", "OD001")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # root, who runs many a test, may read everything
    assert "cannot be read: Permission denied" in str(refused(tmp_path / "x.opt", "OD002"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"# a\nx = \xff", "byte 0xff on line 2"),
        (b"\xef\xbb\xbf\n\n\xe2\x82", "byte 0xe2 on line 3"),  # behind a byte-order mark, and cut off
        (b"\xed\xa0\x80", "byte 0xed on line 1"),  # a surrogate
        ("x = 1".encode("utf-16"), "it looks like UTF-16"),
    ],
)
def test_what_is_not_utf8(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.opt"
    path.write_bytes(data)
    assert words in str(refused(path, "OD005"))


@pytest.mark.parametrize(
    ("char", "code"),
    [(c, "OD006") for c in "\0\x01\x08\r\x0b\x0c\x1b\x7f\x85\u2028\u2029"]
    + [(c, "OD007") for c in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"],
)
def test_characters_that_hide_something(tmp_path: Path, char: str, code: str) -> None:
    path = tmp_path / "x.opt"
    path.write_bytes(f"# a\n#β{char}b".encode())
    error = refused(path, code)
    assert error.diagnostics[0].primary is not None
    assert error.diagnostics[0].primary.span.start == 6
    assert f"U+{ord(char):04X}" in str(error)
    assert char not in str(error).replace("\n", "")


def test_a_binary_file_is_told_in_a_few_words(tmp_path: Path) -> None:
    path = tmp_path / "x.opt"
    path.write_bytes(b"\0" * 60_000)
    with pytest.raises(FileError) as error:
        read_spec(str(path))
    assert codes(error) == ["OD006"] * 10


# --- names ---------------------------------------------------------------------------------------


def test_the_library_is_the_folder_specs() -> None:
    folder = Path(__file__).parent.parent / "specs"
    assert list(library_names()) == sorted(path.stem for path in folder.glob("*.opt"))
    assert list(objective_names()) == sorted(path.stem for path in folder.glob("objectives/*.opt"))
    parts = [name for part in PART_FOLDERS for name in names_in(part)]
    assert parts == [path.stem for part in PART_FOLDERS for path in sorted(folder.glob(f"{part}/*.opt"))]
    assert len(list(folder.rglob("*.opt"))) == len(library_names()) + len(objective_names()) + len(parts)
    assert sorted(LIBRARY) == sorted(path.stem for path in folder.rglob("*.opt"))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("clip_by_value(1.0) | adamw", "optimizer ClipByValueAdamw = clip_by_value(1.0) | adamw\n"),
        ("sgd(lr = cosine(1/3))", "optimizer Sgd = sgd(lr = cosine(1/3))\n"),
        ("| (", "optimizer Composition = | (\n"),
    ],
)
def test_a_target_may_be_a_composition(
    target: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_target(target) == Source(target, text)
    if "/" not in target:
        (tmp_path / target).write_text("# a file with a strange name\n")
        assert resolve_target(target).text.startswith("# a file")
    with pytest.raises(FileError):
        resolve_target("folder/a (copy).opt")


def test_a_target_is_a_library_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    library = resolve_target("adam")
    assert library.name == "adam.opt"
    for name in ("adam", "adam.opt", "mine"):
        Path(name).write_text(f"# {name}")
    assert resolve_target("adam") == library
    assert resolve_target("adam.opt").text == "# adam.opt"
    assert resolve_target("mine").text == "# mine"
    assert resolve_target("./adam").text == "# adam"


@pytest.mark.parametrize(
    ("target", "code", "meant"),
    [
        ("adm", "OD008", "adam"),
        ("Ada_Grad", "OD008", "adagrad"),
        ("zzz", "OD008", None),
        ("adam.opt", "OD001", "adam"),
        ("x/nadm.opt", "OD001", "nadam"),
    ],
)
def test_did_you_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, code: str, meant: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError) as error:
        resolve_target(target)
    assert codes(error) == [code]
    assert (f"did you mean `{meant}`?" in str(error.value)) == (meant is not None)


# --- writing -------------------------------------------------------------------------------------


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_writing_and_replacing_our_own(tmp_path: Path) -> None:
    path = tmp_path / "adam.py"
    atomic_write(path, OURS + "β = 1\n")
    atomic_write(path, OURS + "β = 2\n")
    assert path.read_bytes() == (OURS + "β = 2\n").encode()
    assert left(tmp_path) == ["adam.py"]


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "x", OURS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def write_fails(path: Path, code: str, **options: bool) -> None:
    with pytest.raises(FileError) as error:
        atomic_write(path, OURS, **options)
    assert codes(error) == [code]


def test_somebody_elses_work_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("import torch\n# compiled by optdsl\n")
    write_fails(path, "OD020")
    assert path.read_text().startswith("import torch")
    atomic_write(path, OURS, force=True)
    assert path.read_text() == OURS


def test_a_new_file_never_replaces_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.opt"
    path.write_text(OURS)
    write_fails(path, "OD021", new=True, force=True)
    monkeypatch.setattr(files, "_may_write", lambda *_, **__: None)  # as if it had appeared only now
    path.write_text("theirs")
    write_fails(path, "OD021", new=True)
    assert path.read_text() == "theirs"
    assert left(tmp_path) == ["x.opt"]


def test_links_and_what_is_no_file(tmp_path: Path) -> None:
    target, link = tmp_path / "target.py", tmp_path / "link.py"
    target.write_text(OURS + "old")
    link.symlink_to(target)
    write_fails(link, "OD022")
    atomic_write(link, OURS, force=True)
    assert not link.is_symlink()
    assert target.read_text() == OURS + "old"
    write_fails(tmp_path, "OD022", force=True)
    os.mkfifo(tmp_path / "pipe")
    write_fails(tmp_path / "pipe", "OD022", force=True)
    write_fails(tmp_path / "none" / "x.py", "OD023")
    write_fails(tmp_path / ("x" * 300), "OD023")


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "x.py"
    atomic_write(path, OURS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(FileError, match="No space left on device"):
        atomic_write(path, OURS + "more")
    monkeypatch.undo()
    assert path.read_text() == OURS
    assert left(tmp_path) == ["x.py"]


def test_killed_while_writing(tmp_path: Path) -> None:
    """Whenever the process is killed, the file is one of the two whole ones."""
    path = tmp_path / "x.py"
    program = (
        "import sys; from optdsl.files import atomic_write\n"
        f"old, new = ({OURS!r} + char * 3_000_000 for char in 'ab')\n"
        "atomic_write(sys.argv[1], old); print(flush=True)\n"
        "while True: atomic_write(sys.argv[1], new); atomic_write(sys.argv[1], old)\n"
    )
    for delay in (0.0, 0.003, 0.01, 0.03):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay)
            process.send_signal(signal.SIGKILL)
        text = path.read_text()
        assert len(text) == len(OURS) + 3_000_000
        assert len(set(text[len(OURS) :])) == 1
