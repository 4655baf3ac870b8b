"""The PTX that is written by hand does what it says, in the interpreter; NVIDIA's assembler takes it, too."""

import numpy as np
import pytest

from optdsl.runtime.cuda import helpers
from optdsl.runtime.cuda.step import Numbers
from tests.ptx.lint import findings
from tests.ptx.machine import launch
from tests.ptx.memory import Memory
from tests.ptx.ptxas import PTXAS, assembled
from tests.ptx.text import parsed

ENTRIES = parsed(helpers.text()).entries


def test_the_text_is_fit_for_every_driver() -> None:
    assert findings(helpers.text()) == []
    arguments = {name: 8 * len(entry.parameters) for name, entry in ENTRIES.items()}
    assert arguments["write"] == 8 + 8 * helpers.WORDS <= 4096  # bytes, CUDA's limit
    if PTXAS is not None:
        for name, took in assembled(helpers.text()).items():
            assert took.spills == took.stack == 0, name


def test_words_go_to_memory() -> None:
    memory = Memory(1 << 14)
    to = memory.allocate(8 * helpers.WORDS)
    words = np.random.default_rng(0).integers(0, 2**64, helpers.WORDS, np.uint64)
    launch(ENTRIES["write"], memory, 1, 1, [to, *words.tolist()])
    np.testing.assert_array_equal(memory.read(to, words.nbytes).view(np.uint64), words)


@pytest.mark.parametrize("tensors", [1, 256, 300])
@pytest.mark.parametrize("count", [0, 3])
def test_a_step_begins_with_the_rows_of_groups(tensors: int, count: int) -> None:
    rng = np.random.default_rng(0)
    memory, buffers, width, groups = Memory(1 << 17), 4, count + 2, 5
    of = rng.integers(0, groups, tensors)
    gradients = rng.integers(0, 2**64, tensors, np.uint64)
    rows, hypers = rng.random((groups, count + 1)), rng.random((tensors, width))
    addresses = rng.integers(0, 2**64, (tensors, buffers), np.uint64)
    places = [memory.put(each) for each in (gradients, of, rows, addresses, hypers)]
    direction = memory.allocate(8 * tensors)
    sizes = [buffers, count, width, tensors]
    kept, own = memory.put(np.arange(2.0)), memory.allocate(16)
    moves = memory.put(np.array([(kept + at, own + at, 3) for at in (0, 8)], np.uint64))
    launch(ENTRIES["begin"], memory, -(-tensors // 256), 256, [*places, direction, *sizes, moves, 2])
    assert memory.read(own, 16).view(float).tolist() == [0.0, 1.0]
    addresses[:, 1] = gradients
    hypers[:, :count] = rows[of, :count]
    for place, expected in ((places[3], addresses), (places[4], hypers), (direction, rows[of, count])):
        found = memory.read(place, expected.nbytes).view(expected.dtype).reshape(expected.shape)
        np.testing.assert_array_equal(found, expected)


def test_numbers_are_counted_and_brought_back() -> None:
    """A counter in float32 and one in float64, with a scalar state each; a tensor without elements keeps a
    number that has become NaN.
    """
    memory = Memory(1 << 12)
    kept = [np.array([3.0], np.float32), np.array([0.1], np.float32), np.array([4.0]), np.array([0.3])]
    at = np.array([memory.put(each) for each in kept], np.uint64).reshape(2, 2)
    t, states = memory.allocate(16), memory.allocate(16)
    numbers = Numbers(at, np.array([[4, 4], [8, 8]]), np.array([False, True]))
    there, back = numbers.moves(t, states)
    launch(ENTRIES["move"], memory, 1, 256, [memory.put(there), len(there)])
    assert memory.read(t, 16).view(float).tolist() == [4.0, 5.0]
    assert memory.read(states, 16).view(float).tolist() == [float(np.float32(0.1)), 0.3]
    memory.write(states, np.array([1 / 3, np.nan]))
    launch(ENTRIES["move"], memory, 1, 256, [memory.put(back), len(back)])
    found = [memory.read(int(place), each.nbytes).view(each.dtype)[0]
             for place, each in zip(at.reshape(-1), kept, strict=True)]  # fmt: skip
    assert found == [4.0, np.float32(1 / 3), 5.0, 0.3]
