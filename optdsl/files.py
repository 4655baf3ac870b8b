"""Reading specs and writing results: everything that optdsl does with the file system.

In: a path, `-` for standard input, or a name of the library. Out: a `Source` that is UTF-8, has `\\n` line
ends and holds no character that hides what it says; or a file that is whole or not there.
Raises `FileError` with diagnostics of `catalogue_files`. Does not look at what a spec says.
"""

import difflib
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import islice

from optdsl.diagnostics import OptdslError, Problem, Source, Span
from optdsl.diagnostics import catalogue_files as problems

SIZE_LIMIT = 64 * 1024
STDIN = "-"
HEADER = "compiled by optdsl"
PART_FOLDERS = ("transforms", "schedules", "wrappers")

_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_LINE_SEPARATORS = frozenset("\u2028\u2029")  # a line end to an editor, none to the compiler


class FileError(OptdslError):
    """A file that cannot be read or written; never something that a spec says."""


def _fail(name: str, problem: Problem) -> FileError:
    return FileError((problem.diagnostic(),), Source(name, ""))


# --- the library ---------------------------------------------------------------------------------


def _walk(folder: Traversable) -> list[Traversable]:
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    nested = (_walk(entry) for entry in entries if entry.is_dir())
    return [*(entry for entry in entries if entry.name.endswith(".opt")), *(x for xs in nested for x in xs)]


@cache
def _library() -> dict[str, Traversable]:
    return {entry.name.removesuffix(".opt"): entry for entry in _walk(files("optdsl.specs"))}


def library_names() -> tuple[str, ...]:
    """The optimizers that come with optdsl, in alphabetical order."""
    others = (name for folder in ("objectives", *PART_FOLDERS) for name in names_in(folder))
    return tuple(sorted(_library().keys() - set(others)))


def objective_names() -> tuple[str, ...]:
    """The objectives that come with optdsl, in alphabetical order."""
    return names_in("objectives")


@cache
def names_in(folder: str) -> tuple[str, ...]:
    """What comes with optdsl in a folder of `specs`, in alphabetical order."""
    entries = files("optdsl.specs").joinpath(folder).iterdir()
    return tuple(sorted(entry.name.removesuffix(".opt") for entry in entries if entry.name.endswith(".opt")))


def read_library(name: str) -> Source:
    """A spec of the library; `KeyError` when there is none of that name."""
    return _decode(f"{name}.opt", _library()[name].read_bytes())


class _Texts(Mapping[str, Source]):
    """Each text is read when it is asked for."""

    def __getitem__(self, name: str) -> Source:
        return read_library(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_library())

    def __len__(self) -> int:
        return len(_library())

    def __contains__(self, name: object) -> bool:
        return name in _library()


LIBRARY: Mapping[str, Source] = _Texts()
"""All specs that come with optdsl, by name."""


def closest_name(name: str) -> str | None:
    """The library name that a misspelt one most likely meant."""
    known = {known.replace("_", ""): known for known in _library()}
    matches = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), known, n=1)
    return known[matches[0]] if matches else None


# --- reading -------------------------------------------------------------------------------------


def resolve_target(target: str) -> Source:
    """The spec that a command line or `optdsl.load` names.

    `-` is standard input; what has `|` or `(` in it, and is no file, is a composition; what has a slash or
    ends in `.opt` is a path; anything else is a name of the library or, failing that, a file. Raises
    `FileError`.
    """
    if ("|" in target or "(" in target) and not target.endswith(".opt") and not os.path.lexists(target):
        return composition(target)
    if target == STDIN or os.sep in target or target.endswith(".opt"):
        return read_spec(target)
    if target in _library():
        return read_library(target)
    if os.path.lexists(target):
        return read_spec(target)
    raise _fail(target, problems.UnknownSpec(span=None, name=target, suggestion=closest_name(target)))


def composition(text: str) -> Source:
    """`clip_by_value(1) | adamw` as a spec: an optimizer that is called ClipByValueAdamw."""
    outside = text
    while (shorter := re.sub(r"\([^()]*\)", "", outside)) != outside:
        outside = shorter
    words = re.findall(r"(?:^|\|)\s*([A-Za-z]\w*)", outside, re.ASCII)
    name = "".join(part.capitalize() for word in words for part in word.split("_"))[:64] or "Composition"
    return _decode(text, f"optimizer {name} = {text}\n".encode(errors="surrogatepass"))


