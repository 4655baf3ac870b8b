"""Every spec, with every setting of its flags, on every backend, in every precision, at odd sizes."""

import platform
from importlib import import_module

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optdsl.backends._kernel_lanes import unsupported

from optdsl.backend import Program, available_backends, get_backend
from optdsl.emit.optax_module import not_for_optax
from optdsl.kernel.ir import Kernel, Loop, Op, Type
from optdsl.kernel.walk import nodes
from optdsl.language.inputs import inputs_by_shape
from optdsl.language.optimizer import Optimizer, Role, Shape
from optdsl.language.printer import print_expr
from optdsl.language.unparse import as_syntax
from optdsl.runtime.launch import CHUNK
from tests.support import programs
from tests.support.programs import Data, Setting, label
from tests.support.random_specs import RANDOM, SPECIAL

SETTINGS = list(programs.settings())
SIZES = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 100, 1000, CHUNK - 1, CHUNK + 1]
SMALL = [size for size in SIZES if size <= 1000]  # where a square of the rows is computed with
FEW = {"jnp": [0, 1, 7]}  # no loops of its own; every size is compiled anew, operation by operation
PRECISIONS = [("accurate", Type.F32), ("accurate", Type.F64), ("fast", Type.F32)]
BACKENDS = [name for name in available_backends() if name not in ("reference", "interpreter", "numba_cuda")]
"""The interpreter's bits are those of `llvm`, and `numba_cuda` has them: their own tests."""
ULPS = {("accurate", Type.F32): 1, ("accurate", Type.F64): 64, ("fast", Type.F32): 300}
"""How far from the reference a result may be, in units of the last place of the largest thing added up
for it. float32 storage: both round a float64 once, which differ in the last place at most. float64:
the power of the C library against NumPy's, and what cancels after it. fast: a float32 chain."""

CANCELLATION = {"padam": 4, "adai": 4, "came": 4}
"""How much further: a power of every element; what is left of 1 when nearly 1 is taken away twice;
steps that are larger than the parameter by decades."""

CANCELLING = ("momo", "momo_adam")
"""Whose lower bound is what two products over all leave of each other."""
NUMBERS = {"accurate": 1e-14, "fast": 1e-6}


RUNS = [
    (backend, mode, storage)
    for backend in BACKENDS
    for mode, storage in PRECISIONS
    # slow to compile, and nothing of its own; and what is compared with the interpreter, bit by bit
    if (backend, mode, storage) not in {("jnp", "accurate", Type.F32), ("llvm", "fast", Type.F32)}
]


