"""NVIDIA's driver through ctypes: devices, modules of PTX, memory, streams, launches, and errors in words.

In: addresses, sizes, text. Out: handles, as integers. Nothing is loaded when this module is imported:
`driver()` opens libcuda (or what `$OPTDSL_LIBCUDA` names) once, and everything happens in the primary
contexts of devices, which torch uses, too. Raises `CudaError` with a sentence that says what to do.
NOT done: memory of its own pool, peer access, anything that another library could have done for torch.
"""

import ctypes
import os
import sys
from functools import cache
from typing import Any

LIBRARY = "OPTDSL_LIBCUDA"

_INT, _UINT, _SIZE, _POINTER = ctypes.c_int, ctypes.c_uint, ctypes.c_size_t, ctypes.c_void_p
_DEVICE_POINTER, _OUT = ctypes.c_uint64, ctypes.c_void_p

# CUDA Driver API, version 11.0 and later: what a function takes; each of them gives a CUresult.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (_UINT,),
    "cuDriverGetVersion": (_OUT,),
    "cuGetErrorName": (_INT, _OUT),
    "cuGetErrorString": (_INT, _OUT),
    "cuDeviceGetCount": (_OUT,),
    "cuDeviceGet": (_OUT, _INT),
    "cuDeviceGetAttribute": (_OUT, _INT, _INT),
    "cuDevicePrimaryCtxRetain": (_OUT, _INT),
    "cuCtxPushCurrent_v2": (_POINTER,),
    "cuCtxPopCurrent_v2": (_OUT,),
    "cuModuleLoadDataEx": (_OUT, _POINTER, _UINT, _POINTER, _POINTER),
    "cuModuleGetFunction": (_OUT, _POINTER, ctypes.c_char_p),
    "cuMemAlloc_v2": (_OUT, _SIZE),
    "cuMemFree_v2": (_DEVICE_POINTER,),
    "cuMemHostAlloc": (_OUT, _SIZE, _UINT),
    "cuMemFreeHost": (_POINTER,),
    "cuMemcpyHtoDAsync_v2": (_DEVICE_POINTER, _POINTER, _SIZE, _POINTER),
    "cuMemcpyDtoHAsync_v2": (_POINTER, _DEVICE_POINTER, _SIZE, _POINTER),
    "cuStreamSynchronize": (_POINTER,),
    "cuStreamIsCapturing": (_POINTER, _OUT),
    "cuStreamWaitEvent": (_POINTER, _POINTER, _UINT),
    "cuEventCreate": (_OUT, _UINT),
    "cuEventRecord": (_POINTER, _POINTER),
    "cuEventSynchronize": (_POINTER,),
    "cuEventDestroy_v2": (_POINTER,),
    "cuLaunchKernel": (_POINTER, *[_UINT] * 7, _POINTER, _POINTER, _POINTER),
}

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
_JIT_ERROR_LOG, _JIT_ERROR_LOG_SIZE = 5, 6
_NO_TIMING = 2  # CU_EVENT_DISABLE_TIMING
OUT_OF_MEMORY, NO_DEVICE, NO_SUCH_DEVICE, NO_CAPTURE = 2, 100, 101, 900
NO_WARM_UP = 901  # CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: the graph is of no use then

_WORDS = {
    OUT_OF_MEMORY: "the GPU has no memory left for the optimizer's tables; free some, and step again",
    3: "the driver is not initialised, which it is not in a process that was forked after CUDA was used; "
    'start processes with multiprocessing\'s "spawn"',
    4: "the driver is shutting down with the process; take no step in an exit handler",
    NO_DEVICE: "the driver finds no GPU (is CUDA_VISIBLE_DEVICES empty?); move the model with .cpu()",
    NO_SUCH_DEVICE: "there is no GPU of that number; torch.cuda.device_count() says how many there are",
    700: "a kernel touched memory that is not its own, this one or one before it; the process has lost the "
    "GPU: start it again, with CUDA_LAUNCH_BLOCKING=1 to see which kernel it was",
    716: "a kernel used an address that is not aligned, this one or one before it; the process has lost the "
    "GPU: start it again, with CUDA_LAUNCH_BLOCKING=1 to see which kernel it was",
    719: "a kernel failed, this one or one before it; the process has lost the GPU: start it again, with "
    "CUDA_LAUNCH_BLOCKING=1 to see which kernel it was",
    803: "the driver and the GPU's kernel module are of different versions; restart the machine",
    NO_CAPTURE: "a step cannot be recorded in a CUDA graph here; take it outside of the capture",
    NO_WARM_UP: "a step is recorded in a CUDA graph, and none like it was taken before; take some first, "
    "with the same parameters and gradients, as torch asks for: what they need is made then",
}


class CudaError(RuntimeError):
    """The driver refused; `code` is its CUresult, 0 where it was not asked."""

    def __init__(self, words: str, code: int = 0) -> None:
        super().__init__(words)
        self.code = code


