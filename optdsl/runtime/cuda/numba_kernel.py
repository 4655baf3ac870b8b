"""Functions of Python that Numba makes kernels for GPUs of: the decorators `kernel` and `fast_kernel`.

A kernel takes addresses in the GPU's memory (its arguments that end in `_at`, 64 bits without sign) and
counts (64 bits with one), as the kernels of `optdsl.runtime.cuda.kernel` do, and is launched as they are. It
is written with `numba_words`, Python's `range`, `if` and numbers, and functions inside of it. It is compiled
for GPUs of compute capability 8.0 and later, when it is first launched or its text is asked for.

    kernel        every operation is rounded on its own
    fast_kernel   NVIDIA's compiler may join multiplications and additions

NOT done: calls of other functions of Python; arrays.
"""

import re
from collections.abc import Callable
from typing import Any

from optdsl.runtime.cuda.driver import device as device_of
from optdsl.runtime.cuda.kernel import Launch, loaded
from optdsl.runtime.cuda.numba_package import kernel_ptx, types
from optdsl.runtime.cuda.numba_words import SUMS


class Kernel:
    """A function of Python that becomes an entry of a module of PTX."""

    def __init__(self, function: Callable[..., None], *, contract: bool) -> None:
        self.function = function
        self.contract = contract
        self._text: str | None = None
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__

    def ptx(self, entry: str, capability: tuple[int, int] = (8, 0)) -> str:
        """A module with it under the name `entry`, for GPUs of that compute capability and later.

        Raises `CudaError` where there is no compiler.
        """
        code = self.function.__code__
        names = code.co_varnames[: code.co_argcount]
        arguments = tuple(types.uint64 if name.endswith("_at") else types.int64 for name in names)
        text = kernel_ptx(self.function, arguments, capability, contract=self.contract)
        return _cleaned(text, entry)

    def launch(self, blocks: int, *arguments: Any, device: int = 0, stream: int = 0) -> None:
        """`blocks` blocks of THREADS threads, on a stream; nobody waits for them.

        arguments: numbers, addresses in that GPU's memory, or tensors there, which have a `data_ptr()`.
        Raises `CudaError` where there is no compiler or no GPU, and `TypeError` for another count of them.
        """
        expected = self.function.__code__.co_argcount
        if len(arguments) != expected:
            raise TypeError(f"{self.__name__} takes {expected} arguments, not {len(arguments)}")
        if self._text is None:
            self._text = self.ptx(self.__name__)
        gpu = device_of(device)
        module = loaded(gpu, self._text)
        with gpu:
            function = gpu.function(module, self.__name__)
            Launch(gpu, function, expected)(blocks, stream, *map(_as_number, arguments))

    def __call__(self, *arguments: Any) -> None:
        raise TypeError(f"{self.__name__} runs on a GPU: {self.__name__}.launch(blocks, ...)")


def _as_number(argument: Any) -> int:
    return int(argument.data_ptr()) if hasattr(argument, "data_ptr") else int(argument)


def kernel(function: Callable[..., None]) -> Kernel:
    return Kernel(function, contract=False)


def fast_kernel(function: Callable[..., None]) -> Kernel:
    return Kernel(function, contract=True)


_ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*\(")
_VARIABLE = re.compile(r"(?m)^(\.(?:visible |common |weak )?\s*\.global [^\n]*?([\w$]+);\n)")


def _cleaned(text: str, entry: str) -> str:
    """With names that can be said, and nothing of Numba's; for drivers as old as PTX 7.0 (CUDA 11.0).

    Nothing newer is in the instructions that these kernels are made of, and an assembler says so if it is.
    """
    text = re.sub(r"(?m)^\s*//[^\n]*\n", "", text)
    found = _ENTRY.search(text)
    assert found is not None, "Numba gave no kernel"
    for line, name in _VARIABLE.findall(text):
        if text.count(name) == 1:  # what Numba declares in each module, and these kernels do not use
            text = text.replace(line, "")
    text = text.replace(found[1], entry).replace(SUMS, f"{entry}_sums")
    text = re.sub(r"(?m)^\.version [\d.]+", ".version 7.0", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def joined(texts: list[str]) -> str:
    """One module of several."""
    head = re.compile(r"\.version[^\n]*\n\.target[^\n]*\n\.address_size[^\n]*\n")
    first, *others = texts
    return "\n".join([first, *(head.sub("", text) for text in others)])