@pytest.mark.parametrize(("backend", "mode", "storage"), RUNS, ids=lambda value: str(value))
@pytest.mark.parametrize("setting", SETTINGS, ids=label)
def test_backends_agree_with_the_reference(setting: Setting, backend: str, mode: str, storage: Type) -> None:
    program = programs.program(setting, mode, storage)
    optimizer = program.optimizer
    if backend == "jnp" and not_for_optax(programs.meaning(setting[0])):
        pytest.skip("refused with OD801, as docs/language.md says")
    if backend == "llvm" and any(unsupported(kernel) for kernel in program.kernels):
        pytest.skip("no kernels for rows, columns and matrices")
    if setting[0] == "soap" and mode == "fast":
        pytest.skip("what is zero in another basis is what float32 has rounded there, divided by eps")
    if backend == "jnp" and setting[0] == "shampoo" and mode == "fast":
        pytest.skip("in float32, as jax.numpy computes, eps is lost beside what is the square of a gradient")
    sizes = FEW.get(backend, SMALL if any(program.stages) else SIZES)
    if backend == "jnp" and any(program.stages):
        sizes = [0, 1, 4]  # factors of full rank: of others, eigenvectors are LAPACK's choice
    data = programs.initial_data(optimizer, sizes, storage, rows=2)
    expected = data.copy()
    hypers = programs.hyper_rows(optimizer, 2)
    step, oracle = get_backend(backend).load(program), get_backend("reference").load(program)
    for t in range(1, 4):
        before = data.copy()
        programs.run(step, optimizer, data, hypers, t)
        programs.run(oracle, optimizer, expected, hypers, t)
        for tensor, wanted, old in zip(data.arrays, expected.arrays, before.arrays, strict=True):
            for name, array in tensor.items():
                scale = np.maximum(np.abs(wanted[name]), np.abs(old[name]))  # a step may lead to zero
                scale = np.maximum(scale, 1e-2 if mode == "fast" else 1e-4).astype(array.dtype)
                error = np.abs(array.astype(np.float64) - wanted[name].astype(np.float64)) / np.spacing(scale)
                allowed = ULPS[mode, storage]
                allowed *= 1 if allowed == 1 else CANCELLATION.get(setting[0], 1)
                # a sum over thousands of elements may end in another last place, and all of them read it
                allowed *= 8 if program.reductions else 1
                assert error.size == 0 or error.max() <= allowed, (t, name, error.max())
        # of what is computed in float32, or summed in another order
        summed = 1e-5 if mode == "fast" else 1e-13
        rtol = summed if program.reductions else 1e-14
        largest = np.nanmax(np.abs(expected.scalar_states), initial=0)  # the mean of no elements is NaN
        near = (NUMBERS[mode] if setting[0] in CANCELLING else 0) * largest
        # what would become NaN for a tensor without elements stays, where it is the runtime that knows it
        stays = np.isnan(expected.scalar_states) & ~np.isnan(data.scalar_states)
        assert not stays.any() or backend == "jnp"
        wanted_numbers = np.where(stays, before.scalar_states, expected.scalar_states)
        np.testing.assert_allclose(data.scalar_states, wanted_numbers, rtol=rtol, atol=near)
        # from the same place again: what is compared is one step, not how errors grow
        data = expected.copy()


@pytest.mark.parametrize("setting", SETTINGS, ids=label)
def test_accurate_steps_are_correctly_rounded(setting: Setting) -> None:
    """At most 0.51 units in the last place from the spec in 200-bit arithmetic, for every output."""
    program = programs.program(setting, "accurate", Type.F32)
    optimizer = program.optimizer
    data = programs.initial_data(optimizer, [60], Type.F32, rows=1, seed=1)
    hypers = programs.hyper_rows(optimizer, 1)
    names = [hyper.name for hyper in optimizer.hypers]
    step = get_backend("numba_cpu").load(program)
    exact_steps = import_module("optdsl.backends.reference").exact_steps
    for t in (1, 2, 3):
        before = data.copy()
        programs.run(step, optimizer, data, hypers, t)
        numbers = dict(zip(programs.scalar_states(optimizer), before.scalar_states[0].tolist(), strict=True))
        numbers |= dict.fromkeys(inputs_by_shape(optimizer.inputs)[0], programs.INPUT)
        old, new = (
            {name: programs.spread(optimizer, name, array, 60) for name, array in each.arrays[0].items()}
            for each in (before, data)
        )
        given = dict(zip(names, hypers[0].tolist(), strict=True))
        if any(program.stages):
            _check_matrices(program, given, t, numbers, before, data)
            continue
        elements = [{**numbers, **{name: float(array[i]) for name, array in old.items()}} for i in range(60)]
        dims = programs.dims_of(60) if programs.line_sums(optimizer) else None
        for i, exact in enumerate(exact_steps(optimizer, given, t, elements, dims)):
            for name in ("theta", *programs.element_states(optimizer)):
                found = new[name][i]
                unit = float(np.spacing(np.float32(abs(float(exact[name])))))
                with mpmath.workprec(200):
                    assert abs(mpmath.mpf(float(found)) - exact[name]) <= 0.51 * unit, (t, i, name)
        data.arrays[0]["g"][:] = np.random.default_rng(t).standard_normal(60).astype(np.float32)


