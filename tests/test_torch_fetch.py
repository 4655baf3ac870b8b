"""What is asked for before a step, so that looking at hundreds of tensors does not wait for memory."""

import numpy as np
import torch

from optdsl.runtime.torch.fetch import LINE, fetch, lines


def test_the_lines_of_tensors_are_among_those_asked_for() -> None:
    tensors = [torch.ones(3, requires_grad=True), torch.tensor(1.0), torch.ones(2, 5)[:, 1]]
    entries = [{"a": 1}]
    places = [
        *(id(x) for x in tensors),
        *(x._cdata for x in tensors),
        *(x.untyped_storage()._cdata for x in tensors),
        *map(id, entries),
        tensors[1].data_ptr(),
    ]
    found = lines(tensors, entries)
    assert {place // LINE * LINE for place in places} <= set(found.tolist())
    assert (np.diff(found) > 0).all()  # each once
    assert lines([], []).size == 0


def test_addresses_of_nothing_do_no_harm() -> None:
    fetch(np.array([0, 1, 4095, 2**47, 2**63, 2**64 - 1], np.uint64))
    gone = torch.ones(1 << 22)  # large enough to go back to the system
    places = lines([gone], [])
    del gone
    fetch(places)
