"""The runtime for GPUs against the fake driver: kernels, tables, streams, and every refusal in words."""

import gc
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optdsl.runtime.cuda import driver as cuda_driver
from optdsl.runtime.cuda import kernel as cuda_kernel
from optdsl.runtime.cuda.driver import CudaError, Device, Driver
from optdsl.runtime.cuda.kernel import DeviceCode, DeviceKernel, DeviceTables
from tests.ptx import samples
from tests.ptx.fake_driver import FakeDriver
from tests.ptx.memory import Trap
from tests.ptx.samples import CHUNK, SCALARS, adam_in_numpy

UPDATE = DeviceCode(samples.adam(), "update_f32", buffers=4, scalars=6, hypers=5, single=False)


@pytest.fixture
def fake() -> Iterator[FakeDriver]:
    cuda_kernel._modules.clear()
    yield FakeDriver()
    cuda_kernel._modules.clear()


class Tensors:
    """Adam's buffers on a fake device, and the kernel bound to them."""

    def __init__(self, fake: FakeDriver, sizes: tuple[int, ...], code: DeviceCode = UPDATE) -> None:
        rng = np.random.default_rng(0)
        self.memory = fake.memories[0]
        self.values = [[rng.random(size, np.float32) for _ in range(4)] for size in sizes]
        self.addresses = np.array([[self.memory.put(x) for x in each] for each in self.values], np.uint64)
        cuts = [(t, at, min(CHUNK, n - at), 0) for t, n in enumerate(sizes) for at in range(0, n, CHUNK)]
        self.chunks = np.array(cuts, np.int64)
        self.stream = 7
        self.device = Device(Driver(fake), 0)
        tables = DeviceTables(self.device, lambda: self.stream)
        self.kernel = DeviceKernel(code, tables, self.addresses.shape, len(cuts))

    def step(self, scalars: np.ndarray[tuple[int, int], np.dtype[np.float64]] = SCALARS) -> None:
        self.kernel.compiled(self.addresses, self.chunks, 0, len(self.chunks), scalars)

    def expect(self) -> None:
        """One more step of all tensors in NumPy."""
        for each in self.values:
            each[0], each[2], each[3] = adam_in_numpy(*each)

    def check(self) -> None:
        for addresses, values in zip(self.addresses, self.values, strict=True):
            for address, expected in zip(addresses, values, strict=True):
                found = self.memory.read(int(address), expected.nbytes).view(np.float32)
                np.testing.assert_array_equal(found, expected)


def test_a_launch_updates_all_tensors_and_tables_go_up_once(fake: FakeDriver) -> None:
    tensors = Tensors(fake, (1, 5, CHUNK + 1, 3000))
    for _ in range(3):
        tensors.step()
        tensors.expect()
    fake.finish()
    tensors.check()
    assert fake.launches == ["write", "update_f32"] * 3
    assert fake.calls.count("cuMemcpyHtoDAsync_v2") == 2  # addresses, chunks
    assert fake.calls.count("cuModuleLoadDataEx") == 2


def test_a_gradient_that_moved_is_found(fake: FakeDriver) -> None:
    tensors = Tensors(fake, (1000,))
    tensors.step()
    tensors.expect()
    tensors.values[0][1] = tensors.values[0][1] + 1
    tensors.addresses[0, 1] = tensors.memory.put(tensors.values[0][1])
    tensors.step()
    tensors.expect()
    fake.finish()
    tensors.check()
    assert fake.calls.count("cuMemcpyHtoDAsync_v2") == 3


