"""Sums of tensors of which every process holds a part: who adds up what, so that all get the same number.

In: the parts (`Share`) of the tensors of a table, and partial sums by piece of what is here. Out: the sums of
the whole tensors. Every piece of every process has a place of its own in one message, where all others have
zeros: adding these messages up rounds nothing, in whatever order it is done. What is then added, each
process adds for itself, in the order of the elements.

A single process adds blocks to chunks, and chunks to tensors. Pieces are cut at the same places, and a chunk
that two processes share is cut into its blocks: where all parts end between two blocks, the sums are those
of a single process to the last bit.
Assumed: all processes have the same tensors in the same order. NOT done: sending anything.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.launch import CHUNK, Pieces
from optdsl.runtime.numba_kernel import BLOCK

Send = Callable[[Hashable, NDArray[np.float64]], None]
"""Adds up the arrays of all processes of a group, in place; called by all of them in the same order."""


@dataclass(frozen=True)
class Share:
    """The part of a tensor that this process has, one of several that make up the whole.

    group      whom to ask for the others
    size       elements of the whole tensor
    index      which part this is, of `count`
    speaks     whether this copy of the part counts, of those that several processes have
    stretches  (first, elements) of each part, where parts are stretches of the whole; else ()
    """

    group: Hashable
    size: int
    index: int
    count: int
    speaks: bool
    stretches: tuple[tuple[int, int], ...] = ()


class Ledger:
    """Where the partial sums of a table go: pieces to slots, slots to chunks, chunks to tensors.

    shares     of each tensor; None for one that is whole here
    sizes (T,) elements that are here
    """

    def __init__(self, shares: Sequence[Share | None], sizes: NDArray[np.int64]) -> None:
        pairs = list(zip(shares, sizes.tolist(), strict=True))
        self.sizes = np.array([size if share is None else share.size for share, size in pairs], np.int64)
        self.slots: dict[Hashable, NDArray[np.int64]] = {}  # those that a group fills together
        pieces: list[_Pieces] = []
        places: list[NDArray[np.int64]] = []  # of pieces, -1 for none
        chunks: list[NDArray[np.int64]] = []  # of slots
        tensors: list[NDArray[np.int64]] = []  # of chunks
        sent: dict[Hashable, list[NDArray[np.int64]]] = {}
        slot = chunk = 0
        for tensor, (share, size) in enumerate(pairs):
            here, slot_of, chunk_of = _places(share, size)
            if share is not None:
                sent.setdefault(share.group, []).append(slot + np.arange(chunk_of.size))
                if not share.speaks:
                    slot_of = np.full_like(slot_of, -1 - slot)
            pieces.append((np.full(slot_of.size, tensor), *here))
            places.append(slot + slot_of)
            chunks.append(chunk + chunk_of)
            slot += chunk_of.size
            count = int(chunk_of.max()) + 1 if chunk_of.size else 0
            tensors.append(np.full(count, tensor))
            chunk += count
        self.slots = {group: np.concatenate(slots) for group, slots in sent.items()}
        tensor_of, start, length = (np.concatenate(column) for column in zip(*pieces, strict=True))
        self.pieces: Pieces = tensor_of, start, length
        self._places, self._chunks, self._tensors = map(np.concatenate, (places, chunks, tensors))
        self._counted = self._places >= 0

    @classmethod
    def of(cls, shares: Sequence[Share | None], sizes: NDArray[np.int64]) -> "Ledger | None":
        """None where all tensors are whole here."""
        return None if all(share is None for share in shares) else cls(shares, sizes)

    def fill(self, partials: NDArray[np.float64]) -> NDArray[np.float64]:
        """(pieces, sums) to (slots, sums): zeros where other processes know."""
        return _add(self._places[self._counted], partials[self._counted], self._chunks.size)

    def totals(self, slots: NDArray[np.float64]) -> NDArray[np.float64]:
        """(slots, sums) to (T, sums)."""
        by_chunk = _add(self._chunks, slots, self._tensors.size)
        return _add(self._tensors, by_chunk, self.sizes.size)


class Across:
    """The sums of several tables over all processes; None for tables of tensors that are whole here."""

    def __init__(self, ledgers: Sequence[Ledger | None], send: Send) -> None:
        self._all, self._send = ledgers, send

    def sizes(self, here: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """The elements of whole tensors, of each table."""
        pairs = zip(here, self._all, strict=True)
        return [sizes if ledger is None else ledger.sizes for sizes, ledger in pairs]

    def totals(self, partials: Mapping[int, NDArray[np.float64]]) -> dict[int, NDArray[np.float64]]:
        """By number of the table, (pieces, sums) to (T, sums), for those with a ledger.

        One message for each group of processes.
        """
        ledgers = {i: ledger for i in partials if (ledger := self._all[i]) is not None}
        slots = {index: ledger.fill(partials[index]) for index, ledger in ledgers.items()}
        for group in dict.fromkeys(group for ledger in ledgers.values() for group in ledger.slots):
            parts = [(found, ledgers[index].slots.get(group)) for index, found in slots.items()]
            own = [(found, chosen) for found, chosen in parts if chosen is not None]
            message = np.concatenate([found[chosen].ravel() for found, chosen in own])
            self._send(group, message)
            at = 0
            for found, chosen in own:
                count = chosen.size * found.shape[1]
                found[chosen] = message[at : at + count].reshape(chosen.size, -1)
                at += count
        return {index: ledger.totals(slots[index]) for index, ledger in ledgers.items()}


_Pieces = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _places(
    share: Share | None, size: int
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64], NDArray[np.int64]]:
    """((start, length) of the pieces here, their slots), and the chunk that each slot of the tensor is in."""
    if share is None:
        here = _cut(0, size, size)
        each = np.arange(here[0].size)
        return here, each, each
    if not share.stretches:  # nobody knows how the parts lie in the whole: one slot for each
        here = _cut(0, size, size)
        return here, np.full(here[0].size, share.index), np.arange(share.count)
    cuts = [_cut(first, first + count, share.size) for first, count in share.stretches]
    before = sum(start.size for start, _ in cuts[: share.index])
    start, length = cuts[share.index]
    here = start - share.stretches[share.index][0], length
    return here, before + np.arange(start.size), np.concatenate([start // CHUNK for start, _ in cuts])


def _cut(first: int, end: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(start, length) of the pieces of the elements first..end of a tensor of that size.

    They are chunks of the tensor; those of which only a part is meant are cut into blocks.
    """
    if first >= end:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    whole, last = -(-first // CHUNK) * CHUNK, end if end == size else end // CHUNK * CHUNK
    edges = [np.array([first, end]), _multiples(CHUNK, first, end)]
    if first < whole:
        edges.append(_multiples(BLOCK, first, min(whole, end)))
    if last < end:
        edges.append(_multiples(BLOCK, max(first, last), end))
    starts = np.unique(np.concatenate(edges))
    return starts[:-1], np.diff(starts)


def _multiples(of: int, first: int, end: int) -> NDArray[np.int64]:
    """Those behind `first` and before `end`."""
    return np.arange((first // of + 1) * of, end, of)


def _add(places: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Each row of values to its place, one after the other."""
    totals = np.zeros((count, values.shape[1]))
    np.add.at(totals, places, values)
    return totals
