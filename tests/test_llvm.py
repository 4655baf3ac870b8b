"""The LLVM backend: the bits that it promises, on this processor and on one without fused multiply-add."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optdsl.backends import llvm
from optdsl.backends._chunked_step import UnsupportedKernelError, chunked_step
from optdsl.backends._kernel_lanes import unsupported
from optdsl.backends._llvm_cpu import Target

from optdsl.backend import Program, Step, get_backend
from optdsl.kernel.ir import Kernel, Type
from optdsl.runtime.launch import CHUNK
from optdsl.runtime.llvm_kernel import CompiledModule
from tests.support import programs
from tests.support.programs import Setting, label
from tests.support.random_specs import RANDOM, SPECIAL

SETTINGS = list(programs.settings())
SIZES = [0, 1, 15, 16, 17, 100, 1023, 1025, CHUNK + 33]
RUNS = [(setting, "fma") for setting in SETTINGS] + [
    (setting, "strict")
    for setting in SETTINGS
    if dict(setting[1]) == {flag.name: flag.default for flag in programs.meaning(setting[0]).flags}
]


def without_fma(program: Program) -> Step:
    """As the first processors of 64 bits would run it."""

    def compiled(kernel: Kernel) -> tuple[Any, Any]:
        module = CompiledModule(llvm.module_text(kernel, Target(has_fma=False)), plain=True)
        return module.prologue("prepare"), module.phase(kernel.name, sums=kernel.sums)

    step: Step = chunked_step(program, "update", "llvm", compiled)
    return step


@pytest.mark.parametrize(("setting", "mode"), RUNS, ids=lambda x: x if isinstance(x, str) else label(x))
def test_the_bits_are_those_of_the_interpreter(setting: Setting, mode: str) -> None:
    storage = Type.F32
    program = programs.program(setting, mode, storage)
    if any(unsupported(kernel) for kernel in program.kernels):
        with pytest.raises(UnsupportedKernelError, match="llvm: what is for rows"):
            get_backend("llvm").load(program)
        return
    steps = [get_backend("llvm").load(program), get_backend("interpreter").load(program)]
    if mode == "fma":
        steps.append(without_fma(program))
    same_bits(program, steps, SIZES)


def same_bits(program: Program, steps: list[Step], sizes: list[int], *, special: bool = False) -> None:
    """In every buffer, after each of two steps. special: of numbers that are none of the ordinary ones."""
    optimizer, storage = program.optimizer, program.update.precision.storage
    hypers = programs.hyper_rows(optimizer, 2)
    data = programs.initial_data(optimizer, sizes, storage, rows=2)
    if special:
        with np.errstate(all="ignore"):
            for name in ("theta", "g"):
                data.arrays[0][name][:] = np.random.default_rng(len(name)).choice(SPECIAL, sizes[0])
    found = [data.copy() for _ in steps]
    for t in (1, 2):
        for step, data in zip(steps, found, strict=True):
            programs.run(step, optimizer, data, hypers, t)
        for data in found[1:]:
            np.testing.assert_array_equal(data.scalar_states, found[0].scalar_states)
            for ours, theirs in zip(found[0].arrays, data.arrays, strict=True):
                for name in ours:
                    bits = f"u{ours[name].itemsize}"
                    same = ours[name].view(bits) == theirs[name].view(bits)
                    same |= np.isnan(ours[name]) & np.isnan(theirs[name])  # of which there are many
                    assert same.all(), (name, t, ours[name][~same][:3], theirs[name][~same][:3])


@settings(max_examples=30, deadline=None)
@given(RANDOM, RANDOM, st.sampled_from([Type.F32, Type.F64]), st.sampled_from(["strict", "fma", "accurate"]))
def test_random_specs_have_the_same_bits(state: str, update: str, storage: Type, mode: str) -> None:
    """With infinities, NaN, zeros of both signs and denormals among the numbers."""
    text = (
        "optimizer Random\nhyper lr = 0.5 in [0, inf)\nhyper beta1 = 0.9 in [0, 1)\nstate m[0] = 0\n"
        f"u = {update}\nm[t] = {state} + g[t]*u\ntheta[t] = theta[t-1] - lr*m[t] - 0.1*u\n"
    )
    program = programs.program_of(text, mode, storage)
    steps = [get_backend(name).load(program) for name in ("llvm", "interpreter")]
    same_bits(program, [*steps, without_fma(program)], [196], special=True)
