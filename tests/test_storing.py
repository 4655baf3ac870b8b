"""States in 16 and 8 bits, parameters in bfloat16: against the kernels that keep all in float32.

Those are held against exact arithmetic elsewhere. A step of a low-precision optimizer is one of theirs, taken
from what was kept, and what it keeps is a neighbour of what they would.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

import optdsl
import optdsl.torch
from optdsl import OptdslError
from optdsl.cli import main
from optdsl.files import library_names
from optdsl.kernel.ir import Type
from optdsl.kernel.storing import PARAMETERS
from optdsl.language.optimizer import Shape
from optdsl.library import lookup
from optdsl.portable.formats import FORMATS
from optdsl.portable.lanes import Lane, NumpyMaker, Sort
from optdsl.runtime.batch import CODED
from optdsl.storing import storing

SHAPES = ((700,), (17, 5), (), (0,))
load: Any = optdsl.torch.load
SPELLED = ("8bit", "bf16", "f16")


def kept(name: str) -> dict[str, str]:
    """Every state of an element, in one of the formats after the other; what is refused left out."""
    states = {}
    for number, state in enumerate(lookup(name).states):
        for spelled in (SPELLED[number % 3], "bf16"):
            try:
                storing(lookup(name), {state.name: spelled})
            except OptdslError:
                continue
            states[state.name] = spelled
            break
    return states


SPECS = [name for name in sorted(library_names()) if kept(name)]


def values(state: dict[str, Any], key: str, type_: Type) -> Tensor:
    """What a state is in float32, by NumPy."""
    found: Tensor = state[key]
    if found.dtype != torch.uint8:
        return found.float()
    codes = Lane(NumpyMaker(32), found.numpy().reshape(-1).astype(np.uint32), Sort.INT)
    each = np.asarray(FORMATS[f"{type_}_value"][0](codes).at)
    scales = np.repeat(state[f"{key}_scale"].numpy(), CODED)[: each.size]
    return torch.tensor(scales * each).reshape(found.shape)


def unit(x: Tensor, type_: Type, scale: Tensor) -> Tensor:
    """The most that rounding may take away from, or add to, a number of a format."""
    relative, least = {
        Type.BF16: (2.0**-7, 0.0),
        Type.F16: (2.0**-10, 2.0**-24),
        Type.P16: (2.0**-10, 2.0**-24),
        Type.S8: (2.0**-3, 2.0**-17),
        Type.U8: (2.0**-3, 2.0**-33),
    }[type_]
    return (x.abs() * relative).maximum(least * scale) * 1.0001


def scales(state: dict[str, Any], key: str, like: Tensor) -> Tensor:
    if f"{key}_scale" not in state:
        return torch.ones_like(like, dtype=torch.float32)
    each: Tensor = state[f"{key}_scale"].repeat_interleave(CODED)
    return each[: like.numel()].reshape(like.shape)


@pytest.mark.parametrize("name", SPECS)
def test_a_step_goes_on_from_what_is_kept(name: str) -> None:
    spec, states = lookup(name), kept(name)
    types = dict(storing(spec, states).kept)
    keys = {state.name: state.alias or state.name for state in spec.states}
    low_class, plain_class = load(name, state=states), load(name)
    if any(variant.query for variant in low_class.layout.variants.values()):
        return  # takes a closure: test_another_point_and_another_view
    torch.manual_seed(0)
    here = [Parameter(torch.randn(shape)) for shape in SHAPES]
    there = [Parameter(p.detach().clone()) for p in here]
    low, plain = low_class(here), plain_class(there)
    given = {"loss": 0.7, "hvp": [torch.randn_like(p) for p in here]}
    inputs = {each.name: given[each.name] for each in low_class.layout.inputs}
    # What begins as something else than 0 is rounded before the first step.
    from_zero = all(getattr(x.initial, "value", 1) == 0 for x in spec.states if x.name in types)
    for number in range(3):
        for p, q in zip(here, there, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        low.step(**inputs)
        plain.step(**inputs)
        for p, q in zip(here, there, strict=True):
            if number or from_zero:
                _same_step(low, p, plain, q, keys, types)
            for key in plain.state[q]:
                named = [name for name, known in keys.items() if known == key and name in types]
                found = values(low.state[p], key, types[named[0]]) if named else low.state[p][key]
                plain.state[q][key].copy_(found)
            q.data.copy_(p.data)


def _same_step(low: Any, p: Any, plain: Any, q: Any, keys: dict[str, str], types: dict[str, Type]) -> None:
    # A sum over 256 at a time need not be the sum over 1,024 to the last bit.
    torch.testing.assert_close(p, q, rtol=2e-7, atol=1e-9)
    for state, type_ in types.items():
        key = keys[state]
        if key in plain.state[q]:  # it is there with these flags
            found, exact = values(low.state[p], key, type_), plain.state[q][key]
            scale = scales(low.state[p], key, exact)
            assert ((found - exact).abs() <= unit(exact, type_, scale)).all(), (state, type_)


@pytest.mark.parametrize("name", ["adam", "lion", "sgd", "lamb", "adagrad"])
@pytest.mark.parametrize("store", PARAMETERS)
def test_parameters_in_bfloat16(name: str, store: str) -> None:
    """`nearest` is what copies in float32 give; `sr` one of the two neighbours of that, from the same start;
    `extra16` is float32 to the bit; `kahan` is as good as 16 bits of it.
    """
    torch.manual_seed(0)
    options: dict[str, Any] = {"lr": 1e-2, **({"momentum": 0.9} if name == "sgd" else {})}
    start = [torch.randn(shape).bfloat16() for shape in SHAPES]
    low_class = load(name, param_store=store)
    plain_class = load(name)
    here = [Parameter(x.clone()) for x in start]
    wide = store in ("extra16", "kahan")
    there = [Parameter(x.float() if wide or store == "sr" else x.clone()) for x in start]
    low, plain = low_class(here, **options), plain_class(there, **options)
    for _ in range(4):
        for p, q in zip(here, there, strict=True):
            p.grad = torch.randn(p.shape).bfloat16()
            q.grad = p.grad.to(q.dtype)
        low.step()
        plain.step()
        for p, q in zip(here, there, strict=True):
            state = low.state[p]
            if store == "nearest":
                assert torch.equal(p, q)
            elif store == "extra16":
                whole = (p.data.view(torch.int16).int() << 16) + state["param_low"].view(torch.int16).int()
                assert torch.equal(whole.view(torch.float32), q)
                assert (p.float() - q).abs().le(q.abs() * 2.0**-8).all()
            elif store == "kahan":
                together = p.float() + state["param_rest"].float()
                assert (together - q).abs().le(q.abs() * 2.0**-16).all()
                q.data.copy_(together)
            else:
                assert (p.float() - q).abs().le(q.abs() * 2.0**-7).all()
                q.data.copy_(p.float())
            for key, exact in plain.state[q].items():
                torch.testing.assert_close(state[key], exact, rtol=2e-7, atol=1e-9)


def test_rounding_at_random_is_right_on_average() -> None:
    """200,000 copies of one parameter: their mean moves as float32 does, where to nearest nothing moves."""
    moved = {}
    for store in ("nearest", "sr"):
        p = Parameter(torch.full((200_000,), 1.0).bfloat16())
        optimizer = load("sgd", param_store=store)([p], lr=1e-4)
        for _ in range(20):
            p.grad = torch.ones_like(p)
            optimizer.step()
        moved[store] = 1 - float(p.detach().double().mean())
    assert moved["nearest"] == 0
    # A step of 1e-4 is taken with probability 1e-4/2^-8; 20 of them, in 200,000 copies: sigma is 4e-7.
    assert abs(moved["sr"] - 20 * 1e-4) < 5 * 2.0**-8 * (20 * 1e-4 * 2.0**8) ** 0.5 / 200_000**0.5


@pytest.mark.parametrize(("form", "distance"), [("bf16", 2.0**-7), ("f16", 2.0**-10), ("8bit", 2.0**-3)])
def test_an_average_is_as_far_off_as_theory_says(form: str, distance: float) -> None:
    """docs/precision.md has the bound. E|g^2 - 1| of a normal g is 4*phi(1) = 0.968; after 2,000 steps of
    beta2 = 0.99 nothing is left of the start.
    """
    count = 4000
    p = Parameter(torch.zeros(count))
    optimizer = load("adam", state={"m": "bf16", "v": form})([p], betas=(0.9, 0.99))
    generator, exact = torch.Generator().manual_seed(0), torch.zeros(count, dtype=torch.float64)
    for _ in range(2000):
        p.grad = torch.randn(count, generator=generator)
        exact = 0.99 * exact + 0.01 * p.grad.double() ** 2
        optimizer.step()
    off = (values(optimizer.state[p], "exp_avg_sq", Type.U8).double() - exact) / exact.mean()
    spread = float(off.square().mean().sqrt())
    bound = (0.968 * distance / 2) ** 0.5
    assert bound / 10 < spread < bound
    assert abs(float(off.mean())) < 5 * spread / count**0.5


def _trained(steps: int, start: dict[str, Any] | None = None, parameter: Tensor | None = None) -> Any:
    torch.manual_seed(1)
    first = torch.randn(40_000)
    p = Parameter(first.bfloat16() if parameter is None else parameter.clone())
    states = {"m": "8bit", "v": "bf16"}
    optimizer = load("adam", state=states, param_store="sr")([p], lr=1e-2)
    if start is not None:
        optimizer.load_state_dict(copy.deepcopy(start))
    done = 0 if start is None else int(optimizer.state[p]["step"])
    for t in range(done, done + steps):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(t)).bfloat16()
        optimizer.step()
    return p.detach(), optimizer


def test_the_same_bits_again_on_any_threads_and_after_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    p, optimizer = _trained(6)
    monkeypatch.setenv("OPTDSL_NUM_THREADS", "1")
    again, other = _trained(6)
    half, before = _trained(3)
    resumed, after = _trained(3, before.state_dict(), half)
    for found, found_by in ((again, other), (resumed, after)):
        assert torch.equal(p, found)
        mine, theirs = (next(iter(each.state.values())) for each in (optimizer, found_by))
        assert {key: x.dtype for key, x in mine.items()} == {key: x.dtype for key, x in theirs.items()}
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_what_is_not_a_number_stays_where_it_is() -> None:
    """In 16 bits with its element; in 8 bits with the 256 that share its scale, others are as without it."""
    for states, touched in (({"m": "bf16", "v": "f16"}, 1), ({"m": "8bit", "v": "8bit"}, CODED)):
        torch.manual_seed(2)
        found = []
        for spoilt in (False, True):
            p = Parameter(torch.ones(1000))
            optimizer = load("adam", state=states)([p])
            for t in range(3):
                p.grad = torch.randn(1000, generator=torch.Generator().manual_seed(t))
                if spoilt and t == 1:
                    p.grad[300] = torch.nan
                optimizer.step()
            found.append(p.detach())
        bad = found[1].isnan()
        assert bad[300]
        assert int(bad.sum()) == touched
        assert torch.equal(found[0][~bad], found[1][~bad])


def test_states_that_begin_elsewhere() -> None:
    """A constant is the largest number of its block; a copy of the parameters is one in 16 bits."""
    p = Parameter(torch.randn(300))
    p.grad = torch.zeros(300)
    (state,) = lookup("adagrad").states
    optimizer = load("adagrad", state={state.name: "8bit"})([p], initial_accumulator_value=0.37)
    optimizer.step()
    found = values(optimizer.state[p], state.alias or state.name, Type.U8)
    torch.testing.assert_close(found, torch.full((300,), 0.37), rtol=1e-6, atol=0)


def _all(name: str) -> dict[str, str]:
    return {state.name: "bf16" for state in lookup(name).states if state.shape is Shape.ELEMENT}


@pytest.mark.parametrize(
    ("name", "states", "store", "words"),
    [("adam", {"w": "bf16"}, "", r"`Adam` cannot have `w` kept so: its states are m, v, vmax"),
     ("adam", {"m": "bf17"}, "", r"`m` kept so: 'bf17' is not one of f32, bf16, f16, 8bit"),
     ("adam", {}, "down", r"parameters kept so: 'down' is not one of nearest, sr, kahan, extra16"),
     ("sgd", {}, "sr", ""),
     ("muon", {}, "sr", "goes through rows of matrices"),
     ("adafactor", {}, "kahan", "goes through rows of matrices"),
     ("prodigy", {"x0": "8bit"}, "", "begins as a copy of the parameters"),
     ("prodigy", {"d": "bf16"}, "", "no value of its own for each element")],
)  # fmt: skip
def test_what_cannot_be_kept_so_is_said(name: str, states: dict[str, str], store: str, words: str) -> None:
    if not words:
        load(name, state=states, param_store=store)
        return
    with pytest.raises(OptdslError, match=words):
        load(name, state=states, param_store=store)


def test_complex_parameters_and_states_of_other_classes_are_refused() -> None:
    low = load("adam", state={"v": "8bit"})
    p = Parameter(torch.ones(3, dtype=torch.complex64))
    p.grad = torch.ones_like(p)
    with pytest.raises(TypeError, match="is complex, and its states would be kept in fewer bits"):
        low([p]).step()
    q = Parameter(torch.ones(3))
    q.grad = torch.ones_like(q)
    plain = torch.optim.Adam([q])
    plain.step()
    optimizer = low([q])
    with pytest.raises(ValueError, match="lacks exp_avg_sq_scale; nothing was loaded"):
        optimizer.load_state_dict(plain.state_dict())
    half = load("adam", state={"m": "bf16", "v": "f16"})([q])
    half.load_state_dict(plain.state_dict())  # rounded to nearest: there is no step to round at random by
    assert torch.equal(half.state[q]["exp_avg"], plain.state[q]["exp_avg"].bfloat16())
    half.step()


def test_codes_lie_in_memory_as_their_parameter_does() -> None:
    """Transposed and with gaps they do; codes in another order of memory are refused: scales go by it."""
    torch.manual_seed(3)
    low = load("adam", state={"m": "8bit", "v": "8bit"})
    first, g = torch.randn(40, 30), torch.randn(40, 30)
    saved: list[Any] = []
    for layout in (first.clone(), first.t().contiguous().t(), torch.stack((first, first), 2)[..., 0]):
        p = Parameter(layout)
        optimizer = low([p])
        for _ in range(2):
            p.grad = g.clone()
            optimizer.step()
        torch.testing.assert_close(p.detach(), first - 2e-3 * g.sign(), rtol=0, atol=2e-4)  # a rate is 1e-3
        saved.append(optimizer.state_dict())
    with pytest.raises(ValueError, match="lies in memory in another order than its parameter"):
        low([Parameter(first.clone())]).load_state_dict(saved[1])
    low([Parameter(first.clone())]).load_state_dict(saved[2])


def test_another_point_and_another_view() -> None:
    """Neither where the gradient is taken nor what is evaluated changes what is kept."""
    p = Parameter(torch.randn(100).bfloat16())
    q = Parameter(p.detach().float())
    low = load("schedule_free_adamw", state=_all("schedule_free_adamw"), param_store="extra16")([p], lr=0.1)
    plain = load("schedule_free_adamw")([q], lr=0.1)
    for optimizer, x in ((low, p), (plain, q)):
        for t in range(20):
            x.grad = torch.full_like(x, 1.0 - t % 3)
            optimizer.step()
        before = {key: value.clone() for key, value in optimizer.state[x].items()}
        seen = x.detach().clone()
        optimizer.eval()
        assert not torch.equal(seen, x)
        optimizer.train()
        assert torch.equal(seen, x)
        assert all(torch.equal(value, optimizer.state[x][key]) for key, value in before.items())
    sam = load("sgd | sam", param_store="kahan")([p])

    def closure() -> Tensor:
        sam.zero_grad()
        loss = (p.float() ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    losses = [float(sam.step(closure).detach()) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_files_say_how_they_keep_numbers(tmp_path: Path) -> None:
    """What the command line writes is what Python's `compile` gives; both are for torch only."""
    path = str(tmp_path / "small.py")
    asked = ["--state", "m=bf16", "--state", "exp_avg_sq=8bit", "--param-store", "sr"]
    assert main(["compile", "adam", *asked, "-o", path]) == 0
    text = Path(path).read_text(encoding="utf-8")
    states = {"m": "bf16", "exp_avg_sq": "8bit"}
    assert text == optdsl.load("adam").compile(state=states, param_store="sr")
    assert "# m is kept in bfloat16, rounded at random" in text
    assert "v is kept in 8 bits without a sign" in text
    with pytest.raises(ValueError, match="for modules for torch"):
        optdsl.load("adam").compile(framework="numpy", state=states)
    for wrong in (["--for", "numpy"], ["--target", "llvm"], ["--emit", "ir"], ["--state", "v"]):
        assert main(["compile", "adam", *asked, *wrong]) == 2
    assert main(["compile", "adam", "--state", "w=bf16"]) == 1
