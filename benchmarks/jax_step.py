"""What compiled kernels bring inside of JAX: Adam's step, as medians of ratios within one run; Markdown.

Contestants step in turns under `jit`, with parameters and state donated: `step` by kernels, `update` by
kernels, `step` in jax.numpy, and optax's own Adam with `apply_updates`. CPU, float32.

    python benchmarks/jax_step.py
"""

from statistics import median
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optdsl

RANDOM = np.random.default_rng(0)
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "1k x 1": [(1_000,)],
    "1M x 1": [(1_000_000,)],
    "25M x 1": [(25_000_000,)],
    "400 of 1 to 10k": [(int(n),) for n in RANDOM.integers(1, 10_000, 400)],
}


class Contestant:
    def __init__(self, tx: Any, shapes: list[tuple[int, ...]], *, whole: bool) -> None:
        def update(params: Any, state: Any, g: Any) -> Any:
            updates, state = tx.update(g, state, params)
            return optax.apply_updates(params, updates), state

        self.function = jax.jit(tx.step if whole else update, donate_argnums=(0, 1))
        params = [jnp.ones(shape) for shape in shapes]
        self.carry = params, tx.init(params)

    def seconds(self, g: Any) -> float:
        started = perf_counter()
        self.carry = self.function(*self.carry, g)
        jax.block_until_ready(self.carry)  # type: ignore[no-untyped-call]
        return perf_counter() - started


def row(name: str) -> str:
    shapes = SHAPES[name]
    kernels, ours = optdsl.optax.load("adam", backend="numba_cpu")(1e-3), optdsl.optax.load("adam")(1e-3)
    contestants = [
        Contestant(kernels, shapes, whole=True),
        Contestant(kernels, shapes, whole=False),
        Contestant(ours, shapes, whole=True),
        Contestant(optax.adam(1e-3), shapes, whole=False),
    ]
    g = [jnp.full(shape, 0.5) for shape in shapes]
    for each in contestants:
        each.seconds(g)
    rounds = [[each.seconds(g) for each in contestants] for _ in range(20 if name == "25M x 1" else 100)]
    first = median(times[0] for times in rounds)
    ratios = (median(times[i] / times[0] for times in rounds) for i in range(1, 4))
    return f"| {name} | {first * 1e3:.2f} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |"


def main() -> None:
    print("| tensors | kernels' step, ms | their update : it | jax.numpy's step : it | optax : it |")
    print("|---|---|---|---|---|")
    for name in SHAPES:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
