"""Tensors on `cuda:0` without a GPU: torch sees a CUDA device, whose memory is that of a fake driver.

Tensors are made through DLPack, which asks nobody whether there is a GPU; the few operators that optimizers
need are registered for torch's CUDA key, and work on that memory as the CPU would, once the fake driver has
done all that waits. What is not registered raises `NotImplementedError`. Reaches into torch with pytest's
`monkeypatch`, so that all of it is gone after a test, but for the operators, which then find no driver.
Assumed: a torch without CUDA.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from .fake_driver import FakeDriver, Graph

_KINDS = {torch.float32: (2, 32), torch.float64: (2, 64), torch.float16: (2, 16), torch.bfloat16: (4, 16),
          torch.int64: (0, 64), torch.int32: (0, 32), torch.bool: (6, 8), torch.uint8: (1, 8)}  # fmt: skip


class _Tensor(ctypes.Structure):
    """DLManagedTensor, with DLTensor in front."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
        ("offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
    )  # fmt: skip


# A function of our own: that of `ctypes.pythonapi` is everybody's, and others say what it takes, too.
_Capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_capsule = _Capsule(("PyCapsule_New", ctypes.pythonapi))
_CUDA, _CPU = 2, 1


_KEPT: list[Any] = []
"""What torch has the address of: it looks there when a tensor goes, which may be after the test."""


class FakeGpus:
    """What tests ask for tensors. `stream` is torch's current one, of all devices."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.stream = 0

    def tensor(self, address: int, like: Tensor, kind: int, device: int) -> Tensor:
        return self._view(address, tuple(like.shape), like.stride(), like.dtype, kind, device)

    def _view(
        self,
        address: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: Any,
        kind: int,
        device: int,
    ) -> Tensor:
        count = len(shape)
        sizes = (ctypes.c_int64 * max(count, 1))(*shape)
        steps = (ctypes.c_int64 * max(count, 1))(*strides)
        code, bits = _KINDS[dtype]
        managed = _Tensor(
            address,
            kind,
            device,
            count,
            code,
            bits,
            1,
            ctypes.addressof(sizes),
            ctypes.addressof(steps),
            0,
            0,
            0,
        )
        _KEPT.append((managed, sizes, steps))
        made: Tensor = torch.utils.dlpack.from_dlpack(_capsule(ctypes.addressof(managed), b"dltensor", None))
        return made

    def empty(self, shape: Any, strides: Any, dtype: Any, device: int) -> Tensor:
        reach = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if 0 not in shape else 0
        size = max(reach, 0) * dtype.itemsize
        address = self.driver.memories[device].allocate(max(size, 1))
        return self._view(address, tuple(shape), tuple(strides), dtype, _CUDA, device)

    def to(self, x: Tensor, device: int = 0) -> Tensor:
        """A copy of a tensor of the CPU on a fake GPU, of the same strides."""
        made = self.empty(x.shape, x.stride(), x.dtype, device)
        self.host(made).copy_(x)
        self.known(made)
        return made

    @property
    def moved(self) -> Any:
        """`Tensor.to`, also to a GPU."""
        ordinary = Tensor.to

        def to(x: Tensor, *arguments: Any, **options: Any) -> Tensor:
            named = {"device" if isinstance(each, torch.device) else "dtype": each for each in arguments}
            device = torch.device(options.get("device", named.get("device", x.device)))
            if "cuda" not in (x.device.type, device.type):
                return ordinary(x, *arguments, **options)
            there = ordinary(self.host(x), dtype=options.get("dtype", named.get("dtype", x.dtype)))
            return self.to(there, device.index or 0) if device.type == "cuda" else there.clone()

        return to

    @property
    def copied(self) -> Any:
        """`Tensor.copy_`, which asks for the device's runtime before it looks for an operator."""
        ordinary = Tensor.copy_

        def copy(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
            if x.device.type == "cuda":
                torch.autograd.graph.increment_version(x)

                def work() -> None:
                    ordinary(self.raw(x), self.raw(source))
                    self.known(x)

                self.now_or_recorded(work)
                return x
            return ordinary(x, self.host(source))

        return copy

    def host(self, x: Tensor) -> Tensor:
        """The very memory, as a tensor of the CPU; once all work is done."""
        if self.driver.capture is not None:
            self.driver.capture.invalid = True
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.driver.finish()
        return self.raw(x)

    def raw(self, x: Tensor) -> Tensor:
        return self.tensor(x.data_ptr(), x, _CPU, 0) if x.device.type == "cuda" else x

    def now_or_recorded(self, work: Any) -> None:
        """An operator of torch on a GPU."""
        if self.driver.capture is not None:
            self.driver.give(self.stream, work)
        else:
            self.driver.finish()
            work()

    @property
    def captures(self) -> bool:
        """Whether torch's current stream is captured."""
        return self.driver.capture is not None and self.driver.capture.stream == self.stream

    @contextmanager
    def graph(self, graph: "FakeGraph") -> Iterator[None]:
        """`torch.cuda.graph`: waits for everything, and captures a stream of its own."""
        self.driver.finish()
        gc.collect()
        before, self.stream = self.stream, 77
        self.driver.begin_capture(self.stream)
        try:
            yield
        finally:
            self.stream = before
            graph.recorded = self.driver.end_capture()

    def known(self, x: Tensor) -> None:
        """Was written."""
        memory = self.driver.memories[x.device.index or 0]
        reach = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) if x.numel() else 0
        first = x.data_ptr() - memory.base
        memory.known[first : first + reach * x.element_size()] = True


