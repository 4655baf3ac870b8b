"""PTX that a generated module carries, for tensors on GPUs where nobody compiles: texts, and what is there.

In: packed texts and a table, as `optdsl compile --ptx` writes them. Out: what `Layout.device_code` is: a
function from the names of the module's kernels to `DeviceCode`. Texts are unpacked when a parameter on a GPU
asks for one.
"""

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from optdsl.runtime.cuda.kernel import DeviceCode


@dataclass(frozen=True)
class Carried:
    """A kernel: the number of its text, and what else `DeviceCode` says."""

    text: int
    entry: str
    buffers: int
    scalars: int
    hypers: int
    single: bool
    sums: int


def carried(kernels: Mapping[str, Carried], texts: Sequence[str]) -> Callable[[str], DeviceCode]:
    """Raises `NotImplementedError`, when it is called, for a kernel that the module does not carry."""

    @cache
    def code(name: str) -> DeviceCode:
        if name not in kernels:
            raise NotImplementedError("the module carries no code for it; compile the spec again with --ptx")
        own = kernels[name]
        facts = (own.entry, own.buffers, own.scalars, own.hypers, own.single, own.sums)
        return DeviceCode(unpacked(texts[own.text]), *facts)

    return code


@cache
def unpacked(text: str) -> str:
    return zlib.decompress(base64.b85decode("".join(text.split()))).decode()


def packed(data: bytes) -> str:
    """Letters of base 85, of which none is a quotation mark or a backslash, in lines."""
    letters = base64.b85encode(zlib.compress(data, 9)).decode()
    return "\n" + "\n".join(letters[at : at + 100] for at in range(0, len(letters), 100)) + "\n"
