"""Writing a file so that nobody ever sees half of it.

In: a path and what to write. Out: the file, whole, or the file as it was before. The data are on the disk
before the name points to them, so a kill or a power cut in between leaves the old file.
NOT done: creating folders, locking (the last of two writers wins, with a whole file).
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends without an exception.

    Raises `OSError` as the file system does; a temporary file is left behind only by a kill.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.chmod(name, _mode_of(path))
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_directory(path.parent)


def atomic_write(path: Path, data: bytes) -> None:
    """`path` holds `data`, or what it held before."""
    with atomic_file(path) as file:
        file.write(data)


def _mode_of(path: Path) -> int:
    """The permissions that the file has, or that an ordinary `open` would give a new one."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0o666 & ~_umask()


def _umask() -> int:
    """Linux tells it; elsewhere it cannot be read without setting it for all threads, so: private."""
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("Umask:")).split()[1], 8)
    return 0o077


def _sync_directory(directory: Path) -> None:
    """The new name is on the disk too, where the system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
