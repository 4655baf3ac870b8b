"""What is kept in 16 bits, where LLVM's kernels and the interpreter compute: the bits of each other, and of
`numba_cpu` where it promises any.
"""

import re
from typing import Any

import numpy as np
import pytest
import torch
from optdsl.backends import interpreter, llvm
from optdsl.backends._chunked_step import UnsupportedKernelError, checked
from torch.nn import Parameter

import optdsl.torch
from optdsl import driver
from optdsl.backend import get_file_writer, get_gpu_writer, get_pair_backend
from optdsl.diagnostics import OptdslError
from optdsl.emit.module import kernels_by_name
from optdsl.emit.native import native
from optdsl.kernel.ir import PARAMETER, Kernel
from optdsl.kernel.storing import PARAMETERS
from optdsl.library import lookup
from optdsl.portable.formats import rounding_key
from optdsl.portable.lanes import Lane, NumpyMaker, Sort
from optdsl.runtime import stored_math
from optdsl.runtime.launch import CHUNK
from optdsl.storing import storing
from tests.ptx.lint import findings
from tests.test_storing import SPECS, kept

SHAPES = ((700,), (17, 5), (), (0,), (CHUNK + 33,))
load: Any = optdsl.torch.load


class Interpreted:
    """Stands where a compiler does."""

    def check(self, kernel: Kernel) -> None:
        checked(kernel, "interpreter")

    def pair(self, kernel: Kernel) -> tuple[Any, Any]:
        pair: tuple[Any, Any] = interpreter._interpreted(kernel)
        return pair


def in_16_bits(name: str) -> dict[str, str]:
    """Every state that can be, in one of the formats after the other."""
    return {state: ("f16", "bf16")[number % 2] for number, state in enumerate(kept(name))}


def classes(name: str, states: dict[str, str], store: str, mode: str, monkeypatch: Any) -> list[Any]:
    """Of the same spec, by compiler: Numba in the mode accurate, LLVM, the interpreter."""
    spec = lookup(name)
    kernels = kernels_by_name(spec, mode, storing(spec, states, store))
    first = load(name, state=states, param_store=store)
    found = [first]
    for compiler in (get_pair_backend("llvm"), Interpreted()):
        monkeypatch.setattr("optdsl.emit.native.get_pair_backend", lambda _, compiler=compiler: compiler)
        found.append(type(first.__name__, (first,), {"layout": native(first.layout, kernels)}))
    return found if mode == "accurate" else found[1:]


def trained(made: Any, dtype: torch.dtype, steps: int = 3) -> list[torch.Tensor]:
    """Parameters and states after some steps."""
    torch.manual_seed(0)
    parameters = [Parameter(torch.randn(shape).to(dtype)) for shape in SHAPES]
    optimizer = made(parameters)
    given = {"loss": 0.7, "hvp": [torch.randn_like(p) for p in parameters]}
    inputs = {each.name: given[each.name] for each in made.layout.inputs}
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape).to(dtype)
        optimizer.step(**inputs)
    states = [optimizer.state[p] for p in parameters]
    return [*(p.detach() for p in parameters), *(x for each in states for x in each.values())]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    """To the bit; and what is not a number is none in both."""
    assert len(first) == len(second)
    for x, y in zip(first, second, strict=True):
        assert x.dtype == y.dtype
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
        assert ((x.view(bits) == y.view(bits)) | (x.isnan() & y.isnan())).all()


@pytest.mark.parametrize("number", range(0, len(SPECS), 3), ids=SPECS.__getitem__)
def test_llvm_has_the_bits_of_the_interpreter(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the specs, each in one of the forms, dtypes and modes: others load and store as they do."""
    name, store, mode = SPECS[number], PARAMETERS[number % 4], ("fma", "strict")[number // 4 % 2]
    ours, theirs = classes(name, in_16_bits(name), store, mode, monkeypatch)
    if any(variant.query for variant in ours.layout.variants.values()):
        return  # takes a closure
    dtype = (torch.bfloat16, torch.float32, torch.bfloat16, torch.float64, torch.bfloat16)[number % 5]
    same(trained(ours, dtype, steps=2), trained(theirs, dtype, steps=2))


@pytest.mark.parametrize("store", PARAMETERS)
@pytest.mark.parametrize("name", ["adamw", "lion", "lamb"])
def test_accurate_steps_have_the_bits_of_numba(
    name: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        numba, ours, theirs = (
            trained(each, dtype) for each in classes(name, in_16_bits(name), store, "accurate", monkeypatch)
        )
        same(ours, theirs)
        same(ours, numba)


def test_keys_are_those_of_numba() -> None:
    maker, rng = NumpyMaker(64), np.random.default_rng(0)
    for *given, pair in rng.integers(0, 2**31, (50, 4)).tolist():
        parameter, step, start = (Lane(maker, np.array(each, np.uint64), Sort.INT) for each in given)
        with np.errstate(over="ignore"):
            found = int(rounding_key(parameter, step, pair, start).at) % 2**32
            wanted = stored_math.rounding_key(given[0], float(given[1]), pair, given[2])
        assert found == wanted


@pytest.mark.parametrize("store", PARAMETERS)
def test_a_gpu_reads_and_writes_four_codes_at_once(store: str) -> None:
    stored = storing(lookup("adamw"), {"m": "bf16", "v": "f16"}, store)
    program = driver.build(lookup("adamw"), stored.precisions("fma")["bfloat16"])
    text = llvm.ptx(program)
    assert findings(text) == ["update_f32: no access moves 16 bytes"]  # they move 8
    buffers = sum(buffer.name != PARAMETER for buffer in program.update.buffers)
    written = buffers - 1  # all but the gradient
    assert len(re.findall(r"ld\.global\.(?:nc\.)?(?:v4\.[bu]16|v2\.[bu]32)", text)) == buffers
    assert len(re.findall(r"st\.global\.(?:v4\.[bu]16|v2\.[bu]32)", text)) == written


def test_others_refuse_it_in_words() -> None:
    stored = storing(lookup("adamw"), {"m": "bf16"}, "")
    program = driver.build(lookup("adamw"), stored.precisions("fma")["float32"])
    with pytest.raises(UnsupportedKernelError, match="numba_cuda: what is kept in fewer bits than 32"):
        get_gpu_writer("numba_cuda").ptx(program)
    with pytest.raises(UnsupportedKernelError, match="llvm: what is kept in fewer bits than 32"):
        get_file_writer("llvm").files([program], "so", "")


def test_what_is_kept_in_8_bits_has_no_kernel_there() -> None:
    with pytest.raises(OptdslError, match="what is kept in 8 bits has no kernel there yet"):
        load("adam", state={"v": "8bit"}, mode="fma")
