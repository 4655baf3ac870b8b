"""Threads, chunks and tables: how the work is cut never changes a bit of the result."""

import os
import subprocess
import sys
import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optdsl.runtime import launch as launch_module
from optdsl.runtime.batch import Batch
from optdsl.runtime.launch import CHUNK, Chunks, launch
from optdsl.runtime.thread_pool import chosen_thread_count, run_ranges, thread_count
from tests.support.sample_adam import Adam, prepare, update_f32, update_f64

KERNELS: dict[Any, Any] = {np.float32: update_f32, np.float64: update_f64}


def step(sizes: list[int], dtype: Any, threads: int, values: NDArray[Any]) -> NDArray[Any]:
    """One step of Adam over the four columns of `values`, cut into tensors of `sizes`; row by parity."""
    buffers = [np.ascontiguousarray(column) for column in values.T]
    starts = np.cumsum([0, *sizes[:-1]]) * np.dtype(dtype).itemsize
    addresses = np.array([[b.__array_interface__["data"][0] + s for b in buffers] for s in starts.tolist()])
    batch = Batch(
        addresses=addresses.astype(np.uint64),
        sizes=np.array(sizes, np.int64),
        rows=np.zeros(len(sizes), np.int64),
        hypers=np.array([[0.1, 0.9, 0.99, 1e-8, 0.01]]),
        t=np.array([3.0]),
        direction=np.ones(1),
        scalar_states=np.empty((1, 0)),
    )
    launch(prepare, KERNELS[dtype], batch, 10, threads)
    return np.stack(buffers)


def values_of(count: int, dtype: Any) -> NDArray[Any]:
    values: NDArray[Any] = np.abs(np.random.default_rng(0).standard_normal((count, 4))).astype(dtype)
    return values


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_nothing(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_module, "ELEMENTS_PER_THREAD", 1)
    sizes = [1, 0, 3 * CHUNK + 5, CHUNK, 17]
    values = values_of(sum(sizes), dtype)
    expected = step(sizes, dtype, 1, values)
    for threads in (2, 3, 4, 50):
        assert np.array_equal(step(sizes, dtype, threads, values), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 1000), max_size=6), threads=st.integers(1, 4))
def test_splitting_tensors_changes_nothing(dtype: Any, cuts: list[int], threads: int) -> None:
    values = values_of(1000, dtype)
    edges = [0, *sorted(cuts), 1000]
    sizes = [b - a for a, b in pairwise(edges)]
    assert np.array_equal(step(sizes, dtype, threads, values), step([1000], dtype, 1, values))


@given(sizes=st.lists(st.integers(0, 3 * CHUNK), max_size=8), threads=st.integers(1, 9))
def test_chunks_cover_every_element_once(sizes: list[int], threads: int) -> None:
    chunks = Chunks(np.array(sizes, np.int64), np.arange(len(sizes), dtype=np.int64))
    ranges = chunks.ranges(threads)
    assert len(ranges) <= threads
    assert [i for a, b in ranges for i in range(a, b)] == list(range(len(chunks.table)))
    covered = [0] * len(sizes)
    for tensor, start, size, row in chunks.table.tolist():
        assert start == covered[tensor]
        assert 0 < size <= CHUNK
        assert row == tensor
        covered[tensor] += size
    assert covered == sizes


def test_an_error_in_a_thread_is_raised_and_the_threads_live_on() -> None:
    done: list[int] = []

    def work(first: int, last: int) -> None:
        if first == 1:
            raise KeyError("piece 1")
        done.append(first)

    with pytest.raises(KeyError, match="piece 1"):
        run_ranges(work, [(0, 1), (1, 2), (2, 3)])
    assert sorted(done) == [0, 2]
    run_ranges(work, [(5, 6), (6, 7), (7, 8)])
    assert sorted(done) == [0, 2, 5, 6, 7]


def test_pieces_run_in_threads_of_their_own() -> None:
    barrier = threading.Barrier(3, timeout=20)  # passed only if all three are running at once
    passed: list[int] = []
    run_ranges(lambda first, last: passed.append(barrier.wait()), [(0, 1), (1, 2), (2, 3)])
    assert sorted(passed) == [0, 1, 2]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "99999", "²"])
def test_a_bad_number_of_threads(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTDSL_NUM_THREADS", text)
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    with pytest.raises(ValueError, match=f"OPTDSL_NUM_THREADS must be a number from 1 to 1024, not '{text}'"):
        Adam([p]).step()
    assert torch.equal(p.detach(), torch.ones(3))


def test_where_the_number_of_threads_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPTDSL_NUM_THREADS", raising=False)
    assert chosen_thread_count() is None
    if hasattr(os, "sched_getaffinity"):
        assert thread_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("OPTDSL_NUM_THREADS", " 3 ")
    assert thread_count() == 3
    with pytest.raises(ValueError, match="at least 1, not 0"):
        step([4], np.float32, 0, values_of(4, np.float32))


def test_two_python_threads_step_two_optimizers() -> None:
    def train(seed: int, results: dict[Any, Any], key: Any) -> None:
        generator = torch.Generator().manual_seed(seed)
        p = torch.nn.Parameter(torch.randn(200_000, generator=generator))
        opt = Adam([p], lr=0.1)
        for _ in range(20):
            p.grad = torch.randn(200_000, generator=generator)
            opt.step()
        results[key] = p.detach()

    results: dict[Any, Any] = {}
    workers = [threading.Thread(target=train, args=(seed, results, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for seed in range(3):
        train(seed, results, "alone")
        assert torch.equal(results[seed], results["alone"])


FORK = """
import os, numpy as np
from tests.support.sample_adam import ArrayAdam
def train():
    p = np.ones(400_000)
    opt = ArrayAdam(p, lr=0.1)
    for _ in range(3):
        opt.step(np.full(400_000, 2.0))
    return p
before = train()
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(train(), before) else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert np.array_equal(train(), before)
print("both went on")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_after_a_fork() -> None:
    environment = {**os.environ, "OPTDSL_NUM_THREADS": "3"}
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "both went on\n", done.stderr
