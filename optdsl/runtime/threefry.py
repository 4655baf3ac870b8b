"""Random numbers without a state: each is a function of a seed, the step, the call, the tensor, the element.

Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
2011). A key is folded from seed, step, call and tensor, one after the other, as `jax.random.fold_in` does;
the element's index is the counter. So nothing depends on the order in which elements are visited, on threads
or on how tensors are put together, and a run that is resumed draws what it would have drawn.

Here for arrays, of NumPy or JAX (`xp`); the same for one element at a time, compiled, is in `drawing`.
"""

import math
from typing import Any

import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
GROUPS = 5  # of four rounds
SCALE = 2.0**-32

Key = tuple[Any, Any]
"""Two words, uint32."""


def threefry(key: Key, counter: Key, xp: Any = np) -> Key:
    """Two words for each counter; arrays of uint32, which broadcast."""
    k0, k1, x0, x1 = (xp.asarray(word, xp.uint32) for word in (*key, *counter))
    keys = (k0, k1, k0 ^ k1 ^ xp.uint32(PARITY))
    with np.errstate(over="ignore"):
        x0, x1 = x0 + k0, x1 + k1
        for group in range(GROUPS):
            for rotation in ROTATIONS[group % 2]:
                x0 = x0 + x1
                x1 = (x1 << xp.uint32(rotation)) | (x1 >> xp.uint32(32 - rotation))
                x1 = x0 ^ x1
            x0 = x0 + keys[(group + 1) % 3]
            x1 = x1 + keys[(group + 2) % 3] + xp.uint32(group + 1)
    return x0, x1


def key_of(seed: Any, t: Any, call: int, place: Any, xp: Any = np) -> Key:
    """The key for one call of a spec and one tensor, the parameter number `place`; numbers below 2^32."""
    zero = xp.zeros_like(xp.asarray(seed, xp.uint32))
    key = (zero, xp.asarray(seed, xp.uint32))
    for data in (t, call, place):
        key = threefry(key, (zero, xp.asarray(data, xp.uint32)), xp)
    return key


def words(key: Key, index: Any, xp: Any = np) -> Key:
    """Two words for each element; `index` is uint32, or with NumPy uint64."""
    if index.dtype == np.uint32:
        return threefry(key, (xp.zeros_like(index), index), xp)
    return threefry(key, ((index >> 32).astype(np.uint32), index.astype(np.uint32)), xp)


def numbers_of(kind: str, first: Any, second: Any, dtype: Any, xp: Any = np) -> Any:
    """ "uniform": (word + 1/2)/2^32; "normal": of two such, by Box & Muller 1958."""
    u, v = (xp.asarray(word, dtype) * SCALE + SCALE / 2 for word in (first, second))
    if kind == "uniform":
        return u
    return xp.sqrt(-2 * xp.log(u)) * xp.cos(2 * math.pi * v)