def _check_matrices(
    program: Program, hypers: dict[str, float], t: int, numbers: dict[str, float], before: Data, data: Data
) -> None:
    """The same for a step that computes with whole matrices: every number of every state."""
    exactly = import_module("optdsl.backends._exact_tensor").exact_tensor_step
    optimizer = program.optimizer
    shapes = dict.fromkeys(("theta", "g"), Shape.ELEMENT) | {s.name: s.shape for s in optimizer.states}
    rows, columns = programs.dims_of(60)
    sides = {Shape.LEFT: (rows, rows), Shape.RIGHT: (columns, columns), Shape.ELEMENT: (rows, columns)}
    arrays = {
        name: array.reshape(*_kept(array, shapes[name]), *sides.get(shapes[name], (rows, columns)))
        for name, array in before.arrays[0].items()
    }
    for name, exact in exactly(optimizer, hypers, t, {**numbers, **arrays}).items():
        found = data.arrays[0][name].ravel()
        if t == 1 and name in _up_to_signs(optimizer):
            found, exact = np.abs(found), np.abs(exact)
        for i, (x, wanted) in enumerate(zip(found.tolist(), exact.ravel().tolist(), strict=True)):
            unit = float(np.spacing(np.float32(abs(float(wanted)))))
            with mpmath.workprec(200):
                assert abs(mpmath.mpf(x) - wanted) <= 0.51 * unit, (t, i, name)
    data.arrays[0]["g"][:] = np.random.default_rng(t).standard_normal(60).astype(np.float32)


def _kept(array: np.ndarray, shape: Shape) -> tuple[int, ...]:
    """How many matrices there are, and of what is remembered how many values of each."""
    rows, columns = programs.dims_of(60)
    matrices = 60 // (rows * columns)
    return (array.size // 60, matrices) if shape is Shape.PAST else (matrices,)


def _up_to_signs(optimizer: Optimizer) -> set[str]:
    """States that begin as eigenvectors, of which nobody knows which way they point."""
    return {
        line.target.name
        for line in optimizer.lines
        if line.target.role is Role.STATE and "eigenvectors" in print_expr(as_syntax(line.value))
    }


@pytest.mark.parametrize("storage", [Type.F32, Type.F64])
@pytest.mark.parametrize("setting", SETTINGS, ids=label)
def test_special_numbers_mean_the_same_everywhere(setting: Setting, storage: Type) -> None:
    """Zeros of both signs, infinities, NaN, denormals and overflow, in the parameter and in the gradient."""
    program = programs.program(setting, "accurate", storage)
    optimizer = program.optimizer
    pairs = [(x, y) for x in SPECIAL for y in SPECIAL]
    data = programs.initial_data(optimizer, [len(pairs)], storage, rows=1)
    dtype = programs.dtype_of(storage)
    with np.errstate(all="ignore"):
        data.arrays[0]["theta"][:] = np.array([x for x, _ in pairs]).astype(dtype)
        data.arrays[0]["g"][:] = np.array([y for _, y in pairs]).astype(dtype)
    expected = data.copy()
    hypers = programs.hyper_rows(optimizer, 1)
    for t in (1, 2):
        programs.run(get_backend("numba_cpu").load(program), optimizer, data, hypers, t)
        programs.run(get_backend("reference").load(program), optimizer, expected, hypers, t)
    for name, array in data.arrays[0].items():
        wanted = expected.arrays[0][name]
        np.testing.assert_array_equal(np.isnan(array), np.isnan(wanted), err_msg=name)
        np.testing.assert_allclose(array, wanted, rtol=1e-6 if storage is Type.F32 else 1e-12, err_msg=name)


def _copies(kernel: Kernel) -> bool:
    """Whether it computes nothing."""
    return not any(
        isinstance(x, Op) for phase in kernel.phases for stmt in phase.body for x in nodes(stmt.value)
    )


def _calls(kernel: Kernel) -> bool:
    """Whether there is a function in it that is no instruction."""
    values = (stmt.value for phase in kernel.phases for stmt in phase.body)
    names = {x.name for value in values for x in nodes(value) if isinstance(x, Op)}
    return not names.isdisjoint(("exp", "log", "tanh", "sigmoid", "cbrt", "pow"))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 machine code")
@pytest.mark.parametrize(("mode", "storage"), PRECISIONS, ids=lambda value: str(value))
@pytest.mark.parametrize("setting", SETTINGS, ids=label)
def test_kernels_are_vectorised(setting: Setting, mode: str, storage: Type) -> None:
    """Every arithmetic instruction of the loop is there in packed form; the scalar ones are its remainder.

    Of a loop over rows, the scalar ones are also what has one value for each row.
    """
    program = programs.program(setting, mode, storage)
    for kernel in program.kernels:
        if (kernel in program.views and _copies(kernel)) or kernel.loop in (Loop.WHOLE, Loop.PAST):
            continue
        found = get_backend("numba_cpu").vectorisation(program, kernel.name)  # type: ignore[attr-defined]
        if kernel.loop in (Loop.ELEMENTS, Loop.MATRIX):
            remainders = 3 if _calls(kernel) else 1  # a long loop's remainder may stand there in pieces
            least = max(found.scalar // remainders, 1) if kernel.loop is Loop.ELEMENTS else 1
            assert found.packed >= least, found
            assert found.widest >= 128


# --- random specs --------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(RANDOM, RANDOM, st.integers(1, 5))
def test_random_specs(state: str, update: str, t: int) -> None:
    """numba_cpu and the reference, by different ways from the same text, give the same numbers."""
    text = (
        "optimizer Random\nhyper lr = 0.5 in [0, inf)\nhyper beta1 = 0.9 in [0, 1)\nstate m[0] = 0\n"
        f"u = {update}\nm[t] = {state} + g[t]*u\ntheta[t] = theta[t-1] - lr*m[t] - 0.1*u\n"
    )
    program = programs.program_of(text, "accurate", Type.F64)
    optimizer = program.optimizer
    assert optimizer.lines[-1].target.shape is Shape.ELEMENT
    data = programs.initial_data(optimizer, [33], Type.F64, rows=1, seed=t)
    data.arrays[0]["m"][:] = np.random.default_rng(9).standard_normal(33)
    expected = data.copy()
    hypers = np.array([[0.5, 0.9]])
    programs.run(get_backend("numba_cpu").load(program), optimizer, data, hypers, t)
    programs.run(get_backend("reference").load(program), optimizer, expected, hypers, t)
    for name in ("theta", "m"):
        # floor, sign and comparisons may fall on either side of a jump that a last place decides
        close = np.isclose(data.arrays[0][name], expected.arrays[0][name], rtol=1e-9, atol=1e-12)
        assert (
            close.mean() >= 0.9
            if any(word in text for word in ("floor", "sign", "if", "t >"))
            else close.all()
        )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=6), st.randoms())
