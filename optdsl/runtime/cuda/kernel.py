"""A kernel for a GPU: its PTX, the tables that it reads there, and one launch that updates all tensors.

In: what a kernel for the CPU takes (`numba_kernel`), on the host: tables of addresses and of chunks, and the
step's scalars. Out: a launch on the current stream: the step is done when the stream has come that far. Sums
wait for it: partial sums of each chunk come back to the host, which adds them in order, as those of the CPU.

    entry(addresses u64[T][B], chunks s64[C][4], scalars[R][S])
    entry(addresses u64[T][B], chunks s64[C][4], scalars[R][S], partials f64[C][K])   where it sums

with scalars of the type that the kernel computes in, and one block of `THREADS` a chunk. Tables go up when
they have changed, and only then; modules are loaded once for a device and a text. Assumed: addresses are
right, and nothing overlaps. NOT done: CUDA graphs, which `step` does.
"""

import ctypes
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.cuda import helpers
from optdsl.runtime.cuda.driver import NO_CAPTURE, CudaError, Device, launch_arguments, refusal
from optdsl.runtime.cuda.memory import Download, Mirror, Room, Turn

THREADS = 256


@dataclass(frozen=True)
class DeviceCode:
    """What a compiler gives for one kernel.

    ptx       text of a module that has `entry`
    buffers   columns of the table of addresses that it was made for
    scalars   columns of the scalars that it reads
    hypers    columns of the hyperparameters that its prologue reads
    single    whether the scalars are float32, rounded once; float64 otherwise
    sums      what it sums; 0: it is no pass that sums
    """

    ptx: str
    entry: str
    buffers: int
    scalars: int
    hypers: int
    single: bool
    sums: int = 0


_modules: dict[tuple[int, bytes], int] = {}
_lock = threading.Lock()


def loaded(device: Device, ptx: str) -> int:
    """The module of that text on that device. Raises `CudaError` for what is too old for it, in words."""
    key = device.number, sha256(ptx.encode()).digest()
    with _lock:
        if key not in _modules:
            _check_age(device, ptx)
            with device:
                _modules[key] = device.load(ptx)
        return _modules[key]


def _check_age(device: Device, ptx: str) -> None:
    isa = re.search(r"\.version\s+(\d+)\.(\d+)", ptx)
    target = re.search(r"\.target\s+sm_(\d+)(\d)", ptx)
    if isa is None or target is None:
        raise CudaError("the text of a kernel is no PTX; compile its module again")
    # PTX 7.0 came with CUDA 11.0, 7.8 with 11.8, 8.0 with 12.0, 9.0 with 13.0.
    needed, found = (int(isa[1]) + 4, int(isa[2])), device.driver.version
    if found < needed:
        raise CudaError(
            f"the driver is for CUDA {found[0]}.{found[1]}, and the kernels need {needed[0]}.{needed[1]}; "
            "install a newer driver, or move the model with .cpu()"
        )
    least = int(target[1]), int(target[2])
    if device.capability < least:
        raise CudaError(
            f"the GPU is of compute capability {device.capability[0]}.{device.capability[1]}, and the "
            f"kernels need {least[0]}.{least[1]}; move the model with .cpu()"
        )


class Launch:
    """A function of the device with so many arguments, all of 64 bits."""

    def __init__(self, device: Device, function: int, count: int, threads: int = THREADS) -> None:
        self._driver, self._function, self._threads = device.driver, function, threads
        self._values = (ctypes.c_uint64 * count)()
        self._numbers = np.ctypeslib.as_array(self._values)
        places = [ctypes.addressof(self._values) + 8 * number for number in range(count)]
        self._arguments = (ctypes.c_void_p * count)(*places)
        self._place = ctypes.addressof(self._arguments)
        self._at, self._given = (0, 0), tuple[Any, ...]()  # what a launch was the last time, for the driver

    def __call__(self, blocks: int, stream: int, *values: int) -> None:
        """Raises `CudaError`. The driver has taken the values over when it returns."""
        self._numbers[:] = values
        self.go(blocks, stream)

    def several(self, first: int, rest: NDArray[np.uint64]) -> None:
        """Arguments for `go`: at most as many as there are; those behind them stay what they were."""
        self._numbers[0] = first
        self._numbers[1 : 1 + rest.size] = rest

    def go(self, blocks: int, stream: int) -> None:
        """With the arguments that it has."""
        if self._at != (blocks, stream):
            self._at = blocks, stream
            self._given = launch_arguments(self._function, blocks, self._threads, stream, self._place)
        self._driver.call("cuLaunchKernel", *self._given)


