"""What a module for torch carries for GPUs, as its text: PTX, packed, and a table of what is in it.

In: the code of every kernel of the module. Out: the assignment of `ON_GPU`, the same to the byte for the same
code. Nothing of a spec is in it but what its PTX has.
"""

from collections.abc import Mapping

from optdsl.runtime.cuda.carried import packed
from optdsl.runtime.cuda.kernel import DeviceCode

IMPORT = "from optdsl.runtime.cuda.carried import Carried, carried\n"


def carried_text(codes: Mapping[str, DeviceCode]) -> str:
    """`codes`: by the names of functions of the module."""
    texts = list(dict.fromkeys(code.ptx for code in codes.values()))
    table = "".join(f'        "{name}": {_entry(code, texts)},\n' for name, code in codes.items())
    carried = "".join(f'        """{packed(text.encode())}""",\n' for text in texts)
    both = f"    {{\n{table}    }},\n    (\n{carried}    ),\n"
    return f"# PTX for NVIDIA's GPUs: zlib, base 85\nON_GPU = carried(\n{both})"


def _entry(code: DeviceCode, texts: list[str]) -> str:
    facts = f"buffers={code.buffers}, scalars={code.scalars}, hypers={code.hypers}"
    return (
        f'Carried({texts.index(code.ptx)}, "{code.entry}", {facts}, single={code.single}, sums={code.sums})'
    )
