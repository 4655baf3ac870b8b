"""A step over NumPy arrays: what fits the kernels is worked on in place, everything else as a copy.

In: the arrays, states and gradients of an `ArrayOptimizer`. Out: tables of addresses. Arrays cannot move,
so a plan holds until the variant, the state or the pattern of missing gradients changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.hypers import Options
from optdsl.runtime.layout import THETA_0, Layout, State, Variant, dims
from optdsl.runtime.memory import Memory, Written
from optdsl.runtime.table import Table, reduce_tables
from optdsl.runtime.thread_pool import thread_count

Array = NDArray[Any]
STEP = "step"


@dataclass(frozen=True)
class Structure:
    """How users arrange arrays: alone (`keys` None), or under the keys of a list or dict."""

    keys: tuple[Any, ...] | None
    named: bool = False

    def words(self, index: int) -> str:
        return "the parameter" if self.keys is None else f"parameter {self.keys[index]!r}"

    def match(self, values: Any, what: str) -> list[Any]:
        """The values in the order of the parameters. Raises `ValueError` if the structure differs."""
        if self.keys is None:
            return [values]
        if self.named:
            if not isinstance(values, Mapping):
                raise ValueError(f"{what} must be a dict with the keys of the parameters")
            if values.keys() != set(self.keys):
                odd = ", ".join(sorted(map(repr, values.keys() ^ set(self.keys))))
                raise ValueError(f"{what} must have the keys of the parameters; these differ: {odd}")
            return [values[key] for key in self.keys]
        if not isinstance(values, list | tuple) or len(values) != len(self.keys):
            raise ValueError(f"{what} must be a list of {len(self.keys)}, as the parameters are")
        return list(values)


def unfold(params: Any) -> tuple[Structure, list[Any]]:
    """The structure of the parameters, and the arrays in order."""
    if isinstance(params, Mapping):
        return Structure(tuple(params), named=True), list(params.values())
    if isinstance(params, list | tuple):
        return Structure(tuple(range(len(params)))), list(params)
    return Structure(None), [params]


def memory_of(x: Array, what: str = "") -> Memory:
    return Memory(x.__array_interface__["data"][0], x.shape, x.strides, x.itemsize, what)


def check_parameters(arrays: Sequence[Any], structure: Structure) -> None:
    """Raises `TypeError`, `ValueError` or `RuntimeError` for what cannot be updated in place."""
    if not arrays:
        raise ValueError("there are no parameters")
    for index, array in enumerate(arrays):
        what = structure.words(index)
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{what} is a {type(array).__name__}, not a NumPy array; use np.array(...)")
        if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)) or not array.dtype.isnative:
            raise TypeError(f"{what} is {array.dtype}, and only float32 and float64 arrays can be updated")
        if not array.flags.writeable:
            raise ValueError(f"{what} is read-only; pass a copy")
        if memory_of(array).overlaps_itself:
            raise RuntimeError(f"{what} has elements that share memory; pass a copy")
    Written.of([memory_of(array, structure.words(index)) for index, array in enumerate(arrays)])


def check_gradients(
    found: Sequence[Any], arrays: Sequence[Array], structure: Structure, word: str = "gradient"
) -> list[Array | None]:
    """As arrays of the right shapes. Raises `TypeError` and `ValueError`."""
    gradients: list[Array | None] = []
    for index, (g, array) in enumerate(zip(found, arrays, strict=True)):
        if g is None:
            gradients.append(None)
            continue
        g = np.asarray(g)
        if g.dtype.kind not in "fiu":
            raise TypeError(f"the {word} of {structure.words(index)} is {g.dtype}, not real numbers")
        if g.shape != array.shape:
            what = structure.words(index)
            raise ValueError(f"the {word} of {what} has shape {g.shape} and the parameter {array.shape}")
        gradients.append(g)
    return gradients


class ArrayPlan:
    """Tables for one variant and one pattern of missing gradients (`active`)."""

    def __init__(
        self,
        layout: Layout,
        options: Options,
        arrays: Sequence[Array],
        states: Sequence[Mapping[str, Any]],
        active: tuple[bool, ...],
        structure: Structure,
        *,
        for_query: bool = False,
    ) -> None:
        """`for_query`: of what moves the parameters to where the gradient is taken."""
        self.variant, self.active, self.given = options.variant, active, states
        self._members = [index for index, is_active in enumerate(active) if is_active]
        self._arrays = arrays
        self._states = {i: complete_state(layout, options, arrays[i], states[i]) for i in self._members}
        self._variants: dict[int, Variant] = {}
        for i in self._members:
            of_rank = options.variant.of_rank(arrays[i].ndim)
            chosen = of_rank.query if for_query else of_rank
            assert chosen is not None
            self._variants[i] = chosen
        # What goes through rows takes those of the array, whatever the order of its strides.
        self._order = {
            i: tuple(range(arrays[i].ndim)) if variant.by_rows else _storage_order(arrays[i])
            for i, variant in self._variants.items()
        }
        self._models: dict[int, Array] = {}
        self._copies: list[tuple[Array, Array]] = []
        self._kept: list[Array] = []  # keeps copies alive while a kernel reads them
        memories = [memory_of(arrays[i], structure.words(i)) for i in self._members]
        for i, state in self._states.items():
            memories += [memory_of(x, f"a state of {structure.words(i)}") for x in state.values()]
        self._written = Written.of(memories)
        self._tables = [
            (self._table(indices), indices)
            for variant in {id(each): each for each in self._variants.values()}.values()
            for dtype in (np.float32, np.float64)
            if (indices := [i for i in self._members
                            if arrays[i].dtype == dtype and self._variants[i] is variant])
        ]  # fmt: skip

    def is_for(self, variant: Variant, active: tuple[bool, ...], states: Sequence[Any]) -> bool:
        return variant is self.variant and active == self.active and states is self.given

    def commit(self, states: list[dict[str, Any]]) -> None:
        for index, state in self._states.items():
            states[index] = state

    def gather(self, options: Options, numbers: tuple[float, ...]) -> None:
        hypers = np.array([(*options.hypers, *numbers)]).reshape(1, -1)
        for table, _ in self._tables:
            table.compile()
            table.gather(hypers, np.array([options.direction]))

    def show(self, view: str) -> None:
        """Parameters go to a view of them."""
        threads = thread_count()
        for table, _ in self._tables:
            table.compile_view(view)
        self._load_copies()
        for table, _ in self._tables:
            table.run(table.views[view], threads)
        self._store_copies()

    def move(self, given: Mapping[str, Sequence[Array | None]]) -> None:
        """The kernels alone. `given` by the buffer: gradients (`g`), inputs with one value per element."""
        threads = thread_count()
        for name, arrays in given.items():
            self._place(name, arrays)
        self._load_copies()
        for table, _ in self._tables:
            table.draw(threads)
        reduce_tables((table for table, _ in self._tables), threads)
        for table, _ in self._tables:
            table.run(table.pair, threads)
        self._store_copies()
        self._kept.clear()

    def run(self, given: Mapping[str, Sequence[Array | None]]) -> None:
        """The step itself."""
        self.move(given)
        for table, _ in self._tables:
            table.scatter()

    def _table(self, indices: list[int]) -> Table:
        variant = self._variants[indices[0]]
        single = self._arrays[indices[0]].dtype == np.float32
        addresses = np.zeros((len(indices), len(variant.buffers)), np.uint64)
        numbers_at = np.zeros((len(indices), 1 + len(variant.scalar_states)), np.uint64)
        widths = np.zeros(numbers_at.shape, np.int64)
        times = np.ones(len(indices))
        for row, i in enumerate(indices):
            state = self._states[i]
            model = self._models[i] = self._worked_on(self._arrays[i], i)
            addresses[row] = _address(model)  # the gradient's follows at each step, and the inputs'
            for column, spec in enumerate(variant.states, 2):
                addresses[row, column] = _address(self._worked_on(state[spec.key], i))
            keys = (STEP if variant.keeps_step else None, *(spec.key for spec in variant.scalar_states))
            for column, key in enumerate(keys):
                if key is not None:
                    numbers_at[row, column], widths[row, column] = _address(state[key]), 8
            times[row] = 2.0 if _began(variant, self.given[i]) else 1.0
        return Table(
            variant=variant,
            **variant.kernels("float32" if single else "float64"),
            dims=np.array([dims(self._arrays[i].shape, variant.by_channel) for i in indices], np.int64),
            addresses=addresses,
            sizes=np.array([self._arrays[i].size for i in indices], np.int64),
            numbers_at=numbers_at,
            widths=widths,
            times=times,
            groups=np.zeros(len(indices), np.int64),
            places=np.array(indices, np.int64),
            itemsize=self._arrays[indices[0]].dtype.itemsize,
        )

    def _worked_on(self, array: Array, index: int) -> Array:
        """`array` with its axes in storage order if that is contiguous, or a contiguous copy."""
        order = self._order[index]
        view = array.transpose(order) if len(order) == array.ndim else array  # a matrix of its own
        if view.flags.c_contiguous and view.flags.aligned:
            return view
        copy = np.empty_like(view, order="C")
        self._copies.append((view, copy))
        return copy

    def _place(self, name: str, arrays: Sequence[Array | None]) -> None:
        for table, indices in self._tables:
            if name not in table.variant.buffers:
                continue
            column = table.variant.buffers.index(name)
            for row, i in enumerate(indices):
                x = arrays[i]
                assert x is not None
                view = x.transpose(self._order[i])
                if not self._fits(view, self._models[i].dtype):
                    view = np.array(view, self._models[i].dtype, order="C")
                self._kept.append(view)
                table.addresses[row, column] = _address(view)

    def _fits(self, view: Array, dtype: np.dtype[Any]) -> bool:
        if view.dtype != dtype or not view.flags.c_contiguous or not view.flags.aligned:
            return False
        start = np.array([_address(view)], np.int64)
        return not self._written.touches(start, start + view.nbytes)[0]

    def _load_copies(self) -> None:
        for array, copy in self._copies:
            copy[...] = array

    def _store_copies(self) -> None:
        for array, copy in self._copies:
            array[...] = copy


def complete_state(layout: Layout, options: Options, p: Array, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state that the variant needs, with what is missing made new; numbers are 0-d float64."""
    complete = dict(state)
    variant = options.variant.of_rank(p.ndim)
    for spec in variant.states:
        if spec.key not in complete:
            complete[spec.key] = _initial(layout, spec, p, options.hypers)
    if variant.keeps_step:
        complete.setdefault(STEP, np.zeros(()))
    for spec in variant.scalar_states:
        if spec.key not in complete:
            complete[spec.key] = np.array(_initial_value(layout, spec, options.hypers))
    return complete


def _began(variant: Variant, state: Mapping[str, Any]) -> bool:
    return any(spec.key in state for spec in (*variant.states, *variant.scalar_states))


def _initial_value(layout: Layout, spec: State, hypers: tuple[float, ...]) -> float:
    if isinstance(spec.initial, str):
        return hypers[[hyper.name for hyper in layout.hypers].index(spec.initial)]
    return spec.initial


def _initial(layout: Layout, spec: State, p: Array, hypers: tuple[float, ...]) -> Array:
    # order "K": as the parameter lies in memory
    if spec.initial == THETA_0:
        return p.copy(order="K")
    if spec.per:
        return np.full(spec.shape(p.shape, hypers), _initial_value(layout, spec, hypers), p.dtype)
    return np.full_like(p, _initial_value(layout, spec, hypers), subok=False)


def _storage_order(array: Array) -> tuple[int, ...]:
    """The axes from the farthest apart to the nearest."""
    return tuple(sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis)))


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