def read_spec(path: str) -> Source:
    """The text of a file, or of standard input when `path` is `-`.

    At most 64 KiB, ordinary files only, strict UTF-8; a byte-order mark is dropped and `\\r\\n` becomes
    `\\n`. Raises `FileError` for anything else, and for control and text-direction characters.
    """
    if path == STDIN:
        return _decode("<stdin>", sys.stdin.buffer.read(SIZE_LIMIT + 1))
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        name = os.path.basename(path).removesuffix(".opt")
        known = name if name in _library() else closest_name(name)
        raise _fail(path, problems.FileMissing(span=None, path=path, suggestion=known)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _fail(path, _unreadable(path, error)) from None
    try:
        with open(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise _fail(path, problems.NotARegularFile(span=None, path=path, kind=_kind(mode)))
            data = file.read(SIZE_LIMIT + 1)
    except IsADirectoryError:
        raise _fail(path, problems.NotARegularFile(span=None, path=path, kind="a directory")) from None
    except OSError as error:
        raise _fail(path, _unreadable(path, error)) from None
    return _decode(path, data)


def _unreadable(path: str, error: Exception) -> Problem:
    return problems.FileUnreadable(span=None, path=path, reason=_reason(error))


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _decode(name: str, data: bytes) -> Source:
    if len(data) > SIZE_LIMIT:
        raise _fail(name, problems.FileTooLarge(span=None, path=name, limit=SIZE_LIMIT // 1024))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The error counts from behind a byte-order mark; error.object is what it counts in.
        byte, line = error.object[error.start], error.object.count(b"\n", 0, error.start) + 1
        guess = "; it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        problem = problems.NotUtf8(span=None, path=name, byte=f"0x{byte:02x}", line=line, guess=guess)
        raise _fail(name, problem) from None
    source = Source(name, text.replace("\r\n", "\n"))
    found = ((offset, _unwanted(char)) for offset, char in enumerate(source.text))
    unwanted = [
        problem(span=Span(offset, offset + 1), character=f"U+{ord(source.text[offset]):04X}").diagnostic()
        for offset, problem in islice(((offset, problem) for offset, problem in found if problem), 10)
    ]
    if unwanted:
        raise FileError(unwanted, source)
    return source


def _unwanted(char: str) -> type[problems.ControlCharacter] | type[problems.DirectionCharacter] | None:
    if char in _DIRECTION:
        return problems.DirectionCharacter
    if char in _LINE_SEPARATORS or (char not in "\n\t" and unicodedata.category(char) == "Cc"):
        return problems.ControlCharacter
    return None


# --- writing -------------------------------------------------------------------------------------


def atomic_write(
    path: str | os.PathLike[str], content: str | bytes, *, force: bool = False, new: bool = False
) -> None:
    """Writes a file that is whole or not there, whatever happens; text as UTF-8, the mode by the umask.

    An existing file is replaced if its first line says that it was compiled by optdsl, or with `force`;
    never when `new`. A symbolic link is not followed: with `force` the link itself is replaced.
    Raises `FileError`, with the old file untouched.
    """
    path = os.fspath(path)
    _may_write(path, force=force, new=new)
    folder = os.path.dirname(path) or "."
    beside = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.{os.urandom(6).hex()}.tmp")
    try:
        try:
            _write_synced(beside, content.encode() if isinstance(content, str) else content)
            if new:  # a link never replaces a file that has appeared meanwhile
                os.link(beside, path)
            else:
                os.replace(beside, path)
            _sync_folder(folder)
        finally:
            with suppress(OSError):
                os.unlink(beside)
    except FileExistsError:
        raise _fail(path, problems.FileExists(span=None, path=path)) from None
    except (OSError, ValueError) as error:
        problem = problems.FileUnwritable(span=None, path=path, reason=_reason(error))
        raise _fail(path, problem) from None


def folder_for(path: str | os.PathLike[str]) -> str:
    """The folder, made if there is none. Raises `FileError`."""
    path = os.fspath(path)
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        problem = problems.FileUnwritable(span=None, path=path, reason=_reason(error))
        raise _fail(path, problem) from None
    return path


def _may_write(path: str, *, force: bool, new: bool) -> None:
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return  # there is none; if the folder is missing too, writing says so
    if new:
        raise _fail(path, problems.FileExists(span=None, path=path))
    if not stat.S_ISREG(mode) and not (force and stat.S_ISLNK(mode)):
        raise _fail(path, problems.NotReplaceable(span=None, path=path, kind=_kind(mode)))
    if not force and not _is_ours(path):
        raise _fail(path, problems.NotOurs(span=None, path=path))


def _is_ours(path: str) -> bool:
    """An empty file is nobody's work; one that is no text says whose it is somewhere."""
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
            if b"\0" in start:
                return HEADER.encode() in start + file.read()
    except OSError:
        return False
    return not start or HEADER.encode() in start.split(b"\n", 1)[0].lower()


def _write_synced(path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    """Makes the new name last too, where folders can be opened (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
