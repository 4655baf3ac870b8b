"""What a step keeps and moves, against numbers worked out by hand and against the optimizers that run."""

import pytest

import optdsl
from optdsl.cost import cost
from optdsl.files import library_names
from optdsl.language.specialise import flag_settings
from tests.support import programs

# Flags, bytes of state, numbers a tensor, class, and the bytes of each pass, for float32.
BY_HAND = [
    # theta and g are read, theta is written.
    ("gd", {}, 0, 0, "elementwise", [12]),
    # theta and the state are read and written, g is read.
    ("sgd", {}, 4, 0, "elementwise", [20]),
    ("adam", {}, 8, 0, "elementwise", [28]),
    ("adam", {"amsgrad": True}, 12, 0, "elementwise", [36]),
    # The product of all mu is one number.
    ("nadam", {}, 8, 1, "elementwise", [28]),
    # norm(theta) and norm(u), where u needs all of theta, g, m, v: 16; then Adam's 28.
    ("lamb", {}, 8, 0, "per-tensor", [16, 28]),
    # The norms of theta and of the decayed gradient: 8; then theta, g, b read, theta, b written.
    ("lars", {}, 4, 0, "per-tensor", [8, 20]),
    # norm(g) needs g alone: 4; then theta, g, m read, theta, m written; v is a number.
    ("novograd", {}, 4, 1, "per-tensor", [4, 20]),
    ("fromage", {}, 0, 0, "per-tensor", [8, 12]),
    # Norms of theta - x0 and of g + weight_decay*theta: 12; then theta, g read, theta written; x0 stays.
    ("dog", {}, 4, 2, "global", [12, 12]),
    # Means of theta^2 and of rows and columns: theta, g; of u: g; then theta, g read, theta written.
    ("adafactor", {}, 0, 0, "per-tensor", [8, 4, 12]),
    ("sm3", {}, 4, 0, "matrix", [4, 20]),
    # A copy of theta; theta + mu*v into theta; the copy back; then sgd's 20.
    ("nesterov", {}, 4, 0, "elementwise", [8, 12, 8, 20]),
    # g and m read, the direction laid out in float64; then theta, g, m and a float64 result, theta and m.
    ("muon", {}, 4, 0, "matrix", [16, 28]),
    # theta, g, x, d for sums; again, and g, s, y laid out in float64: 40; twice these and 9 older s and y,
    # the result written, s and y kept: 2*(24 + 72) + 8 + 24; theta, g, the result; theta, x, d.
    ("lbfgs", {}, 88, 0, "global", [16, 40 + 224, 28]),
    # theta and g read, the decayed gradient laid out; then theta and a result read, theta written.
    ("shampoo", {}, 0, 0, "matrix", [16, 16]),
]


@pytest.mark.parametrize(("name", "flags", "state", "numbers", "sharding", "passes"), BY_HAND)
def test_by_hand(
    name: str, flags: dict[str, bool], state: int, numbers: int, sharding: str, passes: list[int]
) -> None:
    found = cost(programs.meaning(name), flags)
    assert (found.state_bytes, found.numbers, found.sharding) == (state, numbers, sharding)
    assert [each.bytes_moved for each in found.passes] == passes


@pytest.mark.parametrize("name", library_names())
def test_what_is_listed_is_what_runs(name: str) -> None:
    """With every setting of the flags the running class keeps those states, and makes those passes."""
    meaning, variants = programs.meaning(name), optdsl.numpy.load(name).layout.variants
    ranks = [flag.name for flag in meaning.flags if flag.rank is not None]
    for setting in flag_settings(meaning):
        variant = variants[tuple(value for flag, value in setting.items() if flag not in ranks)]
        if not all(setting[flag] for flag in ranks):
            assert variant.below is not None
            variant = variant.below
        found = cost(meaning, setting)
        lines = sum(state.per in ("rows", "cols") for state in variant.states)
        squares = sum(state.per in ("left", "right") for state in variant.states)
        defaults = [float(hyper.default) for hyper in meaning.hypers]
        kept = [state.length.of(defaults) - 1 for state in variant.states if state.length]
        per_element = len(variant.states) - lines - squares + sum(kept)
        assert (found.state_bytes, found.lines, found.squares) == (4 * per_element, lines, squares)
        assert found.numbers == len(variant.scalar_states)
        looking_ahead = 0
        if variant.query:  # theta kept aside, moved and put back; the first gradient kept
            looking_ahead = 3 + ("first_g" in variant.buffers) + len(variant.query.reductions_float32)
        # a pass may go through rows alone
        drawing = bool(variant.draws)
        assert len(found.passes) <= 1 + drawing + len(variant.reductions_float32) + looking_ahead
        over_all = [total.over_all for each in variant.reductions_float32 for total in each.totals]
        by_lines = "matrix" if lines or variant.reduced else "elementwise"
        whole = any(each.matrices for each in variant.reductions_float32) and not any(over_all)
        over_all = [] if whole else over_all
        assert found.sharding == ("global" if any(over_all) else "per-tensor" if over_all else by_lines)
