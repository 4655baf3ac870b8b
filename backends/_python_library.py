"""A library as one file of Python that carries it: `ctypes` and nothing else, not even NumPy.

In: an optimizer, its shared library and the PTX of its kernels. Out: text of a module, the same to the byte
for the same library. The class takes what Python calls a buffer: NumPy arrays, `array.array`, `memoryview`.
"""

from optdsl.language.optimizer import Optimizer
from optdsl.runtime.cuda.carried import packed

from ._llvm_library import BAD_HYPER, interface

_TEXT = '''\
# {name}, compiled by optdsl {by}
"""{name} as machine code for {triple}. It needs Python and nothing else.

    optimizer = {name}([theta], lr=0.1)
    optimizer.step([g])

Parameters are writable, contiguous buffers of float32 or float64 (NumPy arrays, `array.array`) that do not
overlap, and are changed in place; gradients have their sizes and formats. `PTX` are the same kernels for
NVIDIA's GPUs, for who launches them; empty where there are none.
"""

import base64
import ctypes
import os
import platform
import tempfile
import zlib

HYPERS = {hypers}
STATES = {states}  # with a value for each element
NUMBERS = {numbers}  # with one for each tensor
INPUTS = {inputs}  # numbers that a step is given
_FORMATS = {{"f": (ctypes.c_float, "f32"), "d": (ctypes.c_double, "f64")}}
_TRIPLE = "{triple}"
_LIBRARY = """{library}"""
_PTX = """{ptx}"""


def _unpacked(text):
    return zlib.decompress(base64.b85decode("".join(text.split())))


PTX = _unpacked(_PTX).decode()


def _loaded():
    machine = {{"AMD64": "x86_64", "arm64": "aarch64"}}.get(platform.machine(), platform.machine())
    if not _TRIPLE.startswith(machine) or platform.system().lower() not in _TRIPLE:
        raise ImportError(f"this is machine code for {{_TRIPLE}}: compile the spec on this machine")
    number, path = tempfile.mkstemp(suffix=".so")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(_unpacked(_LIBRARY))
        return ctypes.CDLL(path)
    finally:
        os.unlink(path)  # what is loaded stays


_library = _loaded()


def _memory(x, like=None):
    """A flat view of a buffer as an array of `ctypes`; a copy of one that may not be written."""
    view = memoryview(x)
    if view.format not in _FORMATS or not view.c_contiguous:
        raise TypeError("a contiguous buffer of float32 or float64 is needed")
    count = view.nbytes // view.itemsize
    if like is not None and (view.format, count) != like:
        raise ValueError("a gradient has another size or format than its parameter")
    kind = _FORMATS[view.format][0] * count
    if view.readonly:
        return kind.from_buffer_copy(view.cast("B"))
    return kind.from_buffer(view.cast("B")) if count else kind()


class {name}:
    """Keyword arguments are hyperparameters, which `hypers` holds; it may be changed between steps."""

    def __init__(self, params, **hypers):
        unknown = set(hypers) - set(HYPERS)
        if unknown:
            raise TypeError(f"{name} has no {{', '.join(sorted(unknown))}}; it has {{', '.join(HYPERS)}}")
        self.params, self.hypers, self.t = list(params), {{**HYPERS, **hypers}}, 0
        if any(memoryview(each).readonly for each in self.params):
            raise TypeError("a parameter may not be written")
        formats = {{memoryview(each).format for each in self.params}}
        if len(formats) != 1:
            raise TypeError("parameters need to be of one format: make an optimizer for each")
        self._keys = [(memoryview(each).format, len(_memory(each))) for each in self.params]
        element, self._ending = _FORMATS[formats.pop()] if self.params else _FORMATS["f"]
        self.states = {{name: [(element * count)() for _, count in self._keys] for name in STATES}}
        self._numbers = (ctypes.c_double * (len(NUMBERS) * len(self.params)))()
        theta = [_memory(each) for each in self.params]
        if len({{ctypes.addressof(each) for each in theta if len(each)}}) < sum(map(bool, map(len, theta))):
            raise ValueError("a parameter is there twice")
        arrays = [theta, *(self.states[name] for name in STATES)]
        self._call("init", [], arrays, [])

    def step(self, grads, **inputs):
        """One step. `inputs`: what INPUTS names."""
        grads = list(grads)
        if len(grads) != len(self.params) or set(inputs) != set(INPUTS):
            also = ", ".join(INPUTS) or "nothing else"
            raise TypeError(f"a step takes a gradient for each parameter, and {{also}}")
        theta = [_memory(each) for each in self.params]
        g = [_memory(each, key) for each, key in zip(grads, self._keys)]
        arrays = [theta, g, *(self.states[name] for name in STATES)]
        numbers = [ctypes.c_double(inputs[name]) for name in INPUTS]
        self._call("step", [ctypes.c_int64(self.t + 1)], arrays, numbers)
        self.t += 1

    def _call(self, kind, first, arrays, last):
        count = len(self.params)
        hypers = (ctypes.c_double * len(HYPERS))(*(self.hypers[name] for name in HYPERS))
        sizes = (ctypes.c_int64 * count)(*(size for _, size in self._keys))
        tables = [(ctypes.c_void_p * count)(*map(ctypes.addressof, each)) for each in arrays]
        function = getattr(_library, f"{prefix}_{{kind}}_{{self._ending}}")
        numbers = [self._numbers] if NUMBERS else []
        code = function(hypers, *first, ctypes.c_int64(count), sizes, *tables, *numbers, *last)
        if code <= {bad_hyper}:
            name = list(HYPERS)[{bad_hyper} - code]
            raise ValueError(f"Invalid {{name}}: {{self.hypers[name]}}")
        if code:
            raise RuntimeError(f"the library refused the call with {{code}}")
'''


def python_library(optimizer: Optimizer, library: bytes, ptx: str, triple: str, by: str) -> str:
    """The text of the module. `by`: what it says after `compiled by optdsl`."""
    given = interface(optimizer)
    return _TEXT.format(
        name=optimizer.name,
        prefix=given.name,
        by=by,
        triple=triple,
        hypers=repr({hyper.name: float(hyper.default) for hyper in given.hypers}),
        states=repr(tuple(state.name for state in given.states)),
        numbers=repr(tuple(state.name for state in given.numbers)),
        inputs=repr(given.scalars),
        library=packed(library),
        ptx=packed(ptx.encode()),
        bad_hyper=BAD_HYPER,
    )
