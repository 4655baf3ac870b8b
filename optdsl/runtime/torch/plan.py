"""A step over torch tensors, worked out once and kept for as long as every address in it holds.

In: the groups, gradients and state of an optimizer. Out: tables of addresses, checked: nothing in a plan
overlaps, everything has the layout and dtype that the kernels take. What does not (a view with gaps, a
gradient in another order, one that lies in a parameter, float16 and bfloat16) is worked on as a copy, which
is rounded to the parameter's dtype at the end of each step. Complex numbers are pairs of real ones.

`Plan.build` is slow and checks everything; `Plan.holds` is what makes a step over hundreds of small
tensors fast: it asks each tensor for its address, and parameters and gradients for their sizes and
strides, in a few C-level loops.
NOT done: the order of a step, closures and hooks (`optimizer`).
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optdsl.runtime.cuda.step import Source
from optdsl.runtime.hypers import Options
from optdsl.runtime.layout import FIRST_GRADIENT, Layout, Variant, dims
from optdsl.runtime.memory import Written
from optdsl.runtime.sharded_sums import Ledger, Send
from optdsl.runtime.table import Table, reduce_tables
from optdsl.runtime.torch import shards
from optdsl.runtime.torch.checks import (
    as_real,
    check_gradient,
    check_input,
    check_parameter,
    fits,
    memory_of,
    words,
)
from optdsl.runtime.torch.cuda import move_to_device
from optdsl.runtime.torch.fetch import fetch, lines
from optdsl.runtime.torch.layouts import Layouts, Trusted, same
from optdsl.runtime.torch.members import Member, Part, memories, numbers_of, of_a_kind, state_tensors
from optdsl.runtime.torch.state import CPU, STEP, complete_state
from optdsl.runtime.torch.storage import states_of, worked_on_in
from optdsl.runtime.torch.team import facts

Groups = Sequence[dict[str, Any]]
_pointer, _negative, _conjugated = Tensor.data_ptr, Tensor.is_neg, Tensor.is_conj
_dtype = attrgetter("dtype")


class Plan:
    """Built for one pattern of gradients; `parameters` are all parameters of all groups, in order."""

    def __init__(
        self,
        layout: Layout,
        parameters: list[Tensor],
        missing: list[bool],
        variants: list[Variant],
        members: list[Member],
    ) -> None:
        self._layout = layout
        self.parameters = parameters
        self._missing = missing
        self.variants = variants
        self.members = members
        self._gathered = [member for member in members if member.model is not member.p]
        self.active = [member.p for member in members]
        self.parts: list[Part] = []
        self._copies: list[tuple[Tensor, Tensor]] = []  # (tensor, what the kernel works on)
        self._gradient_copies: dict[int, Tensor] = {}
        self._models: dict[int, Tensor] = {}  # what the kernel works on, by member
        self._given: list[Tensor] = []  # keeps inputs alive while a kernel reads them
        self._lay_out()

    # --- building --------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        layout: Layout,
        groups: Groups,
        options: Sequence[Options],
        state: Any,
        gradients: Sequence[Tensor | None],
        for_query: bool = False,
        for_view: bool = False,
    ) -> "Plan":
        """Checks everything and changes nothing: `commit` puts new state in place.

        options: one for each group. gradients: one for each parameter of all groups, or what is here of it;
        None leaves the parameter out. For a query or a view they only say which parameters take part.
        """
        parameters = [p for group in groups for p in group["params"]]
        members: list[Member] = []
        given, index = zip(gradients, words(groups), strict=True), -1
        for number, (group, (hypers, variant, _)) in enumerate(zip(groups, options, strict=True)):
            for p, (g, what) in zip(group["params"], given, strict=False):
                index += 1
                if g is None:
                    continue
                moves = for_query or for_view
                chosen = variant.moving(p.dim()) if for_query else variant.of_rank(p.dim())
                assert chosen is not None  # only what moves is in a plan for a query
                shards.check_flattened(p, variant, what)
                step = variant.of_rank(p.dim())
                share, here = shards.check_shards(p, step, what), shards.local(p)
                model = shards.model_of(p, step)
                by_rows = layout.name if variant.below is not None or chosen.reduced else ""
                check_parameter(here, what, by_rows=by_rows)
                if not moves:
                    check_gradient(g, here, what)
                own = shards.local_states(state.get(p, {}), p, what)  # which makes no entry
                counted = bool(group.get("capturable")) and p.is_cuda and not moves
                home = p.device if counted else CPU
                complete = complete_state(layout, chosen, model, own, hypers, what, home)
                g = None if moves else g
                members.append(
                    Member(p, share, here, model, g, number, what, chosen, complete, index, counted)
                )
        missing = [g is None for g in gradients]
        return cls(layout, parameters, missing, [option.variant for option in options], members)

    def _lay_out(self) -> None:
        self.written = Written.of([memory for member in self.members for memory in memories(member)])
        self._expected()
        in_the_way = self._gradients_in_the_way(self.gradient_pointers, range(len(self.members)))
        self.parts = [self._part(indices, in_the_way) for indices in of_a_kind(self.members)]
        # Gradients that the tables point to directly: all others are copied every step.
        self._direct = np.array([i not in self._gradient_copies for i in range(len(self.members))], np.bool_)

    def _expected(self) -> None:
        """What `holds` compares with."""
        tensors = [tensor for member in self.members for tensor in (member.p, *state_tensors(member))]
        # Counters are not worth a version: nobody differentiates through them.
        elements = [tensor for member in self.members for tensor in (member.p, *member.state.elements)]
        self._trusted = Trusted(tensors, elements)
        self._layouts = Layouts(self.active)
        self._dtypes = list(map(_dtype, self.active))
        self._item = np.array([dtype.itemsize for dtype in self._dtypes], np.int64)
        self._bytes = np.array(self._layouts.sizes, np.int64) * self._item
        self._any_complex = any(dtype.is_complex for dtype in self._dtypes)
        self.gradients = [member.g for member in self.members if member.g is not None]
        self.gradient_pointers = list(map(_pointer, self.gradients))
        self._gradient_layouts = Layouts(self.gradients)

    def _gradients_in_the_way(self, pointers: list[int], indices: Sequence[int]) -> set[int]:
        """The gradients that lie in memory that the step writes to."""
        if not pointers:
            return set()
        ends = [memory_of(self.gradients[i]).end for i in indices]
        touched = self.written.touches(np.array(pointers, np.int64), np.array(ends, np.int64))
        return {indices[i] for i in np.flatnonzero(touched).tolist()}

    def _part(self, indices: list[int], in_the_way: set[int]) -> Part:
        variant = self.members[indices[0]].variant
        dtype = worked_on_in(self.members[indices[0]].model.dtype, variant)
        # What only other dtypes have is behind all others, and has no column.
        missing = len(variant.states) - len(states_of(variant, self.members[indices[0]].model))
        addresses = np.zeros((len(indices), len(variant.buffers) - missing), np.uint64)
        numbers_at, widths = numbers_of([self.members[index] for index in indices])
        for row, index in enumerate(indices):
            member = self.members[index]
            model = self._models[index] = self._model(as_real(member.model), dtype, by_rows=variant.by_rows)
            addresses[row, 0] = model.data_ptr()
            addresses[row, 1] = self._gradient_address(index, model, index in in_the_way)
            specs = states_of(variant, member.model)
            for spec, state in zip(specs, member.state.elements, strict=True):
                like = state.detach().contiguous() if spec.per else model
                column = variant.buffers.index(spec.name)
                addresses[row, column] = self._place(as_real(state), like).data_ptr()
        if variant.numbered:
            addresses[:, variant.numbered] = [self.members[i].index for i in indices]
        sizes = np.array([self._models[i].numel() for i in indices], np.int64)
        table = Table(
            variant=variant,
            **variant.kernels(str(dtype).removeprefix("torch.")),
            dims=np.array([dims(self.members[i].model.shape, variant.by_channel) for i in indices], np.int64),
            ledger=Ledger.of([self.members[i].share for i in indices], sizes),
            addresses=addresses,
            sizes=sizes,
            numbers_at=numbers_at,
            widths=widths,
            times=np.array([self.members[i].state.t for i in indices]),
            groups=np.array([self.members[i].group for i in indices], np.int64),
            places=np.array([self.members[i].index for i in indices], np.int64),
            itemsize=8 if dtype is torch.float64 else 4,
        )
        device = self.members[indices[0]].p.device
        if device.type != "cpu":
            first = self.members[indices[0]]
            move_to_device(table, self._layout, device, first.what, counted=first.counted)
        step = (STEP,) if variant.keeps_step else ()
        own = states_of(variant, self.members[indices[0]].model)
        keys = (*step, *(state.key for state in (*own, *variant.scalar_states)))
        return Part(table, np.array(indices, np.int64), keys)

    def _model(self, p: Tensor, dtype: torch.dtype, *, by_rows: bool) -> Tensor:
        """What the kernel works on for `p`: itself, or a dense copy of the same shape.

        `by_rows`: the rows in memory have to be those of the tensor, whatever the order of its strides.
        """
        if by_rows:
            like = torch.empty(p.shape, dtype=dtype, device=p.device)
            return p if fits(p, like) else self._copy(p, like)
        if p.dtype == dtype and memory_of(p).dense and fits(p, p):
            return p
        return self._copy(p, torch.empty_like(p, dtype=dtype, memory_format=torch.preserve_format))

    def _place(self, state: Tensor, model: Tensor) -> Tensor:
        """`model`: what it lies like, if in another dtype."""
        dtype = state.dtype
        return state if fits(state, model, dtype) else self._copy(state, torch.empty_like(model, dtype=dtype))

    def _copy(self, tensor: Tensor, copy: Tensor) -> Tensor:
        self._copies.append((tensor, copy.detach()))
        return copy

    def _gradient_address(self, index: int, model: Tensor, in_the_way: bool) -> int:
        g = self.members[index].g
        if g is None:
            return model.data_ptr()  # a query does not read it
        ordinary = self.members[index].model is self.members[index].p and not g.is_conj()
        if ordinary and not in_the_way and fits(as_real(g), model):
            return g.data_ptr()
        self._gradient_copies[index] = torch.empty_like(model).detach()
        return self._gradient_copies[index].data_ptr()

    def commit(self, state: Any) -> None:
        """New state goes to where users see it, and is watched from now on."""
        for member in self.members:
            if member.state.new:
                state[member.whole].update(shards.wrapped(member.state.new, member.whole, member.variant))
        for part in self.parts:
            part.dicts = [state[self.members[i].whole] for i in part.members] if part.keys else []
            part.values = [list(map(itemgetter(key), part.dicts)) for key in part.keys]
        self._state_keys, self._state_values = list(state), list(state.values())
        dicts = [each for part in self.parts for each in part.dicts]
        self._trusted.lines = lines([*self._trusted.tensors, *self.gradients], dicts)
        kept = [x for part in self.parts for values in part.values for x in values]
        self._sharded = shards.watched([member.whole for member in self.members] + kept)

    # --- every step ------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Before anything is asked of hundreds of tensors: all that they are on their way to the cache."""
        fetch(self._trusted.lines)

    def holds(
        self,
        options: Sequence[Options],
        parameters: list[Tensor],
        state: Any,
        gradients: Sequence[Tensor | None],
    ) -> bool:
        """Whether the tables are right for this step; takes over new addresses of gradients.

        Never raises for what `build` would refuse: it says no, and `build` finds the words.
        """
        try:
            return (
                same(parameters, self.parameters)
                and [g is None for g in gradients] == self._missing
                and same([option.variant for option in options], self.variants)
                and self._state_holds(state)
                and shards.hold(self._sharded)
                and self._trusted.hold()
                and self._layouts.hold(self.active)
                and self._take_gradients([g for g in gradients if g is not None])
            )
        except (RuntimeError, KeyError, AttributeError, TypeError):
            return False

    def _state_holds(self, state: Any) -> bool:
        return (
            same(state, self._state_keys)
            and same(state.values(), self._state_values)
            and all(
                same(map(itemgetter(key), part.dicts), values)
                for part in self.parts
                for key, values in zip(part.keys, part.values, strict=True)
            )
        )

    def _take_gradients(self, gradients: list[Tensor]) -> bool:
        if not self._gradient_layouts.hold(gradients):
            return False
        if not same(gradients, self.gradients) and (
            list(map(_dtype, gradients)) != self._dtypes
            or any(map(_negative, gradients))
            or (self._any_complex and any(map(_conjugated, gradients)))
        ):
            return False
        pointers = list(map(_pointer, gradients))
        self.gradients = gradients
        return pointers == self.gradient_pointers or self._move_gradients(pointers)

    def _move_gradients(self, pointers: list[int]) -> bool:
        """The direct gradients are elsewhere now: still aligned, and nowhere that is written to."""
        addresses = np.array(pointers, np.int64)
        direct = self._direct
        # A direct gradient is dense: its stretch is as long as it has elements.
        ends = addresses + self._bytes
        if (addresses % self._item)[direct].any() or self.written.touches(addresses, ends)[direct].any():
            return False
        self.gradient_pointers = pointers
        for part in self.parts:
            moved = direct[part.members]
            part.table.addresses[moved, 1] = addresses[part.members[moved]]
        return True

    def gather(
        self,
        options: Sequence[Options],
        numbers: tuple[float, ...],
        scale: float = 1.0,
        sources: Sequence[Source] = (),
    ) -> None:
        """This step's rows, from the groups, the inputs of one number, the counters and the scalar states;
        compiles if need be. The gradients are divided by `scale`. `sources`: hypers that are on a GPU.
        """
        hypers = np.array([(*option.hypers, *numbers) for option in options]).reshape(len(options), -1)
        direction = np.array([option.direction / scale for option in options])
        self._said = hypers, direction
        for part in self.parts:
            if part.table.device_step is not None:
                groups = set(part.table.groups.tolist())
                own = (each for each in sources if each.group in groups)
                part.table.device_step.take(hypers, direction, own)
            part.table.compile()
            part.table.gather(hypers, direction)

    def place_inputs(self, inputs: Mapping[str, Any]) -> None:
        """By name, what is given for each parameter of all groups. Raises `TypeError`, `ValueError`."""
        self._given.clear()
        for name, given in inputs.items():
            tensors = list(given)
            if len(tensors) != len(self.parameters):
                count = f"{len(tensors)} tensors, and there are {len(self.parameters)} parameters"
                raise ValueError(f"{name} holds {count}; give one for each, None where there is no gradient")
            active = [x for x, missing in zip(tensors, self._missing, strict=True) if not missing]
            for part in self.parts:
                if name not in part.table.variant.buffers:
                    continue
                column = part.table.variant.buffers.index(name)
                for row, index in enumerate(part.members.tolist()):
                    part.table.addresses[row, column] = self._input(name, index, active[index])

    def _input(self, name: str, index: int, found: object) -> int:
        member, model = self.members[index], self._models[index]
        what = f"the {'first gradient' if name == FIRST_GRADIENT else name} of {member.what}"
        if member.model is not member.p:
            raise TypeError(f"{what} is for a sharded parameter whose rule needs the whole; keep it whole")
        x = as_real(check_input(shards.local_like(found, member.whole, what), member.p, what))
        start, end = (np.array([at], np.int64) for at in (x.data_ptr(), memory_of(x).end))
        if not fits(x, model) or self.written.touches(start, end)[0]:
            x = torch.empty_like(model).copy_(x)
        self._given.append(x)
        return x.data_ptr()

    def load_copies(self) -> None:
        for member in self._gathered:
            member.model.copy_(shards.gather(member.p, member.whole))
        for tensor, copy in self._copies:
            copy.copy_(tensor)
        for index, copy in self._gradient_copies.items():
            member, g = self.members[index], self.gradients[index]
            copy.copy_(as_real(g if member.model is member.p else shards.gather(g, member.whole)))

    def store_copies(self) -> None:
        for tensor, copy in self._copies:
            tensor.copy_(copy)
        for member in self._gathered:
            member.p.copy_(shards.part_of(member.model, member.whole))

    def facts(self) -> dict[str, float]:
        """What all processes that hold parts of the parameters have to see alike."""
        batches = (part.table.batch for part in self.parts)
        return facts(self.parameters, self._missing, self._said, batches)

    def move(self, threads: int, send: Send | None = None) -> None:
        """The kernels alone; from here on nothing is checked any more. `send`: to who holds other parts."""
        self.load_copies()
        for part in self.parts:
            part.table.draw(threads)
        reduce_tables((part.table for part in self.parts), threads, send)
        for part in self.parts:
            part.table.run(part.table.pair, threads)
        self.store_copies()
        self._given.clear()

    def run(self, threads: int, send: Send | None = None) -> None:
        """The step itself."""
        # First, while the tensors are near: nothing can fail from here on.
        self._trusted.bump()
        shards.bump(self._sharded)
        self.move(threads, send)
        for part in self.parts:
            part.table.scatter()
