"""NVIDIA's driver as far as the runtime uses it, without a GPU: launches go to the interpreter of PTX.

`FakeDriver` is what `ctypes.CDLL("libcuda.so.1")` would be: its functions are called through the C calling
convention, with pointers as the real ones take them. Devices have real memory of this process, in which
allocations lie with gaps. Work is done late: copies and launches wait in the queue of their stream until
somebody waits for it, so that a buffer that is written to too early, or a stream that does not wait for
another, gives wrong numbers here, too. What the interpreter traps on fails as on a GPU, at the next wait, and
stands in `traps`. `failing` names functions that give an error instead: {"cuMemAlloc_v2": 2}.
What a stream is given between `begin_capture` and `end_capture` is recorded: launches with their arguments,
copies with addresses, whose bytes are those of the replay. What the real driver refuses then (memory,
modules, waiting, events from outside, the default stream) is refused, and the graph is of no use.
NOT done: several streams in a graph, peers, textures.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optdsl.runtime.cuda.driver import SIGNATURES

from .arithmetic import dtype_of
from .machine import launch
from .memory import Memory, Trap
from .text import Entry, PtxError, parsed

Work = Callable[[], None]
INVALID_CONTEXT, INVALID_HANDLE, NOT_FOUND, INVALID_PTX, ILLEGAL_ADDRESS = 201, 400, 500, 218, 700
UNSUPPORTED, INVALIDATED, ISOLATION, IMPLICIT, CAPTURED_EVENT = 900, 901, 905, 906, 907
NOT_WHILE_CAPTURING = frozenset(
    "cuMemAlloc cuMemFree cuMemHostAlloc cuMemFreeHost cuModuleLoadDataEx cuStreamSynchronize "
    "cuEventSynchronize".split()
)
"""What torch's capture, whose mode is the strictest, refuses whatever the stream."""


@dataclass
class Queue:
    """A stream: what it has still to do, and how much it has done."""

    waiting: list[Work] = field(default_factory=list)
    done: int = 0

    def add(self, work: Work) -> None:
        self.waiting.append(work)

    @property
    def end(self) -> int:
        return self.done + len(self.waiting)

    def reach(self, place: int) -> None:
        while self.done < place:
            work = self.waiting.pop(0)
            self.done += 1
            work()


@dataclass
class Graph:
    """What a stream was given while it was captured."""

    stream: int
    nodes: list[Work] = field(default_factory=list)
    events: set[int] = field(default_factory=set)
    invalid: bool = False


class Refusal(Exception):
    """What a function gives instead of success."""

    def __init__(self, code: int) -> None:
        self.code = code