def test_splitting_and_permuting_tensors_changes_nothing(sizes: list[int], random: object) -> None:
    setting = next(each for each in SETTINGS if each[0] == "adam")
    program = programs.program(setting, "accurate", Type.F32)
    optimizer, step = program.optimizer, get_backend("numba_cpu").load(program)
    hypers = programs.hyper_rows(optimizer, 1)
    whole = programs.initial_data(optimizer, [sum(sizes)], Type.F32, rows=1)
    cuts = np.cumsum(sizes)[:-1]
    parts = {name: np.split(array, cuts) for name, array in whole.copy().arrays[0].items()}
    pieces = [{name: part[i].copy() for name, part in parts.items()} for i in range(len(sizes))]
    order = list(range(len(sizes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    split = programs.Data([pieces[i] for i in order], whole.scalar_states.copy())
    for t in (1, 2):
        programs.run(step, optimizer, whole, hypers, t)
        programs.run(step, optimizer, split, hypers, t)
    for name, array in whole.arrays[0].items():
        joined = np.concatenate([pieces[i][name] for i in range(len(sizes))])
        assert joined.tobytes() == array.tobytes()


def test_hypers_and_time_never_compile_again() -> None:
    setting = next(each for each in SETTINGS if each[0] == "adam")
    program = programs.program(setting, "accurate", Type.F32)
    backend = get_backend("numba_cpu")
    optimizer, step = program.optimizer, backend.load(program)
    data = programs.initial_data(optimizer, [10], Type.F32, rows=1)
    module = backend._module(program, "update")  # type: ignore[attr-defined]
    for t in range(1, 6):
        programs.run(step, optimizer, data, programs.hyper_rows(optimizer, 1) / t, t)
    assert len(module.update.compiled.signatures) == 1
    assert len(module.prepare.compiled.signatures) == 1
