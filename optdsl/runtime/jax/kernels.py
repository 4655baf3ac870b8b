"""One step of the leaves of a tree by the CPU's compiled kernels, called from inside what JAX has compiled.

In: leaves as `jnp_step` has them, and the table of kernels that the NumPy class of the same spec steps with.
Out: leaves with new arrays and numbers. One custom call takes all leaves; what it writes is aliased to what
went in, so that XLA steps donated buffers, and the carry of a loop, in place. Options that are Python's
numbers reach the kernels as float64, those that JAX traces in their own dtype. 16-bit leaves are stepped as
float32 copies. Random numbers are the kernels' own.

Assumed: leaves are whole, or rules work element by element. NOT done: derivatives, which are refused;
`vmap` calls the kernels for one member after the other.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from ctypes import c_double, c_float, c_int32, memmove
from dataclasses import dataclass
from functools import wraps
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.jax.jnp_step import Leaf
from optdsl.runtime.jax.xla_call import TARGET, register
from optdsl.runtime.layout import Layout, Variant, dims
from optdsl.runtime.table import Table, reduce_tables
from optdsl.runtime.thread_pool import thread_count

Array = NDArray[Any]


def with_kernels(make: Callable[..., Any], layout: Layout, made_of: str) -> Callable[..., Any]:
    """`make`, a function of options that returns a transformation, with steps by the kernels of `layout`."""

    @wraps(make)
    def made(*args: Any, **options: Any) -> Any:
        transformation = make(*args, **options)
        functions = transformation.functions
        variant = layout.variants[functions.flags]
        functions.kernels = KernelStep(layout.name, variant, f"{made_of} {functions.flags}")
        return transformation

    return made


@dataclass(frozen=True)
class KernelStep:
    """The kernels of one choice of flags; `made_of` names the code that they are of, and the choice."""

    name: str
    variant: Variant
    made_of: str

    def stepped(self, leaves: Sequence[Leaf], count: Any, *, query: bool = False) -> None:
        """New arrays and numbers in every leaf, in the dtypes and shapes of the old ones.

        `count`: steps taken before. `query`: only the parameters move, to where the gradient is taken.
        Raises `TypeError` for dtypes that no kernel has, and when a derivative is asked for.
        """
        if not leaves:
            return
        plans = [_plan(self.variant, leaf, query=query) for leaf in leaves]
        row = [_operand(x) for x in leaves[0].row]
        operands = [jnp.asarray(count, jnp.int32), *row]
        results: list[int] = []
        for leaf, plan in zip(leaves, plans, strict=True):
            results += [len(operands) + place for place in plan.written]
            operands += [x.astype(plan.dtype) for x in (*leaf.arrays, *leaf.numbers)]
        kinds = tuple("bits" if x.dtype == np.uint32 else str(x.dtype) for x in row)
        key = f"{self.made_of} {query} {leaves[0].direction} {kinds} {plans} {results}"
        name = np.frombuffer(hashlib.sha256(key.encode()).digest()[:8], np.uint32)
        register(int(name.view(np.uint64)[0]), lambda: _Call(plans, kinds, leaves[0].direction))
        new = iter(_called(self.name, tuple(results), [name, *operands]))
        for leaf, plan in zip(leaves, plans, strict=True):
            places = len(leaf.arrays)
            for place in plan.written:
                if place < places:
                    leaf.arrays[place] = next(new).astype(leaf.arrays[place].dtype)
                else:
                    number = place - places
                    leaf.numbers[number] = next(new).astype(leaf.numbers[number].dtype)


def _called(title: str, results: tuple[int, ...], operands: Sequence[Any]) -> Sequence[Any]:
    """The custom call; `results` are the operands that it gives anew, counted behind the first."""

    @jax.custom_jvp
    def call(*given: Any) -> Sequence[Any]:
        shapes: list[Any] = [jax.typeof(given[1 + i]) for i in results]
        aliases = {1 + operand: place for place, operand in enumerate(results)}
        found = jax.ffi.ffi_call(TARGET, shapes, vmap_method="sequential", input_output_aliases=aliases)(
            *given
        )
        return tuple(found)

    @call.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        raise TypeError(
            f"a step of {title} by compiled kernels has no derivative; load it with backend='jnp'"
        )

    return tuple(call(*operands))


def _operand(x: Any) -> Any:
    """A number as the kernels can read it: Python's own keep all 53 bits."""
    if isinstance(x, int | float | np.generic):
        return np.array([float(x)]).view(np.uint32)
    x = jnp.asarray(x)
    return x.astype(x.dtype if x.dtype == np.float64 else np.float32).reshape(())


@dataclass(frozen=True)
class _Plan:
    """How a leaf goes into a table; of its operands, which are its arrays and then its numbers.

    columns   of the table of addresses: the operand, or -1 for what the table draws
    numbers   the scalar states
    count     all operands
    written   those that are given anew, and `bytes` of each
    """

    variant: Variant
    shape: tuple[int, ...]
    dtype: str
    columns: tuple[int, ...]
    numbers: tuple[int, ...]
    count: int
    written: tuple[int, ...]
    bytes: tuple[int, ...]

    def __repr__(self) -> str:  # names the plan to XLA: nothing of where objects are
        return repr((self.variant.buffers, self.shape, self.dtype, self.columns, self.numbers, self.written))