def refusal(code: int) -> CudaError:
    """What the driver would say with that code."""
    return CudaError(_WORDS[code], code)


class Driver:
    """The functions of `SIGNATURES`, checked. `library`: what has them as attributes."""

    def __init__(self, library: Any) -> None:
        self._functions: dict[str, Any] = {}
        try:
            for name, arguments in SIGNATURES.items():
                function = self._functions[name] = getattr(library, name)
                function.argtypes, function.restype = arguments, _INT
        except AttributeError as error:
            raise CudaError(
                f"the CUDA driver is older than 11.0 ({error}); install a newer one, or move the model "
                "with .cpu()"
            ) from None
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Raises `CudaError`."""
        code = self._functions[name](*arguments)
        if code:
            raise CudaError(self._words(name, code), code)

    def _words(self, name: str, code: int) -> str:
        if code in _WORDS:
            return _WORDS[code]
        said = []
        for ask in ("cuGetErrorName", "cuGetErrorString"):
            text = ctypes.c_char_p()
            self._functions[ask](code, ctypes.byref(text))
            said.append((text.value or b"unknown").decode(errors="replace"))
        return f"{name} failed: {said[0]} ({code}): {said[1]}"

    def ask(self, name: str, *arguments: Any, of: Any = _POINTER) -> int:
        """What a function gives through its first argument."""
        found = of()
        self.call(name, ctypes.byref(found), *arguments)
        return int(found.value or 0)

    @property
    def version(self) -> tuple[int, int]:
        """The CUDA version that the driver is for."""
        number = self.ask("cuDriverGetVersion", of=_INT)
        return number // 1000, number % 1000 // 10


def launch_arguments(
    function: int, blocks: int, threads: int, stream: int, arguments: int
) -> tuple[Any, ...]:
    """What `cuLaunchKernel` takes, as ctypes has it, which is most of the time that such a call costs.

    `arguments`: the address of an array of the addresses of the arguments.
    """
    given = (function, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, None)
    return tuple(kind(each) for kind, each in zip(SIGNATURES["cuLaunchKernel"], given, strict=True))


class Device:
    """A GPU, by torch's number, with its primary context."""

    def __init__(self, driver: Driver, number: int) -> None:
        if number >= driver.ask("cuDeviceGetCount", of=_INT):
            raise refusal(NO_SUCH_DEVICE)
        self.driver = driver
        self.number = number
        handle = driver.ask("cuDeviceGet", number, of=_INT)
        major, minor = (
            driver.ask("cuDeviceGetAttribute", which, handle, of=_INT) for which in (_MAJOR, _MINOR)
        )
        self.capability = (major, minor)
        self._context = driver.ask("cuDevicePrimaryCtxRetain", handle)
        self._popped = ctypes.byref(_POINTER())  # which nobody reads

    def __enter__(self) -> None:
        """In this context, until `__exit__`; then in the one that was current before."""
        self.driver.call("cuCtxPushCurrent_v2", self._context)

    def __exit__(self, *failure: object) -> None:
        self.driver.call("cuCtxPopCurrent_v2", self._popped)

    def load(self, ptx: str) -> int:
        """A module. Raises `CudaError` for text that this driver does not take; its own words are in it."""
        log = ctypes.create_string_buffer(4096)
        options = (ctypes.c_int * 2)(_JIT_ERROR_LOG, _JIT_ERROR_LOG_SIZE)
        values = (_POINTER * 2)(ctypes.addressof(log), len(log))
        try:
            return self.driver.ask(
                "cuModuleLoadDataEx", ctypes.create_string_buffer(ptx.encode()), 2, options, values
            )
        except CudaError as error:
            said = log.value.decode(errors="replace").strip()
            if error.code in _WORDS or not said:
                raise
            raise CudaError(f"{error}\n{said}", error.code) from None

    def function(self, module: int, name: str) -> int:
        return self.driver.ask("cuModuleGetFunction", module, name.encode())

    def event(self) -> int:
        return self.driver.ask("cuEventCreate", _NO_TIMING)

    def capturing(self, stream: int) -> bool:
        """Whether a CUDA graph is being recorded."""
        found = _INT()
        self.driver.call("cuStreamIsCapturing", stream, ctypes.byref(found))
        return bool(found.value)


def _open() -> Any:
    name = os.environ.get(LIBRARY) or ("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise CudaError(
            f"parameters on a GPU need NVIDIA's driver, and it cannot be loaded ({error}); "
            "install it, or move the model with .cpu()"
        ) from None


@cache
def driver() -> Driver:
    """Raises `CudaError` where there is none, or no GPU; it is asked again at the next call then."""
    return Driver(_open())


@cache
def device(number: int) -> Device:
    """Raises `CudaError`."""
    return Device(driver(), number)
