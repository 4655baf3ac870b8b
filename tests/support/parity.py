"""How far a spec and another library's optimizer are apart: a number, and a row of docs/parity.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """200 steps in float64. `apart`: the largest difference, relative to its tensor's largest element."""

    spec: str
    peer: str
    options: str
    apart: float
    note: str = ""


def difference(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """The largest over the tensors; NaN where either has one."""
    return max(
        float(np.max(np.abs(x - y.astype(np.float64))) / np.max(np.abs(y)))
        for x, y in zip(found, expected, strict=True)
    )


def told(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in options.items())
