"""Constructors: what they take, what they refuse, and in which words."""

import inspect
import math
import warnings
from typing import Any
from unittest import mock

import pytest
from torch import nn
from torch.autograd import profiler

from tests.conformance.registry import obligation
from tests.conformance.subjects import Frozen, Subject, gradients, same, train


@obligation
def takes_parameters(s: Subject) -> None:
    """tensors, generators, groups and (name, tensor) pairs, whose names are kept as `param_names`"""
    results = []
    for how in ("list", "generator", "groups", "named", "named groups"):
        ps = s.parameters()
        named = [(f"layer.{i}", p) for i, p in enumerate(ps)]
        given: Any = {
            "list": ps,
            "generator": (p for p in ps),
            "groups": [{"params": ps[:1]}, {"params": ps[1:]}],
            "named": iter(named),
            "named groups": [{"params": named[:2]}, {"params": named[2:]}],
        }[how]
        opt = s.make(given)
        if how == "named":
            assert opt.state_dict()["param_groups"][0]["param_names"] == ["layer.0", "layer.1", "layer.2"]
        train(s, opt, ps, 0, 2)
        results.append(ps)
    for ps in results[1:]:
        same(ps, results[0])


@obligation
def refuses_as_torch_does(s: Subject) -> None:
    """torch's own refusals of parameters, in its words"""
    p, q = nn.Parameter(s.ones(2)), nn.Parameter(s.ones(2))
    bad: list[tuple[Any, type[Exception], str]] = [
        (p, TypeError, "params argument given to the optimizer should be an iterable of Tensors or dicts"),
        ([], ValueError, "optimizer got an empty parameter list"),
        ([p * 2], ValueError, "can't optimize a non-leaf Tensor"),
        (
            [{"params": p}, {"params": p}],
            ValueError,
            "some parameters appear in more than one parameter group",
        ),
        ([("w", p), q], ValueError, "all optimizer params should be with/without names"),
        ([{"params": {p, q}}], TypeError, "parameters need to be organized in ordered collections"),
        ([1.0], TypeError, "optimizer can only optimize Tensors"),
    ]
    for given, error, words in bad:
        with pytest.raises(error, match=words):
            s.make(given)
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        s.make([p, p])


@obligation
def refuses_bad_options(s: Subject) -> None:
    """options out of their domain: torch's words at construction, in a new group, and in an old one"""
    tried = 0
    for hyper in s.layout.hypers:
        for value in _outside(hyper.low, hyper.high, hyper.low_closed, hyper.high_closed):
            raw: Any = value
            if hyper.index is not None:
                raw = list(s.cls([nn.Parameter(s.ones(1))]).defaults[hyper.option])
                raw[hyper.index] = value
                raw = tuple(raw)
            tried += 1
            _refused(s, hyper.option, raw)
    assert tried


def _outside(low: float, high: float, low_closed: bool, high_closed: bool) -> list[float]:
    found = [math.nan]
    if math.isfinite(low):
        found.append(low - 1.0 if low_closed else low)
    if math.isfinite(high):
        found.append(high + 1.0 if high_closed else high)
    return found


def _refused(s: Subject, option: str, raw: Any) -> None:
    words = {"lr": "Invalid learning rate: ", "eps": "Invalid epsilon value: "}
    expected = words.get(option, f"Invalid {option.removesuffix('s')}")
    if s.spec == "adafactor":
        expected = "should be (>=|<=) [01] but is: "
    p, q = nn.Parameter(s.ones(2)), nn.Parameter(s.ones(2))
    with pytest.raises(ValueError, match=expected):
        s.make([p], **{option: raw})
    opt = s.make([p])
    with Frozen(opt, [p]), pytest.raises(ValueError, match=expected):
        opt.add_param_group({"params": [q], option: raw})
    assert len(opt.param_groups) == 1
    opt.param_groups[0][option] = raw
    with Frozen(opt, [p]), pytest.raises(ValueError, match=expected):
        s.give(opt, [s.ones(2)])


@obligation
def constructor_is_torchs(s: Subject) -> str | None:
    """torch's class of that name: every argument is taken, in the same place, with the same default"""
    if s.torch_class is None:
        return "torch has no class of that name"
    known = inspect.signature(s.torch_class).parameters
    ours = inspect.signature(s.cls).parameters
    opt = s.make([nn.Parameter(s.ones(1))])
    shared = ("maximize", *s.layout.options)
    for place, (name, parameter) in enumerate(known.items()):
        if name == "params":
            continue
        default = parameter.default
        if s.spec == "adafactor" and name == "eps":
            default = (2.0**-23, 1e-3)  # None is taken, and is this for every dtype
        if name in ours:
            assert ours[name].default == default, name
        assert name in opt.param_groups[0], name
        if name in shared and parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "maximize":
            assert list(ours)[place] == name, name
        s.make([nn.Parameter(s.ones(1))], **{name: parameter.default})
    return None


@obligation
def takes_torchs_switches(s: Subject) -> None:
    """`foreach`, `fused` and `capturable` change nothing; `differentiable` and unknown names are refused"""
    results = []
    for options in ({}, {"foreach": True}, {"foreach": False}, {"fused": True}, {"capturable": True}):
        ps = s.parameters()
        opt = s.make(ps, **options)
        train(s, opt, ps, 0, 2)
        results.append(ps)
    for ps in results[1:]:
        same(ps, results[0])
    p = [nn.Parameter(s.ones(1))]
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
        s.make(p, fused=True, foreach=True)
    with pytest.raises(RuntimeError, match="`fused` does not support `differentiable`"):
        s.make(p, fused=True, differentiable=True)
    with pytest.raises(ValueError, match="has no differentiable, and the value True would be ignored"):
        s.make(p, differentiable=True)
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'learning_rate'"):
        s.make(p, learning_rate=0.1)


@obligation
def shows_itself(s: Subject) -> None:
    """`defaults` hold every option, `repr` names class and options, and the profiler's range has the name"""
    opt = s.make(s.parameters())
    assert opt.defaults.keys() == opt.param_groups[0].keys() - {"params"}
    text = repr(opt)
    assert text.startswith(f"{s.name} (")
    assert all(f"{key}: {value}" in text for key, value in opt.defaults.items())
    with mock.patch.object(profiler, "record_function", wraps=profiler.record_function) as ranges:
        s.give(opt, gradients(opt.param_groups[0]["params"], 0))
    ranges.assert_called_once_with(f"Optimizer.step#{s.name}.step")


@obligation
def warns_of_nothing(s: Subject) -> None:
    """no warning in an ordinary step"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ps = s.parameters()
        train(s, s.make(ps), ps, 0, 2)
