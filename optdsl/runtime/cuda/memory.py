"""Small tables on a GPU: copies of the host's arrays that are brought up to date, and numbers that come back.

In: NumPy arrays. Out: addresses on the device. Copies go through page-locked memory, so that nobody waits for
the GPU; a piece of it is written to again only when the copy from it is done.
Assumed: the device's context is current. Raises `CudaError`.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.cuda.driver import CudaError, Device

PIECES = 4  # copies that may be on their way
_LEAST = 256  # bytes


class _Owner:
    """What is given back to the driver when nobody has it any more."""

    _device: Device

    def free(self) -> None:
        """In the device's context."""
        raise NotImplementedError

    def __del__(self) -> None:
        # A process that ends has lost the driver before, and this module's names, too.
        try:
            with self._device:
                self.free()
        except Exception:
            pass


class Turn(_Owner):
    """Work of one table goes from stream to stream in order: a new one waits for what the last one does."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._event: int | None = None
        self._stream: int | None = None

    def begin(self, stream: int) -> None:
        if self._stream is not None and stream != self._stream:
            self._device.driver.call("cuStreamWaitEvent", stream, self._event, 0)

    def end(self, stream: int) -> None:
        if self._event is None:
            self._event = self._device.event()
        self._device.driver.call("cuEventRecord", self._event, stream)
        self._stream = stream

    def free(self) -> None:
        if self._event is not None:
            self._device.driver.call("cuEventDestroy_v2", self._event)
        self._event = self._stream = None


class Mirror(_Owner):
    """An array of the host, on the device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._address = self._bytes = 0
        self._host = 0
        self._events: list[int] = []  # of the copies from each piece
        self._next = 0
        self._known: bytes | None = None

    def reserve(self, size: int) -> None:
        """Room for so many bytes."""
        if size <= self._bytes:
            return
        self._clear()
        while len(self._events) < PIECES:
            self._events.append(self._device.event())
        size = max(size, _LEAST)
        self._address, self._host = _pair(self._device, size, PIECES * size)
        self._bytes = size

    def put(self, values: NDArray[Any], stream: int) -> int:
        """Where `values` are, rows without gaps, for what the stream does from now on."""
        bits = values.tobytes()  # in rows, and NaN is what it is
        if bits == self._known or not bits:
            return self._address
        self._known = None
        self.reserve(len(bits))
        driver = self._device.driver
        at, event = self._host + self._next * self._bytes, self._events[self._next]
        self._next = (self._next + 1) % PIECES
        driver.call("cuEventSynchronize", event)
        ctypes.memmove(at, bits, len(bits))
        driver.call("cuMemcpyHtoDAsync_v2", self._address, at, len(bits), stream)
        driver.call("cuEventRecord", event, stream)
        self._known = bits
        return self._address

    def _clear(self) -> None:
        driver = self._device.driver
        if self._bytes:
            driver.call("cuMemFreeHost", self._host)
            driver.call("cuMemFree_v2", self._address)
        self._address = self._host = self._bytes = 0
        self._known = None

    def free(self) -> None:
        self._clear()
        while self._events:
            self._device.driver.call("cuEventDestroy_v2", self._events.pop())


class Room(_Owner):
    """Memory that only kernels use."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.address = self._bytes = 0

    def reserve(self, size: int) -> None:
        """Once."""
        if size > self._bytes:
            self.address = self._device.driver.ask("cuMemAlloc_v2", max(size, _LEAST), of=ctypes.c_uint64)
            self._bytes = size

    def free(self) -> None:
        if self._bytes:
            self._device.driver.call("cuMemFree_v2", self.address)
        self.address = self._bytes = 0


class Download(_Owner):
    """Numbers that kernels make and the host reads."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.address = self._host = self._bytes = 0

    def reserve(self, size: int) -> None:
        if size <= self._bytes:
            return
        self.free()
        size = max(size, _LEAST)
        self.address, self._host = _pair(self._device, size, size)
        self._bytes = size

    def fetch(self, into: NDArray[np.float64], stream: int) -> None:
        """Waits for the stream, and fills `into`, rows without gaps."""
        driver = self._device.driver
        if into.nbytes:
            driver.call("cuMemcpyDtoHAsync_v2", self._host, self.address, into.nbytes, stream)
        driver.call("cuStreamSynchronize", stream)
        ctypes.memmove(into.ctypes.data, self._host, into.nbytes)

    def free(self) -> None:
        driver = self._device.driver
        if self._bytes:
            driver.call("cuMemFreeHost", self._host)
            driver.call("cuMemFree_v2", self.address)
        self.address = self._host = self._bytes = 0


def _pair(device: Device, size: int, host_size: int) -> tuple[int, int]:
    """Memory on the device and page-locked memory of the host: both, or an error and none."""
    address = device.driver.ask("cuMemAlloc_v2", size, of=ctypes.c_uint64)
    try:
        return address, device.driver.ask("cuMemHostAlloc", host_size, 0)
    except CudaError:
        device.driver.call("cuMemFree_v2", address)
        raise