def test_many_steps_may_be_on_their_way(fake: FakeDriver) -> None:
    """More than there are pieces of page-locked memory; every one with scalars of its own."""
    tensors = Tensors(fake, (300,))
    for number in range(1, 12):
        scalars = SCALARS.copy()
        scalars[0, 0] *= number
        tensors.step(scalars)
        theta, g, m, v = tensors.values[0]
        new, m, v = adam_in_numpy(theta, g, m, v)
        lr = np.float32(scalars[0, 0])
        k1, k2, eps = (np.float32(SCALARS[0, i]) for i in (4, 5, 3))
        new = theta - lr * (m * k1) / (np.sqrt(v * k2) + eps)
        tensors.values[0] = [new, g, m, v]
    assert fake.calls.count("cuStreamSynchronize") == 0
    fake.finish()
    tensors.check()


def test_streams_take_turns(fake: FakeDriver) -> None:
    tensors = Tensors(fake, (300,))
    for stream in (7, 8, 0, 7):
        tensors.stream = stream
        tensors.step()
        tensors.expect()
    # The last stream is asked first: it has to wait for all others by itself.
    fake.cuStreamSynchronize(7)  # type: ignore[attr-defined]
    tensors.check()


def test_streams_that_do_not_wait_are_caught(fake: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake driver sees what the test above is for."""
    monkeypatch.setattr("optdsl.runtime.cuda.memory.Turn.begin", lambda self, stream: None)
    with pytest.raises(AssertionError):
        test_streams_take_turns(fake)


def test_sums_come_back(fake: FakeDriver) -> None:
    code = DeviceCode(samples.adam(), "reduce0_f32", buffers=2, scalars=6, hypers=5, single=False, sums=1)
    tensors = Tensors(fake, (1000, 3000), code=replace(code, buffers=4))
    tensors.kernel.code = code
    table = np.ascontiguousarray(tensors.addresses[:, :2])
    for _ in range(2):
        partials = np.full((len(tensors.chunks), 1), np.nan)
        tensors.kernel.compiled(table, tensors.chunks, 0, len(tensors.chunks), SCALARS, None, partials)
        for (tensor, start, size, _), found in zip(tensors.chunks, partials[:, 0], strict=True):
            g = tensors.values[tensor][1][start : start + size].astype(np.float64)
            assert found == pytest.approx(np.sum(g * g), rel=1e-14)


def test_memory_is_given_back(fake: FakeDriver) -> None:
    def work() -> None:
        tensors = Tensors(fake, (300,))
        tensors.step()

    work()
    gc.collect()
    for allocated, freed in (("cuMemAlloc_v2", "cuMemFree_v2"), ("cuMemHostAlloc", "cuMemFreeHost")):
        assert fake.calls.count(allocated) == fake.calls.count(freed) > 0
    assert not fake.traps


def test_a_kernel_that_leaves_its_memory_is_heard(fake: FakeDriver) -> None:
    """As on a GPU, at the next call that waits; and the interpreter says where."""
    tensors = Tensors(fake, (300,))
    tensors.chunks[0, 2] += 1
    tensors.step()
    with pytest.raises(CudaError, match="touched memory that is not its own"):
        tensors.device.driver.call("cuStreamSynchronize", tensors.stream)
    with pytest.raises(Trap, match=r"out of bounds.*update_f32, line \d+: (ld|st)"):
        fake.finish()


def test_a_process_ends_in_silence() -> None:
    program = (
        "from tests.ptx.fake_driver import FakeDriver\nfrom tests.test_cuda_runtime import Tensors\n"
        "tensors = Tensors(FakeDriver(), (300,))\ntensors.step()"
    )
    root = Path(__file__).parent.parent
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True, cwd=root
    )
    assert found.stdout == found.stderr == ""


# --- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [("cuInit", 100, "finds no GPU"), ("cuMemAlloc_v2", 2, "no memory"), ("cuMemHostAlloc", 2, "no memory"),
     ("cuModuleLoadDataEx", 999, "cuModuleLoadDataEx failed: CUDA_ERROR_FAKE (999): as asked"),
     ("cuModuleGetFunction", 500, "cuModuleGetFunction failed"), ("cuLaunchKernel", 700, "not its own"),
     ("cuCtxPushCurrent_v2", 4, "shutting down"), ("cuMemcpyHtoDAsync_v2", 719, "a kernel failed"),
     ("cuEventCreate", 2, "no memory left")],
)  # fmt: skip
def test_errors_of_the_driver_are_said_in_words(
    fake: FakeDriver, function: str, code: int, words: str
) -> None:
    fake.failing[function] = code
    with pytest.raises(CudaError, match=re.escape(words)) as caught:
        Tensors(fake, (300,)).step()
    assert caught.value.code == code


def test_after_an_error_the_step_can_be_taken_again(fake: FakeDriver) -> None:
    tensors = Tensors(fake, (300,))
    functions = "cuModuleLoadDataEx cuEventCreate cuMemAlloc_v2 cuMemHostAlloc cuMemcpyHtoDAsync_v2"
    for function in functions.split():
        fake.failing = {function: 2}
        with pytest.raises(CudaError, match="no memory left"):
            tensors.step()
    fake.failing = {}
    fake.finish()
    tensors.check()  # nothing was written
    tensors.step()
    tensors.expect()
    fake.finish()
    tensors.check()


def with_text(old: str, new: str) -> DeviceCode:
    return replace(UPDATE, ptx=UPDATE.ptx.replace(old, new))


@pytest.mark.parametrize(
    ("driver", "code", "words"),
    [(FakeDriver(version=10020), UPDATE, "the driver is for CUDA 10.2, and the kernels need 11.0"),
     (FakeDriver(version=11040), with_text(".version 7.0", ".version 7.8"), "11.4, and the kernels need 11"),
     (FakeDriver(capability=(7, 5)), UPDATE, "compute capability 7.5, and the kernels need 8.0"),
     (FakeDriver(), replace(UPDATE, ptx="nothing"), "no PTX"),
     (FakeDriver(), with_text("sqrt.rn.f32 \t%r56,", "}{ \t%r56,"), "218"),
     (FakeDriver(), replace(UPDATE, buffers=5), "compiled for 5 buffers, and there are 4"),
     (FakeDriver(), replace(UPDATE, entry="other"), "cuModuleGetFunction failed"),
     (FakeDriver(devices=0), UPDATE, "finds no GPU")],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_does_not_fit_is_refused(driver: FakeDriver, code: DeviceCode, words: str) -> None:
    cuda_kernel._modules.clear()
    if not driver.memories:
        with pytest.raises(CudaError, match=words):
            Driver(driver)
        return
    with pytest.raises(CudaError, match=words):
        Tensors(driver, (300,), code).step()
    assert not driver.launches


def test_a_device_that_is_not_there_is_refused(fake: FakeDriver) -> None:
    with pytest.raises(CudaError, match="no GPU of that number"):
        Device(Driver(fake), 1)


def test_a_capture_is_refused(fake: FakeDriver) -> None:
    fake.begin_capture(7)
    with pytest.raises(CudaError, match="CUDA graph"):
        Tensors(fake, (300,)).step()
    assert not fake.launches


def test_a_library_that_is_no_driver_is_refused() -> None:
    with pytest.raises(CudaError, match=r"older than 11\.0"):
        Driver(object())


@pytest.mark.parametrize("library", ["/nowhere/libcuda.so.1", __file__])
def test_a_driver_that_cannot_be_loaded_breaks_nothing_else(library: str) -> None:
    program = (
        "import optdsl, optdsl.runtime.cuda.kernel\n"
        "from optdsl.runtime.cuda.driver import CudaError, driver\n"
        "for _ in range(2):\n"
        "    try: driver()\n"
        "    except CudaError as error: print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True,
        env={cuda_driver.LIBRARY: library, "PATH": ""},
    )  # fmt: skip
    assert found.stdout.count("parameters on a GPU need NVIDIA's driver, and it cannot be loaded") == 2
    assert found.stdout.count("move the model with .cpu()") == 2
