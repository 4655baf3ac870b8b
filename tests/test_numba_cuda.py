"""Kernels for GPUs as Python text: run in Python and, compiled to PTX by Numba, in the interpreter of PTX.

Both give the bits that `interpreter` computes, which are those of `llvm` (tests/test_llvm.py). What compiles
is skipped where Numba does not find NVIDIA's libNVVM; what the text means is tested everywhere.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optdsl.backends import numba_cuda
from optdsl.backends._chunked_step import chunked_step
from optdsl.backends._llvm_ptx import unsupported_on_gpu

from optdsl.backend import Program, Step, get_backend
from optdsl.kernel.ir import Kernel, Op, Type
from optdsl.kernel.walk import nodes
from optdsl.runtime.cuda import numba_in_python, numba_words
from tests.ptx.lint import accesses_of, findings
from tests.ptx.ptxas import PTXAS, assembled
from tests.ptx.text import parsed
from tests.support import programs
from tests.support.libnvvm import libnvvm as libnvvm
from tests.support.programs import Setting, label
from tests.support.random_specs import RANDOM
from tests.test_llvm import same_bits
from tests.test_ptx_kernels import DEFAULTS, SETTINGS, SIZES, Compiled, Interpreted

SMALL = [0, 1, 7, 13]


def _on_gpus(setting: Setting) -> bool:
    kernels = programs.program(setting, "fma", Type.F32).kernels
    return not any(map(unsupported_on_gpu, kernels))


ON_GPUS = list(filter(_on_gpus, SETTINGS))


def _operators(setting: Setting) -> frozenset[tuple[bool, str]]:
    """The operators of its phases, and whether these sum."""
    return frozenset(
        (kernel.sums, node.name)
        for kernel in programs.program(setting, "fma", Type.F32).kernels
        for phase in kernel.phases
        for stmt in phase.body
        for node in nodes(stmt.value)
        if isinstance(node, Op)
    )


def _few() -> Iterator[Setting]:
    """Adam, and others until every operator is there, in passes that sum and in those that do not."""
    left = frozenset[tuple[bool, str]]().union(*map(_operators, ON_GPUS))
    chosen = next(setting for setting in ON_GPUS if setting[0] == "adam")
    while True:
        yield chosen
        left -= _operators(chosen)
        if not left:
            return
        chosen = max(ON_GPUS, key=lambda setting: len(_operators(setting) & left))


FEW = list(_few())


# --- the text, in Python ---------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ON_GPUS, ids=label)
def test_the_text_means_what_the_kernel_does(setting: Setting) -> None:
    program = programs.program(setting, "fma", Type.F32)
    same_bits(program, [get_backend(name).load(program) for name in ("interpreter", "numba_cuda")], SMALL)


OTHERS = [("fast", Type.F32), ("strict", Type.F32), ("accurate", Type.F32), ("accurate", Type.F64)]


@pytest.mark.parametrize(("mode", "storage"), OTHERS)
@pytest.mark.parametrize("setting", FEW, ids=label)
def test_the_text_in_other_modes(setting: Setting, mode: str, storage: Type) -> None:
    program = programs.program(setting, mode, storage)
    same_bits(program, [get_backend(name).load(program) for name in ("interpreter", "numba_cuda")], SMALL)


def _random(state: str, update: str, storage: Type, mode: str) -> Program:
    text = (
        "optimizer Random\nhyper lr = 0.5 in [0, inf)\nhyper beta1 = 0.9 in [0, 1)\nstate m[0] = 0\n"
        f"u = {update}\nm[t] = {state} + g[t]*u\ntheta[t] = theta[t-1] - lr*m[t] - 0.1*u\n"
    )
    return programs.program_of(text, mode, storage)


RANDOMLY = given(
    st.builds(
        _random,
        *(RANDOM, RANDOM, st.sampled_from([Type.F32, Type.F64])),
        st.sampled_from(["strict", "fma", "accurate"]),
    )
)
"""With infinities, NaN, zeros of both signs and denormals among the numbers."""


@settings(max_examples=30, deadline=None)
@RANDOMLY
def test_random_texts_have_the_same_bits(program: Program) -> None:
    steps = [get_backend(name).load(program) for name in ("interpreter", "numba_cuda")]
    same_bits(program, steps, [30], special=True)


@pytest.mark.usefixtures("libnvvm")
@settings(max_examples=6, deadline=None)
@RANDOMLY
def test_random_ptx_has_the_same_bits(program: Program) -> None:
    steps = [get_backend("interpreter").load(program), interpreted(program, numba_cuda.ptx(program), 0)]
    same_bits(program, steps, [196], special=True)


NAMES = """
optimizer Names
hyper in_vectors = 0.5 in [0, inf)
hyper new0 = 0.25 in [0, inf)
hyper element = 0.125 in [0, inf)
state aligns[0] = 0
g_read = g[t] * new0
theta_all = aligns[t-1] - element*g_read
fma = theta_all * g_read
aligns[t] = theta_all + element
new = in_vectors*theta_all + fma
theta[t] = theta[t-1] - new
"""


@pytest.mark.parametrize("compiled", [False, True])
def test_names_of_a_spec_that_the_text_uses_itself(compiled: bool, request: pytest.FixtureRequest) -> None:
    program = programs.program_of(NAMES, "fma", Type.F32)
    step = get_backend("numba_cuda").load(program)
    if compiled:
        request.getfixturevalue("libnvvm")
        step = interpreted(program, numba_cuda.ptx(program), 0)
    same_bits(program, [get_backend("interpreter").load(program), step], SMALL)


def test_python_and_numba_know_the_same_words() -> None:
    constants = {"BLOCK", "HALVINGS", "f32", "f64"}
    assert set(numba_cuda._WORDS) == set(numba_in_python.WORDS) | constants
    assert all(hasattr(numba_words, word) for word in numba_cuda._WORDS)


def test_what_is_wrong_in_a_text_is_told_in_python() -> None:
    """A vector that does not lie at 16 bytes, a float64 where float32 are kept, a barrier that some miss."""
    values = np.zeros(9, np.float32)
    at = values.ctypes.data + (-values.ctypes.data % 16)
    with pytest.raises(ValueError, match="not aligned"):
        numba_in_python.read4_f32(at, 1)
    with pytest.raises(TypeError, match="cast it"):
        numba_in_python.write_f32(at, 0, np.float64(1.0))

    def some(barrier: Any) -> None:
        if this_thread() == 0:  # type: ignore[name-defined] # noqa: F821
            barrier()

    def everyone() -> None:
        barrier()  # type: ignore[name-defined] # noqa: F821

    numba_in_python.run(everyone, 2, barriers=True)
    with pytest.raises(RuntimeError, match="barrier"):
        numba_in_python.run(some, 1, numba_in_python.WORDS["barrier"], barriers=True)


# --- PTX -------------------------------------------------------------------------------------------------


def interpreted(program: Program, text: str, offset: int) -> Step:
    def pair(kernel: Kernel) -> tuple[Any, Any]:
        on = Interpreted(text, kernel, offset)
        return Compiled(on.prepare), Compiled(on.run)

    step: Step = chunked_step(program, "update", "numba_cuda", pair)
    return step


@pytest.mark.usefixtures("libnvvm")
@pytest.mark.parametrize("setting", FEW, ids=label)
def test_ptx_has_the_stated_bits(setting: Setting) -> None:
    """Aligned, in vectors of 16 bytes, and not aligned; and nothing is in it that must not be."""
    program = programs.program(setting, "fma", Type.F32)
    text = numba_cuda.ptx(program)
    assert findings(text) == []
    _check_resources(text)
    steps = [interpreted(program, text, offset) for offset in (0, 4)]
    same_bits(program, [get_backend("interpreter").load(program), *steps], SIZES)


def _check_resources(text: str) -> None:
    if PTXAS is not None:
        for name, took in assembled(text).items():
            assert took.spills == took.stack == 0, name


@pytest.mark.usefixtures("libnvvm")
@pytest.mark.parametrize(
    ("name", "mode", "storage"),
    [("adam", "strict", Type.F32), ("rprop", "accurate", Type.F32), ("lamb", "accurate", Type.F64)],
)
def test_ptx_in_other_modes(name: str, mode: str, storage: Type) -> None:
    program = programs.program(next(each for each in DEFAULTS if each[0] == name), mode, storage)
    text = numba_cuda.ptx(program)
    assert findings(text, float64=("reduce", "prepare", "totals", *(["update"] * (mode == "accurate")))) == []
    steps = [get_backend("interpreter").load(program), interpreted(program, text, 0)]
    same_bits(program, steps, SIZES)


@pytest.mark.usefixtures("libnvvm")
@pytest.mark.parametrize("name", ["adam", "lion", "lamb", "padam"])
def test_fast_is_near_the_reference(name: str) -> None:
    """NVIDIA's compiler joins operations as it likes: 300 units in the last place, as everywhere in float32,
    of the largest of the old and the new value (see tests/test_backends.py).
    """
    program = programs.program(next(each for each in DEFAULTS if each[0] == name), "fast", Type.F32)
    optimizer, text = program.optimizer, numba_cuda.ptx(program)
    assert findings(text, exact=False) == []
    assert "fma.rn.f32" in text.split(".entry update_f32")[1]  # it does join them
    hypers = programs.hyper_rows(optimizer, 2)
    before = programs.initial_data(optimizer, SIZES, Type.F32, rows=2)
    found, expected = before.copy(), before.copy()
    programs.run(interpreted(program, text, 0), optimizer, found, hypers, 1)
    programs.run(get_backend("reference").load(program), optimizer, expected, hypers, 1)
    for tensor, wanted, old in zip(found.arrays, expected.arrays, before.arrays, strict=True):
        for name_, array in tensor.items():
            scale = np.maximum(np.maximum(np.abs(wanted[name_]), np.abs(old[name_])), 1e-2)
            error = np.abs(array.astype(float) - wanted[name_].astype(float)) / np.spacing(scale)
            assert error.size == 0 or error.max() <= 300, name_


@pytest.mark.usefixtures("libnvvm")
def test_every_buffer_moves_in_vectors() -> None:
    """Adam reads four and writes three."""
    for storage in Type.F32, Type.F64:
        program = programs.program(next(each for each in DEFAULTS if each[0] == "adam"), "fma", storage)
        entry = parsed(numba_cuda.ptx(program)).entries[f"update_{storage}"]
        accesses = accesses_of(entry)
        assert accesses.vector_loads
        assert accesses.vector_loads * 3 == accesses.vector_stores * 4  # however often loops are unrolled
