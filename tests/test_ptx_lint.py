"""What PTX must not have is found in the text, and by NVIDIA's assembler where it is installed."""

import pytest

from tests.ptx import samples
from tests.ptx.lint import Accesses, accesses_of, findings
from tests.ptx.ptxas import PTXAS, assembled
from tests.ptx.text import PtxError, parsed

needs_ptxas = pytest.mark.skipif(PTXAS is None, reason="there is no ptxas")


def test_nothing_is_found_in_what_is_right() -> None:
    assert findings(samples.adam()) == []


def test_what_moves_16_bytes() -> None:
    entries = parsed(samples.adam()).entries
    # One loop of vectors, one of single elements; chunk (4), addresses (4) and scalars (6) beside.
    assert accesses_of(entries["update_f32"]) == Accesses(4, 3, 4 + 4 + 4 + 6, 3)
    assert accesses_of(entries["reduce0_f32"]).vector_loads == 0


PLANTED = [
    (".version 7.0", ".version 7.8", "PTX 7.8 is newer than 7.0: older drivers refuse it"),
    (".target sm_80", ".target sm_90a", "sm_90a is newer than sm_80"),
    ("sub.rn.f32 \t%r7", "sub.f32 \t%r7", "the rounding is left open: it may be contracted"),
    ("sqrt.rn.f32 \t%r56", "sqrt.approx.f32 \t%r56", "not rounded as IEEE asks"),
    ("mul.rn.f32 \t%r28", "mul.rn.ftz.f32 \t%r28", "not rounded as IEEE asks"),
    ("add.s64 \t%rd13", "call.uni f, ();\n\tadd.s64 \t%rd13", "a call"),
    ("add.s64 \t%rd13", "ld.local.b32 \t%r1, [%rd1];\n\tadd.s64 \t%rd13", "local memory"),
    ("cvt.rn.f32.f64 \t%r1", "sqrt.rn.f64 \t%rd1, %rd2;\n\tcvt.rn.f32.f64 \t%r1", "float64 arithmetic"),
    ("sub.rn.f32 \t%r7", "cvt.f64.f32 \t%rd1, %r1;\n\tsub.rn.f32 \t%r7", "float64 arithmetic"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "words"), PLANTED)
def test_what_is_wrong_is_found(right: str, wrong: str, words: str) -> None:
    assert right in samples.adam()
    found = findings(samples.adam().replace(right, wrong))
    assert found
    assert all(words in each for each in found)


def test_a_kernel_without_vectors_is_found() -> None:
    text = samples.adam().replace(".v4.b32 \t{%r12, %r13, %r14, %r15}", ".b32 \t%r12")
    assert findings(text) == []
    for before in (".v4.b32 \t{%r16, %r17, %r18, %r19}", ".v4.b32 \t{%r20, %r21, %r22, %r23}",
                   ".v4.b32 \t{%r24, %r25, %r26, %r27}"):  # fmt: skip
        text = text.replace(before, ".b32 \t%r12")
    assert findings(text) == ["update_f32: no access moves 16 bytes"]


def test_a_depot_of_local_memory_is_refused() -> None:
    with pytest.raises(PtxError):
        findings(samples.adam().replace("\t.reg .pred \t%p<6>;", "\t.local .align 4 .b8 depot[64];"))


@needs_ptxas
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nothing_spills(arch: str) -> None:
    found = assembled(samples.adam(), arch)
    assert set(found) == {"update_f32", "reduce0_f32"}
    for resources in found.values():
        assert (resources.spills, resources.stack) == (0, 0)
        assert 0 < resources.registers <= 64
    assert found["reduce0_f32"].shared >= 2048


@needs_ptxas
def test_an_assembler_that_refuses_is_heard() -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        assembled(samples.adam().replace("sqrt.rn.f32", "nonsense.rn.f32"))
