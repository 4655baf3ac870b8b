"""Libraries ahead of time: called from C, C++, Rust and Python, with the bits of the kernels here."""

from typing import Any

import numpy as np
import pytest
from optdsl.backends import _llvm_levels, _llvm_library
from optdsl.backends._llvm_levels import levels
from optdsl.backends._llvm_library import interface, not_for_a_library, write_library
from optdsl.backends._llvm_machine import alias_metadata

from optdsl.backend import Program, get_backend
from optdsl.kernel.ir import Type
from optdsl.portable.llvm_text import ATTRIBUTES, Module
from optdsl.runtime.batch import Batch
from optdsl.runtime.llvm_kernel import CompiledModule, host_features, host_triple
from tests.support import programs
from tests.support.library import SIZES, Library, in_process, tensors
from tests.support.programs import Setting, label
from tests.test_ptx_kernels import DEFAULTS


def shape(setting: Setting) -> tuple[object, ...]:
    """What a library's functions depend on, besides the kernels that they call."""
    program = programs.program(setting, "fma", Type.F32)
    given = interface(program.optimizer)
    sums = [[total.over_all for _, total in program.summed(each)] for each in program.reductions]
    counts = (len(given.hypers), len(given.states), len(given.numbers), len(given.scalars), len(given.arrays))
    return str(sums), counts, [type(state.initial).__name__ for state in program.optimizer.states]


LIBRARIES = [each for each in DEFAULTS if not not_for_a_library(programs.program(each, "fma", Type.F32))]
SHAPES = list({str(shape(each)): each for each in reversed(LIBRARIES)}.values())


def same_as_in_process(program: Program, library: Library) -> None:
    """Two steps of both, from what the library makes the states be."""
    optimizer, given = program.optimizer, library.given
    data = tensors(program)
    hypers = programs.hyper_rows(optimizer, 1)
    numbers = np.full((len(SIZES), max(len(given.numbers), 1)), np.nan)
    assert library.init(hypers, data, numbers) == 0
    states = {state.name: state for state in optimizer.states}
    start = programs.initial_data(optimizer, SIZES, Type.F32, rows=len(SIZES))
    for name in (state.name for state in given.states):
        first, wanted = data[name][0], start.arrays[0][name]
        if np.unique(wanted).size > 1:  # theta[0]
            wanted = data["theta"][0]
        np.testing.assert_array_equal(
            first, np.broadcast_to(wanted[: first.size], first.shape), str(states[name])
        )
    other = {name: [each.copy() for each in arrays] for name, arrays in data.items()}
    other_numbers = numbers.copy()
    step = get_backend("llvm").load(program)
    names = ("theta", "g", *(state.name for state in given.states), *given.arrays)
    for t in (1, 2):
        assert library.step(hypers, t, data, numbers, programs.INPUT) == 0
        columns = np.full((len(SIZES), len(program.update.hypers)), np.nan)
        columns[:, : hypers.shape[1]] = hypers
        columns[:, hypers.shape[1] : hypers.shape[1] + len(given.scalars)] = programs.INPUT
        addresses = [[other[name][i].ctypes.data for name in names] for i in range(len(SIZES))]
        scalar_states = other_numbers[:, : len(given.numbers)].copy()
        step(
            Batch(
                addresses=np.array(addresses, np.uint64),
                sizes=np.array(SIZES, np.int64),
                rows=np.arange(len(SIZES)),
                hypers=columns,
                t=np.full(len(SIZES), float(t)),
                direction=np.ones(len(SIZES)),
                scalar_states=scalar_states,
            )
        )
        # the mean of no elements is NaN: a tensor without any keeps the number that would become it
        stays = np.isnan(scalar_states) & (np.array(SIZES)[:, None] == 0)
        kept = np.where(stays, other_numbers[:, : len(given.numbers)], scalar_states)
        other_numbers[:, : len(given.numbers)] = kept
        np.testing.assert_array_equal(numbers, other_numbers)
        for name in names:
            for ours, theirs in zip(data[name], other[name], strict=True):
                assert ours.tobytes() == theirs.tobytes(), (name, t)


@pytest.mark.parametrize("setting", SHAPES, ids=label)
def test_a_library_has_the_bits_of_the_kernels(setting: Setting) -> None:
    program = programs.program(setting, "fma", Type.F32)
    same_as_in_process(program, in_process(program))


@pytest.mark.parametrize("level", levels(host_triple()), ids=lambda level: level.name)
@pytest.mark.parametrize("name", ["adam", "lamb", "padam"])
def test_levels_of_the_processor_have_the_same_bits(
    name: str, level: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all(each in host_features() for each in level.features.replace("+", "").split(",") if each):
        pytest.skip("this processor has no such instructions")
    one = (_llvm_levels.Level(level.name, _llvm_levels.Target(level.target.has_fma, "#1"), level.features),)
    monkeypatch.setattr(_llvm_levels, "levels", lambda triple: one)
    monkeypatch.setattr(_llvm_library, "levels", lambda triple: one)
    program = programs.program(next(each for each in LIBRARIES if each[0] == name), "fma", Type.F32)
    module = Module()
    write_library(module, [program], host_triple(), "a test")
    group = f'attributes #1 = {{ nounwind "no-builtins" "target-features"="{level.features}" }}'
    compiled = CompiledModule(module.text(ATTRIBUTES, group, alias_metadata(program.kernels)), plain=True)
    given = interface(program.optimizer).name
    step, init = (compiled.returning(f"{given}_{kind}_f32") for kind in ("step", "init"))
    same_as_in_process(program, Library(program, step, init))
