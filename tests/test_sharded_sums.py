"""Sums over processes, which are simulated here: each adds up its parts, messages are added in any order."""

from collections.abc import Hashable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optdsl.runtime.launch import CHUNK
from optdsl.runtime.numba_kernel import BLOCK
from optdsl.runtime.sharded_sums import Across, Ledger, Share


def block_sum(values: NDArray[np.float64]) -> float:
    """As `numba_kernel.block_sum` folds: halves onto halves."""
    folded = np.zeros(BLOCK)
    folded[: values.size] = values
    while folded.size > 1:
        half = folded.size // 2
        folded = folded[:half] + folded[half:]
    return float(folded[0])


def piece_sum(values: NDArray[np.float64]) -> float:
    total = 0.0
    for start in range(0, values.size, BLOCK):
        total += block_sum(values[start : start + BLOCK])
    return total


def single(values: NDArray[np.float64]) -> float:
    """What one process that has all elements computes."""
    total = 0.0
    for start in range(0, values.size, CHUNK):
        total += piece_sum(values[start : start + CHUNK])
    return total


def exchanged(shares: list[list[Share | None]], parts: list[list[NDArray[np.float64]]]) -> list[list[float]]:
    """By process, the sums of its tensors: first all messages, then, with their sum, all totals."""
    sums: list[NDArray[np.float64]] = []
    sent: list[NDArray[np.float64]] = []
    for turn in range(2):
        found = []
        for own_shares, own in zip(shares, parts, strict=True):
            ledger = Ledger(own_shares, np.array([part.size for part in own], np.int64))
            tensor, start, size = ledger.pieces

            def send(_: Hashable, message: NDArray[np.float64], turn: int = turn) -> None:
                if turn:
                    message[:] = sums[0]
                else:
                    sent.append(message.copy())

            pieces = zip(tensor.tolist(), start.tolist(), size.tolist(), strict=True)
            partials = np.array([[piece_sum(own[t][at : at + n])] for t, at, n in pieces]).reshape(-1, 1)
            found.append(Across([ledger], send).totals({0: partials})[0][:, 0].tolist())
        if not turn:
            sums.append(np.sum(sent[::-1], axis=0))
    return found


def stretched(size: int, cuts: list[int], copies: int) -> list[list[Share | None]]:
    """One tensor in stretches, each on so many processes."""
    stretches = tuple((a, b - a) for a, b in pairwise([0, *cuts, size]))
    return [
        [Share("all", size, index, len(stretches), copy == 0, stretches)]
        for copy in range(copies)
        for index in range(len(stretches))
    ]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_parts_that_end_between_blocks_have_the_sum_of_one_process(data: st.DataObject) -> None:
    blocks = data.draw(st.integers(1, 70))
    size = blocks * BLOCK - data.draw(st.integers(0, BLOCK - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, blocks - 1).map(lambda x: x * BLOCK), max_size=4)))
    shares = stretched(size, cuts, copies=data.draw(st.integers(1, 2)))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal(size) ** 3
    parts = [[values[a : a + n] for a, n in [share.stretches[share.index]]] for [share] in shares if share]
    assert exchanged(shares, parts) == [[single(values)]] * len(shares)


@pytest.mark.parametrize("known", [True, False], ids=["stretches", "parts"])
def test_parts_of_any_kind_have_the_same_sum_everywhere(known: bool) -> None:
    """Cut anywhere, on two processes each, beside a tensor that is whole."""
    random = np.random.default_rng(3)
    values, whole = random.standard_normal(3 * CHUNK + 77), random.standard_normal(CHUNK + 1)
    shares, parts = [], []
    for [share] in stretched(values.size, [5, 5, 20_000, 40_001], copies=2):
        assert share is not None
        first, count = share.stretches[share.index]
        if not known:
            share = Share("all", share.size, share.index, share.count, share.speaks)
        shares.append([share, None])
        parts.append([values[first : first + count], whole])
    found = exchanged(shares, parts)
    assert all(own == found[0] for own in found[1:])
    assert found[0][0] == pytest.approx(values.sum(), rel=1e-12)
    assert found[0][1] == single(whole)
