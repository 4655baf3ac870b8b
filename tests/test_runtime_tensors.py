"""Tensors of every layout are stepped alike; tensors that cannot be stepped are refused, untouched."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.sample_adam import Adam
from tests.support.sample_small import SGD

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "permuted": lambda x: x.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2),
    "with gaps": lambda x: torch.stack([x, x], dim=-1)[..., 0],
    "reversed rows of a larger one": lambda x: torch.cat([x, x], dim=3)[..., x.shape[3] :],
    "misaligned": lambda x: misaligned(x),
}


def misaligned(x: Tensor) -> Tensor:
    """The same values, one byte off where numbers of their size begin."""
    room = bytearray(x.numel() * x.element_size() + 1)
    y = torch.frombuffer(room, dtype=x.dtype, offset=1, count=x.numel()).reshape(x.shape)
    return y.copy_(x)


DTYPES = [torch.float32, torch.bfloat16, torch.complex64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gradient", LAYOUTS)
@pytest.mark.parametrize("parameter", LAYOUTS)
def test_layouts(parameter: str, gradient: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 2, 5, generator=generator, dtype=dtype)
    p, q = nn.Parameter(LAYOUTS[parameter](start)), nn.Parameter(start.clone())
    a, b = Adam([p], lr=0.1, amsgrad=True), Adam([q], lr=0.1, amsgrad=True)
    strides = p.stride()
    for _ in range(3):
        g = torch.randn(3, 4, 2, 5, generator=generator, dtype=dtype)
        p.grad, q.grad = LAYOUTS[gradient](g), g
        a.step()
        b.step()
    assert p.stride() == strides
    assert torch.equal(p, q)
    for key, value in b.state[q].items():
        assert torch.equal(a.state[p][key], value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sixteen_bits_are_float32_rounded_after_each_step(dtype: torch.dtype) -> None:
    """Against float32 parameters that are rounded by hand; the state is never rounded."""
    start = torch.randn(40, generator=torch.Generator().manual_seed(0)).to(dtype)
    p, q = nn.Parameter(start.clone()), nn.Parameter(start.float())
    a, b = Adam([p], lr=0.1, amsgrad=True), Adam([q], lr=0.1, amsgrad=True)
    for step in range(5):
        p.grad = torch.randn(40, generator=torch.Generator().manual_seed(step)).to(dtype)
        q.grad = p.grad.float()
        a.step()
        b.step()
        q.data = q.data.to(dtype).float()
        assert torch.equal(p.float(), q)
    for key, value in b.state[q].items():
        assert a.state[p][key].dtype == torch.float32
        assert torch.equal(a.state[p][key], value)


@pytest.mark.parametrize("conjugated", [False, True])
def test_complex_numbers_are_pairs(conjugated: bool) -> None:
    """As torch has it: `view_as_real` of everything, so that both parts have a second moment of their own."""
    start = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.complex128)
    p, q = nn.Parameter(start.clone()), nn.Parameter(torch.view_as_real(start.clone()))
    other = nn.Parameter(start.clone())
    a, b, c = Adam([p], lr=0.1), Adam([q], lr=0.1), torch.optim.Adam([other], lr=0.1)
    for step in range(5):
        g = torch.randn(6, generator=torch.Generator().manual_seed(step), dtype=torch.complex128)
        p.grad = g.clone().conj() if conjugated else g.clone()
        q.grad = torch.view_as_real(p.grad.resolve_conj())
        other.grad = p.grad.resolve_conj()
        for opt in (a, b, c):
            opt.step()
    assert torch.equal(torch.view_as_real(p.detach()), q.detach())
    assert torch.equal(torch.view_as_real(a.state[p]["exp_avg_sq"]), b.state[q]["exp_avg_sq"])
    torch.testing.assert_close(p, other, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(a.state[p]["exp_avg_sq"], c.state[other]["exp_avg_sq"], rtol=1e-13, atol=1e-15)


def test_state_in_another_layout_than_its_parameter() -> None:
    start = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(0))
    p, q = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    a, b = Adam([p], lr=0.1), Adam([q], lr=0.1)
    for step in range(4):
        p.grad, q.grad = torch.full_like(p, step + 1.0), torch.full_like(q, step + 1.0)
        if step == 2:
            a.state[p]["exp_avg"] = LAYOUTS["channels last"](a.state[p]["exp_avg"])
        a.step()
        b.step()
    assert torch.equal(p, q)
    assert torch.equal(a.state[p]["exp_avg"], b.state[q]["exp_avg"])


def test_interleaved_views_are_stepped() -> None:
    whole = torch.arange(12.0).reshape(6, 2)
    p, q = nn.Parameter(whole[:, 0]), nn.Parameter(whole[:, 1])
    p.grad, q.grad = torch.ones(6), 2 * torch.ones(6)
    SGD([p, q], lr=1.0).step()
    assert torch.equal(whole, torch.arange(12.0).reshape(6, 2) - torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("where", ["the parameter itself", "state", "another parameter"])
def test_a_gradient_in_memory_that_is_written_to_is_read_first(where: str) -> None:
    start = torch.arange(1.0, 5.0, dtype=torch.float64)
    p, other = nn.Parameter(start.clone()), nn.Parameter(start + 10)
    opt = SGD([p, other], lr=0.5, momentum=0.5)
    p.grad, other.grad = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    opt.step()
    opt.state[other]["momentum_buffer"].fill_(3.0)
    memory = {
        "the parameter itself": p,
        "state": opt.state[other]["momentum_buffer"],
        "another parameter": other,
    }
    p.grad = memory[where].detach()
    g = p.grad.clone()
    opt.step()
    assert torch.equal(p.detach(), start - 0.5 * g)


def test_one_gradient_for_two_parameters() -> None:
    ps = [nn.Parameter(torch.zeros(4)) for _ in range(2)]
    ps[0].grad = ps[1].grad = torch.ones(4)
    SGD(ps, lr=1.0).step()
    assert all(torch.equal(p.detach(), -torch.ones(4)) for p in ps)


class Wrapper(torch.Tensor):
    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


def _sparse(p: nn.Parameter, good: nn.Parameter) -> None:
    p.grad = torch.ones(4).to_sparse()


def _eighth(p: nn.Parameter, good: nn.Parameter) -> None:
    p.grad = None
    p.data = p.data.to(torch.float8_e4m3fn)
    p.grad = torch.ones(4).to(torch.float8_e4m3fn)


def _conjugated(p: nn.Parameter, good: nn.Parameter) -> None:
    p.grad = None
    p.data = p.data.to(torch.complex64).conj()
    p.grad = torch.ones(4, dtype=torch.complex64)


def _expanded(p: nn.Parameter, good: nn.Parameter) -> None:
    p.data = torch.ones(1).expand(4)


def _windows(p: nn.Parameter, good: nn.Parameter) -> None:
    p.grad = None
    p.data = torch.arange(6.0).as_strided((3, 2), (2, 1)).as_strided((3, 2), (1, 1))
    p.grad = torch.ones(3, 2)


def _shared(p: nn.Parameter, good: nn.Parameter) -> None:
    p.data = good.data


def _partly_shared(p: nn.Parameter, good: nn.Parameter) -> None:
    whole = torch.zeros(6)
    good.data, p.data = whole[:4], whole[2:]


REFUSED: list[Any] = [
    (_sparse, RuntimeError, "the gradient of parameter 1 of group 0 is sparse"),
    (
        _eighth,
        TypeError,
        "parameter 1 of group 0 is float8_e4m3fn, and only .* can be updated; keep .* float32",
    ),
    (_conjugated, TypeError, r"parameter 1 of group 0 is complex and conjugated; call resolve_conj\(\)"),
    (_expanded, RuntimeError, r"elements that share memory.*clone\(\)"),
    (_windows, RuntimeError, r"elements that share memory.*clone\(\)"),
    (_shared, RuntimeError, "parameter 0 of group 0 and parameter 1 of group 0 share memory"),
    (_partly_shared, RuntimeError, "share memory"),
]


@pytest.mark.parametrize("begun", [False, True], ids=["first step", "later"])
@pytest.mark.parametrize(("spoil", "error", "message"), REFUSED)
def test_refusals_change_nothing(spoil: Any, error: Any, message: str, begun: bool) -> None:
    good, bad = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    opt = Adam([good, bad])
    good.grad, bad.grad = torch.ones(4), torch.ones(4)
    if begun:
        opt.step()
    spoil(bad, good)
    before, state = good.detach().clone(), copy.deepcopy(opt.state_dict()["state"])
    version = good._version
    with pytest.raises(error, match=message):
        opt.step()
    assert torch.equal(good.detach(), before)
    assert good._version == version
    after = opt.state_dict()["state"]
    assert after.keys() == state.keys()
    for index, entry in state.items():
        assert all(torch.equal(after[index][key], value) for key, value in entry.items())


def test_another_device_is_refused() -> None:
    good, bad = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4, device="meta"))
    good.grad, bad.grad = torch.ones(4), torch.ones(4, device="meta")
    with pytest.raises(TypeError, match=r"parameter 1 of group 0 is on meta.*\.cpu\(\)"):
        Adam([good, bad]).step()
    assert torch.equal(good.detach(), torch.ones(4))


def test_a_subclass_without_memory_of_its_own_is_refused() -> None:
    p = torch.ones(3).as_subclass(Wrapper)
    p.grad = torch.ones(3)
    with pytest.raises(TypeError, match="is a Wrapper, not an ordinary tensor"):
        SGD([p]).step()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda s: s.update(exp_avg=torch.zeros(4, dtype=torch.float64)),
            TypeError,
            "is float64 and the parameter",
        ),
        (lambda s: s.update(exp_avg=torch.zeros(5)), ValueError, r"has shape \(5,\)"),
        (lambda s: s.update(exp_avg=3.0), TypeError, "is a float, not a tensor"),
        (lambda s: s.update(exp_avg=torch.zeros(1).expand(4)), RuntimeError, "elements that share memory"),
        (lambda s: s.update(exp_avg=s["exp_avg_sq"]), RuntimeError, "share memory"),
        (lambda s: s.pop("step"), RuntimeError, "has no step"),
        (lambda s: s.update(step=torch.zeros(2)), ValueError, "2 elements, not one"),
    ],
)
def test_state_that_cannot_be_stepped_is_refused(spoil: Any, error: Any, message: str) -> None:
    p = nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    opt = Adam([p])
    opt.step()
    spoil(opt.state[p])
    before = p.detach().clone()
    with pytest.raises(error, match=message):
        opt.step()
    assert torch.equal(p.detach(), before)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr": -1}, ValueError, "Invalid learning rate: -1"),
        ({"lr": float("nan")}, ValueError, "Invalid learning rate: nan"),
        ({"lr": float("inf")}, ValueError, "Invalid learning rate: inf"),
        ({"betas": (1.0, 0.9)}, ValueError, "Invalid beta parameter at index 0: 1.0"),
        ({"betas": (0.9, -0.5)}, ValueError, "Invalid beta parameter at index 1: -0.5"),
        ({"betas": (0.9,)}, ValueError, r"betas must hold 2 numbers, got \(0.9,\)"),
        ({"betas": 0.9}, ValueError, "betas must hold 2 numbers, got 0.9"),
        ({"eps": -1e-8}, ValueError, "Invalid epsilon value: -1e-08"),
        ({"weight_decay": -2.0}, ValueError, "Invalid weight_decay value: -2.0"),
        ({"lr": torch.ones(2)}, ValueError, "Tensor lr must be 1-element"),
        ({"lr": "0.1"}, TypeError, "lr must be a number, not str"),
        ({"lr": None}, TypeError, "lr must be a number, not NoneType"),
        ({"amsgrad": 2}, ValueError, "Invalid amsgrad value: 2"),
    ],
)
def test_options_out_of_their_domain(options: dict[str, Any], error: Any, message: str) -> None:
    """At construction, in a later group, and when a group is changed between steps."""
    good, p = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    with pytest.raises(error, match=message):
        Adam([p], **options)
    opt = Adam([good])
    with pytest.raises(error, match=message):
        opt.add_param_group({"params": [p], **options})
    assert len(opt.param_groups) == 1
    opt.add_param_group({"params": [p]})
    good.grad, p.grad = torch.ones(2), torch.ones(2)
    opt.param_groups[1].update(options)
    with pytest.raises(error, match=message):
        opt.step()
    assert torch.equal(good.detach(), torch.ones(2))
    assert not opt.state


def test_an_option_that_the_spec_has_not_is_refused_when_it_matters() -> None:
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    opt = SGD([p])
    opt.param_groups[0]["weight_decay"] = 0.5
    with pytest.raises(ValueError, match=r"SGD has no weight_decay, and the value 0\.5 would be ignored"):
        opt.step()
