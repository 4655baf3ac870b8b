"""The base class of generated optimizers for NumPy: arrays, updated in place.

A generated class gives `layout` and a constructor. In: an array, or a list or dict of arrays, and at each
step gradients in the same structure. Out: the same arrays, changed. A step is all or nothing: everything
is looked at, and compiled, before the first write.

Supported: writable float32 and float64 arrays of any strides. NOT done: groups with options of their own
(make one optimizer for each). No deep-learning framework is imported.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from optdsl.runtime.hypers import Options, defaults_of, read_options
from optdsl.runtime.inputs import arrays, numbers, unknown_numbers, unread
from optdsl.runtime.layout import FIRST_GRADIENT, Layout, check_dimensions
from optdsl.runtime.numpy.plan import ArrayPlan, check_gradients, check_parameters, unfold
from optdsl.runtime.numpy.state import copy_states, read_file, write_file
from optdsl.runtime.views import known_view, refuse_while_shown

Array = NDArray[Any]


class ArrayOptimizer:
    """Steps arrays with compiled kernels.

    `hyper` holds the options under their names (`opt.hyper["lr"] = 1e-4`, or `opt.lr = 1e-4`), and may be
    changed between steps. `params` is what the optimizer was made with.

    Raises `ValueError` for options out of their domain and for shapes that do not match, `TypeError` for
    arrays that cannot be updated, `RuntimeError` for arrays that share memory; always before anything is
    changed. Threads: `$OPTDSL_NUM_THREADS`, else all processors; they never change the result.
    """

    layout: ClassVar[Layout]
    hyper: dict[str, Any]

    def __init__(self, params: Any, options: Mapping[str, Any]) -> None:
        hyper = {**defaults_of(self.layout), "maximize": False, **options}
        self.__dict__["hyper"] = hyper
        variant = self._options().variant
        self.params = params
        self._structure, self._arrays = unfold(params)
        check_parameters(self._arrays, self._structure)
        for array in self._arrays:
            check_dimensions(self.layout.name, variant, array.shape)
        self._states: list[dict[str, Any]] = [{} for _ in self._arrays]
        self._plan: ArrayPlan | None = None
        self._shown: list[tuple[Array, Array]] | None = None  # arrays that show a view, and what they are

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("hyper", ()):
            return self.hyper[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("hyper", ()):
            self.hyper[name] = value
        else:
            super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        refuse_while_shown(self.layout, self._shown is not None, "nothing is copied")
        return {**self.__dict__, "_plan": None}  # addresses mean nothing elsewhere

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.hyper.items())})"

    def step(self, grads: Any, *, loss: Any = None, hvp: Any = None) -> None:
        """One step of every array that has a gradient; a gradient of None leaves its array alone.

        `grads`: as `params`, an array or a list or dict of arrays of the same shapes, of any real dtype;
        or a function of `params` that returns that, called where the spec takes its gradient. A spec
        that takes it elsewhere than at the parameters needs the function, else `RuntimeError`. `loss`, a
        number, and `hvp`, an estimate of the Hessian's diagonal in the structure of `grads`, are for specs
        that read them, which need them at every step, else `TypeError`.
        """
        refuse_while_shown(self.layout, self._shown is not None, "no step is taken")
        words = {"loss": loss, "hvp": hvp}
        unread(self.layout, words)
        scalars, inputs = numbers(self.layout, words), arrays(self.layout, words)
        options, first = self._options(), None
        if callable(grads):
            found, first = self._evaluate(grads, options)
        elif options.variant.query is not None:
            raise RuntimeError(
                f"{self.layout.name} takes its gradient at another point than the parameters: "
                "pass a function of the parameters, opt.step(gradient)"
            )
        else:
            found = self._structure.match(grads, "the gradients")
        gradients = check_gradients(found, self._arrays, self._structure)
        active = tuple(g is not None for g in gradients)
        given = {"g": gradients}
        if first is not None:
            given[FIRST_GRADIENT] = first
        given |= {name: self._input(name, x, active) for name, x in inputs.items()}
        plan = self._plan
        if plan is None or not plan.is_for(options.variant, active, self._states):
            self._plan = None
            plan = ArrayPlan(self.layout, options, self._arrays, self._states, active, self._structure)
            plan.gather(options, scalars)
            plan.commit(self._states)
            self._plan = plan
        else:
            plan.gather(options, scalars)
        plan.run(given)

    def _input(self, name: str, given: Any, active: tuple[bool, ...]) -> list[Array | None]:
        found = check_gradients(self._structure.match(given, name), self._arrays, self._structure, name)
        for index, (x, is_active) in enumerate(zip(found, active, strict=True)):
            if x is None and is_active:
                what = self._structure.words(index)
                raise ValueError(f"the {name} of {what} is None, and its gradient is not; give both")
        return found

    def _options(self) -> Options:
        known = {*self.layout.options, "maximize"}
        if unknown := self.hyper.keys() - known:
            words = ", ".join(sorted(unknown)), ", ".join(sorted(known))
            raise ValueError(f"{self.layout.name} has no {words[0]}; it has {words[1]}")
        return read_options(self.layout, self.hyper)

    def _evaluate(
        self, function: Callable[[Any], Any], options: Options
    ) -> tuple[list[Any], list[Array | None] | None]:
        """The gradients where the spec takes them, and those at the parameters where it needs both."""
        if options.variant.query is None:
            return self._structure.match(function(self.params), "the gradients"), None
        everything, first = (True,) * len(self._arrays), None
        if self.layout.two_gradients:
            first = self._copies(function)
            everything = tuple(g is not None for g in first)
        plan = ArrayPlan(
            self.layout, options, self._arrays, self._states, everything, self._structure, for_query=True
        )
        plan.gather(options, unknown_numbers(self.layout))
        saved = [array.copy() for array in self._arrays]
        try:
            plan.move({FIRST_GRADIENT: first} if first is not None else {})
            found = self._copies(function)
        finally:
            for array, old in zip(self._arrays, saved, strict=True):
                array[...] = old
        if first is not None:
            first = [np.zeros_like(x) if g is None else g for g, x in zip(first, self._arrays, strict=True)]
        return found, first

    def _copies(self, function: Callable[[Any], Any]) -> list[Array | None]:
        """Gradients may be views of the parameters, which are about to move."""
        found = self._structure.match(function(self.params), "the gradients")
        kept = [None if g is None else np.array(g) for g in found]
        return check_gradients(kept, self._arrays, self._structure)

    @contextmanager
    def view(self, name: str) -> Iterator[None]:
        """`with opt.view("ax"): evaluate()`: another view of the parameters is in them, and they come back.

        Raises `ValueError` for a view that this optimizer has not got. Until the parameters are back, steps
        and whatever saves or loads are refused with `RuntimeError`; what is written to them is lost.
        """
        known_view(self.layout, name)
        refuse_while_shown(self.layout, self._shown is not None, "no other view is shown")
        self._show(name)
        try:
            yield
        finally:
            self.train()

    def eval(self) -> None:
        """Puts the first view into the parameters, until `train`. Nothing happens where there is no view."""
        if self.layout.views and self._shown is None:
            self._show(self.layout.views[0])

    def train(self) -> None:
        """Puts the parameters back, bit for bit, if they show a view."""
        saved, self._shown = self._shown or [], None
        for array, old in saved:
            array[...] = old

    def _show(self, name: str) -> None:
        options = self._options()
        needed = options.variant.keeps_state
        stepped = tuple(not needed or bool(state) for state in self._states)
        plan = ArrayPlan(self.layout, options, self._arrays, self._states, stepped, self._structure)
        plan.gather(options, unknown_numbers(self.layout))
        moving = [array for array, moves in zip(self._arrays, stepped, strict=True) if moves]
        saved = [(array, array.copy()) for array in moving]
        plan.show(name)
        self._shown = saved

    def state_dict(self) -> dict[str, Any]:
        """`{"optimizer": name, "hyper": {...}, "state": [...]}`: copies, one entry of state an array.

        Entries are empty until an array's first step, and hold arrays of its shape and dtype, and
        numbers (`step` among them), under torch's keys. Raises `RuntimeError` while a view is shown.
        """
        refuse_while_shown(self.layout, self._shown is not None, "nothing is saved")
        return {
            "optimizer": self.layout.name,
            "hyper": dict(self.hyper),
            "state": [
                {key: value.copy() if value.ndim else float(value) for key, value in state.items()}
                for state in self._states
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over copies of what `state_dict` gave. Raises `ValueError`, and then nothing is loaded."""
        refuse_while_shown(self.layout, self._shown is not None, "nothing is loaded")
        hyper, states = copy_states(self.layout, state_dict, self.hyper, self._arrays, self._structure)
        self.__dict__["hyper"] = hyper
        self._states, self._plan = states, None

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the state (not the arrays themselves) to an `.npz` file, whole or not at all."""
        write_file(Path(path), self.state_dict())

    def load(self, path: str | PathLike[str]) -> None:
        """Reads what `save` wrote. Raises `OSError`, or `ValueError` for another kind of file."""
        self.load_state_dict(read_file(Path(path)))