class FakeGraph:
    """`torch.cuda.CUDAGraph`."""

    def __init__(self, gpus: FakeGpus) -> None:
        self.gpus = gpus
        self.recorded: Graph | None = None

    def replay(self) -> None:
        assert self.recorded is not None, "nothing was captured"
        self.gpus.driver.replay(self.recorded, self.gpus.stream)


_now: list[FakeGpus] = []


def install(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeGpus:
    """Until the test ends."""
    gpus = FakeGpus(driver)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: _Stream(gpus.stream))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: gpus.captures)
    monkeypatch.setattr(torch.cuda, "synchronize", driver.finish)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: FakeGraph(gpus))
    monkeypatch.setattr(torch.cuda, "graph", gpus.graph)
    monkeypatch.setattr(f"{__name__}._now", [gpus])
    monkeypatch.setattr(Tensor, "to", gpus.moved)
    monkeypatch.setattr(Tensor, "copy_", gpus.copied)
    _register()
    return gpus


class _Stream:
    def __init__(self, number: int) -> None:
        self.cuda_stream = number


_libraries: list[Any] = []


def _register() -> None:
    if _libraries:
        return
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    _libraries.append(library)
    for name, function in _OPERATORS.items():
        library.impl(name, function, "CUDA")


def _empty(size: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
    strides = torch.empty(tuple(size), device="meta").stride()
    return _now[0].empty(size, strides, dtype or torch.get_default_dtype(), torch.device(device).index or 0)


def _empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, device: Any = None, **options: Any
) -> Tensor:
    return _now[0].empty(size, stride, dtype or torch.get_default_dtype(), torch.device(device).index or 0)


def _fill(x: Tensor, value: Any) -> Tensor:
    gpus = _now[0]

    def work() -> None:
        gpus.raw(x).fill_(value)
        gpus.known(x)

    gpus.now_or_recorded(work)
    return x


def _zero(x: Tensor) -> Tensor:
    return _fill(x, 0)


def _strided(x: Tensor, size: Any, stride: Any, offset: int | None = None) -> Tensor:
    gpus = _now[0]
    skip = int(offset - x.storage_offset()) if offset is not None else 0
    address = x.data_ptr() + skip * x.element_size()
    return gpus._view(address, tuple(size), tuple(stride), x.dtype, _CUDA, x.device.index or 0)


def _clone(x: Tensor, *, memory_format: Any = None) -> Tensor:
    return _now[0].to(_now[0].host(x), x.device.index or 0)


def _item(x: Tensor) -> Any:
    return _now[0].host(x).item()


_OPERATORS: dict[str, Any] = {
    "empty.memory_format": _empty, "empty_strided": _empty_strided, "fill_.Scalar": _fill,
    "zero_": _zero, "as_strided": _strided, "_local_scalar_dense": _item, "clone": _clone,
}  # fmt: skip
