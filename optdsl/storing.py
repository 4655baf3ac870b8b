"""How states and parameters are kept in memory, where a user chooses it: it is no part of the maths.

In: an optimizer and what was asked for (`{"v": "bf16"}`, "sr"). Out: a `Storing`, which says the `Precision`
of the kernels for each dtype of parameters. Raises `OptdslError` for what cannot be kept so, with the reason.
Everything is computed as without it, in the type of the mode, from what was read to what is rounded: states
in fewer bits at random (`portable.formats`), so that small changes are not lost.
NOT done: states of rows, columns, matrices, of whole tensors and of the past; parameters in float16.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from optdsl.diagnostics import OptdslError, Report, Source
from optdsl.diagnostics.catalogue_files import KeptOtherwise
from optdsl.kernel.ir import Loop, Precision, Type
from optdsl.kernel.lower import lower
from optdsl.kernel.storing import EIGHT, PARAMETERS, PLAIN, Storing
from optdsl.language.optimizer import Age, Number, Optimizer, Ref, Role, Shape, State
from optdsl.language.specialise import flag_settings, specialise

_SPELLED = {
    **dict.fromkeys(("f32", "float32"), Type.F32),
    **dict.fromkeys(("bf16", "bfloat16"), Type.BF16),
    **dict.fromkeys(("f16", "fp16", "float16"), Type.F16),
}
_UNSIGNED = {Type.F16: Type.P16, Type.S8: Type.U8}
"""For states that are proved not to be below 0: something may be divided by them, and they never become 0."""
STATES = ("f32", "bf16", "f16", EIGHT)


def storing(optimizer: Optimizer, states: Mapping[str, str], parameters: str = "") -> Storing:
    """What was asked for, by the names of states (or their keys in a state dict), as far as it can be had."""
    if not states and not parameters:
        return PLAIN
    report = Report(optimizer.source or Source("", ""))
    for what, reason in _refused(optimizer, states, parameters):
        report.add(KeptOtherwise(span=optimizer.span, name=optimizer.name, what=what, reason=reason))
    report.raise_if_errors()
    kept = {}
    for name, spelled in states.items():
        state = _named(optimizer, name)
        assert state is not None
        type_ = _SPELLED.get(spelled, Type.S8)
        unsigned = type_ in _UNSIGNED and state.name in _never_below_zero(optimizer)
        kept[state.name] = _UNSIGNED[type_] if unsigned else type_
    return Storing(tuple(sorted(kept.items())), parameters)


def all_states(optimizer: Optimizer, form: str, parameters: str = "") -> Storing | None:
    """All states of elements in one format ("" leaves them alone); None where that cannot be had."""
    names = [state.name for state in optimizer.states if state.shape is Shape.ELEMENT and form]
    if form and not names:
        return None
    try:
        return storing(optimizer, dict.fromkeys(names, form), parameters)
    except OptdslError:
        return None


def _named(optimizer: Optimizer, name: str) -> State | None:
    return next((state for state in optimizer.states if name in (state.name, state.alias)), None)


def _refused(optimizer: Optimizer, states: Mapping[str, str], parameters: str) -> Iterator[tuple[str, str]]:
    known = ", ".join(state.name for state in optimizer.states)
    if parameters and parameters not in PARAMETERS:
        yield "parameters", f"{parameters!r} is not one of {', '.join(PARAMETERS)}"
    for name, spelled in states.items():
        what, state = f"`{name}`", _named(optimizer, name)
        if spelled not in (*_SPELLED, EIGHT):
            yield what, f"{spelled!r} is not one of {', '.join(STATES)}"
        elif state is None:
            yield what, f"its states are {known}" if known else "it has no state"
        elif state.shape is not Shape.ELEMENT:
            yield what, "it has no value of its own for each element"
        elif spelled == EIGHT and isinstance(state.initial, Ref) and state.initial.role is Role.THETA:
            yield what, "it begins as a copy of the parameters, which 8 bits are too few for"
        elif _SPELLED.get(spelled) is Type.F16 and _beyond(state):
            yield what, "it begins beyond the largest number of 16 bits"
    if _goes_by_rows(optimizer):
        yield "what it keeps", "it goes through rows of matrices, which only float32 and float64 are read for"


def _beyond(state: State) -> bool:
    return isinstance(state.initial, Number) and abs(state.initial.value) > 65504


@cache
def _goes_by_rows(optimizer: Optimizer) -> bool:
    chosen = (specialise(optimizer, setting) for setting in flag_settings(optimizer))
    programs = (lower(each, Precision("accurate", Type.F32)) for each in chosen)
    return any(kernel.loop is not Loop.ELEMENTS for program in programs for kernel in program.kernels)


@cache
def _never_below_zero(optimizer: Optimizer) -> frozenset[str]:
    """The states of which that is proved, whatever the flags."""
    from optdsl.checks.context import Context
    from optdsl.checks.interval import NONNEGATIVE

    found = {state.name for state in optimizer.states}
    for setting in flag_settings(optimizer):
        facts = Context(specialise(optimizer, setting)).facts
        found &= {name for (name, age), around in facts.items() if age is Age.OLD and around <= NONNEGATIVE}
    return frozenset(found)