class FakeDriver:
    """Attributes named as the driver's functions; the rest is for tests."""

    def __init__(
        self,
        devices: int = 1,
        version: int = 13000,
        capability: tuple[int, int] = (9, 0),
        size: int = 1 << 21,
    ) -> None:
        self.memories = [Memory(size) for _ in range(devices)]
        self.version, self.capability = version, capability
        self.failing: dict[str, int] = {}
        self.calls: list[str] = []
        self.launches: list[str] = []
        self.traps: list[Exception] = []
        self.capture: Graph | None = None
        self._queues: dict[int, Queue] = {}
        self._contexts: list[int] = []
        self._modules: dict[int, dict[str, Entry]] = {}
        self._functions: dict[int, Entry] = {}
        self._events: dict[int, tuple[int, int]] = {}
        self._host: dict[int, Any] = {}
        self._words = [
            ctypes.create_string_buffer(b"CUDA_ERROR_FAKE"),
            ctypes.create_string_buffer(b"as asked"),
        ]
        for name, arguments in SIGNATURES.items():
            prototype = ctypes.CFUNCTYPE(ctypes.c_int, *arguments)
            setattr(self, name, prototype(self._checked(name)))

    def _checked(self, name: str) -> Callable[..., int]:
        plain = name.removesuffix("_v2")
        function = getattr(self, f"_{plain}")

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.failing:
                return self.failing[name]
            try:
                if self.capture is not None and plain in NOT_WHILE_CAPTURING:
                    raise self._spoiled(UNSUPPORTED)
                function(*arguments)
            except Refusal as refusal:
                return refusal.code
            except (Trap, PtxError) as trap:
                self.traps.append(trap)
                return ILLEGAL_ADDRESS
            except Exception as error:  # ctypes would print it, and give success
                self.traps.append(error)
                return 999
            return 0

        return call

    def finish(self) -> None:
        """Everything that waits is done. Raises what a kernel trapped on."""
        for queue in list(self._queues.values()):
            queue.reach(queue.end)
        if self.traps:
            raise self.traps[0]

    # --- graphs, which torch makes -------------------------------------------------------------------

    def begin_capture(self, stream: int) -> None:
        assert self.capture is None
        assert stream, "the default stream cannot be captured"
        self.capture = Graph(stream)

    def end_capture(self) -> Graph:
        """Raises `RuntimeError` for a graph that is of no use."""
        graph, self.capture = self.capture, None
        assert graph is not None
        if graph.invalid:
            raise RuntimeError(f"the capture was invalidated ({INVALIDATED})")
        return graph

    def replay(self, graph: Graph, stream: int) -> None:
        for node in graph.nodes:
            self._queue(stream).add(node)

    def _spoiled(self, code: int) -> Refusal:
        assert self.capture is not None
        self.capture.invalid = True
        return Refusal(code)

    def give(self, stream: int | None, work: Work) -> None:
        """To a stream, or to the graph that records it."""
        if self.capture is None or (stream and stream != self.capture.stream):
            self._queue(stream).add(work)
        elif not stream:
            raise self._spoiled(IMPLICIT)
        elif self.capture.invalid:
            raise Refusal(INVALIDATED)
        else:
            self.capture.nodes.append(work)

    # --- devices and contexts ------------------------------------------------------------------------

    def _device(self) -> int:
        if not self._contexts:
            raise Refusal(INVALID_CONTEXT)
        return self._contexts[-1]

    def _cuInit(self, flags: int) -> None:
        if not self.memories:
            raise Refusal(100)

    def _cuDriverGetVersion(self, out: int) -> None:
        _give(out, ctypes.c_int, self.version)

    def _cuGetErrorName(self, code: int, out: int) -> None:
        _give(out, ctypes.c_void_p, ctypes.addressof(self._words[0]))

    def _cuGetErrorString(self, code: int, out: int) -> None:
        _give(out, ctypes.c_void_p, ctypes.addressof(self._words[1]))

    def _cuDeviceGetCount(self, out: int) -> None:
        _give(out, ctypes.c_int, len(self.memories))

    def _cuDeviceGet(self, out: int, number: int) -> None:
        _give(out, ctypes.c_int, number)

    def _cuDeviceGetAttribute(self, out: int, which: int, device: int) -> None:
        _give(out, ctypes.c_int, self.capability[{75: 0, 76: 1}[which]])

    def _cuDevicePrimaryCtxRetain(self, out: int, device: int) -> None:
        _give(out, ctypes.c_void_p, 1 + device)

    def _cuCtxPushCurrent(self, context: int) -> None:
        self._contexts.append(context - 1)

    def _cuCtxPopCurrent(self, out: int) -> None:
        _give(out, ctypes.c_void_p, 1 + self._contexts.pop())

    # --- modules -------------------------------------------------------------------------------------

    def _cuModuleLoadDataEx(self, out: int, image: int, count: int, options: int, values: int) -> None:
        self._device()
        text = ctypes.string_at(image).decode()
        try:
            module = parsed(text)
        except PtxError as error:
            kinds = (ctypes.c_int * count).from_address(options)
            places = (ctypes.c_void_p * count).from_address(values)
            given = dict(zip(kinds, places, strict=True))
            said = str(error).encode()[: int(given[6] or 0) - 1]
            ctypes.memmove(int(given[5] or 0), said + b"\0", len(said) + 1)
            raise Refusal(INVALID_PTX) from None
        handle = 0x1000 + len(self._modules)
        self._modules[handle] = module.entries
        _give(out, ctypes.c_void_p, handle)

    def _cuModuleGetFunction(self, out: int, module: int, name: bytes) -> None:
        entries = self._modules[module]
        if name.decode() not in entries:
            raise Refusal(NOT_FOUND)
        handle = 0x2000 + len(self._functions)
        self._functions[handle] = entries[name.decode()]
        _give(out, ctypes.c_void_p, handle)

    # --- memory --------------------------------------------------------------------------------------

    def _cuMemAlloc(self, out: int, size: int) -> None:
        try:
            address = self.memories[self._device()].allocate(size)
        except MemoryError:
            raise Refusal(2) from None
        _give(out, ctypes.c_uint64, address)

    def _cuMemFree(self, address: int) -> None:
        self._wait_for_all()
        self.memories[self._device()].free(address)

    def _cuMemHostAlloc(self, out: int, size: int, flags: int) -> None:
        buffer = ctypes.create_string_buffer(size)
        self._host[ctypes.addressof(buffer)] = buffer
        _give(out, ctypes.c_void_p, ctypes.addressof(buffer))

    def _cuMemFreeHost(self, address: int) -> None:
        self._wait_for_all()
        del self._host[address]

    def _wait_for_all(self) -> None:
        for queue in list(self._queues.values()):
            queue.reach(queue.end)

    def _locked(self, address: int, size: int) -> None:
        """Only page-locked memory is copied without waiting."""
        if not any(
            start <= address and address + size <= start + len(each) for start, each in self._host.items()
        ):
            raise Trap(f"{size} bytes at {address:#x} are not page-locked")

    def _cuMemcpyHtoDAsync(self, to: int, start: int, size: int, stream: int | None) -> None:
        self._locked(start, size)
        memory = self.memories[self._device()]

        def copy() -> None:
            memory.write(to, np.frombuffer(ctypes.string_at(start, size), np.uint8))

        self.give(stream, copy)

    def _cuMemcpyDtoHAsync(self, to: int, start: int, size: int, stream: int | None) -> None:
        self._locked(to, size)
        memory = self.memories[self._device()]

        def copy() -> None:
            ctypes.memmove(to, memory.read(start, size).tobytes(), size)

        self.give(stream, copy)

    # --- streams and events --------------------------------------------------------------------------

    def _queue(self, stream: int | None) -> Queue:
        return self._queues.setdefault(stream or 0, Queue())

    def _cuStreamSynchronize(self, stream: int | None) -> None:
        self._queue(stream).reach(self._queue(stream).end)

    def _cuStreamIsCapturing(self, stream: int | None, out: int) -> None:
        _give(out, ctypes.c_int, int(self.capture is not None and self.capture.stream == stream))

    def _cuStreamWaitEvent(self, stream: int | None, event: int, flags: int) -> None:
        if self.capture is not None and (stream == self.capture.stream) != (event in self.capture.events):
            raise self._spoiled(ISOLATION)
        other, place = self._events[event]
        self.give(stream, lambda: self._queue(other).reach(place))

    def _cuEventCreate(self, out: int, flags: int) -> None:
        self._device()
        handle = 0x3000 + len([each for each in self.calls if each == "cuEventCreate"])
        self._events[handle] = (0, 0)
        _give(out, ctypes.c_void_p, handle)

    def _cuEventRecord(self, event: int, stream: int | None) -> None:
        if self.capture is not None:
            self.capture.events.discard(event)
            if stream == self.capture.stream:
                self.capture.events.add(event)
        self._events[event] = (stream or 0, self._queue(stream).end)

    def _cuEventSynchronize(self, event: int) -> None:
        stream, place = self._events[event]
        self._queue(stream).reach(place)

    def _cuEventDestroy(self, event: int) -> None:
        del self._events[event]

    # --- launches ------------------------------------------------------------------------------------

    def _cuLaunchKernel(self, function: int, *rest: int) -> None:
        blocks, rows, layers, threads, y, z, _, stream, arguments, _ = rest
        if function not in self._functions:
            raise Refusal(INVALID_HANDLE)
        if not blocks or (rows, layers, y, z) != (1, 1, 1, 1) or not 0 < threads <= 1024:
            raise Refusal(1)
        entry, memory = self._functions[function], self.memories[self._device()]
        places = (ctypes.c_void_p * len(entry.parameters)).from_address(arguments)
        values = []
        for place, parameter in zip(places, entry.parameters, strict=True):
            dtype = dtype_of(parameter.type)
            values.append(np.frombuffer(ctypes.string_at(place or 0, dtype.itemsize), dtype)[0])
        self.launches.append(entry.name)
        self.give(stream, lambda: _run(entry, memory, blocks, threads, values))


def _run(entry: Entry, memory: Memory, blocks: int, threads: int, values: list[Any]) -> None:
    launch(entry, memory, blocks, threads, values)


def _give(out: int, kind: Any, value: int) -> None:
    kind.from_address(out).value = value