class Words:
    """A few numbers that change with every step: arguments of a launch, if it has room for them."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._room, self._many = Room(device), Mirror(device)
        self._write: Launch | None = None

    def reserve(self, size: int) -> None:
        """Room for so many bytes."""
        if size > 8 * helpers.WORDS:
            self._many.reserve(size)
        if self._write is None:
            module = loaded(self._device, helpers.text())
            self._room.reserve(8 * helpers.WORDS)
            function = self._device.function(module, "write")
            self._write = Launch(self._device, function, 1 + helpers.WORDS, threads=1)

    def put(self, values: NDArray[Any], stream: int) -> int:
        """Where they are, for what the stream does from now on."""
        if self._write is None or values.nbytes > 8 * helpers.WORDS:
            return self._many.put(values, stream)
        words = np.frombuffer(values.tobytes().ljust(-(-values.nbytes // 8) * 8, b"\0"), np.uint64)
        if words.size:
            self._write.several(self._room.address, words)
            self._write.go(1, stream)
        return self._room.address


class DeviceTables:
    """What the kernels of one table of tensors read on a device: T tensors, B buffers, at most C chunks."""

    def __init__(
        self, device: Device, stream: Callable[[], int], version: Callable[[], int] | None = None
    ) -> None:
        """`version`: another number when the chunks are others; without it they are compared each time."""
        self.device = device
        self.stream = stream
        self.addresses, self.chunks = Mirror(device), Mirror(device)
        self.turn = Turn(device)
        self._version = version
        self._sent: tuple[int, int] | None = None  # the version on the device, and where it is

    def chunks_at(self, chunks: NDArray[np.int64], stream: int) -> int:
        """Where the table of chunks is; it may be as long as the model is large."""
        now = None if self._version is None else self._version()
        if self._sent is None or now is None or self._sent[0] != now:
            at = self.chunks.put(chunks, stream)
            self._sent = None if now is None else (now, at)
            return at
        return self._sent[1]

    def __repr__(self) -> str:
        return f"DeviceTables(cuda:{self.device.number})"


class DeviceKernel:
    """Called as a kernel for the CPU is, with one range of all chunks.

    `compiled` loads the module and takes the memory that it needs: nothing fails after the first write.
    """

    def __init__(self, code: DeviceCode, tables: DeviceTables, shape: tuple[int, int], chunks: int) -> None:
        """`shape`: (T, B) of the table of addresses."""
        if shape[1] != code.buffers:
            raise CudaError(
                f"{code.entry} was compiled for {code.buffers} buffers, and there are {shape[1]}; "
                "compile its module again"
            )
        self.code = code
        self.__name__ = code.entry
        self.tables = tables
        self._shape, self._chunks = shape, chunks
        self._scalars = Words(tables.device)
        self._partials = Download(tables.device) if code.sums else None
        self._launch: Launch | None = None

    @property
    def compiled(self) -> Callable[..., None]:
        """Raises `CudaError`."""
        if self._launch is None:
            device, tables = self.tables.device, self.tables
            module = loaded(device, self.code.ptx)
            with device:
                tensors, buffers = self._shape
                tables.addresses.reserve(8 * tensors * buffers)
                tables.chunks.reserve(8 * 4 * self._chunks)
                self._scalars.reserve(8 * tensors * self.code.scalars)
                if self._partials is not None:
                    self._partials.reserve(8 * self._chunks * self.code.sums)
                function = device.function(module, self.code.entry)
                self._launch = Launch(device, function, 4 if self.code.sums else 3)
        return self._run

    def _rounded(self, scalars: NDArray[np.float64]) -> NDArray[Any]:
        own = scalars if scalars.shape[1] == self.code.scalars else scalars[:, : self.code.scalars]
        if not self.code.single:
            return own
        with np.errstate(over="ignore"):  # what is too large is infinite there, too
            return own.astype(np.float32)

    def _run(
        self,
        addresses: NDArray[np.uint64],
        chunks: NDArray[np.int64],
        first: int,
        last: int,
        scalars: NDArray[np.float64],
        scratch: Any = None,
        partials: NDArray[np.float64] | None = None,
    ) -> None:
        """All chunks at once. `partials` (C, K) is filled for a pass that sums."""
        assert (first, last) == (0, chunks.shape[0]), "a launch is for all chunks"
        tables, device = self.tables, self.tables.device
        stream = tables.stream()
        with device:
            if device.capturing(stream):
                raise refusal(NO_CAPTURE)
            tables.turn.begin(stream)
            values = [tables.addresses.put(addresses, stream), tables.chunks_at(chunks, stream)]
            values.append(self._scalars.put(self._rounded(scalars), stream))
            if self._partials is not None:
                values.append(self._partials.address)
            assert self._launch is not None
            self._launch(last, stream, *values)
            tables.turn.end(stream)
            if self._partials is not None and partials is not None:
                self._partials.fetch(partials, stream)
