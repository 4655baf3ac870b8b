"""One step of the leaves of a tree in jax.numpy: the passes that reduce, then what is written, all pure.

In: for each leaf its rule, its arrays and what the host's part reads. Out: the same with new arrays and
numbers; the arrays that went in are as they were. Which passes run when is decided while JAX traces: a sum
over all leaves is complete before anything reads it, whatever rules they follow.

Sums are made in the dtype of the arrays, in XLA's order. Under `jit` they are over whole arrays, however
these are sharded. NOT done: sums under `shard_map`, where a device takes the part that it sees for the whole.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optdsl.runtime.layout import COUNTS, LINE_COUNTS, Draw, State, Total, dims
from optdsl.runtime.threefry import key_of, numbers_of, words

Functions = tuple[Callable[..., Any], Callable[..., Any]]
"""(prologue, body)."""


@dataclass(frozen=True)
class JaxReduction:
    """A pass that sums, or a stage of matrices; `results` in its order: of whole tensors, or the buffer of
    what is for each row or column, or for stages."""

    functions: Functions
    results: tuple[Total | int, ...]


@dataclass(frozen=True)
class JaxKernel:
    """What writes; `stored`: the buffers that it gives anew, in order."""

    functions: Functions
    stored: tuple[int, ...]


@dataclass(frozen=True)
class JaxVariant:
    """The optimizer with its flags chosen.

    Buffers are numbered: the parameter, its gradient, `states` in order, inputs with a value per element,
    then `lines` of them for what passes reduce for each row or column.

    states     one value per element, row or column
    numbers    one value per tensor
    vectors    what writes the states with one value per row or column
    query      of the same buffers, what only moves the parameters, to where the gradient is taken; None:
               they stay
    views      what gives second views of them
    kept       arrays that stages have made, and the states that they are the new values of
    only_matrices   leaves have to have two dimensions
    draws      what is drawn, behind the inputs, with the hyper number `seed`
    below      the variant for leaves of fewer dimensions than `rank`; None: there is one for all
    """

    reductions: tuple[JaxReduction, ...]
    update: JaxKernel
    states: tuple[State, ...] = ()
    numbers: tuple[State, ...] = ()
    vectors: tuple[JaxKernel, ...] = ()
    lines: int = 0
    query: "JaxVariant | None" = None
    views: tuple[Functions, ...] = ()
    below: "JaxVariant | None" = None
    rank: int = 0
    draws: tuple[Draw, ...] = ()
    seed: int = 0
    by_channel: bool = False
    kept: tuple[tuple[int, int], ...] = ()
    only_matrices: bool = False

    def of_rank(self, dimensions: int) -> "JaxVariant":
        return self if self.below is None or dimensions >= self.rank else self.below

    @property
    def totals(self) -> list[Total]:
        return [each for pass_ in self.reductions for each in pass_.results if isinstance(each, Total)]

    @property
    def extra_columns(self) -> int:
        """Behind the hypers and inputs: counts and totals, where anything is reduced."""
        counts = COUNTS + LINE_COUNTS if self.lines else COUNTS
        return counts + len(self.totals) if self.reductions else 0


@dataclass
class Leaf:
    """One tensor: `arrays` by the number of the buffer, without those of `lines`; `row` the hypers and the
    inputs of one number; `now` the number of the step, from 1; `direction` -1 to maximize."""

    variant: JaxVariant
    arrays: list[Any]
    row: list[Any]
    numbers: list[Any]
    now: Any
    direction: Any

    def run(self, functions: Functions) -> tuple[Any, Any]:
        """What a pass gives, and the new numbers."""
        prologue, body = functions
        # Python's own numbers raise where IEEE divides by zero; NumPy's do not, and are as exact.
        row = [np.float64(x) if isinstance(x, int | float) else x for x in self.row]
        with np.errstate(all="ignore"):
            scalars, numbers = prologue(row, self.now, self.direction, self.numbers)
        return body(self.arrays, _like(scalars, self.arrays[0])), numbers


def drawn(leaf: Leaf, t: Any, place: int) -> list[Any]:
    """The random numbers of step `t` (a whole number) for the leaf of that place."""
    found = []
    for draw in leaf.variant.draws:
        key = key_of(leaf.row[leaf.variant.seed], t, draw.number, place, jnp)
        p = leaf.arrays[0]
        first, second = words(key, jnp.arange(p.size, dtype=jnp.uint32), jnp)
        numbers = numbers_of(draw.kind, first, second, jnp.result_type(float), jnp)
        found.append(numbers.reshape(p.shape).astype(p.dtype))
    return found


def stepped(leaves: Sequence[Leaf]) -> None:
    """New arrays and numbers in every leaf, in the dtypes and shapes of the old ones."""
    shapes = [[x.shape for x in leaf.arrays] for leaf in leaves]
    for leaf in leaves:
        if leaf.variant.lines:  # a vector is a matrix of one row
            by_channel = leaf.variant.by_channel
            leaf.arrays = [_as_matrices(x, by_channel=by_channel) for x in leaf.arrays]
            leaf.arrays += [None] * leaf.variant.lines
    _reduce(leaves)
    for leaf, own in zip(leaves, shapes, strict=True):
        results, numbers = leaf.run(leaf.variant.update.functions)
        new = dict(zip(leaf.variant.update.stored, results, strict=True))
        for vector in leaf.variant.vectors:
            new |= zip(vector.stored, leaf.run(vector.functions)[0], strict=True)
        new |= {state: leaf.arrays[made] for made, state in leaf.variant.kept}
        for number, value in new.items():
            old = leaf.arrays[number]
            leaf.arrays[number] = jnp.broadcast_to(value, old.shape).astype(old.dtype)
        leaf.arrays = [x.reshape(shape) for x, shape in zip(leaf.arrays, own, strict=False)]
        made = [jnp.asarray(x, old.dtype) for x, old in zip(numbers, leaf.numbers, strict=True)]
        if not leaf.arrays[0].size:  # the mean of no elements is NaN: what would become it stays
            made = [jnp.where(jnp.isnan(x), old, x) for x, old in zip(made, leaf.numbers, strict=True)]
        leaf.numbers = made


def _as_matrices(x: Any, *, by_channel: bool) -> Any:
    if x.ndim < 2:
        return x.reshape(1, -1)
    return x.reshape(dims(x.shape, by_channel)) if by_channel else x


def viewed(leaf: Leaf, functions: Functions) -> Any:
    """A second view of the parameter."""
    ((value,), _), p = leaf.run(functions), leaf.arrays[0]
    return jnp.broadcast_to(value, p.shape).astype(p.dtype)


def _reduce(leaves: Sequence[Leaf]) -> None:
    """Fills in the counts, the totals, and the arrays of what is reduced for rows and columns."""
    elements = sum(leaf.arrays[0].size for leaf in leaves)
    first = []  # of the columns of totals
    for leaf in leaves:
        variant, shape = leaf.variant, leaf.arrays[0].shape
        counts = (leaf.arrays[0].size, elements, *(dims(shape, variant.by_channel) if variant.lines else ()))
        first.append(len(leaf.row) + len(counts))
        if variant.reductions:
            leaf.row = [*leaf.row, *counts, *([0.0] * len(variant.totals))]
    over_all = [[total.key for total in leaf.variant.totals if total.over_all] for leaf in leaves]
    missing = Counter(key for keys in over_all for key in keys)
    sums: dict[str, Any] = {}
    places: dict[str, list[tuple[Leaf, int]]] = {key: [] for key in missing}
    done = [0] * len(leaves)
    while any(number < len(leaf.variant.reductions) for number, leaf in zip(done, leaves, strict=True)):
        turn = [i for i, leaf in enumerate(leaves) if _can_go_on(leaf.variant, done[i], missing)]
        if not turn:
            raise ValueError(
                "the parameters follow rules that wait for each other's sums over all parameters; "
                "give them transformations of their own with optax.partition"
            )
        for i in turn:
            leaf, reduction = leaves[i], leaves[i].variant.reductions[done[i]]
            found, _ = leaf.run(reduction.functions)
            done[i] += 1
            for where, value in zip(reduction.results, found, strict=True):
                if isinstance(where, int):
                    leaf.arrays[where] = value
                elif where.over_all:
                    sums[where.key] = sums[where.key] + value if where.key in sums else value
                    places[where.key].append((leaf, first[i] + where.column))
                    missing[where.key] -= 1
                else:
                    leaf.row[first[i] + where.column] = value
        for key in [key for key, left in missing.items() if not left]:
            del missing[key]
            for leaf, column in places[key]:
                leaf.row[column] = sums[key]


def _can_go_on(variant: JaxVariant, done: int, missing: Counter[str]) -> bool:
    """Whether there is another pass, and all sums over all leaves that were begun before it are whole."""
    if done == len(variant.reductions):
        return False
    begun = (each for pass_ in variant.reductions[:done] for each in pass_.results)
    return not any(isinstance(each, Total) and each.over_all and missing[each.key] for each in begun)


def _like(scalars: Any, array: Any) -> list[Any]:
    """Scalars that take the dtype of the array: a wider one would widen all elements."""
    return [
        float(x)
        if isinstance(x, np.float64)
        else x.astype(array.dtype)
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
        else x
        for x in scalars
    ]
