"""What the runtime believes of NVIDIA's driver is what its header says, where there is one."""

import ctypes
import os
import re
from pathlib import Path

import pytest

from optdsl.runtime.cuda import driver as cuda_driver

PLACES = (os.environ.get("CUDA_HOME", "/usr/local/cuda"), "/usr/local/cuda", "/opt/cuda", "/usr")
HEADERS = [path for place in PLACES if (path := Path(place, "include", "cuda.h")).exists()]
HANDLES = ("CUcontext", "CUmodule", "CUfunction", "CUstream", "CUevent")
NUMBERS = {"unsigned int": ctypes.c_uint, "size_t": ctypes.c_size_t, "CUdeviceptr": ctypes.c_uint64}

pytestmark = pytest.mark.skipif(not HEADERS, reason="there is no cuda.h")


@pytest.fixture(scope="module")
def header() -> str:
    return HEADERS[0].read_text(errors="replace")


def kind(argument: str) -> type:
    """How a parameter is passed, by its declaration."""
    if "*" in argument or argument.split()[0] in HANDLES:
        return ctypes.c_void_p
    type_ = argument.strip().rpartition(" ")[0]
    return NUMBERS.get(type_, ctypes.c_int)


@pytest.mark.parametrize("name", cuda_driver.SIGNATURES)
def test_functions_take_what_they_are_given(header: str, name: str) -> None:
    plain = name.removesuffix("_v2")
    (found,) = re.findall(rf"^CUresult CUDAAPI {plain}\(([^)]*)\);", header, re.M)
    given = [ctypes.c_void_p if each is ctypes.c_char_p else each for each in cuda_driver.SIGNATURES[name]]
    assert [kind(each) for each in found.split(",")] == given
    renamed = re.search(rf"^#define {plain}\s+(?:__CUDA_API_\w+\()?({plain}_v\d+)\b", header, re.M)
    assert name == (renamed[1] if renamed else plain)


@pytest.mark.parametrize(
    ("constant", "value"),
    [("CUDA_ERROR_OUT_OF_MEMORY", cuda_driver.OUT_OF_MEMORY), ("CUDA_ERROR_NO_DEVICE", cuda_driver.NO_DEVICE),
     ("CUDA_ERROR_INVALID_DEVICE", cuda_driver.NO_SUCH_DEVICE), ("CUDA_ERROR_NOT_INITIALIZED", 3),
     ("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", cuda_driver.NO_CAPTURE), ("CUDA_ERROR_DEINITIALIZED", 4),
     ("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", cuda_driver.NO_WARM_UP),
     ("CUDA_ERROR_ILLEGAL_ADDRESS", 700), ("CUDA_ERROR_MISALIGNED_ADDRESS", 716),
     ("CUDA_ERROR_LAUNCH_FAILED", 719), ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", 803),
     ("CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR", cuda_driver._MAJOR),
     ("CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR", cuda_driver._MINOR),
     ("CU_JIT_ERROR_LOG_BUFFER", cuda_driver._JIT_ERROR_LOG),
     ("CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES", cuda_driver._JIT_ERROR_LOG_SIZE),
     ("CU_EVENT_DISABLE_TIMING", cuda_driver._NO_TIMING)],
)  # fmt: skip
def test_numbers_are_what_they_are_called(header: str, constant: str, value: int) -> None:
    (found,) = re.findall(rf"\b{constant}\s*=\s*(0x[0-9a-fA-F]+|\d+)", header)
    assert int(found, 0) == value
