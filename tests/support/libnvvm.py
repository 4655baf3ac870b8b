"""Whether Numba's kernels for GPUs can be compiled here: a fixture for the tests that need it."""

import pytest
from optdsl.backends import numba_cuda

from optdsl.kernel.ir import Type
from optdsl.runtime.cuda.driver import CudaError
from tests.support import programs


@pytest.fixture(scope="session")
def libnvvm() -> None:
    """Skips where it is not found."""
    try:
        numba_cuda.ptx(programs.program(("gd", ()), "fast", Type.F32))
    except CudaError as error:
        pytest.skip(str(error))
