"""Which Numba compiles for GPUs here: NVIDIA's package `numba-cuda` where it is installed, else Numba's own.

Out: the few names of either that kernels need. Raises `CudaError`, in words, where neither can be imported or
a kernel cannot be compiled for want of NVIDIA's compiler; importing this module imports `numba.cuda`.
Both are in maintenance: what is used of them here is all that has to be looked at when one of them moves.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from optdsl.runtime.cuda.driver import CudaError

_INSTALL = 'install the CUDA toolkit, or `pip install "numba-cuda[cu13]"`; the backend llvm needs neither'

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Numba's own is to be replaced by NVIDIA's package
        NVIDIAS = "numba_cuda" in str(import_module("numba.cuda").__file__)
        compiler: Any = import_module("numba.cuda.compiler")
        compiler.compile_cuda  # noqa: B018 - Numba's simulator has none
        types: Any = import_module("numba.cuda.types" if NVIDIAS else "numba.core.types")
        signature: Any = import_module("numba.cuda.typing" if NVIDIAS else "numba.core.typing").signature
        extending = import_module("numba.cuda.extending" if NVIDIAS else "numba.extending")
        intrinsic: Callable[[Callable[..., Any]], Any] = extending.intrinsic
except Exception as error:  # a package that is half installed raises whatever it likes
    said = " ".join(str(error).split())
    raise CudaError(f"Numba's package for GPUs cannot be imported ({said}); {_INSTALL}") from None

__all__ = ["NVIDIAS", "compiler", "intrinsic", "kernel_ptx", "signature", "types"]


def kernel_ptx(
    function: Callable[..., None], arguments: tuple[Any, ...], capability: tuple[int, int], *, contract: bool
) -> str:
    """PTX of one kernel, with the mangled name that Numba gives it.

    Raises `CudaError` where there is no compiler, `TypeError` with Numba's words for what it cannot compile.
    contract: NVIDIA's compiler may join multiplications and additions; else each of them is rounded.
    """
    options = {"opt": 3, "fma": int(contract)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = compiler.compile_cuda(function, types.void, arguments, nvvm_options=options, cc=capability)
            return str(_as_kernel(made, function, options).get_asm_str(cc=capability))
    except Exception as error:
        if _lacks_compiler(error):
            raise CudaError(f"Numba does not find NVIDIA's compiler libNVVM; {_INSTALL}") from None
        # What somebody has written into a kernel: Numba's words are the ones that help.
        if isinstance(error, TypeError) or type(error).__module__.startswith("numba"):
            raise TypeError(f"Numba cannot compile {function.__name__}: {error}") from None
        raise


def _as_kernel(made: Any, function: Any, options: dict[str, int]) -> Any:
    """The library of a compiled function, which is an entry that can be launched."""
    if NVIDIAS:
        name = made.fndesc.llvm_func_name
        made.library._entry_name = name
        compiler.kernel_fixup(made.library.get_function(name), False)
        return made.library
    code = function.__code__
    facts = made.library, made.fndesc, False, False, options, code.co_filename, code.co_firstlineno
    return made.target_context.prepare_cuda_kernel(*facts)[0]


def _lacks_compiler(error: Exception) -> bool:
    """Whether it is the machine that lacks something, whatever its class is called where it was raised."""
    found = {each.__name__ for each in type(error).__mro__}
    lacking = {"NvvmSupportError", "DynamicLibNotFoundError", "OSError", "ImportError", "NvrtcSupportError"}
    said = str(error).lower()
    return bool(found & lacking) or "libnvvm" in said or "missing libdevice" in said
