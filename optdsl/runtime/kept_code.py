"""Files of compiled code, in a directory that is nobody else's: whole and this user's, or not read.

In: the name of a file and a payload. Out: the payload, or nothing. A file holds a magic number, the SHA-256
of the rest, and the rest. It is up to callers to name it by everything that the payload depends on.
NOT done: eviction.
"""

import hashlib
import os
import stat
from pathlib import Path

from optdsl.runtime.atomic import atomic_write

MAGIC = b"optdsl kernel 1\n"
_SUM_SIZE = hashlib.sha256().digest_size


def cache_directory() -> Path | None:
    """The directory for kernels, made if need be; None if there is none that only this user can write to.

    `$OPTDSL_CACHE_DIR`, or `optdsl` in `$XDG_CACHE_HOME` or `~/.cache`.
    """
    try:
        chosen = os.environ.get("OPTDSL_CACHE_DIR")
        base = os.environ.get("XDG_CACHE_HOME")
        path = Path(chosen) if chosen else (Path(base) if base else Path.home() / ".cache") / "optdsl"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path if _is_ours(path.stat()) else None
    except (OSError, RuntimeError, ValueError):
        return None


def _is_ours(status: os.stat_result) -> bool:
    """Owned by this user, and written to by no other."""
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read_kept(path: Path | None) -> bytes | None:
    """The payload of a file that is whole and this user's. Raises `OSError` where there is no file."""
    if path is None:
        return None
    with path.open("rb") as file:
        if not _is_ours(os.fstat(file.fileno())):
            return None
        data = file.read()
    start = len(MAGIC) + _SUM_SIZE
    payload = data[start:]
    right = data.startswith(MAGIC) and data[len(MAGIC) : start] == hashlib.sha256(payload).digest()
    return payload if right else None


def keep(path: Path, payload: bytes) -> None:
    """Raises `OSError` as the file system does; nobody ever sees half of it."""
    atomic_write(path, MAGIC + hashlib.sha256(payload).digest() + payload)
