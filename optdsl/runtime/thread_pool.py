"""A few threads of our own that run ranges of chunks beside the calling one.

In: a function of (first, last) and the ranges; the function must let go of Python's lock, or nothing is
gained. Out: all ranges done, or the first exception that one raised. Every caller takes workers of its
own, so two optimizers may step at once; idle workers are kept. After a fork the child starts new ones.

Why not `concurrent.futures`: its queue and futures cost several times the handoff of a pair of locks,
which is a good part of a step over small tensors.
"""

import _thread
import os
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

Range = tuple[int, int]
Work = Callable[[int, int], None]


class _Worker:
    """A thread that waits for one range at a time."""

    def __init__(self) -> None:
        self._start = _thread.allocate_lock()
        self._start.acquire()
        self._finished = True
        self._done = _thread.allocate_lock()
        self._work: Work | None = None
        self._range: Range = (0, 0)
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="optdsl", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._start.acquire()
            try:
                assert self._work is not None
                self._work(*self._range)
            except BaseException as error:
                self._error = error
            self._work = None  # keeps nothing alive between steps
            self._finished = True
            self._done.release()

    def start(self, work: Work, piece: Range) -> None:
        self._work, self._range = work, piece
        self._finished = False
        self._done = _thread.allocate_lock()
        self._done.acquire()
        self._start.release()

    def wait(self) -> BaseException | None:
        """The exception of the piece, or None. Returns only when the piece is done, whatever the signals."""
        interrupt: BaseException | None = None
        while not self._finished:  # Ctrl-C may come just after the lock was taken
            try:
                self._done.acquire()
            except BaseException as signal:
                interrupt = signal
        failed, self._error = self._error, None
        return interrupt or failed


_idle: list[_Worker] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


def run_ranges(work: Work, ranges: Sequence[Range]) -> None:
    """`work(first, last)` for every range, the last one in this thread. Raises the first error."""
    helpers: list[_Worker] = []
    errors: list[BaseException | None] = []
    try:
        for piece in ranges[:-1]:
            try:
                worker = _idle.pop()
            except IndexError:
                worker = _Worker()
            worker.start(work, piece)
            helpers.append(worker)
        work(*ranges[-1])
    finally:
        for worker in helpers:
            errors.append(worker.wait())
            _idle.append(worker)
    for error in errors:
        if error is not None:
            raise error


def thread_count() -> int:
    """`$OPTDSL_NUM_THREADS`, or the processors that this process may use. Raises `ValueError`."""
    return chosen_thread_count() or _processors()


def chosen_thread_count() -> int | None:
    """`$OPTDSL_NUM_THREADS`, if set. Raises `ValueError` if it is not a number of threads."""
    text = os.environ.get("OPTDSL_NUM_THREADS")
    return _parse(text) if text else None


@lru_cache(maxsize=8)
def _parse(text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdecimal() or not 1 <= int(text) <= 1024:
        raise ValueError(f"OPTDSL_NUM_THREADS must be a number from 1 to 1024, not {text!r}")
    return int(text)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
