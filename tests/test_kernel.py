"""Lowering and passes: they change how a spec is computed, never what it says."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from typing import Any

import mpmath
import pytest

from optdsl.kernel.ir import (
    Access,
    Buffer,
    Cast,
    Const,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Phase,
    Precision,
    Stmt,
    Store,
    Type,
)
from optdsl.kernel.lower import lower
from optdsl.kernel.passes import PASSES, run_passes
from optdsl.kernel.verify import IllegalKernelError, verify
from optdsl.kernel.walk import nodes
from optdsl.language.optimizer import Number, Optimizer, Shape
from optdsl.language.specialise import specialise
from tests.support import programs
from tests.support.exact_kernel import run_kernel
from tests.support.programs import Setting, label

SETTINGS = list(programs.settings())
PRECISIONS = [Precision("accurate", Type.F32), Precision("accurate", Type.F64), Precision("fast", Type.F32)]


def points(optimizer: Optimizer) -> list[tuple[int, dict[str, mpmath.mpf], dict[str, mpmath.mpf]]]:
    """(t, buffers and states, hypers): ordinary values, a zero gradient, the first step."""
    hypers = {
        hyper.name: mpmath.mpf(hyper.default.numerator) / hyper.default.denominator
        for hyper in optimizer.hypers
    }
    found = []
    for t, theta, g, scale in (
        (1, "0.7", "-1.3", 0),
        (2, "-0.2", "0.9", 1),
        (7, "3", "0.01", 2),
        (3, "1", "0.5", 0),
    ):
        values = {"theta": mpmath.mpf(theta), "g": mpmath.mpf(g)}
        for i, state in enumerate(optimizer.states):
            start = float(state.initial.value) if isinstance(state.initial, Number) else 0.1
            values[state.name] = mpmath.mpf(start) + mpmath.mpf(scale) * (i + 1) / 8
        found.append((t, values, hypers))
    return found


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda p: f"{p.mode}-{p.storage}")
@pytest.mark.parametrize("setting", SETTINGS, ids=label)
def test_every_pass_keeps_the_meaning(setting: Setting, precision: Precision) -> None:
    """In exact arithmetic the lowered kernel, and the kernel after each pass, are the spec."""
    name, flags = setting
    if any(state.shape is Shape.PAST for state in programs.meaning(name).states):
        pytest.skip("a loop on coefficients has no element: test_history and test_backends")
    optimizer = specialise(programs.meaning(name), dict(flags))
    exact_step = import_module("optdsl.backends.reference").exact_step
    lowered = lower(optimizer, precision)
    updating = [*lowered.kernels] if any(lowered.stages) else [
        *lowered.reductions, lowered.update, *lowered.vectors
    ]  # fmt: skip
    forms = {"lower": updating}
    run_passes(lowered, lambda each, kernel: forms.setdefault(each, []).append(kernel))
    assert len(forms) == 1 + len(PASSES)
    with mpmath.workprec(200):
        for t, values, hypers in points(optimizer):
            given = dict.fromkeys(optimizer.inputs, mpmath.mpf(1))
            states = {state.name: values[state.name] for state in optimizer.states}
            expected = exact_step(optimizer, hypers, t, values["theta"], values["g"], states | given)
            scalars = {state: values[state] for state in programs.scalar_states(optimizer)}
            for form, kernels in forms.items():
                # of the tensor with this one element: inputs and counts are 1, and the sums are its summands
                columns = dict.fromkeys(kernels[-1].hypers[len(hypers) :], mpmath.mpf(1))
                by_name = {kernel.name: kernel for kernel in kernels}
                sums = {buffer.name for buffer in kernels[-1].buffers if buffer.summed or buffer.stage}
                found: dict[str, Any] = {}
                buffers = dict(values)
                for kernel in (by_name[each.name] for each in updating):
                    stored = run_kernel(kernel, {**hypers, **columns}, t, buffers | given, scalars)
                    columns |= {name: stored.pop(name) for name in columns if name in stored}
                    buffers |= {name: stored.pop(name) for name in sums if name in stored}
                    # kernels that do not change the scalar states give the old ones
                    found |= (
                        stored
                        if kernel.name == "update"
                        else {name: value for name, value in stored.items() if name not in scalars}
                    )
                stored_to = {each.name for kernel in kernels for each in kernel.buffers
                             if each.access is not Access.READ}  # fmt: skip
                found |= {name: values[name] for name in states if name not in stored_to | scalars.keys()}
                made = (buffer for buffer in kernels[-1].buffers if buffer.state)  # by stages, and kept
                found |= {buffer.state: buffers[buffer.name] for buffer in made}
                assert set(found) == set(expected)
                for result, value in found.items():
                    assert mpmath.almosteq(value, expected[result], 1e-50), (form, t, result)


def test_a_power_of_scalars_is_hoisted_whole() -> None:
    """(1 + b)^2 needs a name for 1 + b, which must not keep the root among the elements."""
    text = (
        "optimizer Rooted\nhyper lr = 0.1 in [0, inf)\nhyper b = 0.9 in [0, 1)\n"
        "theta[t] = theta[t-1] - lr*g[t] / sqrt((1 + b)^2 + b^2)\n"
    )
    kernel = programs.program_of(text, "accurate", Type.F32).update
    operators = {node.name for stmt in kernel.phases[0].body for node in nodes(stmt.value)
                 if isinstance(node, Op)}  # fmt: skip
    assert operators == {"mul", "sub"}


def test_what_stays_is_not_stored() -> None:
    program = programs.program(next(s for s in SETTINGS if s[0] == "dog"), "accurate", Type.F32)
    assert program.update.buffer("x0").access is Access.READ
    assert program.update.buffer("theta").access is Access.UPDATE


def test_scalars_are_hoisted_and_shared() -> None:
    """One pass over memory computes nothing that is the same for every element."""
    program = programs.program(next(s for s in SETTINGS if s[0] == "adam"), "accurate", Type.F32)
    kernel = program.update
    for stmt in kernel.phases[0].body:
        for node in nodes(stmt.value):
            if isinstance(node, Op):
                leaves = [leaf for leaf in nodes(node) if isinstance(leaf, Local | Const | Load)]
                assert not all(
                    isinstance(x, Const) or (isinstance(x, Local) and x.name in kernel.scalars)
                    for x in leaves
                )
                assert node.name != "pow"
                assert not (
                    node.name == "div"
                    and isinstance(node.args[1], Local)
                    and node.args[1].name in kernel.scalars
                )
    values = [let.value for let in kernel.prologue]
    assert len(set(values)) == len(values)


def test_float64_storage_keeps_the_divisions_of_the_spec() -> None:
    setting = next(s for s in SETTINGS if s[0] == "adam")

    def divisions(storage: Type) -> int:
        kernel = programs.program(setting, "accurate", storage).update
        return sum(
            isinstance(node, Op) and node.name == "div"
            for stmt in kernel.phases[0].body
            for node in nodes(stmt.value)
        )

    assert divisions(Type.F64) == 3  # mhat, vhat, and the step
    assert divisions(Type.F32) == 1


# --- verify: a legal kernel, and one change that breaks each rule ---------------------------------

F32, F64 = Type.F32, Type.F64
LEGAL = Kernel(
    name="update",
    precision=Precision("accurate", F32),
    hypers=("lr",),
    scalar_states=("k_old",),
    prologue=(Let("k", Op("mul", (Local("k_old", F64), Local("lr", F64)), F64)),),
    scalar_updates=("k",),
    scalars=("lr", "k"),
    buffers=(Buffer("theta", F32, Access.UPDATE), Buffer("g", F32, Access.READ)),
    phases=(
        Phase(
            "update",
            (
                Let("x", Cast(Load("theta", F32), F64)),
                Let("y", Cast(Load("g", F32), F64)),
                Let(
                    "z",
                    Op("sub", (Local("x", F64), Op("mul", (Local("lr", F64), Local("k", F64)), F64)), F64),
                ),
                Store("theta", Cast(Local("z", F64), F32)),
            ),
        ),
    ),
)


def body(*stmts: Stmt) -> Callable[[Kernel], Kernel]:
    return lambda kernel: replace(kernel, phases=(Phase("update", stmts),))


ONE = Const(Fraction(1), F64)
LETS = LEGAL.phases[0].body
BROKEN: dict[str, Callable[[Kernel], Kernel]] = {
    "is set twice": body(LETS[0], LETS[0], *LETS[1:]),
    "is read before it is set": body(*LETS[2:]),
    "is read in another type": body(*LETS[:2], Let("z", Local("x", F32)), *LETS[2:]),
    "is loaded after it was stored": body(*LETS, Let("w", Cast(Load("theta", F32), F64))),
    "is stored twice": body(*LETS, LETS[3]),
    "is not stored": body(*LETS[:3]),
    "is stored and only to be read": body(*LETS, Store("g", Cast(ONE, F32))),
    "is stored in another type": body(*LETS[:3], Store("theta", Local("z", F64))),
    "there is no buffer": body(*LETS, Store("v", Cast(ONE, F32))),
    "is loaded in another type": body(Let("x", Load("theta", F64)), *LETS[1:]),
    "is loaded and only to be written": lambda kernel: replace(
        kernel, buffers=(Buffer("theta", F32, Access.WRITE), *kernel.buffers[1:])
    ),
    "there is no operator": body(*LETS[:2], Let("w", Op("eval", (ONE,), F64)), *LETS[2:]),
    "wrong number of operands": body(*LETS[:2], Let("w", Op("add", (ONE,), F64)), *LETS[2:]),
    "an operand of `add` has the wrong type": body(
        *LETS[:2], Let("w", Op("add", (ONE, Const(True, Type.BOOL)), F64)), *LETS[2:]
    ),
    "`lt` has the wrong type": body(*LETS[:2], Let("w", Op("lt", (ONE, ONE), F64)), *LETS[2:]),
    "a constant of the wrong type": body(*LETS[:2], Let("w", Const(True, F64)), *LETS[2:]),
    "a cast of a condition": body(*LETS[:2], Let("w", Cast(Const(True, Type.BOOL), F64)), *LETS[2:]),
    "handed over and never set": lambda kernel: replace(kernel, scalars=("lr", "k", "nothing")),
    "handed over twice": lambda kernel: replace(kernel, scalars=("lr", "k", "k")),
    "handed over and never read": lambda kernel: replace(kernel, scalars=("lr", "k", "t")),
    "has no new value": lambda kernel: replace(kernel, scalar_updates=()),
    "an input has two meanings": lambda kernel: replace(kernel, hypers=("lr", "k_old")),
    "the prologue loads": lambda kernel: replace(
        kernel, prologue=(*kernel.prologue, Let("w", Load("g", F32)))
    ),
    "the prologue casts": lambda kernel: replace(
        kernel, prologue=(*kernel.prologue, Let("w", Cast(ONE, F64)))
    ),
    "theta and g come first": lambda kernel: replace(kernel, buffers=kernel.buffers[::-1]),
    "a buffer stands twice": lambda kernel: replace(kernel, buffers=(*kernel.buffers, kernel.buffers[1])),
}


def test_a_legal_kernel_is_legal() -> None:
    verify(LEGAL)


@pytest.mark.parametrize("rule", BROKEN)
def test_verify_finds(rule: str) -> None:
    with pytest.raises(IllegalKernelError, match=rule):
        verify(BROKEN[rule](LEGAL))