def _plan(whole: Variant, leaf: Leaf, *, query: bool) -> _Plan:
    p = leaf.arrays[0]
    variant = whole.of_rank(p.ndim)
    dtype = {"float16": "float32", "bfloat16": "float32"}.get(str(p.dtype), str(p.dtype))
    if dtype not in ("float32", "float64"):
        raise TypeError(f"compiled kernels step real floating-point leaves, and one is {p.dtype}")
    if query:
        assert variant.query is not None
        variant = variant.query
    kept, drawn = 2 + len(variant.states), {draw.buffer for draw in variant.draws}
    given = iter(range(len(leaf.arrays)))
    columns = tuple(-1 if column in drawn else next(given) for column in range(len(variant.buffers)))
    numbers = tuple(len(leaf.arrays) + i for i in range(len(variant.scalar_states)))
    written = (0,) if query else (0, *range(2, kept), *numbers)
    operands = [*leaf.arrays, *leaf.numbers]
    itemsize = np.dtype(dtype).itemsize
    sizes = tuple(operands[place].size * itemsize for place in written)
    return _Plan(variant, p.shape, dtype, columns, numbers, len(operands), written, sizes)


class _Call:
    """What XLA calls: tables for the leaves of one tree, which calls take in turns."""

    def __init__(self, plans: Sequence[_Plan], kinds: Sequence[str], direction: float) -> None:
        self._kinds = kinds
        self._direction = np.array([direction])
        self._lock = threading.Lock()
        firsts = np.cumsum([1 + len(kinds), *(plan.count for plan in plans)])
        of_all = [(plan, int(first)) for plan, first in zip(plans, firsts, strict=False)]
        # Of all operands: those that are written, in the order of the results.
        self._written = np.array([first + i for plan, first in of_all for i in plan.written], np.int64)
        self._bytes = [size for plan in plans for size in plan.bytes]
        self._tables = []
        for variant in {id(plan.variant): plan.variant for plan in plans}.values():
            for dtype in ("float32", "float64"):
                own = [i for i, plan in enumerate(plans) if plan.variant is variant and plan.dtype == dtype]
                if own:
                    self._tables.append(_Operands(_table([plans[i] for i in own], own),
                                                  *_places([of_all[i] for i in own])))  # fmt: skip
        for each in self._tables:
            each.table.compile()

    def __call__(self, operands: NDArray[np.uint64], results: NDArray[np.uint64]) -> None:
        with self._lock:
            threads = thread_count()
            for i in np.flatnonzero(operands[self._written] != results):  # XLA has kept no alias
                memmove(int(results[i]), int(operands[self._written[i]]), self._bytes[i])
            at = operands.copy()
            at[self._written] = results
            row = np.array(
                [_read(int(place), kind) for place, kind in zip(at[1:], self._kinds, strict=False)]
            )
            now = _read(int(at[0]), "int32") + 1.0
            for each in self._tables:
                each.place(at, now)
            tables = [each.table for each in self._tables]
            for table in tables:
                table.gather(row.reshape(1, -1), self._direction)
            for table in tables:
                table.draw(threads)
            reduce_tables(tables, threads)
            for table in tables:
                table.run(table.pair, threads)
            for table in tables:
                table.scatter()


@dataclass(frozen=True)
class _Operands:
    """A table, and which of all operands go into it; -1 for those that are its own."""

    table: Table
    columns: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def place(self, at: NDArray[np.uint64], now: float) -> None:
        """`at`: where the operands are. `now`: the number of the step, from 1."""
        table, given = self.table, self.columns >= 0
        table.addresses[:, : given.shape[1]][given] = at[self.columns[given]]
        table.numbers_at[:, 1:] = at[self.numbers]
        table.times[:] = now


def _places(of_all: Sequence[tuple[_Plan, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where in all operands those of each plan are; the second of a pair is where they begin."""
    columns = [[first + i if i >= 0 else -1 for i in plan.columns] for plan, first in of_all]
    numbers = [[first + i for i in plan.numbers] for plan, first in of_all]
    return np.array(columns, np.int64), np.array(numbers, np.int64).reshape(len(of_all), -1)


def _table(plans: Sequence[_Plan], places: Sequence[int]) -> Table:
    """Without an address, for plans of one variant and dtype."""
    variant, count = plans[0].variant, len(plans)
    itemsize = np.dtype(plans[0].dtype).itemsize
    widths = np.full((count, 1 + len(variant.scalar_states)), itemsize, np.int64)
    widths[:, 0] = 0  # optax counts the steps
    return Table(
        variant=variant,
        **variant.kernels(plans[0].dtype),
        dims=np.array([dims(plan.shape, variant.by_channel) for plan in plans], np.int64),
        addresses=np.zeros((count, len(variant.buffers)), np.uint64),
        sizes=np.array([prod(plan.shape) for plan in plans], np.int64),
        numbers_at=np.zeros(widths.shape, np.uint64),
        widths=widths,
        times=np.ones(count),
        groups=np.zeros(count, np.int64),
        places=np.array(places, np.int64),
        itemsize=itemsize,
    )


def _read(address: int, kind: str) -> float:
    """The number at an address; "bits" are a float64 in two words."""
    of: Any = {"bits": c_double, "float64": c_double, "float32": c_float, "int32": c_int32}[kind]
    return float(of.from_address(address).value)
